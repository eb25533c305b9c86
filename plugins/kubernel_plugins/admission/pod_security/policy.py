"""Levels, versions, and which policy a namespace's labels ask for.

Source: k8s.io/pod-security-admission/{api,policy} (v1.37).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from kubernel.errors import Cause

from .checks import CHECKS, Finding

__all__ = [
    "LEVELS",
    "MODES",
    "PREFIX",
    "LevelVersion",
    "Policy",
    "details",
    "evaluate",
    "parse_version",
    "policy_of",
    "reasons",
]

PREFIX = "pod-security.kubernetes.io/"
LEVELS = ("privileged", "baseline", "restricted")
"""Ascending strictness."""
MODES = ("enforce", "audit", "warn")

_VERSION = re.compile(r"v1\.([0-9]|[1-9][0-9]*)")
_NEWEST = max(first for check in CHECKS for first, _ in check.versions)


class LevelVersion(NamedTuple):
    """``minor`` None is the latest version."""

    level: str
    minor: int | None

    def __str__(self) -> str:
        return f"{self.level}:{'latest' if self.minor is None else f'v1.{self.minor}'}"


class Policy(NamedTuple):
    enforce: LevelVersion
    audit: LevelVersion
    warn: LevelVersion


def parse_version(text: str) -> int | None:
    """The minor version, None for ``latest``. ValueError says what is wanted."""
    if text == "latest":
        return None
    found = _VERSION.fullmatch(text)
    if found is None:
        raise ValueError('must be "latest" or "v1.x"')
    return int(found[1])


def policy_of(labels: Mapping[str, str], defaults: Policy) -> tuple[Policy, list[Cause]]:
    """What ``labels`` ask for and what is wrong with them. A level that is none is taken as restricted to
    enforce, and as privileged for audit and warnings; a version that is none as the latest."""
    if not any(key.startswith(PREFIX) for key in labels):
        return defaults, []
    causes: list[Cause] = []
    chosen: list[LevelVersion] = []
    for mode, default in zip(MODES, defaults, strict=True):
        level, minor = default
        if (told := labels.get(f"{PREFIX}{mode}")) is not None:
            level = told
            if told not in LEVELS:
                causes.append(_cause(mode, told, f"must be one of {', '.join(LEVELS)}"))
                level = "restricted" if mode == "enforce" else "privileged"
        if (told := labels.get(f"{PREFIX}{mode}-version")) is not None:
            try:
                minor = parse_version(told)
            except ValueError as wrong:
                causes.append(_cause(f"{mode}-version", told, str(wrong)))
                minor = None
        chosen.append(LevelVersion(level, minor))
    return Policy(*chosen), causes


def _cause(label: str, value: str, why: str) -> Cause:
    return Cause("FieldValueInvalid", f'Invalid value: "{value}": {why}', f"metadata.labels[{PREFIX}{label}]")


def evaluate(wanted: LevelVersion, annotations: Mapping[str, Any], spec: Mapping[str, Any]) -> list[Finding]:
    """What of the pod the level forbids; nothing when it is allowed."""
    if wanted.level == "privileged":
        return []
    minor = _NEWEST if wanted.minor is None else min(wanted.minor, _NEWEST)
    restricted = wanted.level == "restricted"
    replaced: set[str] = set()
    if restricted:
        replaced.update(name for check in CHECKS if check.versions[0][0] <= minor for name in check.overrides)
    found: list[Finding] = []
    for check in CHECKS:
        if (check.restricted and not restricted) or check.id in replaced:
            continue
        function = next((one for first, one in reversed(check.versions) if first <= minor), None)
        finding = function(annotations, spec) if function is not None else None
        if finding is not None:
            found.append(finding)
    return found


def reasons(found: Sequence[Finding]) -> str:
    return ", ".join(finding.reason for finding in found)


def details(found: Sequence[Finding]) -> str:
    return ", ".join(f"{finding.reason} ({finding.detail})" for finding in found)

"""Audit policy: how much of which request is told to the audit sinks.

Source: k8s.io/apiserver/pkg/audit/policy, pkg/apis/audit/{types,validation} (v1.37).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from kubernel.config.document import read as read_document
from kubernel.errors import PluginError

if TYPE_CHECKING:
    from kubernel.registry.attributes import Attributes

__all__ = ["LEVELS", "NOTHING", "Policy", "Verdict", "read"]

LEVELS = ("None", "Metadata", "Request", "RequestResponse")
STAGES = ("RequestReceived", "ResponseStarted", "ResponseComplete", "Panic")
_KEPT = 4096


class Verdict(NamedTuple):
    """``level`` is an index into LEVELS."""

    level: int
    omitted: frozenset[str]
    omit_managed_fields: bool


NOTHING = Verdict(0, frozenset(), False)

DEFAULT: Mapping[str, Any] = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {
            "level": "None",
            "nonResourceURLs": ["/healthz*", "/livez*", "/readyz*", "/version", "/openapi*", "/api*"],
        },
        {
            "level": "None",
            "userGroups": ["system:nodes", "system:serviceaccounts:kube-system"],
            "verbs": ["get", "list", "watch"],
        },
        {
            "level": "Metadata",
            "resources": [
                {"group": "", "resources": ["secrets", "configmaps", "serviceaccounts/token"]},
                {"group": "authentication.k8s.io", "resources": ["tokenreviews"]},
            ],
        },
        {
            "level": "Metadata",
            "resources": [
                {"group": "", "resources": ["pods/exec", "pods/attach", "pods/portforward", "*/proxy"]}
            ],
        },
        {"level": "None", "verbs": ["get", "list", "watch"], "resources": [{"group": "*"}]},
        {
            "level": "None",
            "resources": [
                {"group": "", "resources": ["events"]},
                {"group": "events.k8s.io", "resources": ["events"]},
                {"group": "coordination.k8s.io", "resources": ["leases"]},
            ],
        },
        {"level": "Metadata"},
    ],
}
"""Without a policy file: who read secrets, who went into pods (a get when it is a WebSocket), and who changed what."""


class _Rule:
    def __init__(self, spec: Mapping[str, Any], policy: Mapping[str, Any], place: str) -> None:
        level = spec.get("level")
        if level not in LEVELS:
            raise PluginError(
                f'{place}.level: Unsupported value: "{level}": supported values: {", ".join(LEVELS)}'
            )
        stages = [*(spec.get("omitStages") or ()), *(policy.get("omitStages") or ())]
        for stage in stages:
            if stage not in STAGES:
                raise PluginError(f'{place}.omitStages: Unsupported value: "{stage}"')
        omit = spec.get("omitManagedFields")
        if omit is None:
            omit = policy.get("omitManagedFields")
        self.verdict = Verdict(LEVELS.index(level), frozenset(stages), bool(omit))
        self.users = frozenset(spec.get("users") or ())
        self.groups = frozenset(spec.get("userGroups") or ())
        self.verbs = frozenset(spec.get("verbs") or ())
        self.namespaces = spec.get("namespaces")
        self.resources: Sequence[Mapping[str, Any]] = spec.get("resources") or ()
        self.urls: Sequence[str] = spec.get("nonResourceURLs") or ()
        if self.urls and (self.resources or self.namespaces):
            raise PluginError(
                f"{place}.nonResourceURLs: rules cannot apply to both regular resources and non-resource URLs"
            )

    def matches(self, asked: Attributes) -> bool:
        user = asked.user
        if self.users and user.name not in self.users:
            return False
        if self.groups and self.groups.isdisjoint(user.groups):
            return False
        if self.verbs and asked.verb not in self.verbs:
            return False
        if asked.path:
            if self.urls:
                return any(
                    url in ("*", asked.path) or (url.endswith("*") and asked.path.startswith(url[:-1]))
                    for url in self.urls
                )
            return not self.resources and self.namespaces is None
        if self.urls:
            return False
        if self.namespaces and asked.namespace not in self.namespaces:
            return False
        return not self.resources or any(_names(one, asked) for one in self.resources)


def _names(spec: Mapping[str, Any], asked: Attributes) -> bool:
    group = spec.get("group") or ""
    if group not in ("*", asked.group):
        return False
    names = spec.get("resourceNames") or ()
    if names and asked.name not in names:
        return False
    resources = spec.get("resources") or ()
    if not resources:
        return True
    plural, sub = asked.resource, asked.subresource
    wanted = f"{plural}/{sub}" if sub else plural
    return any(
        one in ("*", wanted) or (bool(sub) and one in (f"*/{sub}", f"{plural}/*")) for one in resources
    )


class Policy:
    """The first rule that matches decides; none does: nothing is told. Verdicts are remembered."""

    def __init__(self, document: Mapping[str, Any], place: str) -> None:
        rules = document.get("rules")
        if not rules:
            raise PluginError(f"{place}: rules: at least one is required")
        self._rules = [
            _Rule(spec, document, f"{place}: rules[{number}]") for number, spec in enumerate(rules)
        ]
        self._known: dict[tuple[Any, ...], Verdict] = {}
        named = any(one.get("resourceNames") for rule in rules for one in rule.get("resources") or ())
        self.by_name = named
        """Whether verdicts depend on objects' names."""

    def verdict(self, asked: Attributes) -> Verdict:
        user = asked.user
        key = (
            user.name, user.groups, asked.verb, asked.group, asked.resource, asked.subresource, asked.namespace,
            asked.name if self.by_name else "", asked.path,
        )  # fmt: skip
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= _KEPT:
                self._known.clear()
            matching = (rule.verdict for rule in self._rules if rule.matches(asked))
            found = self._known[key] = next(matching, NOTHING)
        return found


def read(path: str) -> Policy:
    """The policy in a file; without one the default. ConfigError and PluginError say what cannot be used."""
    if not path:
        return Policy(DEFAULT, "audit policy")
    document = read_document(Path(path)).plain()
    known = isinstance(document, dict) and document.get("apiVersion") == "audit.k8s.io/v1"
    if not known or document.get("kind") != "Policy":
        raise PluginError(f"{path} is no Policy of audit.k8s.io/v1")
    return Policy(document, path)

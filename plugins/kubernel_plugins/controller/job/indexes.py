"""Completion indexes of Indexed Jobs: ``1,3-5`` and back.

Source: k8s.io/kubernetes/pkg/controller/job/indexed_job_utils.go (v1.37).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from kubernel.objects import meta

if TYPE_CHECKING:
    from kubernel.store.records import Obj

__all__ = [
    "ANNOTATION",
    "failures_of_index",
    "format_ranges",
    "index_of",
    "parse_ranges",
    "with_failures",
    "with_index",
]

ANNOTATION = "batch.kubernetes.io/job-completion-index"
_FAILURES = "batch.kubernetes.io/job-index-failure-count"
_IGNORED = "batch.kubernetes.io/job-index-ignored-failure-count"
_ENVIRONMENT = "JOB_COMPLETION_INDEX"
_MOST_FAILURES = 2**31 - 1
_LONGEST_BASE = 58
"""Characters of a generated name that stay when the server makes room for its suffix."""


def parse_ranges(text: str, limit: int) -> set[int]:
    """Indexes below ``limit`` in ``1,3-5``; malformed parts are passed over."""
    found: set[int] = set()
    for part in text.split(",") if text else ():
        ends = [_number(end) for end in part.split("-")[:2]]
        first, last = ends[0], ends[-1]
        if first is not None and last is not None:
            found.update(range(first, min(last + 1, limit)))
    return found


def format_ranges(indexes: Iterable[int]) -> str:
    parts: list[str] = []
    ordered = sorted(indexes)
    start = 0
    for position, value in enumerate(ordered):
        if position + 1 < len(ordered) and ordered[position + 1] == value + 1:
            continue
        first = ordered[start]
        start = position + 1
        # Two neighbours are a pair in upstream's text, three or more a range.
        if value == first:
            parts.append(str(value))
        elif value == first + 1:
            parts += [str(first), str(value)]
        else:
            parts.append(f"{first}-{value}")
    return ",".join(parts)


def index_of(pod: Obj) -> int | None:
    return _number(meta.annotations(pod).get(ANNOTATION, ""))


def failures_of_index(pod: Obj) -> tuple[int, int]:
    """(failures of its index before this pod that counted, that were ignored)."""
    return _count(pod, _FAILURES), _count(pod, _IGNORED)


def _count(pod: Obj, annotation: str) -> int:
    count = _number(meta.annotations(pod).get(annotation, ""))
    return count if count is not None and count <= _MOST_FAILURES else 0


def _number(text: str) -> int | None:
    """Not negative; of at most 19 digits, as many as the annotations' readers take."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 19 else None


def with_failures(pod: Obj, replaced: Obj | None, *, counts: bool) -> Obj:
    """The pod with the failure counts of its index; ``counts``: whether the failure of the pod that it
    replaces is one of them or an ignored one."""
    failures, ignored = (0, 0)
    if replaced is not None:
        failures, ignored = failures_of_index(replaced)
        failures, ignored = (failures + 1, ignored) if counts else (failures, ignored + 1)
    annotations = {**meta.annotations(pod), _FAILURES: str(failures)}
    if ignored:
        annotations[_IGNORED] = str(ignored)
    return meta.replace(pod, ("metadata", "annotations"), annotations)


def with_index(pod: Obj, job: Obj, index: int) -> Obj:
    """The pod as the one of ``index``: annotation, label, name, host name and environment."""
    metadata = {
        **pod["metadata"],
        "generateName": _generate_name(meta.name(job), index),
        "annotations": {**meta.annotations(pod), ANNOTATION: str(index)},
        "labels": {**meta.labels(pod), ANNOTATION: str(index)},
    }
    spec: dict[str, Any] = {**pod["spec"], "hostname": f"{meta.name(job)}-{index}"}
    source = {"fieldRef": {"apiVersion": "v1", "fieldPath": f"metadata.labels['{ANNOTATION}']"}}
    for key in ("initContainers", "containers"):
        if spec.get(key):
            spec[key] = [_with_environment(container, source) for container in spec[key]]
    return {**pod, "metadata": metadata, "spec": spec}


def _generate_name(job: str, index: int) -> str:
    """The name of the job gives way, so that the index stays when the name is too long."""
    suffix = f"-{index}-"
    return job[: _LONGEST_BASE - len(suffix)] + suffix


def _with_environment(container: dict[str, Any], source: dict[str, Any]) -> dict[str, Any]:
    environment = container.get("env") or []
    if any(entry.get("name") == _ENVIRONMENT for entry in environment):
        return container
    return {**container, "env": [*environment, {"name": _ENVIRONMENT, "valueFrom": source}]}

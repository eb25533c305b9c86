"""Which group a pod belongs to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kubernel.store.records import Obj

__all__ = ["BY_GROUP", "GROUPS", "group_index", "group_name"]

GROUPS = "podgroups.v1beta1.scheduling.k8s.io"
BY_GROUP = "pod group"
"""Name of the index of pods that ``group_index`` makes."""


def group_name(pod: Obj) -> str:
    """Empty for a pod that belongs to none."""
    return (pod["spec"].get("schedulingGroup") or {}).get("podGroupName") or ""


def group_index(pod: Obj) -> Iterable[str]:
    """For an informer of pods: by ``namespace/name`` of their group."""
    name = group_name(pod)
    return [f"{pod['metadata'].get('namespace', '')}/{name}"] if name else []

"""Nodes from the command line: ``big=8cpu,32Gi``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from kubernel.errors import KubernelError
from kubernel.objects import quantity

if TYPE_CHECKING:
    from kubernel.store.records import Obj

__all__ = ["parse_node"]

_UNIT = re.compile(r"(\d+(?:\.\d+)?m?)(cpu|pods)")
_TAINT = re.compile(r"([^=:]+)(?:=([^:]*))?:(NoSchedule|PreferNoSchedule|NoExecute)")


def parse_node(text: str) -> Obj:
    """``NAME=SPEC``: amounts such as ``8cpu``, ``32Gi`` (memory), ``110pods`` and ``example.com/gpu=2``,
    ``label:KEY=VALUE`` and ``taint:KEY=VALUE:EFFECT``, separated by commas. KubernelError for anything else."""
    name, _, spec = text.partition("=")
    if not name or not spec:
        raise KubernelError(f'--add-node: "{text}" is not NAME=SPEC, such as big=8cpu,32Gi')
    amounts = {"cpu": "0", "memory": "0", "pods": "110"}
    labels = {
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
    }
    taints: list[dict[str, Any]] = []
    for part in spec.split(","):
        if part.startswith("label:"):
            key, _, value = part.removeprefix("label:").partition("=")
            labels[key] = value
        elif part.startswith("taint:"):
            taints.append(_taint(part))
        else:
            resource, amount = _amount(part)
            amounts[resource] = amount
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "spec": {"taints": taints} if taints else {},
        "status": {
            "capacity": amounts,
            "allocatable": amounts,
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}],
        },
    }


def _amount(part: str) -> tuple[str, str]:
    resource, _, amount = part.rpartition("=")
    if not resource:
        unit = _UNIT.fullmatch(part)
        amount, resource = (unit.group(1), unit.group(2)) if unit else (part, "memory")
    try:
        quantity.to_int(amount)
    except ValueError:
        raise KubernelError(
            f'--add-node: "{part}" is none of 8cpu, 32Gi, 110pods, RESOURCE=AMOUNT, label:KEY=VALUE, '
            "taint:KEY=VALUE:EFFECT"
        ) from None
    return resource, amount


def _taint(part: str) -> dict[str, Any]:
    found = _TAINT.fullmatch(part.removeprefix("taint:"))
    if found is None:
        raise KubernelError(f'--add-node: "{part}" is not taint:KEY=VALUE:EFFECT')
    taint = {"key": found.group(1), "effect": found.group(3)}
    return {**taint, "value": found.group(2)} if found.group(2) else taint

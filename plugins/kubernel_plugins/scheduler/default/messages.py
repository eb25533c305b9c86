"""What is said of a pod that fits nowhere, as the scheduler of Kubernetes says it.

Source: FitError in k8s.io/kubernetes/pkg/scheduler/framework/types.go (v1.37).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kubernel_plugins.scheduler.default.cycle import Diagnosis

__all__ = ["unschedulable"]


def unschedulable(found: Diagnosis, afterwards: Sequence[str] = ()) -> str:
    """``afterwards``: what the policies said that tried to make room."""
    if found.nodes == 0:
        return "no nodes available to schedule pods"
    text = f"0/{found.nodes} nodes are available:"
    if found.everywhere:
        text += f" {found.everywhere}."
    elif found.reasons:
        text += f" {', '.join(sorted(f'{count} {reason}' for reason, count in found.reasons.items()))}."
    return f"{text} {', '.join(afterwards)}" if afterwards else text

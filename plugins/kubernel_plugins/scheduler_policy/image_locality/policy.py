"""ImageLocality.

Source: k8s.io/kubernetes/pkg/scheduler/framework/plugins/imagelocality (v1.37).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy

from kubernel.plugin.scheduling import MAX_SCORE, SKIP, Policy

if TYPE_CHECKING:
    from kubernel.plugin.scheduling import Amounts, Nodes, PodState, Rows

__all__ = ["ImageLocality"]

_MB = 1024 * 1024
_SMALLEST = 23 * _MB
"""Images below this do not count."""
_LARGEST = 1000 * _MB
"""Bytes a container beyond which more does not count."""


class ImageLocality(Policy):
    name = "ImageLocality"
    scope = "cluster"

    def sign(self, pod: PodState) -> Any:
        return _images(pod)

    def pre_score(self, pod: PodState, nodes: Nodes) -> Any:
        images = _images(pod)
        found = [sizes for image in images if (sizes := nodes.image(image)).any()]
        return (found, len(images)) if found else SKIP

    def score(self, pod: PodState, state: tuple[list[Amounts], int], nodes: Nodes, rows: Rows) -> Amounts:
        """Each image counts as its size times the share of nodes that have it, so that few nodes with a
        popular image do not draw all pods."""
        found, images = state
        total: Any = 0
        for sizes in found:
            spread = int((sizes > 0).sum()) / nodes.count
            total = total + (sizes[rows] * spread).astype(numpy.int64)
        largest = _LARGEST * images
        scores: Amounts = (
            MAX_SCORE * (numpy.clip(total, _SMALLEST, largest) - _SMALLEST) // (largest - _SMALLEST)
        )
        return scores


def _images(pod: PodState) -> list[str]:
    spec = pod.pod["spec"]
    containers = (*(spec.get("initContainers") or ()), *(spec.get("containers") or ()))
    volumes = (volume["image"] for volume in spec.get("volumes") or () if volume.get("image"))
    named = [
        *(container.get("image") or "" for container in containers),
        *(volume.get("reference") or "" for volume in volumes),
    ]
    return [_with_tag(image) for image in named]


def _with_tag(image: str) -> str:
    return image if image.rfind(":") > image.rfind("/") else f"{image}:latest"

"""What pods, claims, volumes and classes say about each other.

Source: k8s.io/component-helpers/storage/volume and storage/ephemeral (v1.37).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy

from kubernel.objects import meta, quantity
from kubernel_plugins.scheduler_policy import selecting
from kubernel_plugins.volumes import BIND_COMPLETED, CLAIMS, CLASSES, VOLUMES, class_of

if TYPE_CHECKING:
    from kubernel.client.informer import Informer
    from kubernel.plugin.scheduling import Change, Mask, Nodes, PodState, Rows
    from kubernel.store.records import Obj

__all__ = [
    "BIND_COMPLETED",
    "CLAIMS",
    "CLASSES",
    "VOLUMES",
    "claim_index",
    "claims_of",
    "class_of",
    "is_bound",
    "names_of",
    "not_owned",
    "reachable",
    "sign",
    "size",
    "uses_claim",
]


def names_of(pod: Obj) -> Iterator[tuple[str, bool]]:
    """The claims that a pod's volumes name; True for one that is made for the pod itself (ephemeral)."""
    for volume in pod["spec"].get("volumes") or ():
        if claim := volume.get("persistentVolumeClaim"):
            yield claim.get("claimName", ""), False
        elif volume.get("ephemeral"):
            yield f"{pod['metadata']['name']}-{volume['name']}", True


def claims_of(pod: PodState, claims: Informer) -> Iterator[tuple[str, bool, Obj | None]]:
    """As ``names_of``, with the claims themselves where they exist."""
    for name, ephemeral in pod.claims:
        yield name, ephemeral, claims.get(name, pod.namespace)


def claim_index(pod: Obj) -> Iterable[str]:
    """For an informer of pods: by ``namespace/name`` of their claims."""
    namespace = pod["metadata"].get("namespace", "")
    return [f"{namespace}/{name}" for name, _ in names_of(pod)] if pod["spec"].get("volumes") else ()


def sign(pod: PodState) -> Any:
    """All of a pod's claims that decides where it may go."""
    return (pod.namespace, pod.claims) if pod.claims else ()


def uses_claim(pod: PodState, change: Change) -> bool:
    """Whether a change is one of a claim that the pod uses."""
    found = change.obj["metadata"]
    return found.get("namespace") == pod.namespace and any(name == found["name"] for name, _ in pod.claims)


def not_owned(pod: PodState, claim: Obj) -> str:
    """Why a pod may not use a claim that has the name of one of its ephemeral ones; empty when it may."""
    owner = meta.controller_of(claim)
    if owner is not None and owner.get("uid") == pod.uid:
        return ""
    return (
        f"PVC {pod.namespace}/{claim['metadata']['name']} was not created for pod {pod.namespace}/{pod.name} "
        "(pod is not owner)"
    )


def is_bound(claim: Obj) -> bool:
    return bool(claim["spec"].get("volumeName")) and BIND_COMPLETED in meta.annotations(claim)


def size(amounts: Mapping[str, Any] | None) -> int:
    """Bytes of storage."""
    return quantity.to_int((amounts or {}).get("storage", 0))


def reachable(volume: Obj, nodes: Nodes, rows: Rows) -> Mask:
    """From where a volume can be reached, by its node affinity."""
    required = (volume["spec"].get("nodeAffinity") or {}).get("required")
    if required is None:
        return numpy.ones_like(nodes.live[rows])
    return selecting.any_term(required.get("nodeSelectorTerms") or (), nodes, rows)

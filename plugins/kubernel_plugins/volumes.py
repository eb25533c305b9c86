"""What several plugins ask of volumes, claims and their classes.

Source: k8s.io/component-helpers/storage/volume, k8s.io/kubernetes/pkg/volume/util (v1.37).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from kubernel.objects import meta, quantity
from kubernel.objects.selectors import from_object

if TYPE_CHECKING:
    from kubernel.store.records import Obj

__all__ = [
    "BIND_COMPLETED",
    "BOUND_BY_CONTROLLER",
    "CLAIMS",
    "CLASSES",
    "CLASS_ANNOTATION",
    "NO_PROVISIONER",
    "PROVISIONED_BY",
    "PROVISIONER",
    "SELECTED_NODE",
    "VOLUMES",
    "attributes_classes",
    "claim_names",
    "class_of",
    "default_class",
    "ephemeral_claims",
    "find_match",
    "is_bound_to",
    "mismatch",
    "requested",
    "waits_for_consumer",
]

CLAIMS = "persistentvolumeclaims"
VOLUMES = "persistentvolumes"
CLASSES = "storageclasses.v1.storage.k8s.io"

CLASS_ANNOTATION = "volume.beta.kubernetes.io/storage-class"
BIND_COMPLETED = "pv.kubernetes.io/bind-completed"
BOUND_BY_CONTROLLER = "pv.kubernetes.io/bound-by-controller"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
PROVISIONER = "volume.kubernetes.io/storage-provisioner"
SELECTED_NODE = "volume.kubernetes.io/selected-node"
NO_PROVISIONER = "kubernetes.io/no-provisioner"
_DEFAULT = ("storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class")


def class_of(obj: Obj) -> str:
    """Of a claim or a volume; empty for none."""
    annotation = meta.annotations(obj).get(CLASS_ANNOTATION)
    return annotation if annotation is not None else (obj["spec"].get("storageClassName") or "")


def attributes_classes(obj: Obj) -> set[str]:
    """The VolumeAttributesClasses that a claim or a volume asks for, has, or is on its way to."""
    named = (
        meta.get(obj, "spec", "volumeAttributesClassName"),
        meta.get(obj, "status", "currentVolumeAttributesClassName"),
        meta.get(obj, "status", "modifyVolumeStatus", "targetVolumeAttributesClassName"),
    )
    return {name for name in named if name}


def default_class(classes: Iterable[Obj]) -> Obj | None:
    """The newest of those that are marked as the default, the first by name of equally new ones."""
    marked = [one for one in classes if any(meta.annotations(one).get(key) == "true" for key in _DEFAULT)]
    marked.sort(key=meta.name)
    return max(marked, key=lambda one: str(one["metadata"]["creationTimestamp"]), default=None)


def waits_for_consumer(storage_class: Obj | None) -> bool:
    return storage_class is not None and storage_class.get("volumeBindingMode") == "WaitForFirstConsumer"


def requested(claim: Obj) -> int:
    """Bytes."""
    return quantity.to_int(meta.get(claim, "spec", "resources", "requests", "storage", default="0"))


def is_bound_to(volume: Obj, claim: Obj) -> bool:
    """Whether the volume names this claim, or one of its name and no uid yet."""
    reference = volume["spec"].get("claimRef") or {}
    return (reference.get("namespace"), reference.get("name")) == meta.key(claim) and reference.get(
        "uid", ""
    ) in ("", meta.uid(claim))


def mismatch(volume: Obj, claim: Obj) -> str:
    """Why the volume cannot be the claim's, in upstream's words; empty when it can."""
    spec, wanted = volume["spec"], claim["spec"]
    if meta.is_deleting(volume):
        return f'the volume is marked for deletion "{meta.name(volume)}"'
    if quantity.to_int(meta.get(spec, "capacity", "storage", default="0")) < requested(claim):
        return "requested PV is too small"
    if class_of(volume) != class_of(claim):
        return "storageClassName does not match"
    if (spec.get("volumeAttributesClassName") or "") != (wanted.get("volumeAttributesClassName") or ""):
        return "volumeAttributesClassName does not match"
    if spec.get("volumeMode", "Filesystem") != wanted.get("volumeMode", "Filesystem"):
        return "incompatible volumeMode"
    if not set(wanted.get("accessModes") or ()) <= set(spec.get("accessModes") or ()):
        return "incompatible accessMode"
    return ""


def find_match(volumes: Iterable[Obj], claim: Obj, *, only_named: bool = False) -> Obj | None:
    """The volume to bind: one that names the claim already, else the smallest that is free and suits.
    ``only_named`` leaves out the free ones."""
    selector = from_object(claim["spec"].get("selector") or {})
    best: Obj | None = None
    smallest = 0
    for volume in volumes:
        if is_bound_to(volume, claim):
            if not mismatch(volume, claim):
                return volume
            continue
        if only_named or volume["spec"].get("claimRef"):
            continue
        phase = (volume.get("status") or {}).get("phase", "Pending")
        if phase not in ("Available", "Pending") or mismatch(volume, claim):
            continue
        if not selector.matches(meta.labels(volume)):
            continue
        size = quantity.to_int(volume["spec"]["capacity"]["storage"])
        if best is None or (size, meta.name(volume)) < (smallest, meta.name(best)):
            best, smallest = volume, size
    return best


def ephemeral_claims(pod: Obj) -> Iterator[tuple[str, dict[str, Any]]]:
    """(claim's name, its template) of the generic ephemeral volumes (KEP-1698)."""
    for volume in pod["spec"].get("volumes") or ():
        if volume.get("ephemeral"):
            template = volume["ephemeral"].get("volumeClaimTemplate") or {}
            yield f"{meta.name(pod)}-{volume['name']}", template


def claim_names(pod: Obj, *, ephemeral: bool = True) -> list[str]:
    """All claims that a pod uses, or only those that it names itself."""
    found = [
        volume["persistentVolumeClaim"]["claimName"]
        for volume in pod["spec"].get("volumes") or ()
        if volume.get("persistentVolumeClaim")
    ]
    return found + [name for name, _ in ephemeral_claims(pod)] if ephemeral else found

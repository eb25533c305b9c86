"""Columns of volumes, claims and their classes and drivers."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from kubernel.registry.types import Column
from kubernel_plugins.api.builtin.columns.common import AGE, NAME, Obj, at, count, text

__all__ = [
    "CSI_DRIVER",
    "CSI_NODE",
    "PERSISTENT_VOLUME",
    "PERSISTENT_VOLUME_CLAIM",
    "STORAGE_CLASS",
    "VOLUME_ATTACHMENT",
    "VOLUME_ATTRIBUTES_CLASS",
]

_MODES = {
    "ReadWriteOnce": "RWO",
    "ReadOnlyMany": "ROX",
    "ReadWriteMany": "RWX",
    "ReadWriteOncePod": "RWOP",
}
_CLASS_ANNOTATION = "volume.beta.kubernetes.io/storage-class"
_DEFAULT_CLASS = (
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
)


def _modes(modes: Iterable[str] | None) -> str:
    given = set(modes or ())
    return ",".join(short for mode, short in _MODES.items() if mode in given)


def _phase(obj: Obj, now: float) -> str:
    if at(obj, "metadata", "deletionTimestamp"):
        return "Terminating"
    return str(at(obj, "status", "phase") or "")


def _class_of(obj: Obj, now: float) -> str:
    annotations = at(obj, "metadata", "annotations") or {}
    return str(annotations.get(_CLASS_ANNOTATION) or at(obj, "spec", "storageClassName") or "")


def _claim(obj: Obj, now: float) -> str:
    reference = at(obj, "spec", "claimRef")
    return f"{reference.get('namespace', '')}/{reference.get('name', '')}" if reference else ""


def _capacity(obj: Obj, now: float) -> str:
    return str(at(obj, "spec", "capacity", "storage") or "0")


def _volume_modes(obj: Obj, now: float) -> str:
    return _modes(at(obj, "spec", "accessModes"))


def _claim_capacity(obj: Obj, now: float) -> str:
    bound = at(obj, "spec", "volumeName")
    return str(at(obj, "status", "capacity", "storage") or "0") if bound else ""


def _claim_modes(obj: Obj, now: float) -> str:
    return _modes(at(obj, "status", "accessModes")) if at(obj, "spec", "volumeName") else ""


def _class_name(obj: Obj, now: float) -> str:
    annotations = at(obj, "metadata", "annotations") or {}
    default = any(annotations.get(key) == "true" for key in _DEFAULT_CLASS)
    return f"{at(obj, 'metadata', 'name')}{' (default)' if default else ''}"


def _flag(*path: str, absent: bool = False) -> Callable[[Obj, float], bool]:
    def cell(obj: Obj, now: float) -> bool:
        value = at(obj, *path)
        return absent if value is None else bool(value)

    return cell


def _audiences(obj: Obj, now: float) -> str:
    requests = at(obj, "spec", "tokenRequests")
    if requests is None:
        return "<unset>"
    return ",".join(request.get("audience", "") for request in requests)


def _lifecycle_modes(obj: Obj, now: float) -> str:
    return ",".join(at(obj, "spec", "volumeLifecycleModes") or ()) or "<none>"


_ATTRIBUTES_CLASS = Column(
    "VolumeAttributesClass",
    text("spec", "volumeAttributesClassName", absent="<unset>"),
    description="Its class.",
)
_VOLUME_MODE = Column("VolumeMode", text("spec", "volumeMode", absent="<unset>"), priority=1)

PERSISTENT_VOLUME = (
    NAME,
    Column("Capacity", _capacity, description="The volume's resources and capacity."),
    Column("Access Modes", _volume_modes, description="All ways the volume can be mounted."),
    Column(
        "Reclaim Policy",
        text("spec", "persistentVolumeReclaimPolicy"),
        description="What happens to the volume when it is released from its claim.",
    ),
    Column("Status", _phase, description="Whether it is available, bound to a claim, or released."),
    Column("Claim", _claim, description="The claim it is bound to."),
    Column("StorageClass", _class_of, description="Its storage class."),
    _ATTRIBUTES_CLASS,
    Column("Reason", text("status", "reason"), description="Why it is in this state."),
    AGE,
    _VOLUME_MODE,
)
PERSISTENT_VOLUME_CLAIM = (
    NAME,
    Column("Status", _phase, description="The claim's phase."),
    Column("Volume", text("spec", "volumeName"), description="The volume that backs this claim."),
    Column("Capacity", _claim_capacity, description="The actual resources of the volume."),
    Column("Access Modes", _claim_modes, description="The actual access modes of the volume."),
    Column("StorageClass", _class_of, description="Its storage class."),
    _ATTRIBUTES_CLASS,
    AGE,
    _VOLUME_MODE,
)
STORAGE_CLASS = (
    Column("Name", _class_name, format="name", description=NAME.description),
    Column("Provisioner", text("provisioner"), description="The type of the provisioner."),
    Column("ReclaimPolicy", text("reclaimPolicy", absent="Delete"), description="Of the volumes it makes."),
    Column(
        "VolumeBindingMode", text("volumeBindingMode", absent="Immediate"), description="When claims bind."
    ),
    Column("AllowVolumeExpansion", _flag("allowVolumeExpansion"), description="Whether volumes may grow."),
    AGE,
)
VOLUME_ATTRIBUTES_CLASS = (
    Column("Name", _class_name, format="name", description=NAME.description),
    Column("DriverName", text("driverName"), description="Name of the CSI driver."),
    AGE,
)
VOLUME_ATTACHMENT = (
    NAME,
    Column(
        "Attacher", text("spec", "attacher"), format="name", description="The driver that must handle it."
    ),
    Column("PV", text("spec", "source", "persistentVolumeName"), description="The volume to attach."),
    Column("Node", text("spec", "nodeName"), description="The node to attach it to."),
    Column("Attached", _flag("status", "attached"), type="boolean", description="Whether it is attached."),
    AGE,
)
CSI_NODE = (
    NAME,
    Column(
        "Drivers",
        count("spec", "drivers"),
        type="integer",
        description="How many CSI drivers the node has.",
    ),
    AGE,
)
CSI_DRIVER = (
    NAME,
    Column("AttachRequired", _flag("spec", "attachRequired", absent=True), type="boolean"),
    Column("PodInfoOnMount", _flag("spec", "podInfoOnMount"), type="boolean"),
    Column("StorageCapacity", _flag("spec", "storageCapacity"), type="boolean"),
    Column("TokenRequests", _audiences),
    Column("RequiresRepublish", _flag("spec", "requiresRepublish"), type="boolean"),
    Column("Modes", _lifecycle_modes),
    AGE,
)

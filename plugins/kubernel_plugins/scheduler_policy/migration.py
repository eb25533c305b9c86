"""Volumes of kinds that were built into Kubernetes before there was CSI, as those of the drivers that took over.

Source: k8s.io/csi-translation-lib (v1.37), as far as it decides where pods go: driver, handle and node affinity.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from kubernel.objects import meta

if TYPE_CHECKING:
    from kubernel.store.records import Obj

__all__ = ["driver_of", "inline", "is_known", "plugin_of", "translated"]

_ZONE, _REGION = "topology.kubernetes.io/zone", "topology.kubernetes.io/region"
_OLD_ZONE, _OLD_REGION = (
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
)
_UNSPECIFIED = "UNSPECIFIED"
_BETWEEN_ZONES = "__"
_EBS_VOLUME = re.compile(r"vol-[^/]*")
_AZURE_SECRET = re.compile(r"azure-storage-account-(.+)-secret")

_Source = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Kind:
    """``of_pod``: handle of a pod's own volume from (source, name of the volume, namespace); ``of_volume``: from
    (source, PersistentVolume), None for a kind that the scheduler does not take for migrated; both raise ValueError.
    ``zone``: the driver's topology key, empty where the node affinity stays as it is."""

    plugin: str
    driver: str
    of_pod: Callable[[_Source, str, str], str]
    of_volume: Callable[[_Source, Obj], str] | None
    zone: str = ""


def is_known(volume: Mapping[str, Any]) -> bool:
    """Whether a pod's volume is of such a kind."""
    return _kind(volume) is not None


def plugin_of(spec: Mapping[str, Any]) -> str:
    """``kubernetes.io/gce-pd`` for a PersistentVolume's spec or a pod's volume of such a kind that the scheduler takes
    for migrated; empty for all others."""
    found = _kind(spec)
    return found[0].plugin if found is not None and found[0].of_volume else ""


def driver_of(provisioner: str) -> str:
    """Who provides volumes in the place of a class's provisioner; empty for one of a kind that the scheduler does not
    take for migrated."""
    kind = _BY_PLUGIN.get(provisioner)
    if kind is None:
        return provisioner
    return kind.driver if kind.of_volume else ""


def inline(volume: Mapping[str, Any], namespace: str) -> tuple[str, str]:
    """(driver, handle) of a volume of a pod; ValueError when it cannot be one of the driver's."""
    found = _kind(volume)
    if found is None:
        raise ValueError(f'could not find in-tree plugin translation logic for "{volume.get("name", "")}"')
    kind, source = found
    return kind.driver, kind.of_pod(source, volume.get("name", ""), namespace)


def translated(volume: Obj) -> Obj:
    """A PersistentVolume of such a kind as the driver's; ValueError when it cannot be one."""
    spec = volume["spec"]
    found = _kind(spec)
    if found is None or found[0].of_volume is None:
        raise ValueError(f'could not find in-tree plugin translation logic for "{meta.name(volume)}"')
    kind, source = found
    csi = {"driver": kind.driver, "volumeHandle": found[0].of_volume(source, volume)}
    spec = {key: value for key, value in spec.items() if value is not source} | {"csi": csi}
    if kind.zone and (affinity := _affinity(volume, kind.zone)) is not None:
        spec["nodeAffinity"] = affinity
    return {**volume, "spec": spec}


def _kind(spec: Mapping[str, Any]) -> tuple[_Kind, _Source] | None:
    for key, kind in _KINDS.items():
        if source := spec.get(key):
            return kind, source
    return None


# --- where they are


def _affinity(volume: Obj, key: str) -> Obj | None:
    """The node affinity with the driver's topology key ``key``; from the labels where it names no zone. None: as it
    is."""
    terms = ((volume["spec"].get("nodeAffinity") or {}).get("required") or {}).get("nodeSelectorTerms") or []
    labels = meta.labels(volume)
    old = not _names(terms, _ZONE) and (
        _names(terms, _OLD_ZONE) or (_ZONE not in labels and _OLD_ZONE in labels)
    )
    zone = _OLD_ZONE if old else _ZONE
    replaced = {_OLD_REGION: _REGION} if old and _values(terms, _OLD_REGION) else {}
    added = []
    if _values(terms, zone):
        replaced[zone] = key
    elif zones := sorted({each.strip() for each in labels.get(zone, "").split(_BETWEEN_ZONES)} - {""}):
        added.append({"key": key, "operator": "In", "values": zones})
    if not replaced and not added:
        return None
    wanted = [
        {
            **term,
            "matchExpressions": [
                *({**each, "key": replaced.get(each["key"], each["key"])} for each in _of(term)),
                *added,
            ],
        }
        for term in terms or [{}]
    ]
    return {"required": {"nodeSelectorTerms": wanted}}


def _of(term: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return term.get("matchExpressions") or []


def _names(terms: list[Mapping[str, Any]], key: str) -> bool:
    return any(each["key"] == key for term in terms for each in _of(term))


def _values(terms: list[Mapping[str, Any]], key: str) -> bool:
    return any(each["key"] == key and each.get("values") for term in terms for each in _of(term))


# --- what they are called


def _field(name: str) -> Callable[..., str]:
    """For a kind whose handle is one of its fields."""
    return lambda source, *_: str(source.get(name, ""))


def _gce(source: _Source, *_: Any) -> str:
    return f"projects/{_UNSPECIFIED}/zones/{_UNSPECIFIED}/disks/{source.get('pdName', '')}"


def _gce_volume(source: _Source, volume: Obj) -> str:
    labels = meta.labels(volume)
    zones = (labels.get(_OLD_ZONE) or labels.get(_ZONE) or "").split(_BETWEEN_ZONES)
    disk = source.get("pdName", "")
    if len(zones) == 1:
        return f"projects/{_UNSPECIFIED}/zones/{zones[0] or _UNSPECIFIED}/disks/{disk}"
    regions = set()
    for zone in zones:
        parts = zone.split("-")
        if len(parts) != 3:
            raise ValueError(
                "failed to get region from zones: zone in unexpected format, expected: {locale}-{region}-{zone}, "
                f"got: {zone}"
            )
        regions.add("-".join(parts[:2]))
    if len(regions) != 1:
        told = " ".join(f"{region}:{{}}" for region in sorted(regions))
        raise ValueError(
            f"failed to get region from zones: multiple or no regions gotten from zones, got: map[{told}]"
        )
    return f"projects/{_UNSPECIFIED}/regions/{regions.pop()}/disks/{disk}"


def _ebs(source: _Source, *_: Any) -> str:
    name = str(source.get("volumeID", ""))
    if not name.startswith("aws://"):
        return name
    found = urlsplit(name).path.strip("/")
    if not _EBS_VOLUME.fullmatch(found):
        raise ValueError(
            f"failed to translate Kubernetes ID to EBS Volume ID Invalid format for AWS volume ({name})"
        )
    return found


def _azure_disk(source: _Source, *_: Any) -> str:
    kind = source.get("kind")
    if kind is not None and kind.lower() != "managed":
        raise ValueError(f"kind({kind}) is not supported in csi migration")
    return str(source.get("diskURI", ""))


def _azure_file(source: _Source, name: str, namespace: str) -> str:
    secret = source.get("secretName", "")
    account = found[1] if (found := _AZURE_SECRET.search(secret)) else secret
    return f"#{account}#{source.get('shareName', '')}#{name}#{namespace or 'default'}"


_KINDS: Mapping[str, _Kind] = {
    "gcePersistentDisk": _Kind(
        "kubernetes.io/gce-pd", "pd.csi.storage.gke.io", _gce, _gce_volume, "topology.gke.io/zone"
    ),
    "awsElasticBlockStore": _Kind(
        "kubernetes.io/aws-ebs", "ebs.csi.aws.com", _ebs, _ebs, "topology.ebs.csi.aws.com/zone"
    ),
    "cinder": _Kind(
        "kubernetes.io/cinder",
        "cinder.csi.openstack.org",
        _field("volumeID"),
        _field("volumeID"),
        "topology.cinder.csi.openstack.org/zone",
    ),
    "azureDisk": _Kind("kubernetes.io/azure-disk", "disk.csi.azure.com", _azure_disk, _azure_disk),
    "azureFile": _Kind("kubernetes.io/azure-file", "file.csi.azure.com", _azure_file, None),
    "vsphereVolume": _Kind(
        "kubernetes.io/vsphere-volume", "csi.vsphere.vmware.com", _field("volumePath"), None
    ),
    "portworxVolume": _Kind(
        "kubernetes.io/portworx-volume", "pxd.portworx.com", _field("volumeID"), _field("volumeID")
    ),
}
_BY_PLUGIN: Mapping[str, _Kind] = {kind.plugin: kind for kind in _KINDS.values()}

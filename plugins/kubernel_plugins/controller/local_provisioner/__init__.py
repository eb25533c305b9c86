"""Provisioner of volumes that are directories of this machine: claims of the default class just work.

It follows the rules of an external provisioner, resizer and deleter (sigs.k8s.io/sig-storage-lib-external-provisioner):
another one may take its place.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kubernel.client.reconciler import Reconciler
from kubernel.errors import AlreadyExists, NotFound
from kubernel.objects import meta, quantity
from kubernel_plugins import volumes as v

if TYPE_CHECKING:
    from kubernel.client.reconciler import ObjectKey
    from kubernel.store.records import EventType, Obj

__all__ = ["Plugin", "Settings"]

_PROVISIONER = "kubernel.dev/local"
_DEFAULT = "storageclass.kubernetes.io/is-default-class"
_HOSTNAME = "kubernetes.io/hostname"
_STEP = 256
"""Files removed before others have a turn."""


@dataclass(frozen=True, slots=True)
class Settings:
    """``class_name`` empty makes no StorageClass; ``directory`` empty is ``volumes`` below the data directory."""

    class_name: str = "standard"
    default: bool = True
    directory: Path = Path()


def _of_volume(self: Plugin, type: EventType, volume: Obj, old: Obj | None) -> Iterable[ObjectKey]:
    if meta.annotations(volume).get(v.PROVISIONED_BY) != _PROVISIONER:
        return ()
    reference = volume["spec"].get("claimRef") or {}
    return (("", meta.name(volume)), (reference.get("namespace", ""), reference.get("name", "")))


class Plugin(Reconciler):
    """The ``local_provisioner`` controller; keys of volumes have no namespace."""

    Settings = Settings
    resource = v.CLAIMS
    watches = {v.VOLUMES: _of_volume}  # noqa: RUF012 - typed in the base
    reads = (v.CLASSES,)
    user = "system:serviceaccount:kube-system:local-provisioner"

    async def start(self) -> None:
        await super().start()
        self._volumes = self.informer(v.VOLUMES)
        self._classes = self.informer(v.CLASSES)
        given: Path = self.settings.directory
        self._directory = given if given != Path() else Path(self.handle.data_dir) / "volumes"

    async def setup(self) -> None:
        for volume in self._volumes.list():
            self.queue.add(("", meta.name(volume)))
        name = self.settings.class_name
        if not name or self._classes.get(name) is not None:
            return
        wanted: Obj = {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {
                "name": name,
                "annotations": {_DEFAULT: "true"} if self.settings.default else {},
            },
            "provisioner": _PROVISIONER,
            "reclaimPolicy": "Delete",
            "volumeBindingMode": "WaitForFirstConsumer",
            "allowVolumeExpansion": True,
        }
        try:
            await self.client.create(v.CLASSES, wanted)
        except AlreadyExists:
            return

    async def reconcile(self, namespace: str, name: str) -> None:
        if not namespace:
            volume = self._volumes.get(name)
            if volume is not None:
                await self._clean(volume)
            return
        claim = self.primary.get(name, namespace)
        if claim is None or meta.is_deleting(claim):
            return
        if claim["spec"].get("volumeName"):
            await self._resize(claim)
        elif meta.annotations(claim).get(v.PROVISIONER) == _PROVISIONER:
            await self._provision(claim)

    # --- making

    async def _provision(self, claim: Obj) -> None:
        storage_class = self._classes.get(v.class_of(claim))
        node = meta.annotations(claim).get(v.SELECTED_NODE, "")
        if storage_class is None or (v.waits_for_consumer(storage_class) and not node):
            return
        name = f"pvc-{meta.uid(claim)}"
        if self._volumes.get(name) is not None:
            return
        where = "/".join(meta.key(claim))
        text = f'External provisioner is provisioning volume for claim "{where}"'
        await self.recorder.event(claim, "Normal", "Provisioning", text)
        if claim["spec"].get("volumeMode") == "Block":
            text = (
                f'failed to provision volume with StorageClass "{v.class_of(claim)}": '
                "a directory is no block device"
            )
            await self.recorder.event(claim, "Warning", "ProvisioningFailed", text)
            return
        path = self._directory / name
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.mkdir(exist_ok=True)
        # Whoever the container's user is; the directory above is private.
        path.chmod(0o777)
        try:
            await self.client.create(v.VOLUMES, self._new_volume(name, claim, storage_class, node, path))
        except AlreadyExists:
            return
        await self.recorder.event(
            claim, "Normal", "ProvisioningSucceeded", f"Successfully provisioned volume {name}"
        )

    def _new_volume(self, name: str, claim: Obj, storage_class: Obj, node: str, path: Path) -> Obj:
        reference = {
            "kind": "PersistentVolumeClaim",
            "apiVersion": "v1",
            "namespace": meta.namespace(claim),
            "name": meta.name(claim),
            "uid": meta.uid(claim),
            "resourceVersion": meta.resource_version(claim),
        }
        spec: dict[str, Any] = {
            "accessModes": claim["spec"]["accessModes"],
            "capacity": {"storage": claim["spec"]["resources"]["requests"]["storage"]},
            "claimRef": reference,
            "hostPath": {"path": str(path), "type": "DirectoryOrCreate"},
            "persistentVolumeReclaimPolicy": storage_class.get("reclaimPolicy", "Delete"),
            "storageClassName": meta.name(storage_class),
            "volumeMode": "Filesystem",
        }
        if storage_class.get("mountOptions"):
            spec["mountOptions"] = storage_class["mountOptions"]
        if node:
            rule = {"key": _HOSTNAME, "operator": "In", "values": [node]}
            spec["nodeAffinity"] = {"required": {"nodeSelectorTerms": [{"matchExpressions": [rule]}]}}
        metadata = {"name": name, "annotations": {v.PROVISIONED_BY: _PROVISIONER}}
        return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": metadata, "spec": spec}

    # --- growing

    async def _resize(self, claim: Obj) -> None:
        """A directory has all the room of its disk: larger is only said."""
        volume = self._volumes.get(claim["spec"]["volumeName"])
        if volume is None or meta.annotations(volume).get(v.PROVISIONED_BY) != _PROVISIONER:
            return
        status = claim.get("status") or {}
        wanted = claim["spec"]["resources"]["requests"]["storage"]
        known = meta.get(status, "capacity", "storage")
        if status.get("phase") != "Bound" or known is None or quantity.to_int(known) >= v.requested(claim):
            return
        text = f"External resizer is resizing volume {meta.name(volume)}"
        await self.recorder.event(claim, "Normal", "Resizing", text)
        if quantity.to_int(volume["spec"]["capacity"]["storage"]) < v.requested(claim):
            await self.client.patch(v.VOLUMES, meta.name(volume), {"spec": {"capacity": {"storage": wanted}}})
        capacity = {**status["capacity"], "storage": wanted}
        await self.client.patch(
            self.resource,
            meta.name(claim),
            {"status": {"capacity": capacity}},
            meta.namespace(claim),
            subresource="status",
        )
        await self.recorder.event(claim, "Normal", "VolumeResizeSuccessful", "Resize volume succeeded")

    # --- ending

    async def _clean(self, volume: Obj) -> None:
        name = meta.name(volume)
        ended = (volume.get("status") or {}).get("phase") in ("Released", "Failed")
        policy = volume["spec"].get("persistentVolumeReclaimPolicy")
        if (
            not ended
            or policy != "Delete"
            or meta.annotations(volume).get(v.PROVISIONED_BY) != _PROVISIONER
            or meta.is_deleting(volume)
        ):
            return
        path = Path(meta.get(volume, "spec", "hostPath", "path", default=""))
        if path == self._directory / name:
            try:
                await _remove(path)
            except OSError as error:
                text = f"{error.strerror}: {error.filename}"
                await self.recorder.event(volume, "Warning", "VolumeFailedDelete", text)
                raise
        try:
            await self.client.delete(v.VOLUMES, name, uid=meta.uid(volume))
        except NotFound:
            return


async def _remove(path: Path) -> None:
    """Remove a tree, a few entries at a time."""
    for count, (entry, is_directory) in enumerate(_entries(str(path)), 1):
        (os.rmdir if is_directory else os.unlink)(entry)
        if count % _STEP == 0:
            await asyncio.sleep(0)


def _entries(path: str) -> Iterator[tuple[str, bool]]:
    """Everything below ``path`` and then itself, leaves first; links are not followed."""
    if not os.path.isdir(path):
        return
    with os.scandir(path) as found:
        for entry in found:
            if entry.is_dir(follow_symlinks=False):
                yield from _entries(entry.path)
            else:
                yield entry.path, False
    yield path, True

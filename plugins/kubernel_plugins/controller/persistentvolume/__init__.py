"""PersistentVolume controller: brings claims and volumes together.

Both sides are one controller with one queue: keys of volumes have no namespace. Source:
k8s.io/kubernetes/pkg/controller/volume/persistentvolume/pv_controller.go (v1.37).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from kubernel.client.reconciler import Reconciler
from kubernel.objects import meta
from kubernel_plugins import volumes as v

if TYPE_CHECKING:
    from kubernel.client.reconciler import ObjectKey
    from kubernel.store.records import EventType, Obj

__all__ = ["Plugin"]

_UNBOUND = "unbound"
_CLASS = "class"
_NAMING = "volume"
_INTREE = "kubernetes.io/"
_BETA_PROVISIONER = "volume.beta.kubernetes.io/storage-provisioner"


def _class_if_unbound(claim: Obj) -> Iterable[str]:
    return () if claim["spec"].get("volumeName") else (v.class_of(claim),)


def _volume_named(claim: Obj) -> Iterable[str]:
    name = claim["spec"].get("volumeName")
    return (name,) if name else ()


def _of_volume(self: Plugin, type: EventType, volume: Obj, old: Obj | None) -> Iterable[ObjectKey]:
    """The volume, the claim that it names or named, and the claims that may want it."""
    if not self._indexed:
        # Everything is looked at first of all.
        return ()
    keys: set[ObjectKey] = {("", meta.name(volume))}
    for one in (volume, old):
        reference = (one["spec"].get("claimRef") if one is not None else None) or {}
        if reference.get("name"):
            keys.add((reference.get("namespace", ""), reference["name"]))
    # Those that ask for it by name are told of all that happens to it.
    keys.update(meta.key(claim) for claim in self.primary.by(_NAMING, meta.name(volume)))
    if type != "DELETED" and not volume["spec"].get("claimRef"):
        keys.update(meta.key(claim) for claim in self.primary.by(_UNBOUND, v.class_of(volume)))
    return keys


def _of_class(self: Plugin, type: EventType, obj: Obj, old: Obj | None) -> Iterable[ObjectKey]:
    names = {meta.name(obj), ""} if self._indexed else set()
    return [meta.key(claim) for name in names for claim in self.primary.by(_UNBOUND, name)]


def _of_pod(self: Plugin, type: EventType, pod: Obj, old: Obj | None) -> Iterable[ObjectKey]:
    """Claims for which their first consumer is waited for."""
    if type != "ADDED" or pod["spec"].get("nodeName") or not self._indexed:
        return ()
    keys = [(meta.namespace(pod), name) for name in v.claim_names(pod)]
    claims = {key: self.primary.get(key[1], key[0]) for key in keys}
    return [key for key, claim in claims.items() if claim is not None and not claim["spec"].get("volumeName")]


class Plugin(Reconciler):
    """The ``persistentvolume`` controller."""

    resource = v.CLAIMS
    watches = {  # noqa: RUF012 - typed in the base
        v.VOLUMES: _of_volume,
        v.CLASSES: _of_class,
        "pods": _of_pod,
    }
    user = "system:serviceaccount:kube-system:persistent-volume-binder"
    component = "persistentvolume-controller"
    # Two claims must not take the same volume.
    workers = 1

    async def start(self) -> None:
        self._indexed = False
        await super().start()
        self._volumes = self.informer(v.VOLUMES)
        self._classes = self.informer(v.CLASSES)
        self._pods = self.informer("pods")
        self.primary.add_index(_UNBOUND, _class_if_unbound)
        self.primary.add_index(_NAMING, _volume_named)
        self._volumes.add_index(_CLASS, lambda volume: (v.class_of(volume),))
        self._indexed = True

    def primary_changed(self, type: EventType, obj: Obj, old: Obj | None) -> None:
        super().primary_changed(type, obj, old)
        for name in {one["spec"].get("volumeName") for one in (obj, old) if one is not None}:
            if name:
                self.queue.add(("", name))
        if type == "DELETED" and self._indexed:
            # A volume that was named for it has not been told of it yet.
            for volume in self._volumes.by(_CLASS, v.class_of(obj)):
                if v.is_bound_to(volume, obj):
                    self.queue.add(("", meta.name(volume)))

    async def setup(self) -> None:
        for volume in self._volumes.list():
            self.queue.add(("", meta.name(volume)))

    async def reconcile(self, namespace: str, name: str) -> None:
        if not namespace:
            volume = self._volumes.get(name)
            if volume is not None:
                await self._volume(volume)
            return
        claim = self.primary.get(name, namespace)
        if claim is None or meta.is_deleting(claim):
            return
        if v.BIND_COMPLETED in meta.annotations(claim):
            await self._bound_claim(claim)
        else:
            await self._unbound_claim(claim)

    # --- claims

    async def _unbound_claim(self, claim: Obj) -> None:
        name = claim["spec"].get("volumeName")
        if name:
            await self._claim_of(claim, name)
            return
        class_name = v.class_of(claim)
        storage_class = self._classes.get(class_name) if class_name else None
        # The scheduler finds the volume then: it knows which node it has to suit.
        waits = v.waits_for_consumer(storage_class)
        delayed = waits and v.SELECTED_NODE not in meta.annotations(claim)
        found = v.find_match(self._volumes.by(_CLASS, class_name), claim, only_named=waits)
        if found is not None:
            await self._bind(found, claim)
            return
        if await self._take_default_class(claim):
            return
        if delayed:
            await self._tell_delay(claim)
        elif class_name:
            claim = await self._provision(claim, class_name, storage_class)
        else:
            text = "no persistent volumes available for this claim and no storage class is set"
            await self.recorder.event(claim, "Normal", "FailedBinding", text)
        await self._claim_phase(claim, "Pending")

    async def _take_default_class(self, claim: Obj) -> bool:
        """A claim that names no class gets the default one as soon as there is one (KEP-3333); whether it just did."""
        if "storageClassName" in claim["spec"] or v.CLASS_ANNOTATION in meta.annotations(claim):
            return False
        chosen = v.default_class(self._classes.list())
        if chosen is None:
            return False
        spec = {**claim["spec"], "storageClassName": meta.name(chosen)}
        await self.client.update(self.resource, {**claim, "spec": spec})
        return True

    async def _claim_of(self, claim: Obj, name: str) -> None:
        """The claim asks for one volume."""
        volume = self._volumes.get(name)
        if volume is None:
            await self._claim_phase(claim, "Pending")
        elif volume["spec"].get("claimRef") is None:
            why = v.mismatch(volume, claim)
            if why:
                text = f'Cannot bind to requested volume "{name}": {why}'
                await self.recorder.event(claim, "Warning", "VolumeMismatch", text)
                await self._claim_phase(claim, "Pending")
            else:
                await self._bind(volume, claim)
        elif v.is_bound_to(volume, claim):
            await self._bind(volume, claim)
        else:
            text = f'volume "{name}" already bound to a different claim.'
            await self.recorder.event(claim, "Warning", "FailedBinding", text)
            if v.BOUND_BY_CONTROLLER not in meta.annotations(claim):
                await self._claim_phase(claim, "Pending")

    async def _bound_claim(self, claim: Obj) -> None:
        name = claim["spec"].get("volumeName")
        if not name:
            await self._lose(
                claim,
                "ClaimLost",
                "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!",
            )
            return
        volume = self._volumes.get(name)
        if volume is None:
            text = "Bound claim has lost its PersistentVolume. Data on the volume is lost!"
            await self._lose(claim, "ClaimLost", text)
        elif (volume["spec"].get("claimRef") or {"uid": meta.uid(claim)}).get("uid") == meta.uid(claim):
            await self._bind(volume, claim)
        else:
            text = "Two claims are bound to the same volume, this one is bound incorrectly"
            await self._lose(claim, "ClaimMisbound", text)

    async def _lose(self, claim: Obj, reason: str, text: str) -> None:
        if (claim.get("status") or {}).get("phase") != "Lost":
            await self._claim_phase(claim, "Lost")
            await self.recorder.event(claim, "Warning", reason, text)

    async def _claim_phase(self, claim: Obj, phase: str, volume: Obj | None = None) -> None:
        before: dict[str, Any] = claim.get("status") or {}
        status = {**before, "phase": phase}
        if volume is None:
            if phase != "Lost":
                status.pop("accessModes", None)
                status.pop("capacity", None)
        else:
            status["accessModes"] = volume["spec"].get("accessModes") or []
            if before.get("phase") != "Bound" or not before.get("capacity"):
                status["capacity"] = volume["spec"]["capacity"]
        if status != before:
            await self.client.update(self.resource, {**claim, "status": status}, subresource="status")

    async def _tell_delay(self, claim: Obj) -> None:
        names = [
            meta.name(pod)
            for pod in self._pods.list(meta.namespace(claim))
            if not pod["spec"].get("nodeName") and meta.name(claim) in v.claim_names(pod)
        ]
        if names:
            which = f"pods {','.join(sorted(names))}" if len(names) > 1 else f"pod {names[0]}"
            text = f"waiting for {which} to be scheduled"
            await self.recorder.event(claim, "Normal", "WaitForPodScheduled", text)
        else:
            text = "waiting for first consumer to be created before binding"
            await self.recorder.event(claim, "Normal", "WaitForFirstConsumer", text)

    async def _provision(self, claim: Obj, name: str, storage_class: Obj | None) -> Obj:
        """Ask the class's provisioner for a volume."""
        if storage_class is None:
            text = f'storageclass.storage.k8s.io "{name}" not found'
            await self.recorder.event(claim, "Warning", "ProvisioningFailed", text)
            return claim
        provisioner: str = storage_class["provisioner"]
        if provisioner.startswith(_INTREE):
            text = f"no volume plugin matched name: {provisioner}"
            await self.recorder.event(claim, "Warning", "ProvisioningFailed", text)
            return claim
        if meta.annotations(claim).get(v.PROVISIONER) != provisioner:
            wanted = {
                **meta.annotations(claim),
                v.PROVISIONER: provisioner,
                _BETA_PROVISIONER: provisioner,
            }
            claim = await self.client.update(
                self.resource, meta.replace(claim, ("metadata", "annotations"), wanted)
            )
        text = (
            f"Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by the "
            "system administrator. If volume creation is delayed, please verify that the provisioner is running and "
            "correctly registered."
        )
        await self.recorder.event(claim, "Normal", "ExternalProvisioning", text)
        return claim

    # --- both

    async def _bind(self, volume: Obj, claim: Obj) -> None:
        """Four writes, each repeated until it holds: the volume names the claim, and says so; the claim
        names the volume, and says so."""
        reference = volume["spec"].get("claimRef") or {}
        if reference.get("uid") != meta.uid(claim):
            annotations = dict(meta.annotations(volume))
            if not reference:
                annotations[v.BOUND_BY_CONTROLLER] = "yes"
            wanted = {
                "kind": "PersistentVolumeClaim",
                "namespace": meta.namespace(claim),
                "name": meta.name(claim),
                "uid": meta.uid(claim),
                "apiVersion": "v1",
                "resourceVersion": meta.resource_version(claim),
            }
            changed = meta.replace(volume, ("spec", "claimRef"), wanted)
            if annotations:
                changed = meta.replace(changed, ("metadata", "annotations"), annotations)
            volume = await self.client.update(v.VOLUMES, changed)
        await self._volume_phase(volume, "Bound")
        annotations = dict(meta.annotations(claim))
        if not claim["spec"].get("volumeName"):
            annotations[v.BOUND_BY_CONTROLLER] = "yes"
        annotations[v.BIND_COMPLETED] = "yes"
        changed = meta.replace(claim, ("spec", "volumeName"), meta.name(volume))
        changed = meta.replace(changed, ("metadata", "annotations"), annotations)
        if changed != claim:
            claim = await self.client.update(self.resource, changed)
        await self._claim_phase(claim, "Bound", volume)

    # --- volumes

    async def _volume(self, volume: Obj) -> None:
        reference = volume["spec"].get("claimRef")
        if not reference or not reference.get("uid"):
            # Free, or reserved for a claim that is not there yet.
            await self._volume_phase(volume, "Available")
            return
        claim = self.primary.get(reference["name"], reference["namespace"])
        if claim is not None and meta.uid(claim) != reference["uid"]:
            claim = None
        if claim is None:
            if (volume.get("status") or {}).get("phase") not in ("Released", "Failed"):
                volume = await self._volume_phase(volume, "Released")
            await self._reclaim(volume)
        elif not claim["spec"].get("volumeName"):
            if volume["spec"].get("volumeMode", "Filesystem") != claim["spec"].get(
                "volumeMode", "Filesystem"
            ):
                await self._tell_modes(volume, claim)
            else:
                # On its way: the claim's own turn finishes it.
                self.queue.add(meta.key(claim))
        elif claim["spec"]["volumeName"] == meta.name(volume):
            await self._volume_phase(volume, "Bound")
        elif (
            v.PROVISIONED_BY in meta.annotations(volume)
            and volume["spec"].get("persistentVolumeReclaimPolicy") == "Delete"
        ):
            # Made for the claim, which took another one meanwhile.
            if (volume.get("status") or {}).get("phase") not in ("Released", "Failed"):
                volume = await self._volume_phase(volume, "Released")
            await self._reclaim(volume)
        else:
            await self._unbind(volume)

    async def _tell_modes(self, volume: Obj, claim: Obj) -> None:
        why = "due to incompatible volumeMode."
        text = f'Cannot bind PersistentVolume to requested PersistentVolumeClaim "{meta.name(claim)}" {why}'
        await self.recorder.event(volume, "Warning", "VolumeMismatch", text)
        text = f'Cannot bind PersistentVolume "{meta.name(volume)}" to requested PersistentVolumeClaim {why}'
        await self.recorder.event(claim, "Warning", "VolumeMismatch", text)

    async def _unbind(self, volume: Obj) -> None:
        annotations = dict(meta.annotations(volume))
        if annotations.pop(v.BOUND_BY_CONTROLLER, None) is not None:
            changed = meta.remove(volume, ("spec", "claimRef"))
            changed = meta.replace(changed, ("metadata", "annotations"), annotations)
        else:
            changed = meta.replace(volume, ("spec", "claimRef", "uid"), "")
        volume = await self.client.update(v.VOLUMES, changed)
        await self._volume_phase(volume, "Available")

    async def _reclaim(self, volume: Obj) -> None:
        policy = volume["spec"].get("persistentVolumeReclaimPolicy", "Retain")
        if policy == "Retain" or meta.annotations(volume).get(v.PROVISIONED_BY):
            # Kept, or its provisioner deletes it.
            return
        verb = "delet" if policy == "Delete" else "recycl"
        name = meta.name(volume)
        text = (
            f'error getting {verb}er volume plugin for volume "{name}": no {verb}able volume plugin matched'
        )
        if policy == "Recycle":
            text = "No recycler plugin found for the volume!"
        if await self._volume_phase(volume, "Failed", text) is not volume:
            await self.recorder.event(volume, "Warning", f"VolumeFailed{verb.title()}e", text)

    async def _volume_phase(self, volume: Obj, phase: str, message: str = "") -> Obj:
        before: dict[str, Any] = volume.get("status") or {}
        if before.get("phase") == phase and before.get("message", "") == message:
            return volume
        status = {key: value for key, value in before.items() if key != "message"} | {"phase": phase}
        if message:
            status["message"] = message
        return await self.client.update(v.VOLUMES, {**volume, "status": status}, subresource="status")

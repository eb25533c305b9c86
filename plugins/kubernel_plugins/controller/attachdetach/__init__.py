"""Attach/detach controller: a VolumeAttachment for each CSI volume and each node whose pods use it.

The driver's own attacher does the work and sets ``status.attached``. A volume that one node alone may have waits
until the other lets go; one that a dead node does not unmount is taken away after six minutes, or at once from a node
that is said to be out of service. Volumes written into a pod (``spec.volumes[].csi``) are the kubelet's alone: nothing
attaches them. Source: k8s.io/kubernetes/pkg/controller/volume/attachdetach, pkg/volume/csi (v1.37).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kubernel.client.reconciler import Reconciler
from kubernel.errors import AlreadyExists, NotFound
from kubernel.objects import conditions, meta
from kubernel_plugins import volumes as v

if TYPE_CHECKING:
    from kubernel.client.reconciler import ObjectKey
    from kubernel.store.records import EventType, Obj

__all__ = ["Plugin"]

_ATTACHMENTS = "volumeattachments.v1.storage.k8s.io"
_DRIVERS = "csidrivers.v1.storage.k8s.io"
_OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
_SHARED_MODES = frozenset({"ReadWriteMany", "ReadOnlyMany"})
_MAX_WAIT_FOR_UNMOUNT = 360.0
"""Seconds after which a volume is taken from a node that is not ready."""
_NODE = "node with claims"
_CLAIM = "claims in use"
_VOLUME = "volume"


def _facts(node: Obj) -> tuple[Any, ...]:
    """All of a node that counts here."""
    in_use = meta.get(node, "status", "volumesInUse", default=())
    return in_use, conditions.is_true(node, "Ready"), node["spec"].get("taints")


def _node_of(pod: Obj) -> Iterable[str]:
    node = pod["spec"].get("nodeName")
    return (node,) if node and v.claim_names(pod) else ()


def _claims_of(pod: Obj) -> list[str]:
    return [f"{meta.namespace(pod)}/{name}" for name in v.claim_names(pod)]


def _nodes_of_pod(self: Plugin, type: EventType, pod: Obj, old: Obj | None) -> Iterable[ObjectKey]:
    return {("", node) for one in (pod, old) if one is not None for node in _node_of(one)}


def _nodes_of_claim(self: Plugin, type: EventType, claim: Obj, old: Obj | None) -> Iterable[ObjectKey]:
    if not self._indexed:
        # Every node is looked at first of all.
        return ()
    return {("", node) for pod in self._pods.by(_CLAIM, "/".join(meta.key(claim))) for node in _node_of(pod)}


def _nodes_of_attachment(self: Plugin, type: EventType, obj: Obj, old: Obj | None) -> Iterable[ObjectKey]:
    self.noted(type, obj, old)
    found = {("", obj["spec"]["nodeName"])}
    if type == "DELETED":
        # Another node may have waited for it.
        found |= {("", node) for node in self.nodes_of_volume(_volume_of(obj))}
    return found


def _volume_of(attachment: Obj) -> str:
    name: str = meta.get(attachment, "spec", "source", "persistentVolumeName", default="")
    return name


@dataclass(slots=True)
class _Wanted:
    driver: str
    handle: str
    volume: str
    shared: bool = True
    """Whether several nodes may have it."""
    pods: list[Obj] = field(default_factory=list)

    def attachment(self, node: str) -> str:
        """The name of the VolumeAttachment for ``node``, as upstream's CSI attacher makes it."""
        return f"csi-{hashlib.sha256(f'{self.handle}{self.driver}{node}'.encode()).hexdigest()}"


class Plugin(Reconciler):
    """The ``attachdetach`` controller; keys are nodes."""

    resource = "nodes"
    watches = {  # noqa: RUF012 - typed in the base
        "pods": _nodes_of_pod,
        v.CLAIMS: _nodes_of_claim,
        _ATTACHMENTS: _nodes_of_attachment,
    }
    reads = (v.VOLUMES, _DRIVERS)
    user = "system:serviceaccount:kube-system:attachdetach-controller"

    async def start(self) -> None:
        self._indexed = False
        self._since: dict[str, float] = {}
        """Attachment -> when it was first to be detached."""
        self._attaching: dict[str, str] = {}
        """Volume -> the attachment that was just made and is not seen yet."""
        self._changed: dict[str, str] = {}
        """Attachment -> what its driver just said of it: empty for attached, else the error."""
        self._blocked: dict[str, str] = {}
        """Attachments of which was told that another node has the volume -> their node."""
        await super().start()
        self._pods = self.informer("pods")
        self._pods.add_index(_NODE, _node_of)
        self._pods.add_index(_CLAIM, _claims_of)
        self._attachments = self.informer(_ATTACHMENTS)
        self._attachments.add_index(_NODE, lambda one: (one["spec"]["nodeName"],))
        self._attachments.add_index(_VOLUME, lambda one: (_volume_of(one),))
        self._indexed = True

    def primary_changed(self, type: EventType, obj: Obj, old: Obj | None) -> None:
        if old is None or type == "DELETED" or _facts(obj) != _facts(old):
            super().primary_changed(type, obj, old)

    def noted(self, type: EventType, attachment: Obj, old: Obj | None) -> None:
        """An attachment changed: keep what its pods are to be told of it."""
        name, volume = meta.name(attachment), _volume_of(attachment)
        if self._attaching.get(volume) == name:
            del self._attaching[volume]
        if type == "DELETED":
            for book in (self._since, self._changed):
                book.pop(name, None)
            return
        if old is None:
            return
        status, before = attachment.get("status") or {}, old.get("status") or {}
        error = meta.get(status, "attachError", "message", default="")
        if status.get("attached") and not before.get("attached"):
            self._changed[name] = ""
        elif error and error != meta.get(before, "attachError", "message", default=""):
            self._changed[name] = error

    def nodes_of_volume(self, volume: str) -> set[str]:
        """The nodes with pods that use it."""
        found = self.informer(v.VOLUMES).get(volume) if self._indexed else None
        reference = {} if found is None else found["spec"].get("claimRef") or {}
        key = f"{reference.get('namespace', '')}/{reference.get('name', '')}"
        return {node for pod in self._pods.by(_CLAIM, key) for node in _node_of(pod)} if reference else set()

    async def reconcile(self, namespace: str, name: str) -> float | None:
        node = self.primary.get(name)
        wanted = {} if node is None else self._wanted(name)
        there = {meta.name(one): one for one in self._attachments.by(_NODE, name)}
        for key in [key for key, where in self._blocked.items() if where == name and key not in wanted]:
            del self._blocked[key]
        for key, one in wanted.items():
            self._since.pop(key, None)
            if key not in there:
                await self._attach(key, one, name)
            elif (said := self._changed.pop(key, None)) is not None:
                await self._tell_pods(one, said)
        kept: list[Obj] = []
        again: float | None = None
        for key, attachment in there.items():
            left = 0.0 if key in wanted else self._held_for(node, attachment)
            if key in wanted or left is not None:
                kept.append(attachment)
                if key not in wanted and left:
                    again = left if again is None else min(again, left)
            elif not meta.is_deleting(attachment) and self._is_own(attachment):
                try:
                    await self.client.delete(_ATTACHMENTS, key, uid=meta.uid(attachment))
                except NotFound:
                    continue
        if node is not None:
            await self._tell(node, kept)
        return again

    def _held_for(self, node: Obj | None, attachment: Obj) -> float | None:
        """None when it may be detached; else the seconds after which to look again, 0 for never."""
        in_use = meta.get(node or {}, "status", "volumesInUse", default=())
        if node is None or self._unique(attachment) not in in_use:
            return None
        if any(taint.get("key") == _OUT_OF_SERVICE for taint in node["spec"].get("taints") or ()):
            return None
        now = self.clock.time()
        left = self._since.setdefault(meta.name(attachment), now) + _MAX_WAIT_FOR_UNMOUNT - now
        if conditions.is_true(node, "Ready"):
            return max(left, 0.0)
        return left if left > 0 else None

    def _wanted(self, node: str) -> dict[str, _Wanted]:
        """By the name of the attachment."""
        found: dict[str, _Wanted] = {}
        for pod in self._pods.by(_NODE, node):
            if (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
                continue
            for name in v.claim_names(pod):
                one = self._csi(meta.namespace(pod), name)
                if one is not None:
                    found.setdefault(one.attachment(node), one).pods.append(pod)
        return found

    def _csi(self, namespace: str, name: str) -> _Wanted | None:
        """The CSI volume behind a claim that has to be attached."""
        claim = self.informer(v.CLAIMS).get(name, namespace)
        if claim is None or (claim.get("status") or {}).get("phase") != "Bound":
            return None
        volume = self.informer(v.VOLUMES).get(claim["spec"].get("volumeName", ""))
        source = None if volume is None else volume["spec"].get("csi")
        if volume is None or not source:
            return None
        driver = self.informer(_DRIVERS).get(source["driver"])
        if driver is not None and driver["spec"].get("attachRequired") is False:
            return None
        modes = volume["spec"].get("accessModes") or ()
        shared = not modes or not _SHARED_MODES.isdisjoint(modes)
        return _Wanted(source["driver"], source["volumeHandle"], meta.name(volume), shared)

    async def _attach(self, key: str, wanted: _Wanted, node: str) -> None:
        if not wanted.shared:
            others = [one for one in self._attachments.by(_VOLUME, wanted.volume) if meta.name(one) != key]
            if others or self._attaching.get(wanted.volume, key) != key:
                if key not in self._blocked:
                    self._blocked[key] = node
                    await self._tell_blocked(wanted, node)
                return
        self._blocked.pop(key, None)
        attachment: Obj = {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "VolumeAttachment",
            "metadata": {"name": key},
            "spec": {
                "attacher": wanted.driver,
                "nodeName": node,
                "source": {"persistentVolumeName": wanted.volume},
            },
        }
        self._attaching[wanted.volume] = key
        try:
            await self.client.create(_ATTACHMENTS, attachment)
        except AlreadyExists:
            return
        except BaseException:
            self._attaching.pop(wanted.volume, None)
            raise

    # --- what pods are told

    async def _tell_pods(self, wanted: _Wanted, error: str) -> None:
        for pod in wanted.pods:
            if error:
                text = f'AttachVolume.Attach failed for volume "{wanted.volume}" : {error}'
                await self.recorder.event(pod, "Warning", "FailedAttachVolume", text)
            else:
                # Upstream's message ends with the blank before a suffix that is empty.
                text = f'AttachVolume.Attach succeeded for volume "{wanted.volume}" '
                await self.recorder.event(pod, "Normal", "SuccessfulAttachVolume", text)

    async def _tell_blocked(self, wanted: _Wanted, node: str) -> None:
        """Who has the volume; of pods in other namespaces only how many."""
        users: dict[str, Obj] = {}
        for other in self.nodes_of_volume(wanted.volume) - {node}:
            for one in self._wanted(other).values():
                if one.volume == wanted.volume:
                    users.update((meta.uid(pod), pod) for pod in one.pods)
        for pod in wanted.pods:
            local = sorted(
                meta.name(one) for one in users.values() if meta.namespace(one) == meta.namespace(pod)
            )
            far = len(users) - len(local)
            if not users:
                why = "Volume is already exclusively attached to one node and can't be attached to another"
            elif local:
                why = f"Volume is already used by pod(s) {', '.join(local)}"
                why += f" and {far} pod(s) in different namespaces" if far else ""
            else:
                why = f"Volume is already used by {far} pod(s) in different namespaces"
            text = f'Multi-Attach error for volume "{wanted.volume}" {why}'
            await self.recorder.event(pod, "Warning", "FailedAttachVolume", text)

    def _source(self, attachment: Obj) -> dict[str, Any]:
        volume = self.informer(v.VOLUMES).get(_volume_of(attachment))
        return (volume or {"spec": {}})["spec"].get("csi") or {}

    def _is_own(self, attachment: Obj) -> bool:
        """Whether this controller names it so: what others attach is theirs to detach."""
        source = self._source(attachment)
        one = _Wanted(source.get("driver", ""), source.get("volumeHandle", ""), "")
        return meta.name(attachment) == one.attachment(attachment["spec"]["nodeName"])

    def _unique(self, attachment: Obj) -> str:
        """As ``status.volumesAttached`` of the node names it."""
        source = self._source(attachment)
        return f"kubernetes.io/csi/{source.get('driver', '')}^{source.get('volumeHandle', '')}"

    async def _tell(self, node: Obj, attachments: Iterable[Obj]) -> None:
        attached: list[dict[str, Any]] = [
            {"name": self._unique(one), "devicePath": ""}
            for one in attachments
            if meta.get(one, "status", "attached") and not meta.is_deleting(one) and self._source(one)
        ]
        attached.sort(key=lambda one: one["name"])
        if attached != (meta.get(node, "status", "volumesAttached") or []):
            change = {"status": {"volumesAttached": attached or None}}
            await self.client.patch("nodes", meta.name(node), change, subresource="status")

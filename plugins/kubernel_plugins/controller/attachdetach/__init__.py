"""Attach/detach controller: a VolumeAttachment for each CSI volume and each node whose pods use it.

The driver's own attacher does the work and sets ``status.attached``. Source:
k8s.io/kubernetes/pkg/controller/volume/attachdetach, pkg/volume/csi/csi_attacher.go (v1.37).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kubernel.client.reconciler import Reconciler
from kubernel.errors import AlreadyExists, NotFound
from kubernel.objects import meta
from kubernel_plugins import volumes as v

if TYPE_CHECKING:
    from kubernel.client.reconciler import ObjectKey
    from kubernel.store.records import EventType, Obj

__all__ = ["Plugin"]

_ATTACHMENTS = "volumeattachments.v1.storage.k8s.io"
_DRIVERS = "csidrivers.v1.storage.k8s.io"
_NODE = "node with claims"
_CLAIM = "claims in use"


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


def _node_of_attachment(self: Plugin, type: EventType, obj: Obj, old: Obj | None) -> Iterable[ObjectKey]:
    return (("", obj["spec"]["nodeName"]),)


@dataclass(frozen=True, slots=True)
class _Wanted:
    driver: str
    handle: str
    volume: str

    def attachment(self, node: str) -> str:
        """The name of the VolumeAttachment for ``node``, as upstream's CSI attacher makes it."""
        return f"csi-{hashlib.sha256(f'{self.handle}{self.driver}{node}'.encode()).hexdigest()}"


class Plugin(Reconciler):
    """The ``attachdetach`` controller; keys are nodes."""

    resource = "nodes"
    watches = {  # noqa: RUF012 - typed in the base
        "pods": _nodes_of_pod,
        v.CLAIMS: _nodes_of_claim,
        _ATTACHMENTS: _node_of_attachment,
    }
    reads = (v.VOLUMES, _DRIVERS)
    user = "system:serviceaccount:kube-system:attachdetach-controller"

    async def start(self) -> None:
        self._indexed = False
        await super().start()
        self._pods = self.informer("pods")
        self._pods.add_index(_NODE, _node_of)
        self._pods.add_index(_CLAIM, _claims_of)
        self._indexed = True
        self._attachments = self.informer(_ATTACHMENTS)
        self._attachments.add_index(_NODE, lambda one: (one["spec"]["nodeName"],))

    def primary_changed(self, type: EventType, obj: Obj, old: Obj | None) -> None:
        status, before = obj.get("status") or {}, (old or {}).get("status") or {}
        if old is None or type == "DELETED" or status.get("volumesInUse") != before.get("volumesInUse"):
            super().primary_changed(type, obj, old)

    async def reconcile(self, namespace: str, name: str) -> None:
        node = self.primary.get(name)
        wanted = {} if node is None else self._wanted(name)
        there = {meta.name(one): one for one in self._attachments.by(_NODE, name)}
        in_use = set(meta.get(node or {}, "status", "volumesInUse", default=()))
        for key, one in wanted.items():
            if key not in there:
                await self._attach(key, one, name)
        kept: list[Obj] = []
        for key, attachment in there.items():
            unique = self._unique(attachment)
            if key in wanted or unique in in_use:
                kept.append(attachment)
            elif not meta.is_deleting(attachment) and self._is_own(attachment):
                try:
                    await self.client.delete(_ATTACHMENTS, key, uid=meta.uid(attachment))
                except NotFound:
                    continue
        if node is not None:
            await self._tell(node, kept)

    def _wanted(self, node: str) -> dict[str, _Wanted]:
        """By the name of the attachment."""
        found: dict[str, _Wanted] = {}
        for pod in self._pods.by(_NODE, node):
            if (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
                continue
            for name in v.claim_names(pod):
                one = self._csi(meta.namespace(pod), name)
                if one is not None:
                    found[one.attachment(node)] = one
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
        return _Wanted(source["driver"], source["volumeHandle"], meta.name(volume))

    async def _attach(self, key: str, wanted: _Wanted, node: str) -> None:
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
        try:
            await self.client.create(_ATTACHMENTS, attachment)
        except AlreadyExists:
            return

    def _source(self, attachment: Obj) -> dict[str, Any]:
        volume = self.informer(v.VOLUMES).get(
            meta.get(attachment, "spec", "source", "persistentVolumeName", default="")
        )
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
            if meta.get(one, "status", "attached") and not meta.is_deleting(one)
        ]
        attached.sort(key=lambda one: one["name"])
        if attached != (meta.get(node, "status", "volumesAttached") or []):
            change = {"status": {"volumesAttached": attached or None}}
            await self.client.patch("nodes", meta.name(node), change, subresource="status")

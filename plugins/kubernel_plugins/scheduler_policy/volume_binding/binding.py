"""Writes what was decided about volumes, and waits until whoever binds and provides them is done.

Source: k8s.io/kubernetes/pkg/scheduler/framework/plugins/volumebinding/binder.go, BindPodVolumes (v1.37). Instead of
looking once a second it looks whenever one of the objects changes.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kubernel.errors import KubernelError, NotFound
from kubernel.objects import meta
from kubernel_plugins.scheduler_policy import volumes

if TYPE_CHECKING:
    from collections.abc import Callable

    from kubernel.plugin.scheduling import Context, Mask, Nodes, PodState, Rows
    from kubernel.store.records import EventType, Obj
    from kubernel_plugins.scheduler_policy.volume_binding.assumed import Assumed

__all__ = ["Binding", "Work", "bound", "selected"]

_SELECTED = "volume.kubernetes.io/selected-node"
_BY_CONTROLLER = "pv.kubernetes.io/bound-by-controller"


@dataclass(slots=True)
class Work:
    """For one pod: volumes with the claims that they are to be bound to, and claims to be provided for. Both as
    they are to be written; afterwards as they were."""

    node: str
    volumes: list[tuple[Obj, Obj]]
    claims: list[Obj]


def selected(claim: Obj) -> str:
    """The node from which a volume is to be provided."""
    return meta.annotations(claim).get(_SELECTED, "")


def bound(volume: Obj, claim: Obj) -> Obj:
    """A volume that refers to a claim; one that a user reserved for it does not say that the controller did."""
    found = claim["metadata"]
    reference = {
        "kind": "PersistentVolumeClaim",
        "namespace": found.get("namespace"),
        "name": found["name"],
        "uid": found.get("uid"),
        "apiVersion": "v1",
        "resourceVersion": found.get("resourceVersion"),
    }
    metadata = volume["metadata"]
    if not volume["spec"].get("claimRef"):
        metadata = {**metadata, "annotations": {**meta.annotations(volume), _BY_CONTROLLER: "yes"}}
    return {**volume, "metadata": metadata, "spec": {**volume["spec"], "claimRef": reference}}


class Binding:
    """``on_claim``, ``on_volume`` and ``on_pod`` are listeners."""

    def __init__(
        self,
        context: Context,
        claims: Assumed,
        found: Assumed,
        reachable: Callable[[Obj, Nodes, Rows], Mask],
    ) -> None:
        self._context = context
        self._reachable = reachable
        self._claims, self._volumes = claims, found
        self._waiting: dict[str, set[asyncio.Event]] = {}

    async def write(self, work: Work) -> None:
        """What could not be written is no longer assumed. ApiError of the first that failed."""
        client = self._context.client
        written = 0
        try:
            for position, (claim, volume) in enumerate(work.volumes):
                work.volumes[position] = claim, await client.update(volumes.VOLUMES, volume)
                written = position + 1
        finally:
            for _, volume in work.volumes[written:]:
                self._volumes.forget(volume)
        written = 0
        try:
            for position, claim in enumerate(work.claims):
                work.claims[position] = await client.update(volumes.CLAIMS, claim)
                written = position + 1
        finally:
            for claim in work.claims[written:]:
                self._claims.forget(claim)

    async def completed(self, pod: PodState, work: Work) -> None:
        """Return when all is bound; KubernelError when it will not be."""
        event = asyncio.Event()
        claims = (*(claim for claim, _ in work.volumes), *work.claims)
        keys = [
            f"pod/{pod.namespace}/{pod.name}",
            *(f"claim/{_path(claim)}" for claim in claims),
            *(f"volume/{meta.name(volume)}" for _, volume in work.volumes),
        ]
        for key in keys:
            self._waiting.setdefault(key, set()).add(event)
        try:
            while True:
                event.clear()
                try:
                    if self._is_done(pod, work):
                        return
                except KubernelError as error:
                    raise KubernelError(f"binding volumes: {error}") from error
                await event.wait()
        finally:
            for key in keys:
                self._waiting[key].discard(event)
                if not self._waiting[key]:
                    del self._waiting[key]

    def _is_done(self, pod: PodState, work: Work) -> bool:
        now = self._context.client.informer("pods").get(pod.name, pod.namespace)
        if now is None or meta.uid(now) != pod.uid:
            gone = NotFound.for_object("pods", "", pod.name)
            raise KubernelError(f"pod does not exist any more: {gone}")
        return all(self._is_bound(*each, work.node) for each in work.volumes) and all(
            self._is_provided(claim, work.node) for claim in work.claims
        )

    def _is_bound(self, claim: Obj, written: Obj, node: str) -> bool:
        volume = self._volumes.stored(meta.name(written))
        now = self._claims.stored(meta.name(claim), meta.namespace(claim))
        if volume is None or now is None:
            what, name = ("pv", meta.name(written)) if volume is None else ("pvc", _path(claim))
            raise KubernelError(f'failed to check binding: could not find v1.{_KINDS[what]} "{name}"')
        if _older(volume, written):
            return False
        self._check_affinity(volume, node, "failed to translate pv to csi: ")
        if not (volume["spec"].get("claimRef") or {}).get("uid"):
            raise KubernelError(f'ClaimRef got reset for pv "{meta.name(volume)}"')
        return volumes.is_bound(now)

    def _is_provided(self, claim: Obj, node: str) -> bool:
        now = self._claims.stored(meta.name(claim), meta.namespace(claim))
        if now is None:
            raise KubernelError(
                f'failed to check provisioning pvc: could not find v1.PersistentVolumeClaim "{_path(claim)}"'
            )
        if _older(now, claim):
            return False
        if not meta.annotations(now):
            raise KubernelError(f'selectedNode annotation reset for PVC "{meta.name(now)}"')
        if selected(now) != node:
            # Who provides volumes takes the annotation away when there is none to be had there.
            raise KubernelError(f'provisioning failed for PVC "{meta.name(now)}"')
        if name := now["spec"].get("volumeName"):
            volume = self._volumes.stored(name)
            if volume is None:
                return False
            self._check_affinity(volume, node)
        return volumes.is_bound(now)

    def _check_affinity(self, volume: Obj, node: str, doing: str = "") -> None:
        nodes = self._context.nodes
        row = nodes.row(node)
        if row is None:
            raise KubernelError(f'failed to get node "{node}": node "{node}" not found')
        try:
            here = self._reachable(volume, nodes, slice(row, row + 1))[0]
        except ValueError as error:
            raise KubernelError(f"{doing}{error}") from None
        if not here:
            raise KubernelError(
                f'pv "{meta.name(volume)}" node affinity doesn\'t match node "{node}": no matching NodeSelectorTerms'
            )

    # --- listeners

    def on_claim(self, type: EventType, claim: Obj, old: Obj | None) -> None:
        self._wake(f"claim/{_path(claim)}")

    def on_volume(self, type: EventType, volume: Obj, old: Obj | None) -> None:
        self._wake(f"volume/{meta.name(volume)}")
        if self._waiting and (claim := volume["spec"].get("claimRef")):
            self._wake(f"claim/{claim.get('namespace', '')}/{claim.get('name', '')}")

    def on_pod(self, type: EventType, pod: Obj, old: Obj | None) -> None:
        if type == "DELETED":
            self._wake(f"pod/{_path(pod)}")

    def _wake(self, key: str) -> None:
        for event in self._waiting.get(key, ()):
            event.set()


_KINDS = {"pv": "PersistentVolume", "pvc": "PersistentVolumeClaim"}


def _path(obj: Obj) -> str:
    return f"{meta.namespace(obj)}/{meta.name(obj)}"


def _older(now: Obj, written: Obj) -> bool:
    return int(meta.resource_version(now)) < int(meta.resource_version(written))

"""VolumeRestrictions.

Source: k8s.io/kubernetes/pkg/scheduler/framework/plugins/volumerestrictions (v1.37).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy

from kubernel.plugin.scheduling import SKIP, Change, Policy, Refusal
from kubernel_plugins.scheduler_policy import volumes

if TYPE_CHECKING:
    from kubernel.client.informer import Informer
    from kubernel.plugin.scheduling import Mask, Nodes, PodState, Rows
    from kubernel.store.records import Obj

__all__ = ["VolumeRestrictions"]

_DISK = Refusal("node(s) had no available disk")
_ONE_POD = Refusal(
    "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another "
    "pod"
)
_BY_DISK = "restricted disk"
_BY_CLAIM = "claim"


@dataclass(frozen=True, slots=True)
class _Disk:
    """A disk in a pod's own volumes. ``key`` is equal for what may be the same disk, ``monitors`` must overlap
    as well where there are any."""

    key: str
    read_only: bool
    monitors: frozenset[str] = frozenset()

    def conflicts(self, other: _Disk) -> bool:
        if self.key != other.key or (self.read_only and other.read_only):
            return False
        return not self.monitors or bool(self.monitors & other.monitors)


@dataclass(slots=True)
class _State:
    """``taken``: a pod uses a claim that just one pod may use. ``disks``: those of the pod."""

    taken: bool
    disks: list[_Disk]


class VolumeRestrictions(Policy):
    name = "VolumeRestrictions"
    scope = "cluster"
    refusal = _DISK
    _claims: Informer
    _pods: Informer

    async def start(self) -> None:
        self._claims = await self.context.follow(volumes.CLAIMS)
        self._pods = self.context.client.informer("pods")
        self._pods.add_index(_BY_DISK, lambda pod: [disk.key for disk in _disks(pod)])
        self._pods.add_index(_BY_CLAIM, volumes.claim_index)

    def sign(self, pod: PodState) -> Any:
        return volumes.sign(pod), [disk.key for disk in _disks(pod.pod)]

    def pre_filter(self, pod: PodState, nodes: Nodes) -> Any:
        if not pod.pod["spec"].get("volumes"):
            return SKIP
        alone = []
        for name, ephemeral, claim in volumes.claims_of(pod, self._claims):
            if ephemeral:
                continue
            if claim is None:
                return Refusal(f'persistentvolumeclaim "{name}" not found', lasting=True)
            if "ReadWriteOncePod" in (claim["spec"].get("accessModes") or ()):
                alone.append(name)
        disks = list(_disks(pod.pod))
        if not alone and not disks:
            return SKIP
        taken = any(self._users(_BY_CLAIM, f"{pod.namespace}/{name}", pod, nodes) for name in alone)
        return _State(taken, disks)

    def _users(self, index: str, value: str, pod: PodState, nodes: Nodes) -> list[tuple[PodState, str]]:
        """The other pods that an index tells of and that are on a node, with it."""
        found = (nodes.pod(each["metadata"].get("uid", "")) for each in self._pods.by(index, value))
        return [each for each in found if each is not None and each[0].uid != pod.uid]

    def _disk_fits(self, pod: PodState, state: _State, nodes: Nodes) -> Mask:
        fits = numpy.ones(len(nodes), dtype=bool)
        for disk in state.disks:
            for other, node in self._users(_BY_DISK, disk.key, pod, nodes):
                row = nodes.row(node)
                if row is not None and any(disk.conflicts(each) for each in _disks(other.pod)):
                    fits[row] = False
        return fits

    def filter(self, pod: PodState, state: _State, nodes: Nodes, rows: Rows) -> Mask:
        if state.taken:
            return numpy.zeros_like(nodes.live[rows])
        return self._disk_fits(pod, state, nodes)[rows]

    def reasons(
        self, pod: PodState, state: _State, nodes: Nodes, rows: Rows
    ) -> Iterable[tuple[Mask, Refusal]]:
        fits = self._disk_fits(pod, state, nodes)[rows]
        yield ~fits, _DISK
        if state.taken:
            yield fits, _ONE_POD

    def helps(self, pod: PodState, change: Change) -> bool:
        if change.resource == "pods":
            if change.type != "DELETED":
                return False
            mine = list(_disks(pod.pod))
            if any(each.conflicts(other) for each in mine for other in _disks(change.obj)):
                return True
            return not {*volumes.claim_index(pod.pod)}.isdisjoint(volumes.claim_index(change.obj))
        if change.resource == volumes.CLAIMS:
            return change.type == "ADDED" and volumes.uses_claim(pod, change)
        return change.resource == "nodes" and change.type == "ADDED"


def _disks(pod: Obj) -> Iterator[_Disk]:
    for volume in pod["spec"].get("volumes") or ():
        if (disk := _disk(volume)) is not None:
            yield disk


def _disk(volume: Mapping[str, Any]) -> _Disk | None:
    if disk := volume.get("gcePersistentDisk"):
        return _Disk(f"gce/{disk.get('pdName')}", bool(disk.get("readOnly")))
    if disk := volume.get("awsElasticBlockStore"):
        # Two pods may not even read it together.
        return _Disk(f"aws/{disk.get('volumeID')}", read_only=False)
    if disk := volume.get("iscsi"):
        return _Disk(f"iscsi/{disk.get('iqn')}", bool(disk.get("readOnly")))
    if disk := volume.get("rbd"):
        image = f"rbd/{disk.get('pool') or 'rbd'}/{disk.get('image')}"
        return _Disk(image, bool(disk.get("readOnly")), frozenset(disk.get("monitors") or ()))
    return None

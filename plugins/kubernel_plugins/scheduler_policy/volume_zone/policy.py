"""VolumeZone.

Source: k8s.io/kubernetes/pkg/scheduler/framework/plugins/volumezone (v1.37).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy

from kubernel.objects import meta
from kubernel.plugin.scheduling import SKIP, Change, Policy, Refusal
from kubernel_plugins.scheduler_policy import volumes

if TYPE_CHECKING:
    from kubernel.client.informer import Informer
    from kubernel.plugin.scheduling import Mask, Nodes, PodState, Rows
    from kubernel.store.records import Obj

__all__ = ["VolumeZone"]

_OF_TODAY = {
    "failure-domain.beta.kubernetes.io/zone": "topology.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region": "topology.kubernetes.io/region",
}
_LABELS = (*_OF_TODAY, *_OF_TODAY.values())

_Topology = tuple[str, frozenset[str]]


class VolumeZone(Policy):
    name = "VolumeZone"
    scope = "cluster"
    refusal = Refusal("node(s) had no available volume zone", lasting=True)
    _claims: Informer
    _volumes: Informer
    _classes: Informer

    async def start(self) -> None:
        self._claims = await self.context.follow(volumes.CLAIMS)
        self._volumes = await self.context.follow(volumes.VOLUMES)
        self._classes = await self.context.follow(volumes.CLASSES)

    def sign(self, pod: PodState) -> Any:
        return volumes.sign(pod)

    def pre_filter(self, pod: PodState, nodes: Nodes) -> Any:
        if not pod.claims:
            return SKIP
        found: list[_Topology] = []
        for name in _named(pod):
            topologies = self._topologies(pod, name)
            if isinstance(topologies, str):
                return Refusal(topologies, lasting=True)
            found += topologies
        return found or SKIP

    def _topologies(self, pod: PodState, name: str) -> list[_Topology] | str:
        """Where the volume of a claim is; a text is a refusal."""
        claim = self._claims.get(name, pod.namespace)
        if claim is None:
            return f'persistentvolumeclaim "{name}" not found'
        if not (volume_name := claim["spec"].get("volumeName")):
            return self._unbound(claim)
        volume = self._volumes.get(volume_name)
        return f'persistentvolume "{volume_name}" not found' if volume is None else _zones(volume)

    def _unbound(self, claim: Obj) -> list[_Topology] | str:
        name = volumes.class_of(claim)
        if not name:
            return "PersistentVolumeClaim had no pv name and storageClass name"
        found = self._classes.get(name)
        if found is None:
            return f'storageclass.storage.k8s.io "{name}" not found'
        if not found.get("volumeBindingMode"):
            return f'VolumeBindingMode not set for StorageClass "{name}"'
        waits = found["volumeBindingMode"] == "WaitForFirstConsumer"
        return [] if waits else "PersistentVolume had no name"

    def filter(self, pod: PodState, state: Sequence[_Topology], nodes: Nodes, rows: Rows) -> Mask:
        labelled = numpy.zeros_like(nodes.live[rows])
        for key in _LABELS:
            labelled |= nodes.label(key)[rows] >= 0
        fits = numpy.ones_like(labelled)
        for key, values in state:
            ids, known = nodes.label(key)[rows], nodes.label_values(key)
            here = numpy.isin(ids, [known[value] for value in values if value in known])
            if (today := _OF_TODAY.get(key)) is not None:
                other, known = nodes.label(today)[rows], nodes.label_values(today)
                there = numpy.isin(other, [known[value] for value in values if value in known])
                here = numpy.where(ids < 0, there, here)
            fits &= here
        # A node without any of the labels is in a cluster of one zone.
        return fits | ~labelled

    def helps(self, pod: PodState, change: Change) -> bool:
        if change.type == "DELETED":
            return False
        if change.resource == volumes.CLASSES:
            waits = change.obj.get("volumeBindingMode") == "WaitForFirstConsumer"
            return change.type == "ADDED" and waits
        if change.resource == volumes.CLAIMS:
            return volumes.uses_claim(pod, change)
        if change.resource == volumes.VOLUMES:
            return change.old is None or _zones(change.old) != _zones(change.obj)
        if change.resource == "nodes":
            return change.old is None or meta.labels(change.old) != meta.labels(change.obj)
        return False


def _named(pod: PodState) -> list[str]:
    return [name for name, ephemeral in pod.claims if not ephemeral]


def _zones(volume: Obj) -> list[_Topology]:
    """Its labels; one that names several zones separates them by two underscores."""
    labels = meta.labels(volume)
    found = []
    for key in _LABELS:
        if key in labels:
            zones = [zone.strip() for zone in labels[key].split("__")]
            if all(zones):
                found.append((key, frozenset(zones)))
    return found

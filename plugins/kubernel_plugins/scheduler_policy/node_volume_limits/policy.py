"""NodeVolumeLimits.

Source: k8s.io/kubernetes/pkg/scheduler/framework/plugins/nodevolumelimits, csi.go (v1.37).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy

from kubernel.plugin.scheduling import ALL, SKIP, Change, Policy, PolicyError, Refusal
from kubernel_plugins.scheduler_policy import migration, volumes
from kubernel_plugins.scheduler_policy.node_volume_limits.attachments import Attachments, Volume

if TYPE_CHECKING:
    from collections.abc import Callable

    from kubernel.client.informer import Informer
    from kubernel.plugin.scheduling import Mask, Nodes, PodState, Rows
    from kubernel.store.records import EventType, Obj

__all__ = ["NodeVolumeLimits"]

_CSI_NODES = "csinodes.v1.storage.k8s.io"
_DRIVERS = "csidrivers.v1.storage.k8s.io"
_ATTACHMENTS = "volumeattachments.v1.storage.k8s.io"
_BY_CLAIM = "claim"
_BY_VOLUME = "volume"
_ATTACHMENT = "attachment/"
_NOBODY: frozenset[str] = frozenset()


class NodeVolumeLimits(Policy):
    """Volumes are counted as pods come and go, not for each pod that asks."""

    name = "NodeVolumeLimits"
    scope = "cluster"
    refusal = Refusal("node(s) exceed max volume count")
    _claims: Informer
    _volumes: Informer
    _classes: Informer
    _csi_nodes: Informer
    _drivers: Informer
    _attached: Informer

    async def start(self) -> None:
        self._counts = Attachments()
        self._unlisten: list[Callable[[], None]] = []
        self._claims = await self.context.follow(volumes.CLAIMS)
        self._volumes = await self.context.follow(volumes.VOLUMES)
        self._classes = await self.context.follow(volumes.CLASSES)
        self._csi_nodes = await self.context.follow(_CSI_NODES)
        self._drivers = await self.context.follow(_DRIVERS)
        self._attached = await self.context.follow(_ATTACHMENTS)
        self._pods = self.context.client.informer("pods")
        await self._pods.synced()
        self._pods.add_index(_BY_CLAIM, volumes.claim_index)
        self._attached.add_index(_BY_VOLUME, lambda attachment: [_volume_of(attachment)])
        self._unlisten = [
            self._volumes.add_listener(self._on_volume),
            self._pods.add_listener(self._on_pod),
            self._claims.add_listener(self._on_claim),
            self._attached.add_listener(self._on_attachment),
        ]

    async def stop(self) -> None:
        for remove in self._unlisten:
            remove()

    # --- counting

    def _on_pod(self, type: EventType, pod: Obj, old: Obj | None) -> None:
        uid, node = pod["metadata"].get("uid", ""), pod["spec"].get("nodeName")
        if type == "DELETED" or (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
            self._counts.remove(uid)
        elif node and pod["spec"].get("volumes"):
            self._counts.set(uid, node, self._of_pod(pod))

    def _on_claim(self, type: EventType, claim: Obj, old: Obj | None) -> None:
        """What is attached for a claim is known once it is bound."""
        if old is None or old["spec"].get("volumeName") != claim["spec"].get("volumeName"):
            self._count_again(claim["metadata"].get("namespace", ""), claim["metadata"]["name"])

    def _on_volume(self, type: EventType, volume: Obj, old: Obj | None) -> None:
        if type != "ADDED":
            return
        if claim := volume["spec"].get("claimRef"):
            self._count_again(claim.get("namespace", ""), claim.get("name", ""))
        for attachment in self._attached.by(_BY_VOLUME, volume["metadata"]["name"]):
            self._on_attachment("MODIFIED", attachment, None)

    def _count_again(self, namespace: str, name: str) -> None:
        """The pods on nodes that use a claim."""
        for pod in self._pods.by(_BY_CLAIM, f"{namespace}/{name}"):
            uid = pod["metadata"].get("uid", "")
            if there := self.context.nodes.pod(uid):
                self._counts.set(uid, there[1], self._of_pod(pod))

    def _on_attachment(self, type: EventType, attachment: Obj, old: Obj | None) -> None:
        name = f"{_ATTACHMENT}{attachment['metadata']['name']}"
        spec = attachment["spec"]
        volume = self._volumes.get(_volume_of(attachment))
        csi, attacher = (volume or {"spec": {}})["spec"].get("csi"), spec.get("attacher")
        if type == "DELETED" or not csi or not attacher:
            self._counts.remove(name)
        else:
            self._counts.set(name, spec["nodeName"], [Volume(attacher, csi["volumeHandle"])])

    def reserve(self, pod: PodState, node: str) -> str:
        if pod.pod["spec"].get("volumes"):
            self._counts.set(pod.uid, node, self._of_pod(pod.pod))
        return ""

    def unreserve(self, pod: PodState, node: str) -> None:
        self._counts.remove(pod.uid)

    def _of_pod(self, pod: Obj) -> list[Volume]:
        """What has to be attached for a pod on a node, as far as it is known."""
        namespace = pod["metadata"].get("namespace", "")
        found = (
            self._of_claim(claim)
            for name, _ in volumes.names_of(pod)
            if (claim := self._claims.get(name, namespace)) is not None
        )
        try:
            own = _inline(pod)
        except ValueError:
            # Somebody else gave it its node.
            own = []
        return [*(volume for volume in found if volume is not None), *own]

    def _of_claim(self, claim: Obj) -> Volume | None:
        """The volume that a claim is bound to or, before there is one, what its class will provide."""
        volume = self._volumes.get(claim["spec"].get("volumeName") or "")
        if volume is not None:
            return _handle(volume)
        found = self._classes.get(volumes.class_of(claim))
        provisioner = (found or {}).get("provisioner", "")
        if not (driver := migration.driver_of(provisioner)):
            return None
        metadata = claim["metadata"]
        handle = f"unbound {metadata.get('namespace')}/{metadata['name']}"
        return Volume(driver, handle, driver != provisioner)

    # --- deciding

    def sign(self, pod: PodState) -> Any:
        if not pod.pod["spec"].get("volumes"):
            return ()
        try:
            return volumes.sign(pod), [(each.driver, each.handle) for each in _inline(pod.pod)]
        except ValueError:
            return NotImplemented

    def pre_filter(self, pod: PodState, nodes: Nodes) -> Any:
        if not pod.pod["spec"].get("volumes"):
            return SKIP
        try:
            found = _inline(pod.pod)
        except ValueError as error:
            raise PolicyError(f'running "{self.name}" filter plugin: {error}') from None
        for name, ephemeral, claim in volumes.claims_of(pod, self._claims):
            if claim is None:
                missing = f'persistentvolumeclaim "{name}" not found'
                return f"looking up PVC {pod.namespace}/{name}: {missing}"
            if ephemeral and (why := volumes.not_owned(pod, claim)):
                return why
            if (volume := self._of_claim(claim)) is not None:
                found.append(volume)
        return list(dict.fromkeys(found)) or SKIP

    def filter(self, pod: PodState, state: Collection[Volume] | str, nodes: Nodes, rows: Rows) -> Mask:
        fits = numpy.ones(len(nodes), dtype=bool)
        for mask, _ in self._reasons(state, nodes, rows):
            fits &= ~mask
        return fits[rows]

    def reasons(
        self, pod: PodState, state: Collection[Volume] | str, nodes: Nodes, rows: Rows
    ) -> Iterable[tuple[Mask, Refusal]]:
        for mask, refusal in self._reasons(state, nodes, rows):
            yield mask[rows], refusal

    def _reasons(
        self, state: Collection[Volume] | str, nodes: Nodes, rows: Rows
    ) -> Iterator[tuple[Mask, Refusal]]:
        """Masks of all rows; those outside of ``rows`` may be wrong. A text in place of volumes is about a claim."""
        if isinstance(state, str):
            yield numpy.ones(len(nodes), dtype=bool), Refusal(state, lasting=True)
            return
        without = numpy.zeros(len(nodes), dtype=bool)
        for driver in dict.fromkeys(volume.driver for volume in state):
            found = self._drivers.get(driver)
            if found is not None and (found.get("spec") or {}).get("preventPodSchedulingIfMissing"):
                of_nodes = all(volume.migrated for volume in state if volume.driver == driver)
                missing = self._missing(driver, nodes, only_known=of_nodes) & ~without
                without |= missing
                yield missing, Refusal(f"{driver} CSI driver is not installed on the node")
        full = numpy.zeros(len(nodes), dtype=bool)
        everywhere = isinstance(rows, slice) and rows == ALL
        wanted = self._csi_nodes.list() if everywhere else self._csi_nodes_of(nodes, rows)
        for csi_node in wanted:
            name = csi_node["metadata"]["name"]
            if (row := nodes.row(name)) is not None:
                # Only single nodes are looked at as they would be without some of their pods.
                away = _NOBODY if everywhere else self._away(name, nodes)
                full[row] = self._is_full(csi_node, state, away)
        yield full & ~without, self.refusal

    def _csi_nodes_of(self, nodes: Nodes, rows: Rows) -> list[Obj]:
        names = [nodes.name(int(row)) for row in numpy.arange(len(nodes))[rows] if nodes.live[row]]
        return [node for name in names if (node := self._csi_nodes.get(name)) is not None]

    def _missing(self, driver: str, nodes: Nodes, *, only_known: bool) -> Mask:
        """``only_known``: of nodes that tell of no drivers at all it is not said."""
        missing = numpy.full(len(nodes), not only_known)
        for csi_node in self._csi_nodes.list():
            if (row := nodes.row(csi_node["metadata"]["name"])) is not None:
                missing[row] = all(each["name"] != driver for each in csi_node["spec"].get("drivers") or ())
        return missing

    def _is_full(self, csi_node: Obj, state: Collection[Volume], away: frozenset[str]) -> bool:
        limits = _limits(csi_node)
        if not any(volume.driver in limits for volume in state):
            return False
        name = csi_node["metadata"]["name"]
        more = Counter(
            volume.driver for volume in state if volume.driver in limits and not self._has(name, volume, away)
        )
        return any(
            self._counts.count(name, driver, away) + count > limits[driver] for driver, count in more.items()
        )

    def _has(self, name: str, volume: Volume, away: frozenset[str]) -> bool:
        """Whether a pod of the node has the volume already: one that is merely still attached counts once more."""
        return any(
            holder not in away and not holder.startswith(_ATTACHMENT)
            for holder in self._counts.having(name, volume)
        )

    def _away(self, name: str, nodes: Nodes) -> frozenset[str]:
        """Pods that are counted on a node but supposed away from it."""
        return frozenset(
            holder
            for holder in self._counts.holders(name)
            if not holder.startswith(_ATTACHMENT) and nodes.pod(holder) is None
        )

    def helps(self, pod: PodState, change: Change) -> bool:
        if change.resource == _CSI_NODES:
            return change.type == "ADDED" or (
                change.old is not None and _raised(_limits(change.old), _limits(change.obj))
            )
        if change.resource == "pods":
            return change.type == "DELETED" and any(
                volume.get("persistentVolumeClaim") or volume.get("ephemeral") or migration.is_known(volume)
                for volume in change.obj["spec"].get("volumes") or ()
            )
        if change.resource == volumes.CLAIMS:
            return change.type == "ADDED" and volumes.uses_claim(pod, change)
        if change.resource == _ATTACHMENTS:
            return change.type == "DELETED" and _frees(change.obj, pod.pod)
        return False


def _inline(pod: Obj) -> list[Volume]:
    """The pod's own volumes that a CSI driver attaches; ValueError when it cannot."""
    found = []
    for volume in pod["spec"].get("volumes") or ():
        if migration.plugin_of(volume):
            try:
                driver, handle = migration.inline(volume, pod["metadata"].get("namespace", ""))
            except ValueError as error:
                raise ValueError(f"converting volume({volume['name']}) from inline to csi: {error}") from None
            found.append(Volume(driver, handle, migrated=True))
    return found


def _frees(attachment: Obj, pod: Obj) -> bool:
    """Whether a volume that is attached no more may make room for one of the pod's."""
    for volume in pod["spec"].get("volumes") or ():
        if volume.get("persistentVolumeClaim"):
            return True
        if migration.is_known(volume):
            try:
                driver, _ = migration.inline(volume, pod["metadata"].get("namespace", ""))
            except ValueError:
                return True
            if driver == attachment["spec"].get("attacher"):
                return True
    return False


def _raised(before: Mapping[str, int], after: Mapping[str, int]) -> bool:
    return any(limit > before.get(driver, 0) for driver, limit in after.items())


def _volume_of(attachment: Obj) -> str:
    return (attachment["spec"].get("source") or {}).get("persistentVolumeName") or ""


def _limits(csi_node: Obj) -> dict[str, int]:
    found = {}
    for driver in csi_node["spec"].get("drivers") or ():
        count = (driver.get("allocatable") or {}).get("count")
        if count is not None:
            found[driver["name"]] = count
    return found


def _handle(volume: Obj) -> Volume | None:
    migrated = bool(migration.plugin_of(volume["spec"]))
    if migrated:
        try:
            volume = migration.translated(volume)
        except ValueError:
            return None
    csi = volume["spec"].get("csi")
    return Volume(csi["driver"], csi["volumeHandle"], migrated) if csi else None

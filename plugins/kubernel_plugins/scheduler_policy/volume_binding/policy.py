"""VolumeBinding.

Source: k8s.io/kubernetes/pkg/scheduler/framework/plugins/volumebinding (v1.37).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy

from kubernel.errors import ServerTimeout
from kubernel.objects import meta
from kubernel.plugin.scheduling import SKIP, Change, Policy, Refusal
from kubernel_plugins import volumes as v
from kubernel_plugins.scheduler_policy import selecting

if TYPE_CHECKING:
    from kubernel.client.informer import Informer
    from kubernel.plugin.scheduling import Context, Mask, Nodes, PodState, Rows
    from kubernel.store.records import EventType, Obj

__all__ = ["VolumeBinding"]

_UNBOUND = "pod has unbound immediate PersistentVolumeClaims"
_NO_MATCH = Refusal("node(s) didn't find available persistent volumes to bind", lasting=True)
_CONFLICT = Refusal("node(s) didn't match PersistentVolume's node affinity", lasting=True)
_MISSING = Refusal("node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)", lasting=True)
_TIMEOUT = 600.0
_RESOURCES = (v.CLAIMS, v.VOLUMES, v.CLASSES)


@dataclass(frozen=True, slots=True)
class _Claims:
    """What a pod's claims ask of a node: affinities of bound volumes (None for a volume that is gone), and
    claims that wait for this pod."""

    bound: list[Mapping[str, Any] | None]
    delayed: list[Obj]


@dataclass(slots=True)
class _Decision:
    """What is kept for a pod until it is bound: (volume, claim) to bind, claims to make volumes for."""

    static: list[tuple[Obj, Obj]] = field(default_factory=list)
    dynamic: list[Obj] = field(default_factory=list)


class VolumeBinding(Policy):
    """Argument ``bindTimeoutSeconds``: how long a volume may take to be made and bound."""

    name = "VolumeBinding"
    scope = "cluster"
    arguments = frozenset(("bindTimeoutSeconds",))

    def __init__(self, args: Mapping[str, Any], context: Context) -> None:
        super().__init__(args, context)
        self._timeout = float(args.get("bindTimeoutSeconds", _TIMEOUT))
        if self._timeout < 0:
            raise ValueError("bindTimeoutSeconds must not be negative")
        self._kept: dict[str, _Decision] = {}
        self._unlisten: list[Callable[[], None]] = []
        self._changed = asyncio.Event()

    async def start(self) -> None:
        client = self.context.client
        self._claims, self._volumes, self._classes = (client.informer(name) for name in _RESOURCES)
        for name in _RESOURCES:
            informer: Informer = client.informer(name)
            await informer.synced()
            self._unlisten.append(informer.add_listener(self._listener(name)))

    async def stop(self) -> None:
        for remove in self._unlisten:
            remove()
        self._unlisten.clear()

    def _listener(self, resource: str) -> Callable[[EventType, Obj, Obj | None], None]:
        def listener(type: EventType, obj: Obj, old: Obj | None) -> None:
            self._changed.set()
            self.context.changed(Change(resource, type, obj, old))

        return listener

    def sign(self, pod: PodState) -> Any:
        names = v.claim_names(pod.pod)
        return [pod.namespace, *names] if names else ()

    # --- looking

    def pre_filter(self, pod: PodState, nodes: Nodes) -> Any:
        names = v.claim_names(pod.pod)
        if not names:
            return SKIP
        ephemeral = {name for name, _ in v.ephemeral_claims(pod.pod)}
        found = _Claims([], [])
        unbound = False
        for name in names:
            claim = self._claims.get(name, pod.namespace)
            if claim is None and name in ephemeral:
                text = f'waiting for ephemeral volume controller to create the persistentvolumeclaim "{name}"'
                return Refusal(text, lasting=True)
            if claim is None:
                return Refusal(f'persistentvolumeclaim "{name}" not found', lasting=True)
            if meta.is_deleting(claim):
                return Refusal(f'persistentvolumeclaim "{name}" is being deleted', lasting=True)
            if (claim.get("status") or {}).get("phase") == "Lost":
                text = f'persistentvolumeclaim "{name}" bound to non-existent persistentvolume '
                return Refusal(f'{text}"{claim["spec"].get("volumeName", "")}"', lasting=True)
            if claim["spec"].get("volumeName") and v.BIND_COMPLETED in meta.annotations(claim):
                volume = self._volumes.get(claim["spec"]["volumeName"])
                found.bound.append(None if volume is None else _affinity(volume))
            elif v.waits_for_consumer(self._class(claim)) and not claim["spec"].get("volumeName"):
                found.delayed.append(claim)
            else:
                unbound = True
        return Refusal(_UNBOUND, lasting=True) if unbound else found

    def filter(self, pod: PodState, state: _Claims, nodes: Nodes, rows: Rows) -> Mask:
        fits = nodes.live[rows]
        for refused, _ in self.reasons(pod, state, nodes, rows):
            fits = fits & ~refused
        return fits

    def reasons(
        self, pod: PodState, state: _Claims, nodes: Nodes, rows: Rows
    ) -> Iterable[tuple[Mask, Refusal]]:
        refused = numpy.zeros_like(nodes.live[rows])
        for affinity in state.bound:
            if affinity is None:
                yield ~refused, _MISSING
                return
            conflict = ~selecting.selected(affinity, nodes, rows) & ~refused
            refused = refused | conflict
            yield conflict, _CONFLICT
        for claim in state.delayed:
            lacking = ~self._possible(claim, nodes, rows) & ~refused
            refused = refused | lacking
            yield lacking, _NO_MATCH

    def _possible(self, claim: Obj, nodes: Nodes, rows: Rows) -> Mask:
        """Where a volume for the claim is, or can be made."""
        chosen = meta.annotations(claim).get(v.SELECTED_NODE)
        if chosen:
            # Already being made for one node.
            there = numpy.zeros(len(nodes), dtype=bool)
            if (row := nodes.row(chosen)) is not None:
                there[row] = True
            return there[rows]
        fits = self._makeable(claim, nodes, rows)
        if fits.all():
            return fits
        for volume in self._candidates(claim):
            fits = fits | selecting.selected(_affinity(volume), nodes, rows)
        return fits

    def _makeable(self, claim: Obj, nodes: Nodes, rows: Rows) -> Mask:
        storage_class = self._class(claim)
        if storage_class is None or storage_class["provisioner"] == v.NO_PROVISIONER:
            return numpy.zeros_like(nodes.live[rows])
        terms = storage_class.get("allowedTopologies") or ()
        if not terms:
            return nodes.live[rows]
        rules = [
            [
                {"key": one["key"], "operator": "In", "values": one["values"]}
                for one in term.get("matchLabelExpressions") or ()
            ]
            for term in terms
        ]
        return selecting.any_term([{"matchExpressions": one} for one in rules], nodes, rows)

    def _candidates(self, claim: Obj) -> list[Obj]:
        """Free volumes that suit the claim, nodes aside, the smallest first."""
        kept = {meta.name(volume) for one in self._kept.values() for volume, _ in one.static}
        left = [volume for volume in self._volumes.list() if meta.name(volume) not in kept]
        found: list[Obj] = []
        while (best := v.find_match(left, claim)) is not None:
            found.append(best)
            left.remove(best)
        return found

    def _class(self, claim: Obj) -> Obj | None:
        name = v.class_of(claim)
        return self._classes.get(name) if name else None

    # --- keeping and binding

    def reserve(self, pod: PodState, node: str) -> str:
        state = self.pre_filter(pod, self.context.nodes)
        if state is SKIP:
            return ""
        if isinstance(state, Refusal):
            return state.text
        decision = self._kept[pod.uid] = _Decision()
        row = self.context.nodes.row(node)
        rows = slice(row, None if row is None else row + 1)
        for claim in state.delayed:
            volume = next(
                (
                    one
                    for one in self._candidates(claim)
                    if selecting.selected(_affinity(one), self.context.nodes, rows)[0]
                ),
                None,
            )
            if volume is not None:
                decision.static.append((volume, claim))
            elif self._makeable(claim, self.context.nodes, rows)[0]:
                decision.dynamic.append(claim)
            else:
                # Another pod was quicker.
                return _NO_MATCH.text
        return ""

    def unreserve(self, pod: PodState, node: str) -> None:
        self._kept.pop(pod.uid, None)

    async def pre_bind(self, pod: PodState, node: str) -> None:
        decision = self._kept.get(pod.uid)
        if decision is None or not (decision.static or decision.dynamic):
            return
        client = self.context.client
        for volume, claim in decision.static:
            reference = {
                "kind": "PersistentVolumeClaim",
                "apiVersion": "v1",
                "namespace": meta.namespace(claim),
                "name": meta.name(claim),
                "uid": meta.uid(claim),
                "resourceVersion": meta.resource_version(claim),
            }
            if (volume["spec"].get("claimRef") or {}).get("uid") != meta.uid(claim):
                annotations = {**meta.annotations(volume), v.BOUND_BY_CONTROLLER: "yes"}
                changed = meta.replace(volume, ("spec", "claimRef"), reference)
                changed = meta.replace(changed, ("metadata", "annotations"), annotations)
                await client.update(v.VOLUMES, changed)
        for claim in decision.dynamic:
            if meta.annotations(claim).get(v.SELECTED_NODE) != node:
                annotations = {**meta.annotations(claim), v.SELECTED_NODE: node}
                changed = meta.replace(claim, ("metadata", "annotations"), annotations)
                await client.update(v.CLAIMS, changed)
        claims = [claim for _, claim in decision.static] + decision.dynamic
        try:
            async with self.context.clock.timeout(self._timeout):
                while not all(self._is_bound(claim) for claim in claims):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise ServerTimeout("binding volumes: context deadline exceeded") from None

    def _is_bound(self, claim: Obj) -> bool:
        current = self._claims.get(meta.name(claim), meta.namespace(claim))
        if current is None or meta.uid(current) != meta.uid(claim):
            raise ServerTimeout(f'binding volumes: persistentvolumeclaim "{meta.name(claim)}" not found')
        return v.BIND_COMPLETED in meta.annotations(current)

    def post_bind(self, pod: PodState, node: str) -> None:
        self._kept.pop(pod.uid, None)

    def helps(self, pod: PodState, change: Change) -> bool:
        if change.resource == v.CLAIMS:
            return meta.namespace(change.obj) == pod.namespace and meta.name(change.obj) in v.claim_names(
                pod.pod
            )
        return change.resource in (v.VOLUMES, v.CLASSES, "nodes")


def _affinity(volume: Obj) -> Mapping[str, Any]:
    required = meta.get(volume, "spec", "nodeAffinity", "required")
    return {"nodeSelector": None, "required": required}

"""VolumeBinding.

Source: k8s.io/kubernetes/pkg/scheduler/framework/plugins/volumebinding (v1.37).
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy

from kubernel.errors import KubernelError
from kubernel.objects import meta, quantity, selectors
from kubernel.plugin.scheduling import SKIP, Change, Policy, PolicyError, Refusal
from kubernel_plugins.scheduler_policy import migration, volumes
from kubernel_plugins.scheduler_policy.arguments import Problems
from kubernel_plugins.scheduler_policy.scores import shaped
from kubernel_plugins.scheduler_policy.volume_binding.assumed import Assumed
from kubernel_plugins.scheduler_policy.volume_binding.binding import Binding, Work, bound, selected
from kubernel_plugins.scheduler_policy.volume_binding.matching import Match, candidates, match

if TYPE_CHECKING:
    from kubernel.client.informer import Informer
    from kubernel.plugin.scheduling import Amounts, Context, Mask, Nodes, PodState, Rows
    from kubernel.store.records import Obj

__all__ = ["VolumeBinding"]

_NO_VOLUME = Refusal("node(s) didn't find available persistent volumes to bind", lasting=True)
_AFFINITY = Refusal("node(s) didn't match PersistentVolume's node affinity", lasting=True)
_NO_SPACE = Refusal("node(s) did not have enough free storage", lasting=True)
_LOST = Refusal("node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)", lasting=True)
_IMMEDIATE = Refusal("pod has unbound immediate PersistentVolumeClaims", lasting=True)

_CSI_NODES = "csinodes.v1.storage.k8s.io"
_DRIVERS = "csidrivers.v1.storage.k8s.io"
_CAPACITIES = "csistoragecapacities.v1.storage.k8s.io"
_MIGRATED = "storage.alpha.kubernetes.io/migrated-plugins"
_NO_PROVISIONER = ("", "kubernetes.io/no-provisioner")
_SHAPE = ({"utilization": 0, "score": 10}, {"utilization": 100, "score": 0})
_BY_CLASS = "class"


@dataclass(slots=True)
class _State:
    """The pod's claims. ``waiting``: those that wait for a node, with the volumes that would do;
    ``chosen``: those that were promised a node to be provided from."""

    bound: list[Obj] = field(default_factory=list)
    waiting: list[tuple[Obj, Sequence[Obj]]] = field(default_factory=list)
    chosen: list[Obj] = field(default_factory=list)


@dataclass(slots=True)
class _Plan:
    """For some rows: what each waiting claim gets, where something is missing, and what would be provided:
    (claim, rows, capacity of the pool or 0)."""

    matches: list[Match]
    provided: list[tuple[Obj, Mask, Amounts]]
    unsatisfied: Mask
    too_small: Mask


class VolumeBinding(Policy):
    """Arguments: ``bindTimeoutSeconds``, how long to wait for volumes; ``shape``, how the use of the pools that
    volumes come from is scored."""

    name = "VolumeBinding"
    scope = "cluster"
    refusal = _NO_VOLUME
    arguments = frozenset(("bindTimeoutSeconds", "shape"))
    _classes: Informer
    _drivers: Informer
    _capacities: Informer
    _csi_nodes: Informer
    _claims: Assumed
    _volumes: Assumed
    _binding: Binding

    def __init__(self, args: Mapping[str, Any], context: Context) -> None:
        super().__init__(args, context)
        self._timeout = args.get("bindTimeoutSeconds", 600)
        wrong = Problems()
        if self._timeout < 0:
            why = "invalid BindTimeoutSeconds, should not be a negative value"
            wrong.invalid("bindTimeoutSeconds", self._timeout, why)
        shape = args.get("shape") or _SHAPE
        wrong.shape("shape", shape)
        wrong.check()
        self._by_percent = shaped(shape)
        self._work: dict[str, Work] = {}

    async def start(self) -> None:
        claims = await self.context.follow(volumes.CLAIMS)
        found = await self.context.follow(volumes.VOLUMES)
        self._classes = await self.context.follow(volumes.CLASSES)
        self._drivers = await self.context.follow(_DRIVERS)
        self._capacities = await self.context.follow(_CAPACITIES)
        self._csi_nodes = await self.context.follow(_CSI_NODES)
        found.add_index(_BY_CLASS, lambda volume: [volumes.class_of(volume)])
        self._claims, self._volumes = Assumed(claims), Assumed(found)
        self._binding = Binding(self.context, self._claims, self._volumes, self._reachable)
        self._unlisten = [
            claims.add_listener(self._binding.on_claim),
            found.add_listener(self._binding.on_volume),
            self.context.client.informer("pods").add_listener(self._binding.on_pod),
        ]

    async def stop(self) -> None:
        for remove in self._unlisten:
            remove()

    def sign(self, pod: PodState) -> Any:
        return volumes.sign(pod)

    # --- deciding

    def pre_filter(self, pod: PodState, nodes: Nodes) -> Any:
        if not pod.claims:
            return SKIP
        state = self._state(pod)
        if isinstance(state, str):
            return Refusal(state, lasting=True)
        if state is None:
            return _IMMEDIATE
        return state if state.bound or state.waiting or state.chosen else SKIP

    def _state(self, pod: PodState) -> _State | str | None:
        """A text for a claim that cannot be used; None for one that its binder has not bound yet."""
        state, immediate = _State(), False
        for name, ephemeral in pod.claims:
            claim = self._claims.get(name, pod.namespace)
            if claim is None:
                missing = f'persistentvolumeclaim "{name}" not found'
                waits = (
                    f'waiting for ephemeral volume controller to create the persistentvolumeclaim "{name}"'
                )
                return waits if ephemeral else missing
            if (claim.get("status") or {}).get("phase") == "Lost":
                return (
                    f'persistentvolumeclaim "{name}" bound to non-existent persistentvolume '
                    f'"{claim["spec"].get("volumeName", "")}"'
                )
            if meta.is_deleting(claim):
                return f'persistentvolumeclaim "{name}" is being deleted'
            if ephemeral and (why := volumes.not_owned(pod, claim)):
                return why
            if volumes.is_bound(claim):
                state.bound.append(claim)
            elif claim["spec"].get("volumeName") or not self._waits(claim):
                immediate = True
            elif selected(claim):
                state.chosen.append(claim)
            else:
                of_class = self._volumes.by(_BY_CLASS, volumes.class_of(claim))
                state.waiting.append((claim, candidates(claim, of_class)))
        return None if immediate else state

    def _waits(self, claim: Obj) -> bool:
        """Whether a claim is bound only when a pod needs it somewhere."""
        found = self._classes.get(volumes.class_of(claim))
        return found is not None and found.get("volumeBindingMode") == "WaitForFirstConsumer"

    def filter(self, pod: PodState, state: _State, nodes: Nodes, rows: Rows) -> Mask:
        fits = numpy.ones_like(nodes.live[rows])
        for mask, _ in self.reasons(pod, state, nodes, rows):
            fits &= ~mask
        return fits

    def reasons(
        self, pod: PodState, state: _State, nodes: Nodes, rows: Rows
    ) -> Iterable[tuple[Mask, Refusal]]:
        if state.bound:
            yield from self._conflicts(state.bound, nodes, rows)
        if state.waiting or state.chosen:
            plan = self._plan(state, nodes, rows)
            yield plan.unsatisfied, _NO_VOLUME
            yield plan.too_small, _NO_SPACE

    def _conflicts(self, claims: Sequence[Obj], nodes: Nodes, rows: Rows) -> Iterator[tuple[Mask, Refusal]]:
        """Of bound claims, the first one decides that has something against a node."""
        undecided = numpy.ones_like(nodes.live[rows])
        conflict, lost = numpy.zeros_like(undecided), numpy.zeros_like(undecided)
        for claim in claims:
            volume = self._volumes.get(claim["spec"]["volumeName"])
            if volume is None:
                lost |= undecided
                break
            try:
                away = undecided & ~self._reachable(volume, nodes, rows)
            except ValueError as error:
                raise PolicyError(f'running "{self.name}" filter plugin: {error}') from None
            conflict |= away
            undecided &= ~away
        yield conflict, _AFFINITY
        yield lost, _LOST

    def _reachable(self, volume: Obj, nodes: Nodes, rows: Rows) -> Mask:
        """From where a bound volume can be reached. Nodes on which a CSI driver took over from the volume's kind have
        the driver's labels. ValueError for a volume that cannot be one of the driver's."""
        here = volumes.reachable(volume, nodes, rows)
        plugin = migration.plugin_of(volume["spec"])
        if not plugin:
            return here
        migrated = numpy.zeros(len(nodes), dtype=bool)
        for csi_node in self._csi_nodes.list():
            row = nodes.row(meta.name(csi_node))
            if row is not None and plugin in meta.annotations(csi_node).get(_MIGRATED, "").split(","):
                migrated[row] = True
        migrated = migrated[rows]
        if not migrated.any():
            return here
        try:
            there = volumes.reachable(migration.translated(volume), nodes, rows)
        except ValueError as error:
            raise ValueError(f"could not translate pv: {error}") from None
        return numpy.where(migrated, there, here)

    def _plan(self, state: _State, nodes: Nodes, rows: Rows) -> _Plan:
        matches = match(state.waiting, nodes, rows)
        unsatisfied = numpy.zeros_like(nodes.live[rows])
        elsewhere = numpy.zeros_like(unsatisfied)
        for claim in state.chosen:
            there = numpy.zeros(len(nodes), dtype=bool)
            if (row := nodes.row(selected(claim))) is not None:
                there[row] = True
            elsewhere |= ~there[rows]
        plan = _Plan(matches, [], unsatisfied | elsewhere, numpy.zeros_like(unsatisfied))
        undecided = ~elsewhere
        wanted = [(claim, undecided) for claim in state.chosen]
        wanted += [(each.claim, each.unmatched) for each in matches]
        for claim, where in wanted:
            missing = where & undecided
            if not missing.any():
                continue
            possible, enough, capacity = self._provision(claim, nodes, rows)
            plan.unsatisfied |= missing & ~possible
            plan.too_small |= missing & possible & ~enough
            undecided &= ~(missing & ~(possible & enough))
            plan.provided.append((claim, missing & possible & enough, capacity))
        return plan

    def _provision(self, claim: Obj, nodes: Nodes, rows: Rows) -> tuple[Mask, Mask, Amounts]:
        """Where the claim's class may provide a volume, where it has room for it, and the room's size where
        that is known."""
        no = numpy.zeros_like(nodes.live[rows])
        unknown = numpy.zeros(no.shape, dtype=numpy.int64)
        found = self._classes.get(volumes.class_of(claim))
        provisioner = (found or {}).get("provisioner") or ""
        if found is None or provisioner in _NO_PROVISIONER:
            return no, no, unknown
        possible = _allowed(found.get("allowedTopologies"), nodes, rows)
        requests = (claim["spec"].get("resources") or {}).get("requests") or {}
        driver = self._drivers.get(provisioner)
        if "storage" not in requests or not ((driver or {}).get("spec") or {}).get("storageCapacity"):
            return possible, ~no, unknown
        enough, capacity = no, unknown
        for pool in self._capacities.list():
            if (
                pool.get("storageClassName") == found["metadata"]["name"]
                and (limit := _limit(pool)) is not None
                and limit >= volumes.size(requests)
                and pool.get("nodeTopology") is not None
            ):
                here = _matching(selectors.from_object(pool["nodeTopology"]), nodes, rows) & ~enough
                enough = enough | here
                total = quantity.to_int(pool.get("capacity") or 0)
                capacity = numpy.where(here, total, capacity)
        return possible, enough, capacity

    # --- scoring

    def pre_score(self, pod: PodState, nodes: Nodes) -> Any:
        state = self._state(pod) if pod.claims else None
        return state if isinstance(state, _State) and (state.waiting or state.chosen) else SKIP

    def score(self, pod: PodState, state: _State, nodes: Nodes, rows: Rows) -> Amounts:
        """How full the volumes would be, or where none is taken the pools that they come from: the mean of the
        classes."""
        plan = self._plan(state, nodes, rows)
        asked: dict[str, Amounts] = {}
        there: dict[str, Amounts] = {}
        nothing = numpy.zeros(plan.unsatisfied.shape, dtype=numpy.int64)
        taken = numpy.zeros_like(plan.unsatisfied)
        for each in plan.matches:
            name = volumes.class_of(each.claim)
            wanted = _requested(each.claim)
            for volume, mask in each.taken:
                taken |= mask
                asked[name] = asked.get(name, nothing) + numpy.where(mask, wanted, 0)
                size = volumes.size(volume["spec"].get("capacity"))
                there[name] = there.get(name, nothing) + numpy.where(mask, size, 0)
        for claim, mask, pool in plan.provided:
            name, counted = volumes.class_of(claim), mask & (pool > 0) & ~taken
            asked[name] = asked.get(name, nothing) + numpy.where(counted, _requested(claim), 0)
            # All claims of a class come from one pool.
            there[name] = numpy.where(counted, pool, there.get(name, nothing))
        total, classes = nothing, nothing
        for name, requested in asked.items():
            capacity = there[name]
            counted = (requested > 0) | (capacity > 0)
            full = (capacity == 0) | (requested > capacity)
            percent = numpy.where(full, 100, requested * 100 // numpy.maximum(capacity, 1))
            total = total + numpy.where(counted, self._by_percent[percent], 0)
            classes = classes + counted
        divisor = numpy.maximum(classes, 1)
        # Half away from zero, as Go rounds; nothing here is negative.
        found: Amounts = (2 * total + divisor) // (2 * divisor)
        return found

    # --- binding

    def reserve(self, pod: PodState, node: str) -> str:
        state = self._state(pod) if pod.claims else None
        if not isinstance(state, _State) or not (state.waiting or state.chosen):
            return ""
        nodes = self.context.nodes
        row = nodes.row(node)
        if row is None:
            raise PolicyError(f'node "{node}" not found')
        plan = self._plan(state, nodes, slice(row, row + 1))
        work = Work(
            node,
            [
                (each.claim, bound(volume, each.claim))
                for each in plan.matches
                for volume, mask in each.taken
                if mask[0]
            ],
            [_with_node(claim, node) for claim, mask, _ in plan.provided if mask[0]],
        )
        for _, volume in work.volumes:
            self._volumes.assume(volume)
        for claim in work.claims:
            self._claims.assume(claim)
        self._work[pod.uid] = work
        return ""

    def unreserve(self, pod: PodState, node: str) -> None:
        work = self._work.pop(pod.uid, None)
        if work is not None:
            for _, volume in work.volumes:
                self._volumes.forget(volume)
            for claim in work.claims:
                self._claims.forget(claim)

    def pre_bind(self, pod: PodState, node: str) -> Awaitable[None] | None:
        work = self._work.get(pod.uid)
        return None if work is None else self._bind(pod, work)

    async def _bind(self, pod: PodState, work: Work) -> None:
        await self._binding.write(work)
        try:
            async with self.context.clock.timeout(self._timeout):
                await self._binding.completed(pod, work)
        except TimeoutError:
            raise KubernelError("binding volumes: context deadline exceeded") from None

    def post_bind(self, pod: PodState, node: str) -> None:
        self._work.pop(pod.uid, None)

    # --- what may help

    def helps(self, pod: PodState, change: Change) -> bool:
        if change.type == "DELETED":
            return False
        old, new = change.old, change.obj
        if change.resource == volumes.CLAIMS:
            return volumes.uses_claim(pod, change)
        if change.resource == volumes.VOLUMES:
            return True
        if change.resource == volumes.CLASSES:
            return old is None or old.get("allowedTopologies") != new.get("allowedTopologies")
        if change.resource == "nodes":
            return old is None or meta.labels(old) != meta.labels(new)
        if change.resource == _CAPACITIES:
            limit = _limit(new)
            return old is None or (limit is not None and limit > (_limit(old) or 0))
        if change.resource == _CSI_NODES:
            return old is None or meta.annotations(old).get(_MIGRATED) != meta.annotations(new).get(_MIGRATED)
        if change.resource == _DRIVERS and old is not None:
            mine = {(each.get("csi") or {}).get("driver") for each in pod.pod["spec"].get("volumes") or ()}
            was, now = ((each.get("spec") or {}).get("storageCapacity") for each in (old, new))
            return new["metadata"]["name"] in mine and bool(was) and not now
        return False


def _requested(claim: Obj) -> int:
    return volumes.size((claim["spec"].get("resources") or {}).get("requests"))


def _with_node(claim: Obj, node: str) -> Obj:
    if selected(claim) == node:
        return claim
    annotations = {**meta.annotations(claim), "volume.kubernetes.io/selected-node": node}
    return {**claim, "metadata": {**claim["metadata"], "annotations": annotations}}


def _allowed(topologies: Sequence[Mapping[str, Any]] | None, nodes: Nodes, rows: Rows) -> Mask:
    """Where one of a class's topologies holds; everywhere when it has none."""
    anywhere = numpy.ones_like(nodes.live[rows])
    if not topologies:
        return anywhere
    found = ~anywhere
    for term in topologies:
        expressions = term.get("matchLabelExpressions") or ()
        here = anywhere if expressions else ~anywhere
        for each in expressions:
            ids, known = nodes.label(each["key"])[rows], nodes.label_values(each["key"])
            here = here & numpy.isin(
                ids, [known[value] for value in each.get("values") or () if value in known]
            )
        found = found | here
    return found


def _matching(selector: selectors.Selector, nodes: Nodes, rows: Rows) -> Mask:
    found = numpy.zeros(len(nodes), dtype=bool)
    for row in numpy.arange(len(nodes))[rows]:
        if nodes.live[row]:
            found[row] = selector.matches(meta.labels(nodes.node(int(row))))
    return found[rows]


def _limit(pool: Obj) -> int | None:
    """The largest volume that fits."""
    given = pool.get("maximumVolumeSize")
    given = pool.get("capacity") if given is None else given
    return None if given is None else quantity.to_int(given)

"""DynamicResources.

Source: k8s.io/kubernetes/pkg/scheduler/framework/plugins/dynamicresources (v1.37) with the feature gates of its
defaults.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy

from kubernel.clock import rfc3339
from kubernel.errors import Conflict, KubernelError, NotFound
from kubernel.objects import meta, times
from kubernel.plugin.scheduling import ALL, SKIP, Change, Nomination, Policy, PolicyError, Refusal
from kubernel_plugins.scheduler_policy import scores, selecting
from kubernel_plugins.scheduler_policy.arguments import Problems
from kubernel_plugins.scheduler_policy.device_classes import CLASSES, DeviceClasses
from kubernel_plugins.scheduler_policy.dynamic_resources import claims, extended
from kubernel_plugins.scheduler_policy.dynamic_resources.allocator import (
    AllocationError,
    Taken,
    allocate,
    result,
)
from kubernel_plugins.scheduler_policy.dynamic_resources.devices import (
    DeviceId,
    Pool,
    SelectorError,
    Selectors,
    gather,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from kubernel.client.informer import Informer
    from kubernel.plugin.scheduling import Amounts, Context, Cycle, Mask, Nodes, PodState, Rows
    from kubernel.store.records import EventType, Obj

__all__ = ["DynamicResources"]

_CLAIMS = "resourceclaims.v1.resource.k8s.io"
_SLICES = "resourceslices.v1.resource.k8s.io"
_RULES = "devicetaintrules.v1.resource.k8s.io"
_FINALIZER = "resource.kubernetes.io/delete-protection"
_TRIES = 5
_TIMEOUT = 600.0
_ALTERNATIVES = 8
"""FirstAvailableDeviceRequestMaxSize."""
_ELSEWHERE = Refusal("resourceclaim not available on the node", lasting=True)
_NONE = Refusal("cannot allocate all claims", lasting=True)
_STALE = Refusal("cannot schedule extended resource claim")


@dataclass(slots=True)
class _Offer:
    """What a pod would get on a node: an allocation for each claim. The last may be one for extended resources, that is
    yet to be made; ``mappings``: which container gets what of it."""

    claims: Sequence[Obj]
    allocations: Sequence[Obj]
    made: bool = False
    mappings: Sequence[Obj] = ()


@dataclass(slots=True)
class _State:
    """Of one pod, against the nodes of now."""

    allocated: list[Obj]
    wanted: list[Obj]
    elsewhere: Mask
    """Nodes that an allocated claim does not let the pod go to."""
    extended: Sequence[str] = ()
    """Resources that a device class stands for on nodes that do not have them otherwise."""
    stale: Obj | None = None
    """The claim for these of an earlier attempt."""
    found: dict[int, _Offer | None] = field(default_factory=dict)
    """By row, what the wanted claims would get."""


@dataclass(slots=True)
class _Chosen:
    """What a pod gets on its node: (claim, allocation; None where it has one), and beside them (claim to be made,
    allocation, mappings) for extended resources."""

    node: str
    claims: Sequence[tuple[Obj, Obj | None]]
    special: tuple[Obj, Obj, Sequence[Obj]] | None = None
    made: Obj | None = None
    """The special claim once it is there."""


class DynamicResources(Policy):
    """Arguments: ``bindingTimeout``, how long devices may take to become ready; ``filterTimeout`` has no effect."""

    name = "DynamicResources"
    scope = "cluster"
    arguments = frozenset(("bindingTimeout", "filterTimeout"))
    _claims: Informer
    _slices: Informer
    _classes: Informer
    _rules: Informer

    def __init__(self, args: Mapping[str, Any], context: Context) -> None:
        super().__init__(args, context)
        self._timeout = times.duration(args["bindingTimeout"]) if "bindingTimeout" in args else _TIMEOUT
        wrong = Problems()
        if self._timeout < 1:
            wrong.invalid("bindingTimeout", args["bindingTimeout"], "must be at least 1 second")
        if times.duration(args.get("filterTimeout") or "0s") < 0:
            wrong.invalid("filterTimeout", args["filterTimeout"], "must be zero or positive")
        wrong.check()
        self._selectors = Selectors()
        self._taken = Taken()
        self._pending: dict[str, tuple[str, Obj]] = {}
        """By uid of a claim: the pod that it is being allocated for, and what it gets."""
        self._chosen: dict[str, _Chosen] = {}
        self._unlisten: list[Callable[[], None]] = []
        self._pools: dict[str, tuple[Obj, list[Pool]]] = {}
        self._waiting: dict[str, asyncio.Event] = {}

    async def start(self) -> None:
        self._taken = Taken()
        self._claims = await self.context.follow(_CLAIMS)
        self._slices = await self.context.follow(_SLICES)
        self._classes = await self.context.follow(CLASSES)
        self._resolver = DeviceClasses(self._classes)
        self._rules = await self.context.follow(_RULES)
        self._unlisten = [
            self._claims.add_listener(self._on_claim),
            self._slices.add_listener(self._on_devices),
            self._rules.add_listener(self._on_devices),
        ]

    async def stop(self) -> None:
        for remove in self._unlisten:
            remove()
        self._unlisten.clear()

    def _on_claim(self, type: EventType, claim: Obj, old: Obj | None) -> None:
        now = None if type == "DELETED" else claims.allocation(claim)
        last = claim if type == "DELETED" else old
        before = None if last is None else claims.allocation(last)
        if before != now:
            if before is not None:
                self._taken.count(before, -1)
            if now is not None:
                self._taken.count(now, 1)
        uid = meta.uid(claim)
        if now is not None or type == "DELETED":
            self._forget(uid)
        if (waiting := self._waiting.get(uid)) is not None:
            waiting.set()

    def _forget(self, uid: str) -> None:
        """The claim is not being allocated any more."""
        pending = self._pending.pop(uid, None)
        if pending is not None:
            self._taken.count(pending[1], -1)

    def _on_devices(self, type: EventType, obj: Obj, old: Obj | None) -> None:
        self._pools.clear()

    # --- what a pod asks for

    def sign(self, pod: PodState) -> Any:
        return NotImplemented if pod.pod["spec"].get("resourceClaims") else ()

    def pre_enqueue(self, pod: PodState) -> str:
        try:
            for _ in claims.of_pod(pod.pod, self._claims.get):
                pass
        except claims.Unready as error:
            return str(error)
        return ""

    def pre_filter(self, pod: PodState, nodes: Nodes) -> Any:
        asked = [resource for resource in pod.requests if self._resolver.of(resource) is not None]
        if not asked and not pod.pod["spec"].get("resourceClaims"):
            return SKIP
        try:
            its = list(claims.of_pod(pod.pod, self._claims.get))
        except claims.Unready as error:
            return Refusal(str(error), lasting=True)
        if not its and not asked:
            return SKIP
        state = _State([], [], numpy.zeros(len(nodes), dtype=bool), asked)
        if asked:
            state.stale = extended.find(pod, self._claims.by("owner", pod.uid))
        for claim in its:
            allocation = claims.allocation(claim)
            if allocation is not None:
                state.allocated.append(claim)
                if self._is_stuck(claim):
                    state.elsewhere[:] = True
                elif (selector := allocation.get("nodeSelector")) is not None:
                    terms = selector.get("nodeSelectorTerms") or ()
                    state.elsewhere |= ~selecting.any_term(terms, nodes, ALL)
                continue
            if meta.uid(claim) in self._pending:
                key = f"{pod.namespace}/{meta.name(claim)}"
                return Refusal(f"resource claim {key} is in the process of being allocated", lasting=True)
            if missing := self._missing_class(claim):
                return Refusal(missing, lasting=True)
            state.wanted.append(claim)
        return state

    def _missing_class(self, claim: Obj) -> str:
        for request in (claim["spec"].get("devices") or {}).get("requests") or ():
            asked = [(request["name"], request["exactly"])] if request.get("exactly") else []
            asked += [
                (f"{request['name']}/{each['name']}", each) for each in request.get("firstAvailable") or ()
            ]
            for name, body in asked:
                cls = body.get("deviceClassName", "")
                if self._classes.get(cls) is None:
                    return f"request {name}: device class {cls} does not exist"
        return ""

    # --- where it can be had

    def filter(self, pod: PodState, state: _State, nodes: Nodes, rows: Rows) -> Mask:
        fits = nodes.live & ~state.elsewhere
        chosen = numpy.zeros_like(fits)
        if state.stale is not None:
            return chosen[rows]
        chosen[rows] = fits[rows]
        if state.wanted or state.extended:
            for row in numpy.flatnonzero(chosen):
                chosen[row] = self._found(pod, state, nodes, int(row)) is not None
        return chosen[rows]

    def reasons(
        self, pod: PodState, state: _State, nodes: Nodes, rows: Rows
    ) -> Iterable[tuple[Mask, Refusal]]:
        fits = self.filter(pod, state, nodes, rows)
        if state.stale is not None:
            yield ~fits, _STALE
            return
        yield state.elsewhere[rows], _ELSEWHERE
        yield ~fits & ~state.elsewhere[rows], _NONE

    def _found(self, pod: PodState, state: _State, nodes: Nodes, row: int) -> _Offer | None:
        if row not in state.found:
            state.found[row] = self._allocate(pod, state, nodes, row)
        return state.found[row]

    def _allocate(self, pod: PodState, state: _State, nodes: Nodes, row: int) -> _Offer | None:
        wanted: list[Obj] = list(state.wanted)
        mappings: Sequence[Obj] = ()
        missing = [resource for resource in state.extended if not nodes.allocatable(resource)[row]]
        if missing:
            special, mappings = extended.claim_for(pod, missing, self._resolver.of)
            wanted.append(special)
        if not wanted:
            return _Offer((), ())
        try:
            got = allocate(
                wanted, self._pools_of(nodes, row), self._taken, self._classes.get, self._selectors
            )
        except (AllocationError, SelectorError) as error:
            raise PolicyError(f'running "{self.name}" filter plugin: {error}') from None
        if got is None:
            return None
        allocations = [
            result(claim, devices, nodes.name(row), self._classes.get, self._share)
            for claim, devices in zip(wanted, got, strict=True)
        ]
        return _Offer(wanted, allocations, bool(missing), mappings)

    def _share(self) -> str:
        digits = f"{self.context.rng.getrandbits(128):032x}"
        return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-8{digits[17:20]}-{digits[20:]}"

    def _pools_of(self, nodes: Nodes, row: int) -> list[Pool]:
        name, node = nodes.name(row), nodes.node(row)
        known = self._pools.get(name)
        if known is None or known[0]["metadata"].get("labels") != node["metadata"].get("labels"):
            one = slice(row, row + 1)

            def matches(where: Mapping[str, Any]) -> bool:
                if "nodeName" in where:
                    return bool(where["nodeName"] == name)
                if where.get("allNodes"):
                    return True
                terms = (where.get("nodeSelector") or {}).get("nodeSelectorTerms") or ()
                return bool(terms) and bool(selecting.any_term(terms, nodes, one)[0])

            known = self._pools[name] = node, gather(self._slices.list(), matches, self._taints)
        return known[1]

    def _taints(self, id: DeviceId, body: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        """Those of the device and those that rules give it."""
        found = list(body.get("taints") or ())
        for rule in self._rules.list():
            selector = rule["spec"].get("deviceSelector")
            if selector is None:
                continue
            wanted = (selector.get("driver"), selector.get("pool"), selector.get("device"))
            if all(want is None or want == part for want, part in zip(wanted, id, strict=True)):
                found.append(rule["spec"]["taint"])
        return found

    # --- preferring earlier alternatives

    def pre_score(self, pod: PodState, nodes: Nodes) -> Any:
        state = self.pre_filter(pod, nodes)
        if not isinstance(state, _State) or not any(
            request.get("firstAvailable")
            for claim in (*state.allocated, *state.wanted)
            for request in (claim["spec"].get("devices") or {}).get("requests") or ()
        ):
            return SKIP
        return state

    def score(self, pod: PodState, state: _State, nodes: Nodes, rows: Rows) -> Amounts:
        found = numpy.zeros(len(nodes), dtype=numpy.int64)
        for row in numpy.flatnonzero(nodes.live & ~state.elsewhere):
            if (offer := self._found(pod, state, nodes, int(row))) is not None:
                for claim, allocation in zip(offer.claims, offer.allocations, strict=True):
                    found[row] += _preference(claim, allocation)
        return found[rows]

    def normalize(self, pod: PodState, state: _State, nodes: Nodes, raw: Amounts, fits: Mask) -> Amounts:
        return scores.by_largest(raw, fits)

    # --- keeping and writing it

    def reserve(self, pod: PodState, node: str) -> str:
        nodes = self.context.nodes
        state, row = self.pre_filter(pod, nodes), nodes.row(node)
        if state is SKIP:
            return ""
        if isinstance(state, Refusal) or row is None:
            return state.text if isinstance(state, Refusal) else "claim allocation not found for node"
        offer = self._found(pod, state, nodes, row)
        if offer is None:
            return "claim allocation not found for node"
        got: list[tuple[Obj, Obj | None]] = [(claim, None) for claim in state.allocated]
        for claim, allocation in zip(offer.claims, offer.allocations, strict=True):
            self._pending[meta.uid(claim)] = pod.uid, allocation
            self._taken.count(allocation, 1)
            got.append((claim, allocation))
        special = None
        if offer.made:
            got.pop()
            special = offer.claims[-1], offer.allocations[-1], offer.mappings
        if got or special:
            self._chosen[pod.uid] = _Chosen(node, got, special)
        return ""

    def unreserve(self, pod: PodState, node: str) -> None:
        """What was written already stays the pod's: it is tried again with it. A claim that was made for it is not."""
        chosen = self._chosen.pop(pod.uid, None)
        for uid in [uid for uid, (owner, _) in self._pending.items() if owner == pod.uid]:
            self._forget(uid)
        if chosen is not None and chosen.made is not None:
            self.context.spawn(self._give_up(chosen.made), f"claim of {pod.key}")

    async def _give_up(self, claim: Obj) -> None:
        try:
            await self._delete(claim)
        except KubernelError as error:
            self.context.log.warning("resource claim {}/{}: {}", *meta.key(claim), error)

    async def _delete(self, claim: Obj) -> None:
        client, name, namespace = self.context.client, meta.name(claim), meta.namespace(claim)
        try:
            for attempt in range(_TRIES):
                if attempt:
                    claim = await client.get(_CLAIMS, name, namespace)
                left = [each for each in claim["metadata"].get("finalizers") or () if each != _FINALIZER]
                try:
                    await client.update(
                        _CLAIMS, {**claim, "metadata": {**claim["metadata"], "finalizers": left}}
                    )
                    break
                except Conflict:
                    continue
            await client.delete(_CLAIMS, name, namespace, uid=meta.uid(claim))
        except NotFound:
            return

    def pre_bind(self, pod: PodState, node: str) -> Awaitable[None] | None:
        chosen = self._chosen.get(pod.uid)
        return None if chosen is None else self._bind(pod, chosen)

    def post_bind(self, pod: PodState, node: str) -> None:
        self._chosen.pop(pod.uid, None)

    async def _bind(self, pod: PodState, chosen: _Chosen) -> None:
        written = []
        for claim, allocation in chosen.claims:
            if allocation is None and claims.is_reserved_for(claim, pod.uid):
                written.append(claim)
            else:
                written.append(await self._reserve(pod, claim, allocation))
        if chosen.special is not None:
            written.append(await self._make(pod, chosen, *chosen.special))
        try:
            async with self.context.clock.timeout(self._timeout):
                for claim in written:
                    await self._ready(claim)
        except TimeoutError:
            raise KubernelError("device binding timeout") from None

    async def _make(
        self, pod: PodState, chosen: _Chosen, wanted: Obj, allocation: Obj, mappings: Sequence[Obj]
    ) -> Obj:
        """The claim for extended resources, as it was written."""
        own = {key: value for key, value in wanted["metadata"].items() if key not in ("name", "uid")}
        key = f"{pod.namespace}/{meta.name(wanted)}"
        try:
            made = await self.context.client.create(_CLAIMS, {**wanted, "metadata": own}, pod.namespace)
        except KubernelError as error:
            raise KubernelError(f"create claim for extended resources {key}: {error}") from error
        chosen.made = made
        claim = chosen.made = await self._reserve(pod, made, allocation)
        self._forget(meta.uid(wanted))
        status = {"requestMappings": list(mappings), "resourceClaimName": meta.name(claim)}
        patch = {"metadata": {"uid": pod.uid}, "status": {"extendedResourceClaimStatus": status}}
        try:
            await self.context.client.patch(
                "pods", pod.name, patch, pod.namespace, type="strategic", subresource="status"
            )
        except KubernelError as error:
            raise KubernelError(
                f"update pod {pod.namespace}/{pod.name} ExtendedResourceClaimStatus: {error}"
            ) from error
        return claim

    async def _reserve(self, pod: PodState, claim: Obj, allocation: Obj | None) -> Obj:
        """The claim as it was written."""
        client, name, namespace = self.context.client, meta.name(claim), meta.namespace(claim)
        key = f"{namespace}/{name}"
        for attempt in range(_TRIES):
            if attempt:
                claim = await client.get(_CLAIMS, name, namespace)
            if meta.is_deleting(claim):
                raise KubernelError(f"claim {key} got deleted in the meantime")
            if allocation is not None and claims.allocation(claim) is not None:
                raise KubernelError(f"claim {key} got allocated elsewhere in the meantime")
            doing = f"add finalizer to claim {key}"
            try:
                finalizers = claim["metadata"].get("finalizers") or []
                if allocation is not None and _FINALIZER not in finalizers:
                    metadata = {**claim["metadata"], "finalizers": [*finalizers, _FINALIZER]}
                    claim = await client.update(_CLAIMS, {**claim, "metadata": metadata})
                doing = f"add {'allocation and ' if allocation else ''}reservation to claim {key}"
                return await client.update(
                    _CLAIMS, self._with_pod(claim, pod, allocation), subresource="status"
                )
            except Conflict:
                continue
            except KubernelError as error:
                raise KubernelError(f"{doing}: {error}") from error
        raise KubernelError(f"claim {key} is written by others all the time")

    def _with_pod(self, claim: Obj, pod: PodState, allocation: Obj | None) -> Obj:
        status = claim.get("status") or {}
        now = allocation or status.get("allocation")
        if now is None:
            key = f"{meta.namespace(claim)}/{meta.name(claim)}"
            raise KubernelError(f"claim {key} got deallocated elsewhere in the meantime")
        stamped = {"allocationTimestamp": rfc3339(self.context.clock.time()), **now}
        user = {"resource": "pods", "name": pod.name, "uid": pod.uid}
        others = [each for each in status.get("reservedFor") or () if each.get("uid") != pod.uid]
        return {**claim, "status": {**status, "allocation": stamped, "reservedFor": [*others, user]}}

    async def _ready(self, claim: Obj) -> None:
        """Wait until all binding conditions of its devices are true; KubernelError when one has failed."""
        name, namespace, uid = meta.name(claim), meta.namespace(claim), meta.uid(claim)
        while not _is_ready(claim):
            event = self._waiting[uid] = asyncio.Event()
            try:
                await event.wait()
            finally:
                self._waiting.pop(uid, None)
            current = self._claims.get(name, namespace)
            if current is None or meta.uid(current) != uid or claims.allocation(current) is None:
                raise KubernelError(f"claim {namespace}/{name} got deallocated elsewhere in the meantime")
            claim = current

    # --- when it cannot be had

    def _is_stuck(self, claim: Obj) -> bool:
        """Whether its devices will not become ready."""
        try:
            ready = _is_ready(claim)
        except KubernelError:
            return True
        began = (claims.allocation(claim) or {}).get("allocationTimestamp", "")
        return not ready and began and times.parse(began) + self._timeout < self.context.clock.time()

    async def post_filter(self, cycle: Cycle) -> Nomination | str:
        """An allocated claim that nobody else uses is taken back when its devices are where the pod cannot go."""
        if not cycle.was_asked(self.name):
            # Upstream looks for a state that was not made, whatever the pod.
            raise PolicyError("not found")
        pod, nodes = cycle.pod, self.context.nodes
        state = self.pre_filter(pod, nodes)
        if not isinstance(state, _State):
            return ""
        if state.stale is not None:
            try:
                await self._delete(state.stale)
            except KubernelError as error:
                return str(error)
            return "deletion of ResourceClaim completed"
        if not state.elsewhere.any():
            return ""
        for claim in state.allocated:
            users = (claim.get("status") or {}).get("reservedFor") or ()
            selector = (claims.allocation(claim) or {}).get("nodeSelector")
            if any(each.get("uid") != pod.uid for each in users) or not (selector or self._is_stuck(claim)):
                continue
            status = {
                key: value
                for key, value in (claim.get("status") or {}).items()
                if key not in ("allocation", "devices", "reservedFor")
            }
            try:
                await self.context.client.update(_CLAIMS, {**claim, "status": status}, subresource="status")
            except KubernelError as error:
                return str(error)
            return "deallocation of ResourceClaim completed"
        return ""

    def helps(self, pod: PodState, change: Change) -> bool:
        if change.resource == _CLAIMS:
            before = None if change.old is None else claims.allocation(change.old)
            now = None if change.type == "DELETED" else claims.allocation(change.obj)
            if change.type == "DELETED":
                owner = meta.controller_of(change.obj)
                mine = owner is not None and owner.get("uid") == pod.uid
                return mine or claims.allocation(change.obj) is not None
            return (before is not None and now is None) or self._uses(pod, change.obj)
        if change.resource in (_SLICES, CLASSES, _RULES):
            return True
        return change.resource == "nodes" and change.type != "DELETED"

    def _uses(self, pod: PodState, claim: Obj) -> bool:
        current = self.context.client.informer("pods").get(pod.name, pod.namespace) or pod.pod
        try:
            return any(meta.uid(each) == meta.uid(claim) for each in claims.of_pod(current, self._claims.get))
        except claims.Unready:
            return False


def _preference(claim: Obj, allocation: Obj) -> int:
    chosen = {each["request"] for each in allocation["devices"]["results"]}
    return sum(
        _ALTERNATIVES - position
        for request in (claim["spec"].get("devices") or {}).get("requests") or ()
        for position, each in enumerate(request.get("firstAvailable") or ())
        if f"{request['name']}/{each['name']}" in chosen
    )


def _is_ready(claim: Obj) -> bool:
    """Whether all binding conditions of its devices are true; KubernelError when a failure condition is."""
    status = claim.get("status") or {}
    told = {(each["driver"], each["pool"], each["device"]): each for each in status.get("devices") or ()}
    ready = True
    for each in ((status.get("allocation") or {}).get("devices") or {}).get("results") or ():
        device = told.get((each["driver"], each["pool"], each["device"])) or {}
        true = {one["type"] for one in device.get("conditions") or () if one.get("status") == "True"}
        for condition in each.get("bindingFailureConditions") or ():
            if condition in true:
                key = f"{meta.namespace(claim)}/{meta.name(claim)}"
                raise KubernelError(f"claim {key} binding failed")
        ready = ready and true.issuperset(each.get("bindingConditions") or ())
    return ready

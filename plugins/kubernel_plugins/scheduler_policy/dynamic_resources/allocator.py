"""Devices for claims on one node: the first solution of an exhaustive search, in the order of pools and devices.

Source: k8s.io/dynamic-resource-allocation/structured/internal/incubating (v1.37).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from kubernel.objects import quantity
from kubernel_plugins.scheduler_policy.dynamic_resources.capacity import consumption
from kubernel_plugins.scheduler_policy.dynamic_resources.devices import Device, DeviceId, Pool, PoolId, number

if TYPE_CHECKING:
    from collections.abc import Callable

    from kubernel.store.records import Obj
    from kubernel_plugins.scheduler_policy.dynamic_resources.devices import Number, Selectors

__all__ = ["AllocationError", "Taken", "allocate", "node_selector", "result"]

_MOST_DEVICES = 32
"""AllocationResultsMaxSize."""
_TRIES = 100_000
"""Devices that one search looks at, at most."""


class AllocationError(ValueError):
    """Something is wrong with a claim or a class; the text is upstream's."""


class Taken:
    """Devices that claims have, and what they take of those that are shared."""

    def __init__(self) -> None:
        self.devices: Counter[DeviceId] = Counter()
        self._shares: Counter[DeviceId] = Counter()
        self._capacity: dict[DeviceId, dict[str, Number]] = {}

    def count(self, allocation: Mapping[str, Any], sign: int) -> None:
        """An allocation came (1) or went (-1)."""
        for result in (allocation.get("devices") or {}).get("results") or ():
            if result.get("adminAccess"):
                continue
            id = DeviceId(result["driver"], result["pool"], result["device"])
            if result.get("shareID"):
                self._shares[id] += sign
                there = self._capacity.setdefault(id, {})
                for name, amount in (result.get("consumedCapacity") or {}).items():
                    there[name] = there.get(name, 0) + sign * number(amount)
            else:
                self.devices[id] += sign

    def has(self, id: DeviceId) -> bool:
        return self.devices[id] > 0

    def consumes(self, id: DeviceId) -> bool:
        """Whether it, or a part of it, is taken."""
        return self.devices[id] > 0 or self._shares[id] > 0

    def capacity(self, id: DeviceId) -> Mapping[str, Number]:
        return self._capacity.get(id, {})


class _Request(NamedTuple):
    """A request, or one of the alternatives of one."""

    name: str
    """``request`` or ``request/alternative``, as results call it."""
    base: str
    body: Mapping[str, Any]
    position: int
    """Which alternative it is."""

    @property
    def admin(self) -> bool:
        return bool(self.body.get("adminAccess"))

    @property
    def all(self) -> bool:
        return self.body.get("allocationMode") == "All"

    @property
    def tolerations(self) -> Sequence[Mapping[str, Any]]:
        return self.body.get("tolerations") or ()

    @property
    def capacity(self) -> Mapping[str, Any]:
        return (self.body.get("capacity") or {}).get("requests") or {}


class _Got(NamedTuple):
    request: _Request
    device: Device
    consumed: Mapping[str, Number] | None
    """Of a shared device."""


@dataclass(slots=True)
class _State:
    """What the search has taken so far."""

    got: list[_Got] = field(default_factory=list)
    devices: Counter[DeviceId] = field(default_factory=Counter)
    mine: Counter[DeviceId] = field(default_factory=Counter)
    """Of the claim that is being looked at."""
    capacity: dict[DeviceId, dict[str, Number]] = field(default_factory=dict)
    shares: Counter[DeviceId] = field(default_factory=Counter)
    counters: Counter[tuple[PoolId, tuple[str, str]]] = field(default_factory=Counter)


def allocate(
    claims: Sequence[Obj],
    pools: Sequence[Pool],
    taken: Taken,
    classes: Callable[[str], Obj | None],
    selectors: Selectors,
) -> list[list[_Got]] | None:
    """For each claim its devices; None when they cannot all be had. AllocationError or SelectorError for what cannot
    be asked."""
    return _Search(claims, pools, taken, classes, selectors).run()


class _Search:
    def __init__(
        self,
        claims: Sequence[Obj],
        pools: Sequence[Pool],
        taken: Taken,
        classes: Callable[[str], Obj | None],
        selectors: Selectors,
    ) -> None:
        self._claims, self._pools, self._taken = claims, pools, taken
        self._classes, self._selectors = classes, selectors
        self._pool_of = {pool.id: pool for pool in pools}
        self._candidates: dict[tuple[int, str], list[Device]] = {}
        self._left: dict[PoolId, dict[tuple[str, str], Number]] = {}
        self._state = _State()
        self._tries = 0

    def run(self) -> list[list[_Got]] | None:
        for index, claim in enumerate(self._claims):
            least = sum(
                min(self._count(index, each) for each in _alternatives(request))
                for request in _requests(claim)
            )
            if least > _MOST_DEVICES:
                raise AllocationError(
                    f"claim {_key(claim)}: number of requested devices {least} exceeds the claim limit of "
                    f"{_MOST_DEVICES}"
                )
        found: list[list[_Got]] = []
        return found if self._claim(0, found) else None

    # --- the search

    def _claim(self, index: int, found: list[list[_Got]]) -> bool:
        if index == len(self._claims):
            return True
        before, self._state.got = self._state.got, []
        mine, self._state.mine = self._state.mine, Counter()
        try:

            def rest() -> bool:
                found.append(list(self._state.got))
                if self._claim(index + 1, found):
                    return True
                found.pop()
                return False

            return self._request(index, 0, rest)
        finally:
            self._state.got, self._state.mine = before, mine

    def _request(self, index: int, position: int, rest: Callable[[], bool]) -> bool:
        requests = _requests(self._claims[index])
        if position == len(requests):
            return rest()
        return any(
            self._devices(index, each, 0, 0, lambda: self._request(index, position + 1, rest))
            for each in _alternatives(requests[position])
        )

    def _devices(
        self, index: int, request: _Request, have: int, start: int, rest: Callable[[], bool]
    ) -> bool:
        """``have`` devices of the request are chosen; the next is looked for from ``start``."""
        wanted = self._count(index, request)
        if request.all and not wanted:
            return False
        if have == wanted:
            return rest()
        if len(self._state.got) + wanted - have > _MOST_DEVICES:
            return False
        candidates = self._selected(index, request)
        places = (have,) if request.all else range(start, len(candidates))
        for place in places:
            self._tries += 1
            if self._tries > _TRIES:
                return False
            device = candidates[place]
            got = self._take(index, request, device)
            if got is None:
                continue
            if self._devices(index, request, have + 1, place + 1, rest):
                return True
            self._give_back(got)
        return False

    def _take(self, index: int, request: _Request, device: Device) -> _Got | None:
        state, id = self._state, device.id
        if request.admin:
            if not device.shared and state.mine[id]:
                return None
        elif self._taken.has(id) or state.devices[id]:
            return None
        already = device.shared and (self._taken.consumes(id) or state.shares[id] > 0)
        if not device.is_tolerated(request.tolerations):
            return None
        if not self._constrained(index, request, device):
            return None
        consumed = None
        taken = self._taken.capacity(id)
        if id in state.capacity:
            now = state.capacity[id]
            taken = {name: taken.get(name, 0) + now.get(name, 0) for name in {*taken, *now}}
        if device.shared:
            consumed = consumption(request.capacity, device, taken)
            if consumed is None:
                return None
        elif request.capacity and consumption(request.capacity, device, {}) is None:
            return None
        if not already and not self._counts(device):
            return None
        got = _Got(request, device, consumed)
        state.got.append(got)
        if consumed is None:
            state.mine[id] += 1
            state.devices[id] += not request.admin
        else:
            state.shares[id] += 1
            there = state.capacity.setdefault(id, {})
            for name, amount in consumed.items():
                there[name] = there.get(name, 0) + amount
        if not already:
            self._consume(device, 1)
        return got

    def _give_back(self, got: _Got) -> None:
        state, id = self._state, got.device.id
        state.got.pop()
        if got.consumed is None:
            state.mine[id] -= 1
            state.devices[id] -= not got.request.admin
        else:
            state.shares[id] -= 1
            for name, amount in got.consumed.items():
                state.capacity[id][name] -= amount
        if not (got.device.shared and (self._taken.consumes(id) or state.shares[id] > 0)):
            self._consume(got.device, -1)

    # --- what a device must satisfy

    def _count(self, index: int, request: _Request) -> int:
        if request.all:
            return len(self._selected(index, request))
        return int(request.body.get("count", 1))

    def _selected(self, index: int, request: _Request) -> list[Device]:
        """The devices that class and request select, in order."""
        key = index, request.name
        found = self._candidates.get(key)
        if found is None:
            found = self._candidates[key] = list(self._select(self._claims[index], request))
        return found

    def _select(self, claim: Obj, request: _Request) -> Iterator[Device]:
        name = request.body["deviceClassName"]
        cls = self._classes(name)
        where = f"claim {_key(claim)}, request {request.name}"
        if cls is None:
            raise AllocationError(f"{where}: could not retrieve device class {name}")
        for pool in self._pools:
            if request.all and pool.state:
                text = "being updated" if pool.state == "incomplete" else "invalid"
                raise AllocationError(
                    f"{where}: asks for all devices, but resource pool {pool.id.driver}/{pool.id.pool} is currently "
                    f"{text}"
                )
            for device in pool.devices:
                if self._selectors.select(
                    cls["spec"].get("selectors") or (), device, f"class {name}"
                ) and self._selectors.select(
                    request.body.get("selectors") or (), device, f"claim {_key(claim)}"
                ):
                    yield device

    def _constrained(self, index: int, request: _Request, device: Device) -> bool:
        for constraint in (self._claims[index]["spec"].get("devices") or {}).get("constraints") or ():
            if not _concerns(constraint, request):
                continue
            others = [got.device for got in self._state.got if _concerns(constraint, got.request)]
            if name := constraint.get("matchAttribute"):
                value = device.attribute(name)
                if value is None or (others and others[0].attribute(name) != value):
                    return False
            elif name := constraint.get("distinctAttribute"):
                value = device.attribute(name)
                if value is None or any(each.attribute(name) == value for each in others):
                    return False
        return True

    def _counts(self, device: Device) -> bool:
        """Whether the pool's counters have enough left."""
        if not device.consumes:
            return True
        id = PoolId(device.id.driver, device.id.pool)
        left = self._left.get(id)
        if left is None:
            pool = self._pool_of[id]
            left = dict(pool.counters)
            for each in pool.consumers:
                if self._taken.consumes(each.id):
                    for name, amount in each.consumes:
                        left[name] -= amount
            self._left[id] = left
        return all(left[name] >= self._state.counters[id, name] + amount for name, amount in device.consumes)

    def _consume(self, device: Device, sign: int) -> None:
        id = PoolId(device.id.driver, device.id.pool)
        for name, amount in device.consumes:
            self._state.counters[id, name] += sign * amount  # type: ignore[assignment]


def _key(claim: Obj) -> str:
    return f"{claim['metadata'].get('namespace', '')}/{claim['metadata']['name']}"


def _requests(claim: Obj) -> Sequence[Mapping[str, Any]]:
    found: Sequence[Mapping[str, Any]] = (claim["spec"].get("devices") or {}).get("requests") or ()
    return found


def _alternatives(request: Mapping[str, Any]) -> list[_Request]:
    name = request["name"]
    if exactly := request.get("exactly"):
        return [_Request(name, name, exactly, 0)]
    return [
        _Request(f"{name}/{each['name']}", name, each, position)
        for position, each in enumerate(request.get("firstAvailable") or ())
    ]


def _concerns(constraint: Mapping[str, Any], request: _Request) -> bool:
    names = constraint.get("requests") or ()
    return not names or request.base in names or request.name in names


# --- what is written down


def result(
    claim: Obj,
    got: Iterable[_Got],
    node: str,
    classes: Callable[[str], Obj | None],
    share: Callable[[], str],
) -> Obj:
    """The AllocationResult of a claim; ``share()`` is an id for a part of a shared device."""
    got = list(got)
    devices: Obj = {"results": [_result(each, share) for each in got]}
    chosen = {each.request.base: each.request for each in got}
    if config := _config(claim, chosen, classes):
        devices["config"] = config
    made: Obj = {"devices": devices}
    if selector := node_selector([each.device for each in got], node):
        made["nodeSelector"] = selector
    return made


def _result(got: _Got, share: Callable[[], str]) -> Obj:
    body = got.device.body
    made: Obj = {
        "request": got.request.name,
        "driver": got.device.id.driver,
        "pool": got.device.id.pool,
        "device": got.device.id.name,
    }
    if got.request.admin:
        made["adminAccess"] = True
    if got.request.tolerations:
        made["tolerations"] = list(got.request.tolerations)
    for name in ("bindingConditions", "bindingFailureConditions"):
        if body.get(name):
            made[name] = list(body[name])
    if got.consumed is not None:
        made["shareID"] = share()
        if got.consumed:
            made["consumedCapacity"] = {
                name: _text(amount, got.device.capacity[name]["value"])
                for name, amount in got.consumed.items()
            }
    return made


def _text(amount: Number, like: str) -> str:
    return quantity.format_binary(amount) if like.endswith("i") else quantity.format_decimal(amount)


def _config(claim: Obj, chosen: Mapping[str, _Request], classes: Callable[[str], Obj | None]) -> list[Obj]:
    names = [chosen[each["name"]] for each in _requests(claim) if each["name"] in chosen]
    found: list[tuple[str, list[str], Mapping[str, Any]]] = []
    by_class: dict[str, list[_Request]] = {}
    for request in names:
        by_class.setdefault(request.body["deviceClassName"], []).append(request)
    for name, users in by_class.items():
        own = ((classes(name) or {}).get("spec") or {}).get("config") or ()
        found += [("FromClass", [each.name for each in users], entry) for entry in own]
    for entry in (claim["spec"].get("devices") or {}).get("config") or ():
        wanted = list(entry.get("requests") or ())
        if not wanted or any(each.base in wanted or each.name in wanted for each in names):
            found.append(("FromClaim", wanted, entry))
    made = []
    for source, wanted, entry in found:
        everything = all(each.base in wanted or each.name in wanted for each in names)
        body = {key: value for key, value in entry.items() if key != "requests"}
        made.append(
            {"source": source, **({} if everything else {"requests": wanted} if wanted else {}), **body}
        )
    return made


def node_selector(devices: Iterable[Device], node: str) -> Obj | None:
    """Where an allocation can be used; None: everywhere."""
    fields: list[Any] = []
    expressions: list[Any] = []
    for device in devices:
        where = device.placement
        if where.get("nodeName") or device.body.get("bindsToNode"):
            only = {"key": "metadata.name", "operator": "In", "values": [node]}
            return {"nodeSelectorTerms": [{"matchFields": [only]}]}
        for term in (where.get("nodeSelector") or {}).get("nodeSelectorTerms") or ():
            fields += [each for each in term.get("matchFields") or () if each not in fields]
            expressions += [each for each in term.get("matchExpressions") or () if each not in expressions]
    term = {}
    if fields:
        term["matchFields"] = fields
    if expressions:
        term["matchExpressions"] = expressions
    return {"nodeSelectorTerms": [term]} if term else None

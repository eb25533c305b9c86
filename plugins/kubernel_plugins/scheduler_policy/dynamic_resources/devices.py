"""Devices as drivers publish them: pools of ResourceSlices, and which devices a selector selects.

Source: k8s.io/dynamic-resource-allocation/{cel,structured} (v1.37).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from kubernel import cel
from kubernel.cel.library.quantity import Quantity, semver
from kubernel.objects import quantity
from kubernel_plugins.scheduler_policy.tolerations import tolerates

if TYPE_CHECKING:
    from collections.abc import Callable

    from kubernel.store.records import Obj

__all__ = ["Device", "DeviceId", "Pool", "PoolId", "SelectorError", "Selectors", "gather", "number"]

_COST_LIMIT = 1_000_000
_PROGRAMS = 1024
"""Compiled selectors remembered at a time."""
_HINT = (
    ". consider using CEL optional chaining (.? followed by orValue()) or guarding the check with has() for optional "
    "fields"
)
_PREVENTING = ("NoExecute", "NoSchedule")
Number = int | Decimal


class PoolId(NamedTuple):
    driver: str
    pool: str


class DeviceId(NamedTuple):
    driver: str
    pool: str
    name: str

    def __str__(self) -> str:
        return "/".join(self)


class SelectorError(ValueError):
    """A selector gave no answer; the text is upstream's."""


def number(value: Any) -> Number:
    """The amount of a quantity."""
    return quantity.parse(value)


@dataclass(frozen=True, eq=False)
class Device:
    """One device of a slice."""

    id: DeviceId
    body: Mapping[str, Any]
    slice: Mapping[str, Any]
    """The ``spec`` of its slice."""
    taints: Sequence[Mapping[str, Any]] = ()

    @property
    def shared(self) -> bool:
        """Whether it may be allocated several times, each taking a part of its capacity."""
        return bool(self.body.get("allowMultipleAllocations"))

    @property
    def placement(self) -> Mapping[str, Any]:
        """What says on which nodes it is: the device itself, or the slice."""
        return self.body if self.slice.get("perDeviceNodeSelection") else self.slice

    @cached_property
    def capacity(self) -> Mapping[str, Mapping[str, Any]]:
        found: Mapping[str, Mapping[str, Any]] = self.body.get("capacity") or {}
        return found

    @cached_property
    def consumes(self) -> Sequence[tuple[tuple[str, str], Number]]:
        """((counter set, counter), how much)."""
        return [
            ((entry["counterSet"], name), number(counter["value"]))
            for entry in self.body.get("consumesCounters") or ()
            for name, counter in entry["counters"].items()
        ]

    def attribute(self, name: str) -> tuple[str, Any] | None:
        """(kind, value) of an attribute by its full name; None when the device has none."""
        attributes = self.body.get("attributes") or {}
        found = attributes.get(name)
        if found is None:
            domain, _, rest = name.partition("/")
            found = attributes.get(rest) if domain == self.id.driver else None
        return next(iter(found.items()), None) if found else None

    def is_tolerated(self, tolerations: Iterable[Mapping[str, Any]]) -> bool:
        tolerations = list(tolerations)
        return all(
            taint.get("effect") not in _PREVENTING or any(tolerates(each, taint) for each in tolerations)
            for taint in self.taints
        )

    @cached_property
    def seen(self) -> Mapping[str, Any]:
        """The variable ``device`` of expressions."""
        return {
            "driver": self.id.driver,
            "allowMultipleAllocations": self.shared,
            "attributes": _by_domain(self.id.driver, self.body.get("attributes"), _attribute),
            "capacity": _by_domain(self.id.driver, self.body.get("capacity"), _amount),
        }


class _Domains(dict[str, dict[str, Any]]):
    """A domain that a device says nothing about is empty."""

    def __missing__(self, key: str) -> dict[str, Any]:
        return {}

    def get(self, key: Any, default: Any = None) -> Any:
        return self[key]

    def __contains__(self, key: object) -> bool:
        return True


def _by_domain(
    driver: str, values: Mapping[str, Any] | None, convert: Callable[[Mapping[str, Any]], Any]
) -> _Domains:
    found = _Domains()
    for name, value in (values or {}).items():
        domain, slash, rest = name.partition("/")
        where, key = (domain, rest) if slash else (driver, name)
        found.setdefault(where, {})[key] = convert(value)
    return found


def _attribute(value: Mapping[str, Any]) -> Any:
    kind, plain = next(iter(value.items()))
    return semver(plain) if kind == "version" else plain


def _amount(value: Mapping[str, Any]) -> Quantity:
    return Quantity(value["value"])


class Selectors:
    """Compiled expressions, and what they say about devices."""

    def __init__(self) -> None:
        domains = cel.map_of(cel.STRING, cel.map_of(cel.STRING, cel.DYN))
        device = cel.object_type(
            "DRADevice",
            {
                "driver": cel.STRING,
                "allowMultipleAllocations": cel.BOOL,
                "attributes": domains,
                "capacity": cel.map_of(cel.STRING, cel.map_of(cel.STRING, cel.opaque(Quantity.TYPE))),
            },
        )
        self._environment = cel.Environment({"device": device}, bindings=True)
        self._programs: OrderedDict[str, cel.Program] = OrderedDict()

    def select(self, selectors: Iterable[Mapping[str, Any]], device: Device, whose: str) -> bool:
        """Whether all of them select the device; ``whose`` they are (``class gpu``) is told in a SelectorError."""
        for position, selector in enumerate(selectors):
            where = f"{whose}: selector #{position}"
            try:
                program = self._program((selector.get("cel") or {}).get("expression", ""))
            except cel.CompileError as error:
                raise SelectorError(f"{where}: CEL compile error: compilation failed: {error}") from None
            try:
                if program.evaluate({"device": device.seen}, _COST_LIMIT) is not True:
                    return False
            except cel.EvaluationError as error:
                hint = _HINT if "no such key" in str(error) else ""
                raise SelectorError(
                    f"{where} on device {device.id}: CEL runtime error: {error}{hint}"
                ) from None
        return True

    def _program(self, expression: str) -> cel.Program:
        program = self._programs.get(expression)
        if program is None:
            program = self._programs[expression] = self._environment.compile(expression)
            if len(self._programs) > _PROGRAMS:
                self._programs.popitem(last=False)
        else:
            self._programs.move_to_end(expression)
        return program


@dataclass(slots=True)
class Pool:
    """What one driver has in one pool for one node.

    ``state`` is ``incomplete`` while the driver is publishing it, ``invalid`` when it cannot be as it is: nothing is
    allocated from such a pool, and what asks for all devices waits.
    """

    id: PoolId
    devices: Sequence[Device] = ()
    state: str = ""
    counters: Mapping[tuple[str, str], Number] = field(default_factory=dict)
    """Of each (counter set, counter), how much the pool has altogether."""
    consumers: Sequence[Device] = ()
    """All devices of the pool that consume counters, those of other nodes among them."""
    binds: bool = False
    """Some device has to be made ready after it was allocated: such pools come last."""


def gather(
    slices: Iterable[Obj],
    matches: Callable[[Mapping[str, Any]], bool],
    taints: Callable[[DeviceId, Mapping[str, Any]], Sequence[Mapping[str, Any]]],
) -> list[Pool]:
    """The pools of a node in the order in which they are tried. ``matches`` tells whether what has ``nodeName``,
    ``allNodes`` or ``nodeSelector`` is on the node, ``taints`` those of a device."""
    by_pool: dict[PoolId, list[Obj]] = {}
    for each in slices:
        spec = each["spec"]
        by_pool.setdefault(PoolId(spec["driver"], spec["pool"]["name"]), []).append(each)
    pools = []
    for key, there in sorted(by_pool.items()):
        newest = max(each["spec"]["pool"].get("generation", 0) for each in there)
        current = sorted(
            (each for each in there if each["spec"]["pool"].get("generation", 0) == newest),
            key=lambda each: str(each["metadata"]["name"]),
        )
        pool = _pool(key, current, matches, taints)
        if pool is not None:
            pools.append(pool)
    return sorted(pools, key=lambda pool: (pool.binds, pool.id))


def _pool(
    key: PoolId,
    slices: Sequence[Obj],
    matches: Callable[[Mapping[str, Any]], bool],
    taints: Callable[[DeviceId, Mapping[str, Any]], Sequence[Mapping[str, Any]]],
) -> Pool | None:
    here: list[Device] = []
    everywhere: list[Device] = []
    counters: dict[tuple[str, str], Number] = {}
    relevant = False
    for each in slices:
        spec = each["spec"]
        for counter_set in spec.get("sharedCounters") or ():
            for name, counter in counter_set["counters"].items():
                counters[counter_set["name"], name] = number(counter["value"])
        by_device = bool(spec.get("perDeviceNodeSelection"))
        there = not by_device and matches(spec)
        relevant = relevant or there
        for body in spec.get("devices") or ():
            id = DeviceId(*key, body["name"])
            device = Device(id, body, spec, taints(id, body))
            everywhere.append(device)
            if matches(body) if by_device else there:
                relevant = True
                here.append(device)
    if not relevant:
        return None
    if len(slices) != slices[0]["spec"]["pool"].get("resourceSliceCount", 1):
        return Pool(key, state="incomplete")
    names = [device.id.name for device in here]
    if len(set(names)) < len(names):
        return Pool(key, state="invalid")
    consumers = [device for device in everywhere if device.body.get("consumesCounters")]
    if any(name not in counters for device in consumers for name, _ in device.consumes):
        return Pool(key, state="invalid")
    binds = any(device.body.get("bindingConditions") for device in here)
    return Pool(key, here, "", counters, consumers, binds)

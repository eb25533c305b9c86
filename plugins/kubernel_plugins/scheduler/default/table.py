"""The node table: what nodes offer and carry, in arrays that events keep current.

A pod that was given a node counts there at once, before its binding has come back: *assumed*. Pods of nodes that
are not known (yet, or any more) are kept aside. Every change is logged by row, so that what was computed for
a pod can be brought up to date by looking at these rows alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy
import orjson

from kubernel_plugins.scheduler.default.counts import PodCounts
from kubernel_plugins.scheduler.default.pods import amount

if TYPE_CHECKING:
    from kubernel.plugin.scheduling import Amounts, Ids, Mask, PodState
    from kubernel.store.records import Obj

__all__ = ["NodeTable"]

_FIRST_ROWS = 16
_LOGGED = 4096
"""Changes remembered at least; who is further behind computes everything anew."""
_ANY = "0.0.0.0"  # noqa: S104 - an address that host ports are compared with


class _Interned:
    """Values as small numbers."""

    __slots__ = ("ids",)

    def __init__(self) -> None:
        self.ids: dict[Any, int] = {}

    def of(self, value: Any) -> int:
        return self.ids.setdefault(value, len(self.ids))


class NodeTable:
    """Implements ``kubernel.plugin.scheduling.Nodes``; the methods below the first rule change it."""

    def __init__(self) -> None:
        self._size = _FIRST_ROWS
        self.live: Mask = numpy.zeros(self._size, dtype=bool)
        self.unschedulable: Mask = numpy.zeros(self._size, dtype=bool)
        self.pods: Amounts = numpy.zeros(self._size, dtype=numpy.int64)
        self.nonzero: Amounts = numpy.zeros((2, self._size), dtype=numpy.int64)
        self._nothing: Amounts = numpy.zeros(self._size, dtype=numpy.int64)
        self._allocatable: dict[str, Amounts] = {}
        self._requested: dict[str, Amounts] = {}
        self._labels: dict[str, tuple[Ids, _Interned]] = {}
        self._taints: Ids = numpy.zeros(self._size, dtype=numpy.int32)
        self._taint_ids = _Interned()
        self._taint_sets: list[tuple[Mapping[str, Any], ...]] = []
        self._taint_id(())
        self._images: dict[str, dict[int, int]] = {}
        self._ports: dict[tuple[str, int], dict[str, dict[int, int]]] = {}
        self._rows: dict[str, int] = {}
        self._nodes: list[Obj | None] = [None] * self._size
        self._free = list(range(self._size - 1, -1, -1))
        self._on: list[dict[str, PodState]] = [{} for _ in range(self._size)]
        self._where: dict[str, str] = {}
        self._aside: dict[str, dict[str, PodState]] = {}
        self._counts = PodCounts(self)
        self.matching, self.matching_in = self._counts.matching, self._counts.matching_in
        self.domains, self.terms = self._counts.domains, self._counts.terms
        self.labelling = 0
        """Grows when nodes come or go, or their labels change."""
        self.epoch = 0
        """Grows when arrays are replaced, and when nothing holds any more that was computed from them."""
        self._versions = [0] * self._size
        self._log: list[int] = []
        self._log_start = 0

    # --- reading

    def __len__(self) -> int:
        return self._size

    @property
    def count(self) -> int:
        return len(self._rows)

    @property
    def pods_known(self) -> int:
        """Pods that have a node, or are assumed to."""
        return len(self._where)

    def names(self) -> list[str]:
        return sorted(self._rows)

    def row(self, name: str) -> int | None:
        return self._rows.get(name)

    def name(self, row: int) -> str:
        return str(self.node(row)["metadata"]["name"])

    def node(self, row: int) -> Obj:
        node = self._nodes[row]
        if node is None:
            raise KeyError(row)
        return node

    def allocatable(self, resource: str) -> Amounts:
        return self._allocatable.get(resource, self._nothing)

    def requested(self, resource: str) -> Amounts:
        return self._requested.get(resource, self._nothing)

    def label(self, key: str) -> Ids:
        return self._label(key)[0]

    def label_values(self, key: str) -> Mapping[str, int]:
        return self._label(key)[1].ids

    def taint_sets(self) -> tuple[Ids, Sequence[tuple[Mapping[str, Any], ...]]]:
        return self._taints, self._taint_sets

    def image(self, name: str) -> Amounts:
        found = self._images.get(name)
        if not found:
            return self._nothing
        sizes = numpy.zeros(self._size, dtype=numpy.int64)
        sizes[list(found)] = list(found.values())
        return sizes

    def ports_in_use(self, ports: Collection[tuple[str, str, int]]) -> Mask:
        taken = numpy.zeros(self._size, dtype=bool)
        for ip, protocol, port in ports:
            for used, rows in self._ports.get((protocol, port), {}).items():
                if used == ip or _ANY in (used, ip):
                    taken[list(rows)] = True
        return taken

    def marked(self, names: Iterable[str]) -> Mask:
        """The rows of these nodes."""
        found = numpy.zeros(self._size, dtype=bool)
        found[[row for name in names if (row := self._rows.get(name)) is not None]] = True
        return found

    def spread(self, values: Mapping[str, int]) -> Amounts:
        """A number for each of these nodes, 0 elsewhere."""
        found = numpy.zeros(self._size, dtype=numpy.int64)
        for name, value in values.items():
            if (row := self._rows.get(name)) is not None:
                found[row] = value
        return found

    def rows(self) -> Iterable[int]:
        """Those with a node."""
        return self._rows.values()

    def pods_on(self, row: int) -> Iterable[PodState]:
        return self._on[row].values()

    def pod(self, uid: str) -> tuple[PodState, str] | None:
        """A pod that counts somewhere, and the name of its node."""
        name = self._where.get(uid)
        if name is None:
            return None
        row = self._rows.get(name)
        there = self._aside[name] if row is None else self._on[row]
        return there[uid], name

    def is_on(self, uid: str, row: int) -> bool:
        return uid in self._on[row]

    # --- what changed

    @property
    def position(self) -> int:
        """Where in the log of changes we are."""
        return self._log_start + len(self._log)

    def changes_since(self, position: int) -> list[int] | None:
        """Rows changed since: ``row`` when its pods did, ``~row`` when the node did. None: too many."""
        if position < self._log_start:
            return None
        return self._log[position - self._log_start :]

    def rewind(self, position: int) -> None:
        """All is again as it was at ``position``: nothing changed."""
        if position >= self._log_start:
            for entry in self._log[position - self._log_start :]:
                self._versions[entry if entry >= 0 else ~entry] -= 1
            del self._log[position - self._log_start :]

    def version(self, row: int) -> int:
        """Another one after each change of the node or its pods."""
        return self._versions[row]

    def _changed(self, entry: int) -> None:
        self._versions[entry if entry >= 0 else ~entry] += 1
        self._log.append(entry)
        if len(self._log) > 2 * _LOGGED:
            del self._log[:_LOGGED]
            self._log_start += _LOGGED

    # --- nodes

    def set_node(self, node: Obj) -> bool:
        """Whether anything changed that decides where pods go: heartbeats do not."""
        name = node["metadata"]["name"]
        row = self._rows.get(name)
        if row is None:
            row = self._new_row(name)
        before = self._nodes[row]
        self._nodes[row] = node
        if before is not None and _room(before) == _room(node):
            return False
        spec, status = node.get("spec") or {}, node.get("status") or {}
        self.unschedulable[row] = bool(spec.get("unschedulable"))
        self._set_allocatable(row, status.get("allocatable") or {})
        labels = node["metadata"].get("labels") or {}
        if before is None or labels != (before["metadata"].get("labels") or {}):
            self.labelling += 1
        for key, (ids, values) in self._labels.items():
            value = labels.get(key)
            ids[row] = -1 if value is None else values.of(value)
        self._taints[row] = self._taint_id(spec.get("taints") or ())
        images = status.get("images")
        if images != ((before or {}).get("status") or {}).get("images"):
            self._set_images(row, (before or {}).get("status") or {}, status)
        if before is None:
            for pod in self._aside.pop(name, {}).values():
                self._count(row, pod, 1)
        self._changed(~row)
        return True

    def remove_node(self, name: str) -> None:
        """Its pods stay known: they may be seen going later, or the node coming back."""
        row = self._rows.pop(name, None)
        if row is None:
            return
        pods = dict(self._on[row])
        for pod in pods.values():
            self._count(row, pod, -1)
        if pods:
            self._aside[name] = pods
        self._set_images(row, (self._nodes[row] or {}).get("status") or {}, {})
        self._nodes[row] = None
        self.live[row] = self.unschedulable[row] = False
        for values in self._allocatable.values():
            values[row] = 0
        for ids, _ in self._labels.values():
            ids[row] = -1
        self.labelling += 1
        self._taints[row] = 0
        self._free.append(row)
        self._changed(~row)

    def _new_row(self, name: str) -> int:
        if not self._free:
            self._grow()
        row = self._free.pop()
        self._rows[name] = row
        self.live[row] = True
        return row

    def _grow(self) -> None:
        more = self._size
        self._free = list(range(2 * more - 1, more - 1, -1))
        self._size *= 2
        self._nodes += [None] * more
        self._versions += [0] * more
        self._on += [{} for _ in range(more)]

        def longer(array: Any, fill: int = 0) -> Any:
            extra = numpy.full((*array.shape[:-1], more), fill, dtype=array.dtype)
            return numpy.concatenate((array, extra), axis=-1)

        self.live, self.unschedulable = longer(self.live), longer(self.unschedulable)
        self.pods, self.nonzero = longer(self.pods), longer(self.nonzero)
        self._nothing, self._taints = longer(self._nothing), longer(self._taints)
        self._labels = {key: (longer(ids, -1), values) for key, (ids, values) in self._labels.items()}
        for table in (self._allocatable, self._requested):
            for each in table:
                table[each] = longer(table[each])
        self._counts.grow(longer)
        self.epoch += 1

    def _set_allocatable(self, row: int, allocatable: Mapping[str, Any]) -> None:
        for resource in allocatable:
            if resource not in self._allocatable:
                self._allocatable[resource] = numpy.zeros(self._size, dtype=numpy.int64)
        for resource, values in self._allocatable.items():
            given = allocatable.get(resource)
            values[row] = 0 if given is None else amount(resource, given)

    def _label(self, key: str) -> tuple[Ids, _Interned]:
        found = self._labels.get(key)
        if found is None:
            values = _Interned()
            ids = numpy.full(self._size, -1, dtype=numpy.int32)
            for row in self._rows.values():
                value = (self.node(row)["metadata"].get("labels") or {}).get(key)
                if value is not None:
                    ids[row] = values.of(value)
            found = self._labels[key] = ids, values
        return found

    def _taint_id(self, taints: Sequence[Mapping[str, Any]]) -> int:
        key = orjson.dumps(list(taints), option=orjson.OPT_SORT_KEYS)
        known = len(self._taint_sets)
        number = self._taint_ids.of(key)
        if number == known:
            self._taint_sets.append(tuple(taints))
        return number

    def _set_images(self, row: int, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
        for image in before.get("images") or ():
            for name in image.get("names") or ():
                if (rows := self._images.get(name)) is not None:
                    rows.pop(row, None)
                    if not rows:
                        del self._images[name]
        for image in after.get("images") or ():
            for name in image.get("names") or ():
                self._images.setdefault(name, {})[row] = image.get("sizeBytes") or 0

    # --- pods

    def place(self, pod: PodState, node: str) -> None:
        """The pod is, or is assumed to be, on ``node``."""
        row = self._rows.get(node)
        if (before := self._where.get(pod.uid)) is not None:
            there = self._aside[before] if before not in self._rows else self._on[self._rows[before]]
            if before == node and _counts(there[pod.uid]) == _counts(pod):
                # An assumed pod was bound, or one started: nothing that was computed is wrong now.
                there[pod.uid] = pod
                if row is not None:
                    self._versions[row] += 1
                return
            self.take_off(pod.uid)
        self._where[pod.uid] = node
        if row is None:
            self._aside.setdefault(node, {})[pod.uid] = pod
        else:
            self._count(row, pod, 1)
            self._changed(row)

    @contextmanager
    def supposed(self, pod: PodState, rows: Any) -> Iterator[None]:
        """Inside, one more pod like this counts on each of these rows (an index array, none twice); nothing is
        logged."""
        self._count_all(rows, pod, 1)
        try:
            yield
        finally:
            self._count_all(rows, pod, -1)

    def _count_all(self, rows: Any, pod: PodState, sign: int) -> None:
        if pod.ports or pod.terms or self._counts.wanted:
            for row in rows.tolist():
                self._count(row, pod, sign)
            return
        for row in rows.tolist():
            if sign > 0:
                self._on[row][pod.uid] = pod
            else:
                del self._on[row][pod.uid]
        self._add(rows, pod, sign)

    def _add(self, rows: Any, pod: PodState, sign: int) -> None:
        """What ``pod`` asks for, to one row or to an array of different rows."""
        self.pods[rows] += sign
        for resource, value in pod.requests.items():
            self._sums(resource)[rows] += sign * value
        self.nonzero[0, rows] += sign * pod.nonzero[0]
        self.nonzero[1, rows] += sign * pod.nonzero[1]

    def take_off(self, uid: str) -> bool:
        """Whether it was counted anywhere."""
        name = self._where.pop(uid, None)
        if name is None:
            return False
        row = self._rows.get(name)
        if row is None:
            pods = self._aside[name]
            del pods[uid]
            if not pods:
                del self._aside[name]
        else:
            self._count(row, self._on[row][uid], -1)
            self._changed(row)
        return True

    def _count(self, row: int, pod: PodState, sign: int) -> None:
        if sign > 0:
            self._on[row][pod.uid] = pod
        else:
            del self._on[row][pod.uid]
        self._add(row, pod, sign)
        for ip, protocol, port in pod.ports:
            self._count_port(row, ip, (protocol, port), sign)
        self._counts.add(row, pod, sign)

    def _sums(self, resource: str) -> Amounts:
        sums = self._requested.get(resource)
        if sums is None:
            sums = self._requested[resource] = numpy.zeros(self._size, dtype=numpy.int64)
        return sums

    def _count_port(self, row: int, ip: str, port: tuple[str, int], sign: int) -> None:
        rows = self._ports.setdefault(port, {}).setdefault(ip, {})
        rows[row] = rows.get(row, 0) + sign
        if not rows[row]:
            del rows[row]
            if not rows:
                del self._ports[port][ip]
                if not self._ports[port]:
                    del self._ports[port]


def _counts(pod: PodState) -> tuple[Any, ...]:
    """All of a pod that any sum of the table is made of."""
    return pod.requests, pod.nonzero, pod.ports, pod.terms, pod.labels, pod.leaving, pod.priority, pod.claims


def _room(node: Obj) -> tuple[Any, ...]:
    """All of a node that decides whether a pod fits, and how well: heartbeats are not in it."""
    spec, status = node.get("spec") or {}, node.get("status") or {}
    return (
        status.get("allocatable"),
        node["metadata"].get("labels"),
        spec.get("taints"),
        spec.get("unschedulable"),
        status.get("images"),
        status.get("declaredFeatures"),
    )

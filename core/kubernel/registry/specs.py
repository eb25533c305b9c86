"""Specs seen before: objects made from one template differ in their metadata alone.

What becomes of a ``spec`` by its schema, by ``Strategy.default_spec`` and by rules that look at nothing else is a
function of its bytes. So it is found out once and then looked up: how it decodes, its defaults, its fields, whether
it is valid. Kept is what comes a second time: what is written once costs an encoding and no memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from kubernel.registry.fields import created

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kubernel.registry.apply import Entry
    from kubernel.registry.fields import Tree
    from kubernel.registry.request import Request
    from kubernel.registry.schema import Node
    from kubernel.registry.types import ResourceType
    from kubernel.store.records import Obj

__all__ = ["Spec", "Specs", "Table"]

MOST = 256
"""Specs of a type that are kept, by each of three things known about them."""
_ENTRIES = 64
LARGEST = 16 * 1024
"""Bytes of one that is kept."""


class Spec:
    """``given`` is its JSON in a body, ``completed`` what decoding and defaulting make of it, ``fields`` the tree of
    that (None: they are nobody's): shared, never to be changed."""

    __slots__ = ("completed", "entries", "fields", "given")

    def __init__(self, given: bytes) -> None:
        self.given = given
        self.completed = b""
        """Empty while it is not known."""
        self.fields: Tree | None = None
        self.entries: dict[Any, Entry] = {}
        """managedFields of new objects with it, by all else that they depend on; the time is another one's."""

    def keep_entry(self, key: Any, entries: Sequence[Entry]) -> None:
        if key is None or len(entries) != 1:
            return
        if len(self.entries) >= _ENTRIES:
            self.entries.clear()
        (self.entries[key],) = entries


class Table:
    """The specs of one type."""

    __slots__ = ("_bodies", "_completed", "_node", "_once", "_valid")

    def __init__(self, node: Node) -> None:
        self._node = node
        self._once: dict[int, None] = {}
        """Hashes of what came once."""
        self._bodies: dict[bytes, Spec] = {}
        self._completed: dict[bytes, tuple[bytes, dict[str, Any]]] = {}
        self._valid: dict[bytes, None] = {}

    def body(self, obj: Obj) -> Spec | None:
        """The spec of a body as it came; None for one that is not worth keeping."""
        given = _encoded(obj)
        if given is None:
            return None
        found = self._bodies.get(given)
        return Spec(given) if found is None and self._again("body", given) else found

    def learn(self, request: Request, spec: Spec, obj: Obj) -> None:
        """``obj`` has what became of ``spec``, which had nothing but known fields."""
        value = obj["spec"]
        spec.completed = orjson.dumps(value)
        spec.fields = created(self._node, {"spec": value}, request.resets).get("f:spec")
        _keep(self._bodies, spec.given, spec)

    def complete(self, request: Request, obj: Obj) -> bytes | None:
        """Complete the spec of ``obj``, whoever it is from, if what becomes of it is known: then None. Else what to
        tell ``completed`` of it."""
        given = _encoded(obj)
        if given is None:
            return b""
        known = self._completed.get(given)
        if known is None:
            return given if self._again("completed", given) else b""
        completed, request.of_spec = known
        if completed != given:
            obj["spec"] = orjson.loads(completed)
        return None

    def completed(self, given: bytes, obj: Obj) -> None:
        if given:
            _keep(self._completed, given, (orjson.dumps(obj["spec"]), {}))

    def valid(self, obj: Obj) -> tuple[bool, bytes]:
        """Whether the spec of ``obj`` was found valid before; if not, what to tell ``validated``."""
        given = _encoded(obj)
        if given is None:
            return False, b""
        if given in self._valid:
            return True, b""
        return False, given if self._again("valid", given) else b""

    def validated(self, given: bytes) -> None:
        if given:
            _keep(self._valid, given, None)

    def _again(self, what: str, given: bytes) -> bool:
        mark = hash((what, given))
        if mark in self._once:
            del self._once[mark]
            return True
        _keep(self._once, mark, None)
        return False


def _encoded(obj: Obj) -> bytes | None:
    spec = obj.get("spec")
    if not spec or type(spec) is not dict:
        return None
    given = orjson.dumps(spec)
    return given if len(given) <= LARGEST else None


def _keep(table: dict[Any, Any], key: Any, value: Any) -> None:
    """The oldest goes when the table is full."""
    if len(table) >= MOST and key not in table:
        del table[next(iter(table))]
    table[key] = value


class Specs:
    """The memory of one registry."""

    def __init__(self) -> None:
        self._tables: dict[Node, Table] = {}

    def of(self, type: ResourceType) -> Table | None:
        """None for a type without a spec, and where ``Strategy.default`` may do anything to it."""
        node = type.schema()
        table = self._tables.get(node)
        if table is None:
            if "spec" not in (node.properties or ()) or not type.strategy.spec_apart():
                return None
            if len(self._tables) >= MOST:
                self._tables.clear()
            table = self._tables[node] = Table(node)
        return table

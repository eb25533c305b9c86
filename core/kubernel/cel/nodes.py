"""The syntax tree. ``at`` is the node's place in the source; the checker sets ``type`` and overload choices."""

from __future__ import annotations

from typing import Any

from .types import DYN, Overload, Type

__all__ = [
    "Bind",
    "Call",
    "Comprehension",
    "Ident",
    "ListNode",
    "Literal",
    "Logic",
    "MapNode",
    "Node",
    "Select",
    "Struct",
]


class Node:
    __slots__ = ("at", "depth", "type")

    def __init__(self, at: int, *parts: Node | None) -> None:
        self.at = at
        self.type: Type = DYN
        self.depth: int = 1 + max((part.depth for part in parts if part is not None), default=0)


class Literal(Node):
    __slots__ = ("value",)

    def __init__(self, at: int, value: Any) -> None:
        super().__init__(at)
        self.value = value


class Ident(Node):
    __slots__ = ("name",)

    def __init__(self, at: int, name: str) -> None:
        super().__init__(at)
        self.name = name


class Select(Node):
    """``operand.field``, ``operand.?field`` (optional) or ``has(operand.field)`` (test).

    ``key`` is the key to look up (a schema's names are escaped in expressions), ``name`` the dotted
    identifier that the whole selection turned out to be.
    """

    __slots__ = ("field", "key", "name", "operand", "optional", "test")

    def __init__(
        self, at: int, operand: Node, field: str, *, optional: bool = False, test: bool = False
    ) -> None:
        super().__init__(at, operand)
        self.operand = operand
        self.field = self.key = field
        self.optional = optional
        self.test = test
        self.name = ""


class Call(Node):
    """A function call; operators are ``_+_``, ``!_``, ``_[_]``, ``_?_:_`` and so on, as in cel-go."""

    __slots__ = ("args", "function", "overloads", "target")

    def __init__(self, at: int, function: str, args: list[Node], target: Node | None = None) -> None:
        super().__init__(at, target, *args)
        self.function = function
        self.target = target
        self.args = args
        self.overloads: list[Overload] = []


class Logic(Node):
    """``a && b && …`` or ``a || b || …``, any number of terms."""

    __slots__ = ("function", "terms")

    def __init__(self, at: int, function: str, terms: list[Node]) -> None:
        super().__init__(at, *terms)
        self.function = function
        self.terms = terms


class ListNode(Node):
    """A list; ``optional`` holds the indexes written ``[?x]``."""

    __slots__ = ("elements", "optional")

    def __init__(self, at: int, elements: list[Node], optional: frozenset[int]) -> None:
        super().__init__(at, *elements)
        self.elements = elements
        self.optional = optional


class MapNode(Node):
    """A map: (place, key, value, written ``?key``)."""

    __slots__ = ("entries",)

    def __init__(self, at: int, entries: list[tuple[int, Node, Node, bool]]) -> None:
        super().__init__(at, *(part for entry in entries for part in entry[1:3]))
        self.entries = entries


class Struct(Node):
    """``Name{field: value}``: (place, field, value, written ``?field``)."""

    __slots__ = ("entries", "name")

    def __init__(self, at: int, name: str, entries: list[tuple[int, str, Node, bool]]) -> None:
        super().__init__(at, *(entry[2] for entry in entries))
        self.name = name
        self.entries = entries


class Comprehension(Node):
    """A macro over a list or map: ``kind`` is all, exists, exists_one, filter, map, transformList, transformMap
    or transformMapEntry; ``names`` one or two variables; ``condition`` and ``step`` what it asks and makes."""

    __slots__ = ("condition", "kind", "names", "range", "slots", "step")

    def __init__(
        self,
        at: int,
        kind: str,
        range: Node,
        names: tuple[str, ...],
        condition: Node | None,
        step: Node | None,
    ) -> None:
        super().__init__(at, range, condition, step)
        self.kind = kind
        self.range = range
        self.names = names
        self.condition = condition
        self.step = step


class Bind(Node):
    """``cel.bind(name, value, body)``, and ``optional.optMap`` and ``optFlatMap``, whose kind says so."""

    __slots__ = ("body", "kind", "name", "value")

    def __init__(self, at: int, kind: str, name: str, value: Node, body: Node) -> None:
        super().__init__(at, value, body)
        self.kind = kind
        self.name = name
        self.value = value
        self.body = body

"""What an expression may cost at most, before there are values: what decides whether a CRD's rule is accepted.

The model is cel-go's ``checker/cost.go`` with Kubernetes' sizes: what a schema bounds is taken at its bound
(``maxLength``, ``maxItems``, ``maxProperties``), the rest at what fits into a request of 3 MiB.
"""

from __future__ import annotations

from collections.abc import Callable

from .frame import LIST_COST, MAP_COST, STRUCT_COST
from .nodes import Bind, Call, Comprehension, Ident, ListNode, Literal, Logic, MapNode, Node, Select, Struct
from .types import Type
from .values import UINT_MAX, size_of

__all__ = ["ESTIMATE_LIMIT", "TOTAL_ESTIMATE_LIMIT", "estimate", "largest_size"]

ESTIMATE_LIMIT = 10_000_000
"""What one rule of a CRD may cost by its estimate, times how often its schema node may occur in an object."""
TOTAL_ESTIMATE_LIMIT = 100_000_000
"""What all rules of a CRD's version may cost together."""

_REQUEST = 3 * 1024 * 1024
_SMALLEST = {
    "string": 2,
    "bool": 4,
    "object": 2,
    "list": 2,
    "map": 2,
    "timestamp": 22,
    "duration": 4,
    "bytes": 2,
}

_TRAVERSALS = frozenset(
    [
        "startsWith",
        "endsWith",
        "lowerAscii",
        "upperAscii",
        "substring",
        "trim",
        "url",
        "quantity",
        "isQuantity",
        "semver",
        "isSemver",
        "ip",
        "isIP",
        "cidr",
        "isCIDR",
        "isURL",
        "jsonpatch.escapeKey",
        "format",
        "bytes",
    ]
)
_TWICE = frozenset(("replace", "split", "ip.isCanonical"))
_REGEX = frozenset(("matches", "find", "findAll"))
_PRODUCTS = frozenset(("sets.contains", "sets.equivalent", "sets.intersects"))
_COMPARING = frozenset(("isSorted", "sum", "max", "min", "indexOf", "lastIndexOf", "includes"))
"""Look at every element of a list, with a comparison for each."""
_CONVERTED = frozenset(("string", "bytes"))
"""Whose results may be of any size."""
_COMPARISONS = frozenset(("_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_"))
_KEEPS_SIZE = frozenset(("lowerAscii", "upperAscii", "substring", "trim", "split", "string", "bytes", "dyn"))
_CHECK_COST = 350_000
_FORMAT_PATTERN = 60
"""The longest pattern of a named format that looks at names, which is what ``validate`` is used for."""


def largest_size(type_: Type) -> int:
    """The most elements, entries or bytes that a value of this type can have in a request."""
    if type_.limit is not None:
        return type_.limit
    if type_.kind in ("string", "bytes", "dyn"):
        return _REQUEST - 2
    if type_.kind == "list":
        return (_REQUEST - 2) // (_SMALLEST.get(type_.parameters[0].kind, 1) + 1)
    if type_.kind == "map":
        return (_REQUEST - 2) // (_SMALLEST.get(type_.parameters[1].kind, 1) + 6)
    return 1


def estimate(node: Node) -> int:
    """The most that evaluating a checked tree (``Program.node``) may cost; never more than 2**64 - 1."""
    return min(_cost(node, {}), UINT_MAX)


Sizes = dict[str, int]
"""Of the variables of ``cel.bind``, whose size the type does not say."""


def _cost(node: Node, sizes: Sizes) -> int:
    if isinstance(node, Literal):
        return 0
    if isinstance(node, Ident):
        return 1
    if isinstance(node, Select):
        if node.name:
            return 1
        return _cost(node.operand, sizes) + (0 if node.test else 1)
    if isinstance(node, Call):
        return _call(node, sizes)
    if isinstance(node, Logic):
        return sum(_cost(term, sizes) for term in node.terms)
    if isinstance(node, ListNode):
        return LIST_COST + sum(_cost(item, sizes) for item in node.elements)
    if isinstance(node, MapNode):
        return MAP_COST + sum(_cost(part, sizes) for entry in node.entries for part in entry[1:3])
    if isinstance(node, Struct):
        return STRUCT_COST + sum(_cost(entry[2], sizes) for entry in node.entries)
    if isinstance(node, Comprehension):
        return _comprehension(node, sizes)
    if isinstance(node, Bind):
        inner = {**sizes, node.name: _size(node.value, sizes)}
        return _cost(node.value, sizes) + _cost(node.body, inner) + LIST_COST + 1
    raise TypeError(type(node).__name__)


_EACH = {
    "all": 3,
    "exists": 4,
    "exists_one": 2,
    "transformMap": 2,
    "transformMapEntry": 2,
    "filter": LIST_COST + 3,
}
"""What a macro's fold costs for each element, beside its condition; others make a list of one and add it."""


def _comprehension(node: Comprehension, sizes: Sizes) -> int:
    each = _EACH.get(node.kind, LIST_COST + 2)
    for part in (node.condition, node.step):
        if part is not None:
            each += _cost(part, sizes)
    start = 0 if node.kind in ("all", "exists", "exists_one") else LIST_COST
    return _cost(node.range, sizes) + start + 2 + min(_size(node.range, sizes) * each, UINT_MAX)


def _tenth(size: int) -> int:
    return -(-size // 10)


def _call(node: Call, sizes: Sizes) -> int:
    nodes = node.args if node.target is None else [node.target, *node.args]
    spent = [_cost(part, sizes) for part in nodes]
    name = node.function
    if name == "_?_:_":
        return spent[0] + max(spent[1:])

    def size(index: int) -> int:
        return _size(nodes[index], sizes)

    return sum(spent) + _own_cost(name, len(nodes), size, node)


def _own_cost(name: str, count: int, size: Callable[[int], int], node: Call) -> int:
    if name in _COMPARISONS:
        return max(1, _tenth(min(size(0), size(1))))
    if name in _TRAVERSALS:
        return _tenth(size(0)) if count else 1
    if name in _COMPARING and count:
        target = (node.args[0] if node.target is None else node.target).type
        if target.kind != "list":
            return _tenth(size(0))
        of = target.parameters[0]
        each = 1 + (_tenth(largest_size(of)) if of.kind in ("string", "bytes") else 0)
        return min(size(0) * each, UINT_MAX)
    if name == "join":
        joined = (node.args[0] if node.target is None else node.target).type
        length = size(0)
        element = largest_size(joined.parameters[0]) if joined.kind == "list" else 0
        separators = size(1) * max(length - 1, 0) if count > 1 else 0
        return _tenth(min(length * element + separators, UINT_MAX))
    if name in _TWICE:
        return _tenth(2 * size(0))
    if name in _REGEX:
        return _tenth(size(0) + 1) * -(-size(1) // 4)
    if name == "contains":
        return _tenth(size(0)) * _tenth(size(1))
    if name in _PRODUCTS:
        return size(0) * size(1)
    if name == "@in":
        return size(1) if node.args[1].type.kind in ("list", "dyn") else 1
    if name == "_+_" and node.type.kind in ("string", "bytes", "dyn"):
        return _tenth(size(0) + size(1))
    if name == "validate":
        return _tenth(size(1) + 1) * (_FORMAT_PATTERN // 4)
    return _CHECK_COST if name == "check" else 1


def _size(node: Node, sizes: Sizes) -> int:
    if isinstance(node, Literal):
        return size_of(node.value)
    if isinstance(node, ListNode):
        return len(node.elements)
    if isinstance(node, MapNode):
        return len(node.entries)
    if isinstance(node, Ident) and node.name in sizes:
        return sizes[node.name]
    if isinstance(node, Comprehension) and node.type.kind in ("list", "map"):
        return _size(node.range, sizes)
    if isinstance(node, Bind):
        return _size(node.body, {**sizes, node.name: _size(node.value, sizes)})
    if isinstance(node, Call):
        nodes = node.args if node.target is None else [node.target, *node.args]
        if node.function == "_+_" and node.type.kind in ("string", "bytes", "list"):
            return _size(nodes[0], sizes) + _size(nodes[1], sizes)
        if node.function == "_?_:_":
            return max(_size(nodes[1], sizes), _size(nodes[2], sizes))
        if node.function in _CONVERTED and nodes and nodes[0].type.kind != "dyn":
            return UINT_MAX
        if node.function in _KEEPS_SIZE and nodes:
            return _size(nodes[0], sizes)
    return largest_size(node.type)

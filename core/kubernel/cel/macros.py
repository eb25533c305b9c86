"""Macros: calls that are syntax. Those of the specification, optional types and two-variable comprehensions."""

from __future__ import annotations

from collections.abc import Callable

from .errors import CompileError
from .nodes import Bind, Comprehension, Ident, Node, Select

__all__ = ["expand"]

_QUANTIFIERS = {"all": "all", "exists": "exists", "exists_one": "exists_one", "existsOne": "exists_one"}
_TRANSFORMS = frozenset(("transformList", "transformMap", "transformMapEntry"))


def expand(
    at: int,
    name: str,
    args: list[Node],
    target: Node | None,
    error: Callable[[int, str], CompileError],
    bindings: bool,
) -> Node | None:
    """The node that a macro stands for, None when the call is no macro: ``cel.bind`` is one with ``bindings``. Raises
    what ``error`` makes."""
    count = len(args)
    if target is None:
        if name == "has" and count == 1:
            selection = args[0]
            if not isinstance(selection, Select) or selection.test:
                raise error(selection.at, "invalid argument to has() macro")
            return Select(at, selection.operand, selection.field, test=True, optional=selection.optional)
        return None
    if bindings and name == "bind" and count == 3 and isinstance(target, Ident) and target.name == "cel":
        variable = _variable(args[0], error, "cel.bind() variable names must be simple identifiers")
        return Bind(at, "bind", variable, args[1], args[2])
    if name in ("optMap", "optFlatMap") and count == 2:
        variable = _variable(args[0], error, f"{name}() variable name must be a simple identifier")
        return Bind(at, name, variable, target, args[1])
    if name in _QUANTIFIERS and (count == 2 or (count == 3 and name != "exists_one")):
        return Comprehension(at, _QUANTIFIERS[name], target, _names(args[:-1], error), args[-1], None)
    if name == "map" and count in (2, 3):
        condition = args[1] if count == 3 else None
        return Comprehension(at, "map", target, _names(args[:1], error), condition, args[-1])
    if name == "filter" and count == 2:
        return Comprehension(at, "filter", target, _names(args[:1], error), args[1], None)
    if name in _TRANSFORMS and count in (3, 4):
        condition = args[2] if count == 4 else None
        return Comprehension(at, name, target, _names(args[:2], error), condition, args[-1])
    return None


def _names(args: list[Node], error: Callable[[int, str], CompileError]) -> tuple[str, ...]:
    names = tuple(_variable(arg, error, "argument must be a simple name") for arg in args)
    if len(set(names)) < len(names):
        raise error(args[-1].at, f"duplicate variable name: {names[-1]}")
    return names


def _variable(node: Node, error: Callable[[int, str], CompileError], message: str) -> str:
    if not isinstance(node, Ident):
        raise error(node.at, message)
    return node.name

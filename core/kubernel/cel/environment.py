"""What expressions may name, and expressions ready to run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .checker import check
from .compiler import compile_node
from .errors import CelError, CompileError, EvaluationError, Issue
from .frame import Code, Frame
from .library import functions
from .nodes import Bind, Call, Comprehension, Ident, ListNode, Literal, Logic, MapNode, Node, Select, Struct
from .parser import parse
from .types import (
    ANY_TYPE,
    BOOL,
    BYTES,
    DOUBLE,
    DURATION,
    DYN,
    INT,
    NULL,
    STRING,
    TIMESTAMP,
    UINT,
    Overload,
    Type,
    list_of,
    map_of,
    optional_of,
    type_of,
)
from .values import MISSING

__all__ = ["MATCH_BUDGET", "PER_CALL_LIMIT", "RUNTIME_BUDGET", "Environment", "Program"]

PER_CALL_LIMIT = 1_000_000
"""What one evaluation of one expression may cost."""
RUNTIME_BUDGET = 10_000_000
"""What all expressions of a policy, or of a custom resource's rules, may cost for one request."""
MATCH_BUDGET = RUNTIME_BUDGET // 4
"""What all match conditions of a webhook or policy may cost for one request."""

_NAMED: dict[str, Type] = {
    "int": INT,
    "uint": UINT,
    "double": DOUBLE,
    "bool": BOOL,
    "string": STRING,
    "bytes": BYTES,
    "list": list_of(DYN),
    "map": map_of(DYN, DYN),
    "null_type": NULL,
    "type": ANY_TYPE,
    "google.protobuf.Timestamp": TIMESTAMP,
    "google.protobuf.Duration": DURATION,
    "optional_type": optional_of(DYN),
}


@dataclass(frozen=True, slots=True)
class Program:
    """A compiled expression. ``result`` is its type; it may be shared and evaluated any number of times."""

    source: str
    result: Type
    node: Node
    code: Code
    locals: int

    def mentions(self, name: str) -> bool:
        """Whether the expression looks at this variable."""
        waiting = [self.node]
        while waiting:
            node = waiting.pop()
            if isinstance(node, Ident) and node.name == name:
                return True
            waiting += _children(node)
        return False

    def evaluate(self, variables: Mapping[str, Any], limit: int = PER_CALL_LIMIT) -> Any:
        """The value for these variables (JSON values, or those of ``values``). Raises EvaluationError."""
        return self.run(variables, limit)[0]

    def run(self, variables: Mapping[str, Any], limit: int = PER_CALL_LIMIT) -> tuple[Any, int]:
        """The value and what it cost. Raises CostExceeded when that is more than ``limit``, or EvaluationError,
        whose ``cost`` attribute says what was spent."""
        frame = Frame(variables, self.locals, limit)
        try:
            return self.code(frame), frame.cost
        except EvaluationError as error:
            error.cost = frame.cost
            raise
        except RecursionError:
            # Values that refer to one another a thousand levels deep.
            deep = EvaluationError("expression recursion limit exceeded")
            deep.cost = frame.cost
            raise deep from None


class Environment:
    """The variables (name to type) and structs (``Name{…}``) of expressions; the functions are Kubernetes'.

    ``structs(name)`` gives a struct's type, None for a name it does not know. ``bindings``: there is ``cel.bind``,
    which v1.37 has in selectors of devices alone.
    """

    def __init__(
        self,
        variables: Mapping[str, Type],
        structs: Callable[[str], Type | None] | None = None,
        *,
        bindings: bool = False,
    ) -> None:
        self._variables = dict(variables)
        self._structs = structs
        self._bindings = bindings

    def extend(self, variables: Mapping[str, Type]) -> Environment:
        """This environment with more variables."""
        return Environment({**self._variables, **variables}, self._structs, bindings=self._bindings)

    def variable(self, name: str) -> Type | None:
        known = self._variables.get(name)
        if known is not None:
            return known
        named = _NAMED.get(name)
        return None if named is None else type_of(named)

    def function(self, name: str) -> list[Overload]:
        return functions().get(name, [])

    def struct(self, name: str) -> Type | None:
        return self._structs(name) if self._structs is not None else None

    def compile(self, source: str) -> Program:
        """Parse and check. Raises CompileError in cel-go's words."""
        try:
            return self._compile(source)
        except RecursionError:
            # Within the limits, but the caller stands deep already.
            raise CompileError(source, [Issue(0, "expression recursion limit exceeded")]) from None

    def _compile(self, source: str) -> Program:
        node = parse(source, bindings=self._bindings)
        check(source, node, self)
        issues: list[Issue] = []
        _check_literals(node, issues)
        if issues:
            raise CompileError(source, issues)
        code, locals = compile_node(node, self._constant)
        return Program(source, node.type, node, code, locals)

    def _constant(self, name: str) -> Any:
        return MISSING if name in self._variables else _NAMED.get(name, MISSING)


_LITERALS = {
    "matches": "invalid matches argument",
    "timestamp": "invalid timestamp argument",
    "duration": "invalid duration argument",
}


def _check_literals(node: Node, issues: list[Issue]) -> None:
    """Literal patterns, timestamps and durations are checked when an expression is compiled."""
    if isinstance(node, Call):
        message = _LITERALS.get(node.function)
        last = node.args[-1] if node.args else None
        if message and isinstance(last, Literal) and isinstance(last.value, str):
            probe = ["", last.value] if node.function == "matches" else [last.value]
            overload = next((o for o in node.overloads if len(o.parameters) == len(probe)), None)
            try:
                if overload is not None:
                    overload.call(*probe)
            except CelError:
                issues.append(Issue(last.at, message))
    for child in _children(node):
        _check_literals(child, issues)


def _children(node: Node) -> list[Node]:
    if isinstance(node, Call):
        return node.args if node.target is None else [node.target, *node.args]
    if isinstance(node, Select):
        return [node.operand]
    if isinstance(node, Logic):
        return node.terms
    if isinstance(node, ListNode):
        return node.elements
    if isinstance(node, MapNode):
        return [part for entry in node.entries for part in entry[1:3]]
    if isinstance(node, Struct):
        return [entry[2] for entry in node.entries]
    if isinstance(node, Comprehension):
        return [part for part in (node.range, node.condition, node.step) if part is not None]
    return [node.value, node.body] if isinstance(node, Bind) else []

"""Gives every node of a tree its type, and every call the overloads that may take it.

The rules and the messages are cel-go's. ``dyn`` agrees with everything; what it hides is found out by evaluation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, cast

from .errors import CompileError, Issue
from .nodes import Bind, Call, Comprehension, Ident, ListNode, Literal, Logic, MapNode, Node, Select, Struct
from .types import (
    BOOL,
    DYN,
    ERROR,
    FREE,
    INT,
    Overload,
    Type,
    list_of,
    map_of,
    optional_of,
)
from .values import runtime_type

__all__ = ["Declarations", "assignable", "check"]

_NULLABLE = frozenset(("object", "opaque", "optional", "timestamp", "duration"))


class Declarations(Protocol):
    """What an expression may name."""

    def variable(self, name: str) -> Type | None: ...

    def function(self, name: str) -> list[Overload]: ...

    def struct(self, name: str) -> Type | None: ...


def check(source: str, node: Node, declarations: Declarations) -> None:
    """Set the types. Raises CompileError with everything that was found."""
    checker = _Checker(declarations)
    checker.check(node)
    if checker.issues:
        raise CompileError(source, checker.issues)


def assignable(to: Type, given: Type, bound: dict[str, Type]) -> bool:
    """Whether a value of type ``given`` may stand where ``to`` is wanted; binds the variables of ``to``."""
    kind = to.kind
    if kind == "var":
        known = bound.get(to.name)
        if known is None or known.kind == "free":
            bound[to.name] = given
            return True
        if given.kind != "free" and _has_free(known) and assignable(given, known, {}):
            bound[to.name] = given
            return True
        if not assignable(known, given, bound):
            # Null may come before what it stands for.
            if known.kind == "null_type" and given.kind in _NULLABLE:
                bound[to.name] = given
                return True
            return False
        if given.kind == "dyn":
            bound[to.name] = given
        return True
    if given.kind == "free" or kind == "free":
        return True
    if kind in ("dyn", "error") or given.kind in ("dyn", "error"):
        if given.kind in ("dyn", "error"):
            for parameter in to.parameters:
                assignable(parameter, DYN, bound)
        return True
    if given.kind == "null_type" and kind in _NULLABLE:
        return True
    if kind != given.kind or to.name != given.name:
        return False
    if kind == "type":
        return True
    return all(assignable(a, b, bound) for a, b in zip(to.parameters, given.parameters, strict=False))


def _has_free(type_: Type) -> bool:
    return type_.kind == "free" or any(map(_has_free, type_.parameters))


def _settled(type_: Type) -> Type:
    return DYN if type_.kind == "free" else type_


def substitute(type_: Type, bound: Mapping[str, Type]) -> Type:
    if type_.kind == "var":
        return bound.get(type_.name, FREE)
    if not type_.parameters:
        return type_
    return Type(type_.kind, type_.name, tuple(substitute(parameter, bound) for parameter in type_.parameters))


class _Checker:
    def __init__(self, declarations: Declarations) -> None:
        self.declarations = declarations
        self.issues: list[Issue] = []
        self.scopes: list[tuple[str, Type]] = []
        self.mixed = False

    def report(self, node: Node | int, message: str) -> Type:
        self.issues.append(Issue(node if isinstance(node, int) else node.at, message))
        return ERROR

    def check(self, node: Node) -> Type:
        if isinstance(node, Literal):
            type_ = runtime_type(node.value)
        elif isinstance(node, Ident):
            found = self.identifier(node.name)
            type_ = found or self.report(node, f"undeclared reference to '{node.name}' (in container '')")
        elif isinstance(node, Select):
            type_ = self.select(node)
        elif isinstance(node, Call):
            type_ = self.call(node)
        elif isinstance(node, Logic):
            type_ = self.logic(node)
        elif isinstance(node, ListNode):
            type_ = self.list(node)
        elif isinstance(node, MapNode):
            type_ = self.map(node)
        elif isinstance(node, Struct):
            type_ = self.struct(node)
        elif isinstance(node, Comprehension):
            type_ = self.comprehension(node)
        else:
            type_ = self.bind(cast(Bind, node))
        node.type = _settled(type_)
        return node.type

    def identifier(self, name: str) -> Type | None:
        for known, type_ in reversed(self.scopes):
            if known == name:
                return type_
        return self.declarations.variable(name)

    def dotted(self, node: Node) -> str:
        """The dotted name that a node spells, unless it begins with a variable of a macro."""
        if isinstance(node, Ident):
            return "" if any(known == node.name for known, _ in self.scopes) else node.name
        if isinstance(node, Select) and not node.test and not node.optional:
            before = self.dotted(node.operand)
            return before and f"{before}.{node.field}"
        return ""

    def select(self, node: Select) -> Type:
        name = self.dotted(node)
        if name:
            known = self.declarations.variable(name)
            if known is not None:
                node.name = name
                return known
        operand = self.check(node.operand)
        optional = node.optional
        if operand.kind == "optional":
            operand, optional = _settled(operand.parameters[0]), True
        result = self.field(node, operand)
        if node.test:
            return BOOL
        if optional and result.kind != "error":
            return result if result.kind == "optional" else optional_of(result)
        return result

    def field(self, node: Select, operand: Type) -> Type:
        kind = operand.kind
        if kind == "object":
            found = operand.fields.get(node.field)
            if found is None:
                return self.report(node, f"undefined field '{node.field}'")
            node.key = found[0]
            return found[1]
        if kind == "map":
            return operand.parameters[1]
        if kind in ("dyn", "error"):
            return DYN
        return self.report(node, f"type '{operand}' does not support field selection")

    def call(self, node: Call) -> Type:
        # What is formatted may be of different types, anywhere in the list.
        mixed, self.mixed = self.mixed, node.function == "format" and node.target is not None
        args = [self.check(arg) for arg in node.args]
        self.mixed = mixed
        target = node.target
        if target is not None:
            prefix = self.dotted(target)
            qualified = f"{prefix}.{node.function}" if prefix else ""
            if qualified and self.declarations.function(qualified):
                node.function, node.target, target = qualified, None, None
        overloads = self.declarations.function(node.function)
        if target is not None:
            args.insert(0, self.check(target))
        if not overloads:
            return self.report(node, f"undeclared reference to '{node.function}' (in container '')")
        if any(arg.kind == "error" for arg in args):
            return ERROR
        result: Type | None = None
        for overload in overloads:
            if overload.member != (target is not None) or len(overload.parameters) != len(args):
                continue
            bound: dict[str, Type] = {}
            if all(assignable(p, arg, bound) for p, arg in zip(overload.parameters, args, strict=True)):
                node.overloads.append(overload)
                own = substitute(overload.result, bound)
                result = own if result is None or result == own else DYN
        if result is None:
            signature = ", ".join(map(str, args[1:] if target is not None else args))
            receiver = f"{args[0]}." if target is not None else ""
            return self.report(
                node, f"found no matching overload for '{node.function}' applied to '{receiver}({signature})'"
            )
        if node.function in ("_+_", "_?_:_", "_[_]", "orValue", "or"):
            return self.keep_schema(node, args, result)
        return result

    def keep_schema(self, node: Call, args: list[Type], result: Type) -> Type:
        """The result in the words of a schema (fields, list type, limits), which type variables do not carry."""
        if node.function == "_[_]" and args[0].parameters:
            own = args[0].parameters[-1]
            return own if own == result else result
        return next(
            (arg for arg in args if arg == result and (arg.list_type or arg.limit is not None)), result
        )

    def logic(self, node: Logic) -> Type:
        for term in node.terms:
            type_ = self.check(term)
            if type_.kind not in ("bool", "dyn", "error"):
                others = ", ".join(str(term.type) if term is other else "bool" for other in node.terms[:2])
                self.report(node, f"found no matching overload for '{node.function}' applied to '({others})'")
        return BOOL

    def joined(self, known: Type | None, node: Node, optional: bool) -> Type:
        type_ = self.check(node)
        if optional:
            if type_.kind == "optional":
                type_ = type_.parameters[0]
            elif type_.kind != "dyn":
                self.report(node, f"expected type 'optional_type({type_})' but found '{type_}'")
        if known is None or type_.kind == "error":
            return type_
        if known.kind != "free" and _has_free(known) and assignable(type_, known, {}):
            return type_
        if assignable(known, type_, {}):
            return DYN if "dyn" in (known.kind, type_.kind) else known
        if assignable(type_, known, {}):
            return type_
        if not self.mixed:
            self.report(node, f"expected type '{known}' but found '{type_}'")
        return DYN

    def list(self, node: ListNode) -> Type:
        element: Type | None = None
        for index, item in enumerate(node.elements):
            element = self.joined(element, item, index in node.optional)
        return list_of(element or FREE)

    def map(self, node: MapNode) -> Type:
        key_type: Type | None = None
        value_type: Type | None = None
        for _, key, value, optional in node.entries:
            key_type = self.joined(key_type, key, False)
            if key.type.kind not in ("int", "uint", "bool", "string", "dyn", "error"):
                self.report(key, f"unsupported map key type: {key.type}")
            value_type = self.joined(value_type, value, optional)
        return map_of(key_type or FREE, value_type or FREE)

    def struct(self, node: Struct) -> Type:
        type_ = self.declarations.struct(node.name)
        for _, _, value, _ in node.entries:
            self.check(value)
        if type_ is None:
            return self.report(node, f"undeclared reference to '{node.name}' (in container '')")
        for at, field, value, optional in node.entries:
            found = type_.fields.get(field)
            if found is None:
                self.report(at, f"undefined field '{field}'")
                continue
            wanted = optional_of(found[1]) if optional else found[1]
            if not assignable(wanted, value.type, {}):
                self.report(
                    at, f"expected type of field '{field}' is '{wanted}' but provided type is '{value.type}'"
                )
        return type_

    def comprehension(self, node: Comprehension) -> Type:
        range_ = self.check(node.range)
        kind = range_.kind
        if kind == "list":
            first, second = INT, _settled(range_.parameters[0])
        elif kind == "map":
            first, second = map(_settled, range_.parameters)
        elif kind in ("dyn", "error"):
            first = second = DYN
        else:
            self.report(
                node.range,
                f"expression of type '{range_}' cannot be range of a comprehension (must be list, map, or dynamic)",
            )
            first = second = ERROR
        if len(node.names) == 2:
            variables = [(node.names[0], first), (node.names[1], second)]
        else:
            variables = [(node.names[0], second if kind == "list" else first)]
        self.scopes.extend(variables)
        if node.condition is not None:
            condition = self.check(node.condition)
            if condition.kind not in ("bool", "dyn", "error"):
                # A macro is calls; cel-go names the one that takes the condition.
                function = {"all": "_&&_", "exists": "_||_"}.get(node.kind, "_?_:_")
                applied = f"(bool, {condition})" if function != "_?_:_" else self.ternary(node, condition)
                self.report(node, f"found no matching overload for '{function}' applied to '{applied}'")
        step = self.check(node.step) if node.step is not None else DYN
        del self.scopes[-len(variables) :]
        if node.kind in ("all", "exists", "exists_one"):
            return BOOL
        if node.kind == "filter":
            return list_of(variables[0][1])
        if node.kind in ("map", "transformList"):
            return list_of(step)
        if node.kind == "transformMap":
            return map_of(first, step)
        if step.kind not in ("map", "dyn", "error"):
            self.report(
                node, f"found no matching overload for 'cel.@mapInsert' applied to '(map(dyn, dyn), {step})'"
            )
        return step if step.kind == "map" else map_of(DYN, DYN)

    def ternary(self, node: Comprehension, condition: Type) -> str:
        result = "int" if node.kind == "exists_one" else f"list({node.step.type if node.step else 'dyn'})"
        return f"({condition}, {result}, {result})"

    def bind(self, node: Bind) -> Type:
        value = self.check(node.value)
        if node.kind == "bind":
            self.scopes.append((node.name, value))
            result = self.check(node.body)
            self.scopes.pop()
            return result
        if value.kind not in ("optional", "dyn", "error"):
            return self.report(node, f"found no matching overload for 'hasValue' applied to '{value}.()'")
        inner = _settled(value.parameters[0]) if value.kind == "optional" else DYN
        self.scopes.append((node.name, inner))
        result = self.check(node.body)
        self.scopes.pop()
        if node.kind == "optMap":
            return optional_of(result)
        if result.kind not in ("optional", "dyn", "error"):
            return self.report(
                node,
                f"found no matching overload for '_?_:_' applied to '(bool, {result}, optional_type(dyn))'",
            )
        return result if result.kind == "optional" else optional_of(DYN)

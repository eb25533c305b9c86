"""A checked tree to one Python closure, which counts what it costs as cel-go does.

A closure takes the ``Frame`` of one evaluation. Costs: 1 for each identifier and selection, 10 for a list, 30 for a
map, 40 for an object, for calls what their overload says; of a macro what its expansion into a fold would cost.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from .convert import converter, schema_equal
from .errors import CostExceeded, EvaluationError
from .folds import MACROS
from .frame import LIST_COST, MAP_COST, STRUCT_COST, Code, Frame
from .nodes import Bind, Call, Comprehension, Ident, ListNode, Literal, Logic, MapNode, Node, Select, Struct
from .types import Overload, Type
from .values import (
    MISSING,
    NONE,
    UINT_MAX,
    Message,
    Optional,
    UInt,
    equal,
    is_type,
    key_text,
    lookup,
    no_such_key,
    no_such_overload,
    size_of,
)

__all__ = ["compile_node"]


def compile_node(node: Node, constants: Callable[[str], Any]) -> tuple[Code, int]:
    """The code of a tree and how many macro variables it needs. ``constants(name)`` is the value of a name that is
    no variable (a type), MISSING for others."""
    compiler = _Compiler(constants)
    return compiler.code(node), compiler.most


class _Compiler:
    def __init__(self, constants: Callable[[str], Any]) -> None:
        self.constants = constants
        self.scopes: list[str] = []
        self.most = 0

    def code(self, node: Node) -> Code:
        if isinstance(node, ListNode | MapNode) and _is_constant(node):
            # Evaluated once; as in cel-go it then costs nothing.
            return _constant(self.collection(node)(Frame({}, 0, UINT_MAX)))
        if isinstance(node, Literal):
            return _constant(node.value)
        if isinstance(node, Ident):
            return self.identifier(node.name, node.type)
        if isinstance(node, Select):
            return self.select(node)
        if isinstance(node, Call):
            return self.call(node)
        if isinstance(node, Logic):
            return _logic(node.function == "_||_", [self.code(term) for term in node.terms])
        if isinstance(node, ListNode | MapNode):
            return self.collection(node)
        if isinstance(node, Struct):
            fields = node.type.fields
            return _struct(
                node.name,
                [(fields[name][0], self.code(v), optional) for _, name, v, optional in node.entries],
            )
        if isinstance(node, Comprehension):
            return self.comprehension(node)
        return self.bind(cast(Bind, node))

    def collection(self, node: ListNode | MapNode) -> Code:
        if isinstance(node, ListNode):
            return _list([(self.code(item), i in node.optional) for i, item in enumerate(node.elements)])
        return _map([(self.code(k), self.code(v), optional) for _, k, v, optional in node.entries])

    def push(self, *names: str) -> int:
        first = len(self.scopes)
        self.scopes.extend(names)
        self.most = max(self.most, len(self.scopes))
        return first

    def pop(self, count: int) -> None:
        del self.scopes[-count:]

    def identifier(self, name: str, type: Type) -> Code:
        for index in range(len(self.scopes) - 1, -1, -1):
            if self.scopes[index] == name:
                return _local(index)
        constant = self.constants(name)
        if constant is not MISSING:
            return _constant(constant)
        return _variable(name, converter(type))

    def select(self, node: Select) -> Code:
        if node.name:
            return self.identifier(node.name, node.type)
        operand_type = node.operand.type
        if node.test:
            return _has(self.code(node.operand), node.key)
        if node.optional or operand_type.kind == "optional":
            inner = operand_type.parameters[0] if operand_type.kind == "optional" else operand_type
            wanted = node.type.parameters[0] if node.type.parameters else node.type
            return _optional_select(
                self.code(node.operand), node.key, converter(wanted) if inner.kind == "object" else None
            )
        convert = converter(node.type) if operand_type.kind == "object" else None
        keys = [node.key]
        operand = node.operand
        while (
            isinstance(operand, Select)
            and not (operand.name or operand.optional or operand.test)
            and operand.operand.type.kind != "optional"
            and (operand.operand.type.kind != "object" or converter(operand.type) is None)
        ):
            keys.append(operand.key)
            operand = operand.operand
        return _path(self.code(operand), tuple(reversed(keys)), convert)

    def call(self, node: Call) -> Code:
        function = node.function
        nodes = node.args if node.target is None else [node.target, *node.args]
        args = [self.code(arg) for arg in nodes]
        if function == "_?_:_":
            return _conditional(*args)
        if function in ("_==_", "_!=_"):
            same = schema_equal(nodes[0].type) or schema_equal(nodes[1].type) or equal
            return _equality(args[0], args[1], same, function == "_!=_")
        if function == "_[_]":
            return _index(args[0], args[1])
        if function == "_[?_]":
            return _optional_index(args[0], args[1])
        if function == "or":
            return _or(*args)
        if function == "orValue":
            return _or_value(*args)
        if function == "_+_" and nodes[0].type.list_type in ("set", "map"):
            return _direct([args[0], args[1]], _merging(node.overloads[0], nodes[0].type))
        overloads = node.overloads
        if len(overloads) == 1 and all(
            _sure(p, a.type) for p, a in zip(overloads[0].parameters, nodes, strict=True)
        ):
            return _direct(args, overloads[0])
        return _dispatched(args, overloads)

    def comprehension(self, node: Comprehension) -> Code:
        range = self.code(node.range)
        first = self.push(*node.names)
        condition = self.code(node.condition) if node.condition is not None else None
        step = self.code(node.step) if node.step is not None else None
        self.pop(len(node.names))
        return MACROS[node.kind](range, first, len(node.names) == 2, condition, step)

    def bind(self, node: Bind) -> Code:
        value = self.code(node.value)
        slot = self.push(node.name)
        body = self.code(node.body)
        self.pop(1)
        return (
            _bind(value, slot, body)
            if node.kind == "bind"
            else _optional_map(value, slot, body, node.kind == "optMap")
        )


def _is_constant(node: Node) -> bool:
    if isinstance(node, ListNode):
        return not node.optional and all(map(_is_constant, node.elements))
    if isinstance(node, MapNode):
        keys = [key.value for _, key, _, _ in node.entries if isinstance(key, Literal)]
        # A repeated key is an error of every evaluation.
        distinct = len(keys) == len(node.entries) == len({(type(key), key) for key in keys})
        return distinct and all(not entry[3] and _is_constant(entry[2]) for entry in node.entries)
    return isinstance(node, Literal)


def _sure(parameter: Type, given: Type) -> bool:
    if parameter.kind in ("dyn", "var"):
        return True
    if given.kind in ("dyn", "free", "null_type"):
        return False
    return all(_sure(p, g) for p, g in zip(parameter.parameters, given.parameters, strict=False))


def _constant(value: Any) -> Code:
    return lambda frame: value


def _local(index: int) -> Code:
    def code(frame: Frame) -> Any:
        frame.cost += 1
        return frame.locals[index]

    return code


def _variable(name: str, convert: Callable[[Any], Any] | None) -> Code:
    def code(frame: Frame) -> Any:
        frame.cost += 1
        try:
            value = frame.variables[name]
        except KeyError:
            raise EvaluationError(f"no such attribute(s): {name}") from None
        return value if convert is None else convert(value)

    return code


def _path(operand: Code, keys: tuple[str, ...], convert: Callable[[Any], Any] | None) -> Code:
    count = len(keys)

    def code(frame: Frame) -> Any:
        value = operand(frame)
        frame.cost += count
        for at, key in enumerate(keys):
            try:
                value = value[key]
            except KeyError:
                raise no_such_key(key) from None
            except TypeError:
                if isinstance(value, Optional):
                    for rest in keys[at:]:
                        value = optional_get(value, rest)
                    break
                raise no_such_overload() from None
        return value if convert is None else convert(value)

    return code


def _has(operand: Code, key: str) -> Code:
    def code(frame: Frame) -> Any:
        value = operand(frame)
        if isinstance(value, Optional):
            if not value.present:
                return False
            value = value.value
        if not isinstance(value, dict):
            raise no_such_overload()
        return key in value

    return code


def optional_get(value: Any, key: Any) -> Optional:
    """``value[?key]``: none for what is absent, and for an absent value."""
    if isinstance(value, Optional):
        if not value.present:
            return NONE
        value = value.value
    if isinstance(value, dict):
        found = lookup(value, key)
        return NONE if found is MISSING else Optional(found)
    if isinstance(value, list):
        position = _position(key)
        return Optional(value[position]) if 0 <= position < len(value) else NONE
    raise no_such_overload()


def _optional_select(operand: Code, key: str, convert: Callable[[Any], Any] | None) -> Code:
    def code(frame: Frame) -> Any:
        found = optional_get(operand(frame), key)
        frame.cost += 1
        return found if convert is None or not found.present else Optional(convert(found.value))

    return code


def _optional_index(operand: Code, index: Code) -> Code:
    def code(frame: Frame) -> Any:
        value, key = operand(frame), index(frame)
        frame.cost += 1
        return optional_get(value, key)

    return code


def _position(index: Any) -> int:
    if isinstance(index, float) and index.is_integer():
        return int(index)
    if isinstance(index, int) and not isinstance(index, bool):
        return index
    raise EvaluationError(f"unsupported index type '{key_text(index)}' in list")


def _index(operand: Code, index: Code) -> Code:
    def code(frame: Frame) -> Any:
        value, key = operand(frame), index(frame)
        frame.cost += 1
        if isinstance(value, dict):
            found = lookup(value, key)
            if found is MISSING:
                raise no_such_key(key)
            return found
        if isinstance(value, list):
            position = _position(key)
            if not 0 <= position < len(value):
                raise EvaluationError(f"index out of bounds: {position}")
            return value[position]
        if isinstance(value, Optional):
            return optional_get(value, key)
        raise no_such_overload()

    return code


def _logic(any_of: bool, terms: list[Code]) -> Code:
    def code(frame: Frame) -> Any:
        failure: EvaluationError | None = None
        for term in terms:
            try:
                value = term(frame)
            except CostExceeded:
                raise
            except EvaluationError as error:
                failure = failure or error
                continue
            if value is any_of:
                return any_of
            if value is not True and value is not False:
                failure = failure or no_such_overload()
        if failure is not None:
            raise failure
        return not any_of

    return code


def _conditional(condition: Code, yes: Code, no: Code) -> Code:
    def code(frame: Frame) -> Any:
        value = condition(frame)
        if value is True:
            return yes(frame)
        if value is False:
            return no(frame)
        raise no_such_overload()

    return code


def _equality(left: Code, right: Code, same: Callable[[Any, Any], bool], negate: bool) -> Code:
    def code(frame: Frame) -> Any:
        a, b = left(frame), right(frame)
        frame.charge((min(size_of(a), size_of(b)) + 9) // 10)
        return same(a, b) is not negate

    return code


def _or(left: Code, right: Code) -> Code:
    def code(frame: Frame) -> Any:
        value = left(frame)
        frame.cost += 1
        if not isinstance(value, Optional):
            raise no_such_overload()
        return value if value.present else right(frame)

    return code


def _or_value(left: Code, right: Code) -> Code:
    def code(frame: Frame) -> Any:
        value = left(frame)
        frame.cost += 1
        if not isinstance(value, Optional):
            raise no_such_overload()
        return value.value if value.present else right(frame)

    return code


def _merging(overload: Overload, type: Type) -> Overload:
    """Lists of type set and map add as server-side apply merges: what is in both is there once, the right one's."""
    keys = type.keys if type.list_type == "map" else ()

    def identity(item: Any) -> Any:
        return (
            tuple(item.get(key) if isinstance(item, dict) else None for key in keys) if keys else repr(item)
        )

    def merge(left: list[Any], right: list[Any]) -> list[Any]:
        merged = {identity(item): item for item in left}
        merged.update((identity(item), item) for item in right)
        return list(merged.values())

    return Overload("_+_", False, overload.parameters, overload.result, merge)


def _run(overload: Overload, frame: Frame, values: list[Any]) -> Any:
    try:
        result = overload.call(*values)
    except (TypeError, AttributeError):
        raise no_such_overload() from None
    cost = overload.cost
    frame.charge(cost if isinstance(cost, int) else cost(values, result))
    return result


def _direct(args: list[Code], overload: Overload) -> Code:
    call, cost = overload.call, overload.cost
    if len(args) == 2 and isinstance(cost, int):
        first, second = args

        def code(frame: Frame) -> Any:
            a, b = first(frame), second(frame)
            frame.charge(cost)
            try:
                return call(a, b)
            except (TypeError, AttributeError):
                raise no_such_overload() from None

        return code
    return lambda frame: _run(overload, frame, [arg(frame) for arg in args])


def _dispatched(args: list[Code], overloads: list[Overload]) -> Code:
    def code(frame: Frame) -> Any:
        values = [arg(frame) for arg in args]
        for overload in overloads:
            if all(map(is_type, values, overload.parameters)):
                return _run(overload, frame, values)
        raise no_such_overload()

    return code


def _list(items: list[tuple[Code, bool]]) -> Code:
    def code(frame: Frame) -> list[Any]:
        frame.charge(LIST_COST)
        made: list[Any] = []
        for item, optional in items:
            value = item(frame)
            if not optional:
                made.append(value)
            elif not isinstance(value, Optional):
                raise no_such_overload()
            elif value.present:
                made.append(value.value)
        return made

    return code


def _map(entries: list[tuple[Code, Code, bool]]) -> Code:
    def code(frame: Frame) -> dict[Any, Any]:
        frame.charge(MAP_COST)
        made: dict[Any, Any] = {}
        for key_code, value_code, optional in entries:
            key, value = key_code(frame), value_code(frame)
            if type(key) not in (str, int, bool, UInt):
                raise EvaluationError("unsupported key type")
            if optional:
                if not isinstance(value, Optional):
                    raise no_such_overload()
                if not value.present:
                    continue
                value = value.value
            if lookup(made, key) is not MISSING:
                raise EvaluationError(f"Failed with repeated key: {key_text(key)}")
            made[key] = value
        return made

    return code


def _struct(name: str, entries: list[tuple[str, Code, bool]]) -> Code:
    def code(frame: Frame) -> dict[str, Any]:
        frame.charge(STRUCT_COST)
        made = Message(name)
        for key, value_code, optional in entries:
            value = value_code(frame)
            if optional:
                if not isinstance(value, Optional):
                    raise no_such_overload()
                if not value.present:
                    continue
                value = value.value
            made[key] = value
        return made

    return code


def _bind(value: Code, slot: int, body: Code) -> Code:
    def code(frame: Frame) -> Any:
        frame.locals[slot] = value(frame)
        frame.charge(LIST_COST + 1)
        return body(frame)

    return code


def _optional_map(value: Code, slot: int, body: Code, wrap: bool) -> Code:
    def code(frame: Frame) -> Any:
        found = value(frame)
        frame.charge(3)
        if not isinstance(found, Optional):
            raise no_such_overload()
        if not found.present:
            return NONE
        frame.locals[slot] = found.value
        result = body(frame)
        return Optional(result) if wrap else result

    return code

"""CEL rules of custom resources: compiled with the schema they stand in, and run on each write.

Source: k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/{compilation,validation}.go (v1.37), KEP-2876, KEP-4008.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kubernel import cel
from kubernel.errors import Cause
from kubernel.registry import causes
from kubernel.registry.structural import mark
from kubernel_plugins.api.custom.ruled import has_rules
from kubernel_plugins.api.custom.rules.paths import SchemaPathError, find_path, render_path

if TYPE_CHECKING:
    from kubernel.registry.schema import Node

__all__ = ["Compiled", "Rules", "compile_rule", "self_type"]

Rule = Mapping[str, Any]

_OUT_OF_BUDGET = (
    "validation failed due to running out of cost budget, no further validation rules will be run"
)
_MESSAGE_OUT_OF_BUDGET = (
    "messageExpression evaluation failed due to running out of cost budget, no further validation rules "
    "will be run"
)
_LONGEST_MESSAGE = 5 * 1024
_UNKNOWN: Any = object()


def self_type(node: Node, *, resource: bool) -> cel.Type | None:
    """What ``self`` is in rules of this schema; None for values of which nothing is known."""
    return cel.type_from_schema(node, resource=resource)


@dataclass(frozen=True, slots=True)
class Compiled:
    """A rule ready to run; ``error`` and ``message_error`` say why a part of it is not."""

    rule: Rule
    program: cel.Program | None
    message: cel.Program | None
    error: str
    message_error: str
    uses_old: bool
    optional: bool


def compile_rule(rule: Rule, type_: cel.Type) -> Compiled:
    optional = bool(rule.get("optionalOldSelf"))
    old = cel.optional_of(type_) if optional else type_
    where = cel.Environment({"self": type_, "oldSelf": old})
    program = message = None
    error = message_error = ""
    uses_old = False
    source = rule.get("rule") or ""
    if source.strip():
        try:
            program = where.compile(source)
        except cel.CompileError as wrong:
            error = f"compilation failed: {wrong}"
        else:
            uses_old = program.mentions("oldSelf")
            if program.result != cel.BOOL:
                program, error = None, "cel expression must evaluate to a bool"
    said = rule.get("messageExpression") or ""
    if said.strip() and not error:
        try:
            message = where.compile(said)
        except cel.CompileError as wrong:
            message_error = f"messageExpression compilation failed: {wrong}"
        else:
            if message.result != cel.STRING:
                message, message_error = None, "messageExpression must evaluate to a string"
    return Compiled(rule, program, message, error, message_error, uses_old, optional)


class _Spent(Exception):
    """No further rules are run."""


class Rules:
    """The rules of a whole schema."""

    def __init__(self, node: Node) -> None:
        self._root = _Level(node, resource=True)

    def check(self, obj: Any, old: Any, warn: Callable[[str], None]) -> list[Cause]:
        """What the rules say about an object, ``old`` None for a new one. Rules about what did not change only
        ``warn``."""
        run = _Run(warn)
        with contextlib.suppress(_Spent):
            run.level(self._root, obj, old, "", _UNKNOWN if old is None else old, root=True)
        return run.found


class _Level:
    """The rules of one schema node, and the levels below it that have any."""

    def __init__(self, node: Node, *, resource: bool = False) -> None:
        self.type = "object" if resource else node.type
        self.type_name = "" if node.type in ("any", "int-or-string") else node.type
        type_ = self_type(node, resource=resource)
        rules = (node.extra or {}).get("x-kubernetes-validations") or ()
        self.rules = [compile_rule(rule, type_) for rule in rules] if type_ is not None else []
        self.paths = [_field_path(rule, node) for rule in rules]
        self.fields = {
            name: _Level(field, resource=field.embedded)
            for name, field in (node.properties or {}).items()
            if has_rules(field)
        }
        self.values: _Level | None = None
        below = node.additional if node.additional is not None else node.items
        if below is not None and has_rules(below):
            self.values = _Level(below, resource=below.embedded)
        self.keys = node.map_keys if node.list_type == "map" else ()


def _field_path(rule: Rule, node: Node) -> str:
    path = rule.get("fieldPath") or ""
    if not path:
        return ""
    try:
        return render_path(find_path(path, _Shape(node))[0])
    except SchemaPathError:
        return ""


class _Shape(Mapping[str, Any]):
    """A node as the schema that it was made of, as far as paths look at it."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def __getitem__(self, key: str) -> Any:
        if key == "properties":
            return {name: _Shape(field) for name, field in (self._node.properties or {}).items()}
        if key == "additionalProperties" and self._node.additional is not None:
            return _Shape(self._node.additional)
        raise KeyError(key)

    def __iter__(self) -> Any:
        return iter(("properties", "additionalProperties"))

    def __len__(self) -> int:
        return 2


class _Run:
    """One object's way through the rules."""

    def __init__(self, warn: Callable[[str], None]) -> None:
        self.found: list[Cause] = []
        self._warn = warn
        self._left = cel.RUNTIME_BUDGET

    def level(self, level: _Level, value: Any, old: Any, path: str, same: Any, *, root: bool = False) -> None:
        """``old`` is the value before, None for none; ``same`` the value that tells whether this place, or the
        nearest one above that can be told, changed: ``_UNKNOWN`` when nothing tells."""
        if value is None:
            return
        unchanged = same is not _UNKNOWN and same == value if not isinstance(same, _Above) else same.unchanged
        self._rules(level, value, old, path, unchanged)
        if isinstance(value, list) and level.values is not None:
            olds = (
                {_key(item, level.keys): item for item in old or ()}
                if level.keys and isinstance(old, list)
                else {}
            )
            for index, item in enumerate(value):
                before = olds.get(_key(item, level.keys)) if level.keys else None
                tells = before if before is not None else _Above(unchanged)
                self.level(level.values, item, before, f"{path}[{index}]", tells)
        elif isinstance(value, dict):
            was = old if isinstance(old, dict) else {}
            if level.values is not None:
                for key, item in value.items():
                    if key not in level.fields:
                        self._child(level.values, item, was, key, f"{path}[{key}]", unchanged)
            for key, below in level.fields.items():
                if key in value:
                    where = f"{path}.{key}" if path else key
                    self._child(below, value[key], was, key, where, unchanged)

    def _child(
        self, level: _Level, value: Any, was: Mapping[str, Any], key: str, path: str, unchanged: bool
    ) -> None:
        known = key in was
        self.level(level, value, was.get(key), path, was[key] if known else _Above(unchanged))

    def _rules(self, level: _Level, value: Any, old: Any, path: str, unchanged: bool) -> None:
        if not level.rules:
            return
        type_ = level.type_name or level.type
        if self._left <= 0:
            self._say(causes.invalid(path, type_, _OUT_OF_BUDGET))
            raise _Spent
        for compiled, below in zip(level.rules, level.paths, strict=True):
            if compiled.error:
                self._say(causes.invalid(path, type_, f"rule compile error: {compiled.error}"))
                continue
            if compiled.program is None or (compiled.uses_old and old is None and not compiled.optional):
                continue
            variables = {"self": value, "oldSelf": old}
            if compiled.optional:
                variables["oldSelf"] = cel.NONE if old is None else cel.Optional(old)
            if self._holds(compiled, compiled.program, variables, path, type_):
                continue
            where = path
            if below:
                where = f"{path}{below}" if below[:1] == "[" else f"{path}.{below}".removeprefix(".")
            ratcheted = unchanged and not compiled.uses_old
            detail = self._message(compiled, variables, where, type_, ratcheted)
            self._tell(_cause(where, value, detail, compiled.rule.get("reason")), ratcheted)

    def _holds(
        self, compiled: Compiled, program: cel.Program, variables: Mapping[str, Any], path: str, type_: str
    ) -> bool:
        about = _about(compiled.rule)
        try:
            value, cost = program.run(variables, min(cel.PER_CALL_LIMIT, self._left))
        except cel.EvaluationError as error:
            spent = self._left - error.cost
            if isinstance(error, cel.CostExceeded) and self._left < cel.PER_CALL_LIMIT:
                self._say(causes.invalid(path, type_, _OUT_OF_BUDGET))
                raise _Spent from None
            self._left = spent
            text = str(error)
            if isinstance(error, cel.CostExceeded):
                told = (
                    f"'{text}': no further validation rules will be run due to call cost exceeds limit for "
                    f"rule: {about}"
                )
                self._say(causes.invalid(path, type_, told))
                raise _Spent from None
            if text.startswith("no such overload"):
                told = (
                    f"'{text}': call arguments did not match a supported operator, function or macro signature for "
                    f"rule: {about}"
                )
            else:
                told = f"{text} evaluating rule: {about}"
            self._say(causes.invalid(path, type_, told))
            return True
        self._left -= cost
        return value is True

    def _message(
        self, compiled: Compiled, variables: Mapping[str, Any], path: str, type_: str, ratcheted: bool
    ) -> str:
        default = (compiled.rule.get("message") or "").strip() or f"failed rule: {_about(compiled.rule)}"
        if compiled.message is None:
            return default
        try:
            value, cost = compiled.message.run(variables, min(cel.PER_CALL_LIMIT, self._left))
        except cel.CostExceeded:
            text = _MESSAGE_OUT_OF_BUDGET
            if self._left >= cel.PER_CALL_LIMIT:
                source = compiled.rule.get("messageExpression")
                text = (
                    "no further validation rules will be run due to call cost exceeds limit for messageExpression: "
                    f'"{source}"'
                )
            self._tell(causes.invalid(path, type_, text), ratcheted)
            raise _Spent from None
        except cel.EvaluationError as error:
            self._left -= error.cost
            return default
        self._left -= cost
        told = value.strip() if isinstance(value, str) else ""
        return told if told and "\n" not in told and len(told.encode()) <= _LONGEST_MESSAGE else default

    def _say(self, cause: Cause) -> None:
        self.found.append(cause if cause.field else Cause(cause.reason, cause.message, "<nil>"))

    def _tell(self, cause: Cause, ratcheted: bool) -> None:
        if ratcheted:
            self._warn(f"{cause.field or '<nil>'}: {cause.message}")
        else:
            self._say(cause)


@dataclass(frozen=True, slots=True)
class _Above:
    """What is known of a place that cannot be told from before: whether the one above it changed."""

    unchanged: bool


def _key(item: Any, keys: tuple[str, ...]) -> bytes:
    return mark([item.get(key) for key in keys]) if isinstance(item, dict) else b""


def _about(rule: Rule) -> str:
    message: str = (rule.get("message") or "").strip()
    return message or (rule.get("rule") or "").strip()


def _cause(path: str, value: Any, detail: str, reason: str | None) -> Cause:
    """Objects and lists are not shown: they may be long."""
    whole = isinstance(value, dict | list)
    if reason == "FieldValueForbidden":
        return causes.forbidden(path, detail)
    if reason == "FieldValueRequired":
        return causes.required(path, detail)
    if reason == "FieldValueDuplicate":
        return (
            Cause("FieldValueDuplicate", "Duplicate value", path) if whole else causes.duplicate(path, value)
        )
    return (
        Cause("FieldValueInvalid", f"Invalid value: {detail}", path)
        if whole
        else causes.invalid(path, value, detail)
    )

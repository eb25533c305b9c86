"""One MutatingAdmissionPolicy, compiled, and what its mutations make of an object."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from kubernel import cel
from kubernel.errors import ApiError
from kubernel.registry.fields import is_granular, is_keyed
from kubernel.registry.merging import check_applied, merge
from kubernel.registry.patch import PatchTestFailed, Rejected, json_patch
from kubernel_plugins.expressions import (
    OBJECT,
    PATCH,
    Budget,
    Expression,
    ExpressionError,
    MatchConditions,
    Variables,
    environment,
)

if TYPE_CHECKING:
    from kubernel.registry.schema import Node
    from kubernel.store.records import Obj
    from kubernel_plugins.expressions import View

__all__ = ["Policy", "Target"]


_MOST_VALUES = 1_000_000


class Target(NamedTuple):
    """What is changed: its schema (None for the view of a subresource) and what it says it is."""

    node: Node | None
    api_version: str
    kind: str


Mutation = Callable[["View", Target, "Obj", Budget], "Obj"]


class Policy:
    """``mutations`` make a new object each: ``mutation(view, target, obj, budget)``; they raise ExpressionError."""

    def __init__(self, policy: Obj) -> None:
        spec = policy["spec"]
        params = spec.get("paramKind") is not None
        self.fails = (spec.get("failurePolicy") or "Fail") != "Ignore"
        self.reinvoked = spec.get("reinvocationPolicy") == "IfNeeded"
        self.variables = Variables(spec.get("variables") or (), params=params)
        self.conditions = MatchConditions(spec.get("matchConditions"), params=params)
        where = environment(params=params, variables=self.variables.types, patches=True)
        self.mutations: list[Mutation] = []
        for mutation in spec.get("mutations") or ():
            if mutation.get("patchType") == "JSONPatch":
                source = (mutation.get("jsonPatch") or {}).get("expression", "")
                self.mutations.append(_patching(Expression(where, source, (cel.list_of(PATCH),))))
            else:
                source = (mutation.get("applyConfiguration") or {}).get("expression", "")
                self.mutations.append(_applying(Expression(where, source, (OBJECT,))))


def _applying(expression: Expression) -> Mutation:
    def apply(view: View, target: Target, obj: Obj, budget: Budget) -> Obj:
        value = expression.evaluate(view, budget)
        if not isinstance(value, cel.Message):
            raise ExpressionError("unsupported return type from ApplyConfiguration expression")
        written: Obj = _json(value)
        _check_names(value, "Object")
        config: Obj = {**written, "apiVersion": target.api_version, "kind": target.kind}
        node = target.node
        try:
            check_applied(node, config, target.api_version)
        except ApiError as error:
            why = error.message.removeprefix(f"failed to create typed patch object (/; {_named(target)}): ")
            raise ExpressionError(
                f"error applying patch: failed to convert patch object to typed object: {why}"
            ) from error
        atomics = list(_atomics(node, config, ""))
        if atomics:
            raise ExpressionError(
                "error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: "
                + ", ".join(atomics)
            )
        merged: Obj = merge(node, obj, config)
        return merged

    return apply


def _patching(expression: Expression) -> Mutation:
    def patch(view: View, target: Target, obj: Obj, budget: Budget) -> Obj:
        operations = []
        for operation in expression.evaluate(view, budget):
            if not isinstance(operation, cel.Message) or operation.name != "JSONPatch":
                raise ExpressionError(
                    "type mismatch: JSONPatchType.expression should evaluate to array of JSONPatch"
                )
            operations.append(_json(operation))
            value = operation.get("value")
            if isinstance(value, cel.Message):
                _check_names(value, value.name)
        try:
            patched: Obj = json_patch(obj, operations)
        except PatchTestFailed:
            return obj
        except ApiError as error:
            why = error.why if isinstance(error, Rejected) else error.message
            raise ExpressionError(f"JSON Patch: {why}") from error
        return patched

    return patch


def _named(target: Target) -> str:
    version = target.api_version
    return f"{version if '/' in version else f'/{version}'}, Kind={target.kind}"


def _check_names(value: Any, expected: str) -> None:
    """An ``Object.spec`` may stand only where the field ``spec`` of an ``Object`` is. Raises ExpressionError."""
    if isinstance(value, cel.Message):
        if value.name != expected:
            raise ExpressionError(
                f'type mismatch: unexpected type name "{value.name}", expected "{expected}", which matches field '
                "name path from root Object type"
            )
        for key, child in value.items():
            _check_names(child, f"{expected}.{key}")
    elif isinstance(value, list):
        for child in value:
            _check_names(child, expected)
    elif isinstance(value, dict):
        for child in value.values():
            _check_names(child, expected)


def _json(value: Any) -> Any:
    """A CEL value as JSON. Raises ExpressionError for what JSON does not have, and for what no request could hold."""
    return _as_json(value, [_MOST_VALUES])


def _as_json(value: Any, left: list[int]) -> Any:
    left[0] -= 1
    if left[0] < 0:
        raise ExpressionError(f"the result has more than {_MOST_VALUES} values")
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise ExpressionError("map keys must be strings")
        return {key: _as_json(child, left) for key, child in value.items()}
    if isinstance(value, list):
        return [_as_json(child, left) for child in value]
    if value is None or isinstance(value, str | bool | float):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, cel.Timestamp | cel.Duration):
        return cel.to_text(value)
    raise ExpressionError(f"a value of type {cel.runtime_type(value)} cannot be written as JSON")


def _atomics(node: Node | None, value: Any, path: str) -> list[str]:
    """The paths of the atomic lists, maps and structs in a configuration."""
    if node is None:
        return []
    found: list[str] = []
    if isinstance(value, dict):
        if not is_granular(node):
            found.append(path)
        for key, child in value.items():
            below = (node.properties or {}).get(key) or node.additional
            found += _atomics(below, child, f"{path}.{key}")
    elif isinstance(value, list):
        if not is_keyed(node):
            found.append(path)
        for index, child in enumerate(value):
            found += _atomics(node.items, child, f"{path}[{index}]")
    return found

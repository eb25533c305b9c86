"""CEL rules of a schema: that they compile, and what they may cost.

Source: k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation/{validation,cel_validation}.go,
pkg/apiserver/schema/cel/compilation.go (v1.37).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from kubernel.errors import Cause
from kubernel.registry import causes
from kubernel.registry.jsonschema import compile_schema
from kubernel_plugins.api.custom.rules.paths import SchemaPathError, find_path

__all__ = ["Costs", "Scope", "check_rules", "check_texts"]

Schema = Mapping[str, Any]

_REASONS = ("FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired")
_NEWLINES = re.compile(r"[\n\r]+")
_REQUEST = 3 * 1024 * 1024
_MOST = 2**64 - 1
_TOLD = 4


class Scope:
    """A schema as its rules see it: how often it may occur in one object (``cardinality``, None: no telling)."""

    def __init__(self, schema: Schema | None, *, root: bool = False, cardinality: int | None = 1) -> None:
        self.schema: Schema = schema if isinstance(schema, Mapping) else {}
        self.root = root
        self.cardinality = cardinality

    def field(self, schema: Schema) -> Scope:
        return Scope(schema, cardinality=self._times())

    def values(self, schema: Any) -> Scope:
        """Of the items of a list, or the values of a map."""
        return Scope(schema, cardinality=self._times())

    def _times(self) -> int | None:
        if self.cardinality is None:
            return None
        type_ = self.schema.get("type")
        if type_ == "object" and self.schema.get("additionalProperties") is not None:
            most = self.schema.get("maxProperties")
        elif type_ == "array":
            most = self.schema.get("maxItems")
        else:
            return self.cardinality
        return None if most is None else min(self.cardinality * max(most, 0), _MOST)


class Costs:
    """What all rules of a version may cost together. ``enforced``: single rules are limited, too."""

    def __init__(self, *, enforced: bool) -> None:
        self.enforced = enforced
        self.total = 0
        self._expensive: list[tuple[int, str]] = []

    def observe(self, path: str, cost: int) -> None:
        from kubernel import cel

        self.total = min(self.total + cost, _MOST)
        if cost >= cel.TOTAL_ESTIMATE_LIMIT // 100:
            self._expensive.append((cost, path))
            self._expensive.sort(key=lambda one: -one[0])
            del self._expensive[_TOLD:]

    def total_causes(self, path: str) -> list[Cause]:
        if not self.total:
            return []
        from kubernel import cel

        if self.total <= cel.TOTAL_ESTIMATE_LIMIT:
            return []
        text = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"
        found = [causes.forbidden(where, text) for _, where in self._expensive]
        what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema"
        return [*found, causes.forbidden(path, _too_much(what, self.total, cel.TOTAL_ESTIMATE_LIMIT))]


def check_texts(schema: Schema, path: str) -> list[Cause]:
    """What the rules say besides their expressions."""
    found: list[Cause] = []
    for index, rule in enumerate(schema.get("x-kubernetes-validations") or ()):
        where = f"{path}.x-kubernetes-validations[{index}]"
        expression, message = rule.get("rule") or "", rule.get("message") or ""
        if not expression.strip():
            found.append(causes.required(f"{where}.rule", "rule is not specified"))
        elif message and not message.strip():
            found.append(causes.invalid(f"{where}.message", message, "must be non-empty if specified"))
        elif _NEWLINES.search(message.strip()):
            found.append(causes.invalid(f"{where}.message", message, "must not contain line breaks"))
        elif _NEWLINES.search(expression.strip()) and not message.strip():
            text = "message must be specified if rule contains line breaks"
            found.append(causes.required(f"{where}.message", text))
        told = rule.get("messageExpression") or ""
        if told and not told.strip():
            text = "messageExpression must be non-empty if specified"
            found.append(causes.required(f"{where}.messageExpression", text))
        reason = rule.get("reason")
        if reason is not None and reason not in _REASONS:
            found.append(causes.not_supported(f"{where}.reason", reason, _REASONS))
        field = rule.get("fieldPath") or ""
        if field:
            found += _check_field_path(field, schema, f"{where}.fieldPath")
    return found


def _check_field_path(field: str, schema: Schema, path: str) -> list[Cause]:
    found: list[Cause] = []
    if not field.strip():
        found.append(causes.invalid(path, field, "must be non-empty if specified"))
    if _NEWLINES.search(field):
        found.append(causes.invalid(path, field, "must not contain line breaks"))
    try:
        find_path(field, schema)
    except SchemaPathError:
        found.append(causes.invalid(path, field, "must be a valid path"))
    return found


def check_rules(schema: Schema, path: str, scope: Scope, costs: Costs, *, uncorrelated: str) -> list[Cause]:
    """Whether the rules compile, and what they cost."""
    from kubernel import cel
    from kubernel_plugins.api.custom.expressions import compile_rule, self_type

    node = compile_schema(schema)
    type_ = self_type(node, resource=scope.root or node.embedded)
    where = f"{path}.x-kubernetes-validations"
    if type_ is None:
        text = (
            "internal error: failed to construct type information for x-kubernetes-validations rules: unable to "
            "convert structural schema to CEL declarations"
        )
        return [causes.internal(where, text)]
    times = scope.cardinality if scope.cardinality is not None else _REQUEST // (cel.smallest(node) + 1)
    found: list[Cause] = []
    for index, rule in enumerate(schema.get("x-kubernetes-validations") or ()):
        at = f"{where}[{index}]"
        compiled = compile_rule(rule, type_)
        cost = 0
        if compiled.program is not None:
            cost = min(cel.estimate(compiled.program.node) * times, _MOST)
        if costs.enforced and cost > cel.ESTIMATE_LIMIT:
            text = _too_much("estimated rule cost", cost, cel.ESTIMATE_LIMIT)
            found.append(causes.forbidden(f"{at}.rule", text))
        costs.observe(f"{at}.rule", cost)
        if compiled.error:
            found.append(_wrong(f"{at}.rule", rule, compiled.error))
        if compiled.message_error:
            found.append(_wrong(f"{at}.messageExpression", rule, compiled.message_error))
        elif compiled.message is not None:
            cost = cel.estimate(compiled.message.node)
            if costs.enforced and cost > cel.ESTIMATE_LIMIT:
                text = _too_much("estimated messageExpression cost", cost, cel.ESTIMATE_LIMIT)
                found.append(causes.forbidden(f"{at}.messageExpression", text))
            costs.observe(f"{at}.messageExpression", cost)
        if compiled.uses_old:
            if uncorrelated:
                text = f"oldSelf cannot be used on the uncorrelatable portion of the schema within {uncorrelated}"
                found.append(causes.invalid(f"{at}.rule", rule.get("rule"), text))
        elif rule.get("optionalOldSelf") is not None:
            text = "may not be set if oldSelf is not used in rule"
            found.append(causes.invalid(f"{at}.optionalOldSelf", rule["optionalOldSelf"], text))
    return found


def _wrong(path: str, rule: Schema, detail: str) -> Cause:
    """What is wrong with a rule, which is told as Go prints it."""
    shown = {
        "Rule": rule.get("rule") or "",
        "Message": rule.get("message") or "",
        "MessageExpression": rule.get("messageExpression") or "",
        "Reason": rule.get("reason"),
        "FieldPath": rule.get("fieldPath") or "",
        "OptionalOldSelf": rule.get("optionalOldSelf"),
    }
    return Cause("FieldValueInvalid", f"Invalid value: {causes.show(shown)}: {detail}", path)


def _too_much(what: str, cost: int, limit: int) -> str:
    factor = cost / limit
    told = "more than 100x" if factor > 100 else f"{factor:f}x" if factor < 1.5 else f"{factor:.1f}x"
    return (
        f"{what} exceeds budget by factor of {told} (try simplifying the rule, or adding maxItems, maxProperties, and "
        "maxLength where arrays, maps, and strings are declared)"
    )

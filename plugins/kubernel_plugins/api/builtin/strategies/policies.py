"""Admission policies and their bindings: defaults and rules.

Source: pkg/apis/admissionregistration/{v1/defaults,validation/validation}.go (v1.37).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any

from kubernel import cel
from kubernel.errors import Cause
from kubernel.objects import names
from kubernel.registry.causes import too_many
from kubernel_plugins import expressions
from kubernel_plugins.api.builtin import causes
from kubernel_plugins.api.builtin.strategies.base import STATUS_ALONE, Builtin, field
from kubernel_plugins.api.builtin.strategies.rules import check_rule
from kubernel_plugins.api.builtin.validation.conditions import conditions
from kubernel_plugins.api.builtin.validation.internal import go_value
from kubernel_plugins.api.builtin.validation.values import label_selector

if TYPE_CHECKING:
    from kubernel.registry.request import Request

__all__ = ["BindingStrategy", "MutatingPolicyStrategy", "ValidatingPolicyStrategy", "check_match_conditions"]

Obj = dict[str, Any]

_MOST_CONDITIONS = 64
_MOST_ANNOTATIONS = 20
_LONGEST_ANNOTATION = 5 * 1024
_REASONS = ("Forbidden", "Invalid", "RequestEntityTooLarge")
_MUTABLE = ("*", "CONNECT", "CREATE", "UPDATE")
_ACTIONS = ("Audit", "Deny", "Warn")


def _default_match(match: Obj) -> None:
    match.setdefault("matchPolicy", "Equivalent")
    match.setdefault("namespaceSelector", {})
    match.setdefault("objectSelector", {})
    for key in ("resourceRules", "excludeResourceRules"):
        for rule in match.get(key) or ():
            rule.setdefault("scope", "*")


def _check_match(match: Obj, path: str) -> list[Cause]:
    found: list[Cause] = []
    if match.get("matchPolicy") not in ("Exact", "Equivalent"):
        found.append(
            causes.not_supported(f"{path}.matchPolicy", match.get("matchPolicy"), ("Equivalent", "Exact"))
        )
    for key in ("namespaceSelector", "objectSelector"):
        label_selector(match.get(key), f"{path}.{key}", found)
    for key in ("resourceRules", "excludeResourceRules"):
        for index, rule in enumerate(match.get(key) or ()):
            found += _check_named_rule(rule, f"{path}.{key}[{index}]")
    return found


def _check_named_rule(rule: Obj, path: str) -> list[Cause]:
    found: list[Cause] = []
    seen: set[str] = set()
    for index, name in enumerate(rule.get("resourceNames") or ()):
        where = f"{path}.resourceNames[{index}]"
        found += [causes.invalid(where, name, message) for message in names.check_path_segment(name)]
        if name in seen:
            found.append(causes.duplicate(where, name))
        seen.add(name)
    return found + check_rule(rule, path)


def _compiled(
    where: cel.Environment, source: str, returns: Iterable[cel.Type], path: str, shown: str | None = None
) -> tuple[cel.Type, list[Cause]]:
    try:
        return expressions.compile_expression(where, source, returns).result, []
    except expressions.ExpressionError as error:
        return cel.DYN, [causes.invalid(path, source if shown is None else shown, str(error))]


def check_match_conditions(
    conditions: Iterable[Obj] | None, path: str, *, params: bool = False
) -> list[Cause]:
    """Of policies and of webhooks."""
    listed = list(conditions or ())
    found: list[Cause] = []
    if len(listed) > _MOST_CONDITIONS:
        found.append(too_many(path, len(listed), _MOST_CONDITIONS))
    where = expressions.environment(params=params) if listed else None
    seen: set[str] = set()
    for index, condition in enumerate(listed):
        place = f"{path}[{index}]"
        source = (condition.get("expression") or "").strip()
        if where is None or not source:
            found.append(causes.required(f"{place}.expression"))
        else:
            found += _compiled(where, source, (cel.BOOL,), f"{place}.expression")[1]
        name = condition.get("name") or ""
        if not name:
            found.append(causes.required(f"{place}.name"))
            continue
        found += [causes.invalid(f"{place}.name", name, text) for text in names.check_qualified_name(name)]
        if name in seen:
            found.append(causes.duplicate(f"{place}.name", name))
        seen.add(name)
    return found


class _PolicyStrategy(Builtin):
    def __init__(self) -> None:
        super().__init__(generation=True, unconditional_update=False, thorough=True)

    def default(self, obj: Obj) -> None:
        spec = obj["spec"]
        spec.setdefault("failurePolicy", "Fail")
        if isinstance(spec.get("matchConstraints"), dict):
            _default_match(spec["matchConstraints"])

    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        return self.check(obj, None)

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        return self.check_status(obj) if request.subresource == "status" else self.check(obj, old)

    def check_status(self, obj: Obj) -> list[Cause]:
        return []

    def check(self, obj: Obj, old: Obj | None) -> list[Cause]:
        spec = obj.get("spec") or {}
        found: list[Cause] = []
        if spec.get("failurePolicy") not in ("Fail", "Ignore"):
            found.append(
                causes.not_supported("spec.failurePolicy", spec.get("failurePolicy"), ("Fail", "Ignore"))
            )
        kind = spec.get("paramKind")
        if kind is not None:
            found += _check_param_kind(kind)
        match = spec.get("matchConstraints")
        if match is None:
            found.append(causes.required("spec.matchConstraints"))
        else:
            found += _check_match(match, "spec.matchConstraints")
            if not match.get("resourceRules"):
                found.append(causes.required("spec.matchConstraints.resourceRules"))
        before = (old or {}).get("spec") or {}
        same = ("matchConditions", "paramKind")
        if old is None or any(spec.get(key) != before.get(key) for key in same):
            found += check_match_conditions(
                spec.get("matchConditions"), "spec.matchConditions", params=kind is not None
            )
        types, wrong = _check_variables(spec)
        return found + wrong + self.check_rules(obj, spec, types)

    def check_rules(self, obj: Obj, spec: Obj, types: dict[str, cel.Type] | None) -> list[Cause]:
        raise NotImplementedError


def _check_param_kind(kind: Obj) -> list[Cause]:
    found = []
    api_version, name = kind.get("apiVersion") or "", kind.get("kind") or ""
    group, slash, version = api_version.rpartition("/")
    if not api_version:
        found.append(causes.required("spec.paramKind.apiVersion"))
    elif "/" in group:
        found.append(
            causes.invalid(
                "spec.paramKind.apiVersion", api_version, f"unexpected GroupVersion string: {api_version}"
            )
        )
    else:
        checks = [(group, names.check_dns1123_subdomain)] if slash and group else []
        for value, check in [*checks, (version, names.check_dns1035_label)]:
            if problems := check(value):
                found.append(causes.invalid("spec.paramKind.apiVersion", value, ",".join(problems)))
    if not name:
        found.append(causes.required("spec.paramKind.kind"))
    elif problems := names.check_dns1035_label(name.lower()):
        told = "may have mixed case, but should otherwise match: " + ",".join(problems)
        found.append(causes.invalid("spec.paramKind.kind", name, told))
    return found


def _check_variables(spec: Obj) -> tuple[dict[str, cel.Type] | None, list[Cause]]:
    """The variables' types (None when there are none) and what is wrong with them."""
    variables = spec.get("variables") or ()
    found: list[Cause] = []
    types: dict[str, cel.Type] = {}
    for index, variable in enumerate(variables):
        path = f"spec.variables[{index}]"
        name, source = variable.get("name") or "", variable.get("expression") or ""
        if not name.strip():
            found.append(causes.required(f"{path}.name", "name is not specified"))
        elif not cel.is_identifier(name):
            found.append(causes.invalid(f"{path}.name", name, "must be a valid CEL identifier"))
        if not source.strip():
            found.append(causes.required(f"{path}.expression", "expression is not specified"))
            continue
        where = expressions.environment(params=spec.get("paramKind") is not None, variables=types)
        types[name], wrong = _compiled(where, source, (), f"{path}.expression")
        found += wrong
    return (types if variables else None), found


class ValidatingPolicyStrategy(_PolicyStrategy):
    resets = STATUS_ALONE

    def check_status(self, obj: Obj) -> list[Cause]:
        found: list[Cause] = []
        status = obj.get("status") or {}
        for index, warning in enumerate((status.get("typeChecking") or {}).get("expressionWarnings") or ()):
            path = f"status.typeChecking.expressionWarnings[{index}]"
            found += [
                causes.required(f"{path}.{key}") for key in ("warning", "fieldRef") if not warning.get(key)
            ]
        conditions(status.get("conditions") or (), "status.conditions", found)
        return found

    def check_rules(self, obj: Obj, spec: Obj, types: dict[str, cel.Type] | None) -> list[Cause]:
        validations, annotations = spec.get("validations") or (), spec.get("auditAnnotations") or ()
        if not validations and not annotations:
            told = "validations or auditAnnotations must contain at least one item"
            return [causes.required("spec.validations", told), causes.required("spec.auditAnnotations", told)]
        params = spec.get("paramKind") is not None
        where = expressions.environment(params=params, variables=types)
        messages = expressions.environment(params=params, authorizer=False, variables=types)
        found: list[Cause] = []
        for index, validation in enumerate(validations):
            found += _check_validation(validation, where, messages, f"spec.validations[{index}]")
        if len(annotations) > _MOST_ANNOTATIONS:
            told = f"must not have more than {_MOST_ANNOTATIONS} auditAnnotations"
            shown = go_value("admissionregistration.AuditAnnotation", annotations)
            found.append(causes.invalid("spec.auditAnnotations", shown, told))
        seen: set[str] = set()
        for index, annotation in enumerate(annotations):
            path = f"spec.auditAnnotations[{index}]"
            found += _check_annotation(obj, annotation, where, path)
            key = annotation.get("key") or ""
            if key in seen:
                found.append(causes.duplicate(f"{path}.key", key))
            seen.add(key)
        return found


def _check_validation(
    validation: Obj, where: cel.Environment, messages: cel.Environment, path: str
) -> list[Cause]:
    source, message = validation.get("expression") or "", validation.get("message") or ""
    found: list[Cause] = []
    if not source.strip():
        found.append(causes.required(f"{path}.expression", "expression is not specified"))
    else:
        found += _compiled(where, source, (cel.BOOL,), f"{path}.expression")[1]
    made = validation.get("messageExpression") or ""
    if made and not made.strip():
        found.append(causes.invalid(f"{path}.messageExpression", made, "must be non-empty if specified"))
    elif made:
        found += _compiled(messages, made, (cel.STRING,), f"{path}.messageExpression")[1]
    if message and not message.strip():
        found.append(causes.invalid(f"{path}.message", message, "must be non-empty if specified"))
    elif "\n" in message.strip() or "\r" in message.strip():
        found.append(causes.invalid(f"{path}.message", message, "must not contain line breaks"))
    reason = validation.get("reason")
    if reason is not None and reason not in _REASONS:
        found.append(causes.not_supported(f"{path}.reason", reason, _REASONS))
    return found


def _check_annotation(obj: Obj, annotation: Obj, where: cel.Environment, path: str) -> list[Cause]:
    name, key = obj["metadata"].get("name") or "", annotation.get("key") or ""
    qualified = f"{name}/{key}"
    found = [causes.invalid(f"{path}.key", qualified, text) for text in names.check_qualified_name(qualified)]
    shown = annotation.get("valueExpression") or ""
    source = shown.strip()
    if not source:
        found.append(causes.required(f"{path}.valueExpression", "valueExpression is not specified"))
    elif len(source) > _LONGEST_ANNOTATION:
        told = f"must not exceed {_LONGEST_ANNOTATION} bytes in length"
        found.append(causes.required(f"{path}.valueExpression", told))
    else:
        returns = (cel.STRING, cel.NULL)
        found += _compiled(where, source, returns, f"{path}.valueExpression", shown)[1]
    return found


class MutatingPolicyStrategy(_PolicyStrategy):
    def check_rules(self, obj: Obj, spec: Obj, types: dict[str, cel.Type] | None) -> list[Cause]:
        found: list[Cause] = []
        again = spec.get("reinvocationPolicy")
        if not again:
            found.append(causes.required("spec.reinvocationPolicy"))
        elif again not in ("Never", "IfNeeded"):
            found.append(causes.not_supported("spec.reinvocationPolicy", again, ("IfNeeded", "Never")))
        mutations = spec.get("mutations") or ()
        if not mutations:
            found.append(causes.required("spec.mutations", "mutations must contain at least one item"))
        params = spec.get("paramKind") is not None
        where = expressions.environment(params=params, variables=types, patches=True)
        rules = field(spec, "matchConstraints", "resourceRules") or ()
        found += [
            causes.not_supported("spec.matchConstraints.resourceRules.operations", operation, _MUTABLE)
            for rule in rules
            for operation in rule.get("operations") or ()
            if operation not in _MUTABLE
        ]
        for index, mutation in enumerate(mutations):
            found += _check_mutation(mutation, where, f"spec.mutations[{index}]")
        return found


_MUTATIONS: dict[str, tuple[str, cel.Type]] = {
    "ApplyConfiguration": ("applyConfiguration", expressions.OBJECT),
    "JSONPatch": ("jsonPatch", cel.list_of(expressions.PATCH)),
}


def _check_mutation(mutation: Obj, where: cel.Environment, path: str) -> list[Cause]:
    kind = mutation.get("patchType") or ""
    if not kind:
        return [causes.required(f"{path}.patchType")]
    if kind not in _MUTATIONS:
        return [causes.not_supported(f"{path}.patchType", kind, _MUTATIONS)]
    found: list[Cause] = []
    for name, (key, returns) in _MUTATIONS.items():
        given = mutation.get(key)
        if name != kind:
            if given is not None:
                told = f"must not be specified when patchType is {kind}"
                found.append(causes.invalid(f"{path}.{key}", f"{{{key}}}", told))
            continue
        if given is None:
            found.append(causes.required(f"{path}.{key}", f"must be specified when patchType is {kind}"))
            continue
        source = given.get("expression") or ""
        if not source.strip():
            found.append(causes.required(f"{path}.{key}.expression"))
        else:
            found += _compiled(where, source, (returns,), f"{path}.{key}.expression")[1]
    return found


class BindingStrategy(Builtin):
    """Of both kinds: a binding of a mutating policy has no actions."""

    def __init__(self) -> None:
        super().__init__(generation=True, unconditional_update=False, thorough=True)

    def default(self, obj: Obj) -> None:
        match = obj["spec"].get("matchResources")
        if isinstance(match, dict):
            _default_match(match)

    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        spec = obj.get("spec") or {}
        name = spec.get("policyName") or ""
        found: list[Cause] = []
        if not name:
            found.append(causes.required("spec.policyName"))
        else:
            found += [
                causes.invalid("spec.policyName", name, text) for text in names.check_dns1123_subdomain(name)
            ]
        if spec.get("paramRef") is not None:
            found += _check_param_ref(spec["paramRef"])
        if spec.get("matchResources") is not None:
            found += _check_match(spec["matchResources"], "spec.matchResources")
        if request.type.kind == "ValidatingAdmissionPolicyBinding":
            found += _check_actions(spec.get("validationActions") or ())
        return found

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        return self.validate_create(request, obj)


def _check_param_ref(reference: Obj) -> list[Cause]:
    path = "spec.paramRef"
    name, selector = reference.get("name") or "", reference.get("selector")
    found: list[Cause] = []
    exclusive = "name and selector are mutually exclusive"
    if name:
        found += [causes.invalid(f"{path}.name", name, text) for text in names.check_path_segment(name)]
        if selector is not None:
            found.append(causes.forbidden(f"{path}.name", exclusive))
    if selector is not None:
        label_selector(selector, f"{path}.selector", found)
        if name:
            found.append(causes.forbidden(f"{path}.selector", exclusive))
    if not name and selector is None:
        found.append(causes.required(path, "one of name or selector must be specified"))
    action = reference.get("parameterNotFoundAction")
    if not action:
        found.append(causes.required(f"{path}.parameterNotFoundAction"))
    elif action not in ("Allow", "Deny"):
        found.append(causes.not_supported(f"{path}.parameterNotFoundAction", action, ("Deny", "Allow")))
    return found


def _check_actions(actions: Collection[str]) -> list[Cause]:
    path = "spec.validationActions"
    found: list[Cause] = []
    seen: set[str] = set()
    for index, action in enumerate(actions):
        if action not in _ACTIONS:
            found.append(causes.not_supported(f"{path}[{index}]", action, _ACTIONS))
        if action in seen:
            found.append(causes.duplicate(f"{path}[{index}]", action))
        seen.add(action)
    if {"Deny", "Warn"} <= seen:
        told = (
            "must not contain both Deny and Warn (repeating the same validation failure information in the API "
            "response and headers serves no purpose)"
        )
        found.append(causes.invalid(path, list(actions), told))
    if not actions:
        found.append(causes.required(path))
    return found

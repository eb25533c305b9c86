"""Where pods may run: affinity, node selectors, tolerations, taints, spreading."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kubernel.objects import names
from kubernel_plugins.api.builtin import causes
from kubernel_plugins.api.builtin.validation.internal import go_value
from kubernel_plugins.api.builtin.validation.values import (
    Found,
    Obj,
    label_key,
    label_selector,
    label_values,
    named,
    positive,
)

__all__ = ["affinity", "node_selector", "spread_constraints", "taints", "tolerations"]

_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
_WEIGHT = "must be in the range 1-100"
_OPERATOR = "not a valid selector operator"
_INCLUSION = ("Honor", "Ignore")
_UNSATISFIABLE = ("DoNotSchedule", "ScheduleAnyway")


def node_selector(selector: Obj, path: str, found: Found, *, any_value: bool = False) -> None:
    """``any_value``: values that are no label values are let through (they were before)."""
    terms = selector.get("nodeSelectorTerms")
    if not terms:
        told = "must have at least one node selector term"
        found.append(causes.required(f"{path}.nodeSelectorTerms", told))
        return
    for index, term in enumerate(terms):
        _node_term(term, f"{path}.nodeSelectorTerms[{index}]", any_value, found)


def _node_term(term: Obj, path: str, any_value: bool, found: Found) -> None:
    for index, rule in enumerate(term.get("matchExpressions") or ()):
        _node_requirement(rule, f"{path}.matchExpressions[{index}]", any_value, found)
    for index, rule in enumerate(term.get("matchFields") or ()):
        _node_field(rule, f"{path}.matchFields[{index}]", found)


def _node_requirement(rule: Obj, path: str, any_value: bool, found: Found) -> None:
    values: Sequence[str] = rule.get("values") or ()
    match rule.get("operator") or "":
        case "In" | "NotIn":
            if not values:
                told = "must be specified when `operator` is 'In' or 'NotIn'"
                found.append(causes.required(f"{path}.values", told))
        case "Exists" | "DoesNotExist":
            if values:
                told = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                found.append(causes.forbidden(f"{path}.values", told))
        case "Gt" | "Lt":
            if len(values) != 1:
                told = "must be specified single value when `operator` is 'Lt' or 'Gt'"
                found.append(causes.required(f"{path}.values", told))
        case other:
            found.append(causes.invalid(f"{path}.operator", other, _OPERATOR))
    label_key(rule.get("key") or "", f"{path}.key", found)
    if not any_value:
        label_values(values, f"{path}.values", found)


def _node_field(rule: Obj, path: str, found: Found) -> None:
    values: Sequence[str] = rule.get("values") or ()
    operator, key = rule.get("operator") or "", rule.get("key") or ""
    if operator not in ("In", "NotIn"):
        found.append(causes.invalid(f"{path}.operator", operator, _OPERATOR))
    elif len(values) != 1:
        told = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"
        found.append(causes.required(f"{path}.values", told))
    if key != "metadata.name":
        found.append(causes.invalid(f"{path}.key", key, "not a valid field selector key"))
        return
    for index, value in enumerate(values):
        named(value, f"{path}.values[{index}]", names.check_dns1123_subdomain, found)


def affinity(value: Obj, path: str, any_value: bool, any_node_value: bool, found: Found) -> None:
    """The flags let values through that are no label values, in pods' and in nodes' terms."""
    node = value.get("nodeAffinity")
    if node is not None:
        where = f"{path}.nodeAffinity"
        if node.get(_REQUIRED) is not None:
            node_selector(node[_REQUIRED], f"{where}.{_REQUIRED}", found, any_value=any_node_value)
        for index, term in enumerate(node.get(_PREFERRED) or ()):
            at = f"{where}.{_PREFERRED}[{index}]"
            _weight(term, at, found)
            _node_term(term.get("preference") or {}, f"{at}.preference", True, found)
    for kind in ("podAffinity", "podAntiAffinity"):
        pods = value.get(kind)
        if pods is None:
            continue
        where = f"{path}.{kind}"
        for index, term in enumerate(pods.get(_REQUIRED) or ()):
            _pod_term(term, f"{where}.{_REQUIRED}[{index}]", any_value, found)
        for index, term in enumerate(pods.get(_PREFERRED) or ()):
            at = f"{where}.{_PREFERRED}[{index}]"
            _weight(term, at, found)
            _pod_term(term.get("podAffinityTerm") or {}, f"{at}.podAffinityTerm", any_value, found)


def _weight(term: Obj, path: str, found: Found) -> None:
    weight = term.get("weight") or 0
    if not 1 <= weight <= 100:
        found.append(causes.invalid(f"{path}.weight", weight, _WEIGHT))


def _pod_term(term: Obj, path: str, any_value: bool, found: Found) -> None:
    for key in ("labelSelector", "namespaceSelector"):
        label_selector(term.get(key), f"{path}.{key}", found, any_value=any_value)
    for namespace in term.get("namespaces") or ():
        named(namespace, f"{path}.namespace", names.check_dns1123_label, found)
    _match_label_keys(term, path, found)
    topology = term.get("topologyKey") or ""
    if not topology:
        found.append(causes.required(f"{path}.topologyKey", "can not be empty"))
    label_key(topology, f"{path}.topologyKey", found)


def _match_label_keys(term: Obj, path: str, found: Found) -> None:
    """matchLabelKeys and mismatchLabelKeys go with the selector, and not with each other."""
    selector = term.get("labelSelector")
    match, mismatch = term.get("matchLabelKeys") or (), term.get("mismatchLabelKeys") or ()
    for kind, keys in (("matchLabelKeys", match), ("mismatchLabelKeys", mismatch)):
        if keys and selector is None:
            told = "must not be specified when labelSelector is not set"
            found.append(causes.forbidden(f"{path}.{kind}", told))
        elif keys:
            for index, key in enumerate(keys):
                label_key(key, f"{path}.{kind}[{index}]", found)
    if not match:
        return
    places = {key: index for index, key in enumerate(match)}
    selected = set((selector or {}).get("matchLabels") or ())
    for rule in (selector or {}).get("matchExpressions") or ():
        key = rule.get("key") or ""
        if key in places and key in selected:
            told = "exists in both matchLabelKeys and labelSelector"
            found.append(causes.invalid(f"{path}[{places[key]}]", key, told))
        selected.add(key)
    for index, key in enumerate(match):
        if key in mismatch:
            told = "exists in both matchLabelKeys and mismatchLabelKeys"
            found.append(causes.invalid(f"{path}.matchLabelKeys[{index}]", key, told))


def tolerations(listed: Iterable[Obj], path: str, found: Found) -> None:
    for index, toleration in enumerate(listed):
        get = toleration.get
        key, operator, value, effect = (get(name) or "" for name in ("key", "operator", "value", "effect"))
        if key:
            label_key(key, f"{path}[{index}].key", found)
        elif operator != "Exists":
            told = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
            found.append(causes.invalid(f"{path}[{index}].operator", operator, told))
        if get("tolerationSeconds") is not None and effect != "NoExecute":
            told = "effect must be 'NoExecute' when `tolerationSeconds` is set"
            found.append(causes.invalid(f"{path}[{index}].effect", effect, told))
        if operator in ("", "Equal"):
            if problems := names.check_label_value(value):
                found.append(causes.invalid(f"{path}[{index}].operator", value, ";".join(problems)))
        elif operator == "Exists":
            if value:
                told = "value must be empty when `operator` is 'Exists'"
                found.append(causes.invalid(f"{path}[{index}].operator", value, told))
        else:
            known = ("Equal", "Exists", "Lt", "Gt") if operator in ("Lt", "Gt") else ("Equal", "Exists")
            found.append(causes.not_supported(f"{path}[{index}].operator", operator, known))
        if effect and effect not in _EFFECTS:
            found.append(causes.not_supported(f"{path}[{index}].effect", effect, _EFFECTS))


def taints(listed: Iterable[Obj], path: str, found: Found) -> None:
    taken: set[tuple[str, str]] = set()
    for index, taint in enumerate(listed):
        where = f"{path}[{index}]"
        key, value, effect = (taint.get(name) or "" for name in ("key", "value", "effect"))
        label_key(key, f"{where}.key", found)
        if problems := names.check_label_value(value):
            found.append(causes.invalid(f"{where}.value", value, ";".join(problems)))
        if not effect:
            found.append(causes.required(f"{where}.effect"))
        elif effect not in _EFFECTS:
            found.append(causes.not_supported(f"{where}.effect", effect, _EFFECTS))
        if (key, effect) in taken:
            shown = go_value("core.Taint", taint)
            found.append(causes.duplicate(where, shown, "taints must be unique by key and effect pair"))
        taken.add((key, effect))


def spread_constraints(listed: Sequence[Obj], path: str, any_selector: bool, found: Found) -> None:
    """``any_selector``: selectors that are not well formed are let through (they were before)."""
    for index, constraint in enumerate(listed):
        where = f"{path}[{index}]"
        topology, action = constraint.get("topologyKey") or "", constraint.get("whenUnsatisfiable") or ""
        positive(constraint.get("maxSkew"), f"{where}.maxSkew", found)
        if not topology:
            found.append(causes.required(f"{where}.topologyKey", "can not be empty"))
        if action not in _UNSATISFIABLE:
            found.append(causes.not_supported(f"{where}.whenUnsatisfiable", action, _UNSATISFIABLE))
        if any(
            (other.get("topologyKey") or "", other.get("whenUnsatisfiable") or "") == (topology, action)
            for other in listed[index + 1 :]
        ):
            pair = f"{where}.{{topologyKey, whenUnsatisfiable}}"
            found.append(causes.duplicate(pair, f"{{{topology}, {action}}}"))
        domains = constraint.get("minDomains")
        if domains is not None:
            positive(domains, f"{where}.minDomains", found)
            if action != "DoNotSchedule":
                told = f"can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}"
                found.append(causes.invalid(f"{where}.minDomains", domains, told))
        for key in ("nodeAffinityPolicy", "nodeTaintsPolicy"):
            policy = constraint.get(key)
            if policy is not None and policy not in _INCLUSION:
                found.append(causes.not_supported(f"{where}.{key}", policy, _INCLUSION))
        _match_label_keys(constraint, where, found)
        if not any_selector:
            label_selector(constraint.get("labelSelector"), f"{where}.labelSelector", found)

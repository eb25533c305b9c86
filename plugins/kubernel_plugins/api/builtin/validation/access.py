"""Roles and bindings.

Source: pkg/apis/rbac/validation (v1.37).
"""

from __future__ import annotations

from kubernel.objects import names
from kubernel_plugins.api.builtin import causes
from kubernel_plugins.api.builtin.validation.internal import go_value
from kubernel_plugins.api.builtin.validation.values import Found, Obj, label_selector, named

__all__ = ["GROUP", "binding", "binding_update", "role"]

GROUP = "rbac.authorization.k8s.io"
_SUBJECTS = ("ServiceAccount", "User", "Group")
_MIXED = "rules cannot apply to both regular resources and non-resource URLs"


def role(obj: Obj, *, namespaced: bool) -> Found:
    found: Found = []
    for index, rule in enumerate(obj.get("rules") or ()):
        _rule(rule, f"rules[{index}]", namespaced, found)
    aggregation = obj.get("aggregationRule")
    if aggregation is not None and not namespaced:
        _aggregation(aggregation.get("clusterRoleSelectors") or (), found)
    return found


def _rule(rule: Obj, path: str, namespaced: bool, found: Found) -> None:
    if not rule.get("verbs"):
        found.append(causes.required(f"{path}.verbs"))
    urls, where = rule.get("nonResourceURLs"), f"{path}.nonResourceURLs"
    if urls:
        if namespaced:
            told = "namespaced rules cannot apply to non-resource URLs"
            found.append(causes.invalid(where, urls, told))
        if rule.get("apiGroups") or rule.get("resources") or rule.get("resourceNames"):
            found.append(causes.invalid(where, urls, _MIXED))
        return
    for key, what in (("apiGroups", "api group"), ("resources", "resource")):
        if not rule.get(key):
            found.append(causes.required(f"{path}.{key}", f"resource rules must supply at least one {what}"))


def _aggregation(selectors: list[Obj] | tuple[()], found: Found) -> None:
    path = "aggregationRule.clusterRoleSelectors"
    if not selectors:
        told = "at least one clusterRoleSelector required if aggregationRule is non-nil"
        found.append(causes.required(path, told))
    for index, selector in enumerate(selectors):
        before = len(found)
        label_selector(selector, f"{path}[{index}]", found)
        if len(found) > before:
            found.append(causes.invalid(f"{path}[{index}]", None, "invalid label selector."))


def binding(obj: Obj, *, namespaced: bool) -> Found:
    found: Found = []
    reference = obj.get("roleRef") or {}
    group, kind, name = (reference.get(key) or "" for key in ("apiGroup", "kind", "name"))
    kinds = ("Role", "ClusterRole") if namespaced else ("ClusterRole",)
    if group != GROUP:
        found.append(causes.not_supported("roleRef.apiGroup", group, (GROUP,)))
    if kind not in kinds:
        found.append(causes.not_supported("roleRef.kind", kind, kinds))
    if name:
        named(name, "roleRef.name", names.check_path_segment, found)
    else:
        found.append(causes.required("roleRef.name"))
    for index, subject in enumerate(obj.get("subjects") or ()):
        _subject(subject, f"subjects[{index}]", namespaced, found)
    return found


def _subject(subject: Obj, path: str, namespaced: bool, found: Found) -> None:
    kind, name, group = (subject.get(key) or "" for key in ("kind", "name", "apiGroup"))
    if not name:
        found.append(causes.required(f"{path}.name"))
    if kind not in _SUBJECTS:
        found.append(causes.not_supported(f"{path}.kind", kind, _SUBJECTS))
        return
    account = kind == "ServiceAccount"
    if account and name:
        named(name, f"{path}.name", names.check_dns1123_subdomain, found)
    wanted = "" if account else GROUP
    if group != wanted:
        found.append(causes.not_supported(f"{path}.apiGroup", group, (wanted,)))
    if account and not namespaced and not subject.get("namespace"):
        found.append(causes.required(f"{path}.namespace"))


def binding_update(obj: Obj, old: Obj, *, namespaced: bool) -> Found:
    found = binding(obj, namespaced=namespaced)
    if obj.get("roleRef") != old.get("roleRef"):
        shown = go_value("rbac.RoleRef", obj.get("roleRef") or {})
        found.append(causes.invalid("roleRef", shown, causes.FIELD_IMMUTABLE))
    return found

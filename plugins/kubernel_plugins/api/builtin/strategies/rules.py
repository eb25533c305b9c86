"""The rules of webhooks and policies: which operations on which resources.

Source: validateRuleWithOperations of pkg/apis/admissionregistration/validation (v1.37).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kubernel_plugins.api.builtin import causes

if TYPE_CHECKING:
    from kubernel.errors import Cause

__all__ = ["check_rule"]

_OPERATIONS = ("*", "CONNECT", "CREATE", "DELETE", "UPDATE")
_SCOPES = ("*", "Cluster", "Namespaced")


def check_rule(rule: dict[str, Any], path: str) -> list[Cause]:
    """What is wrong with a rule, in upstream's words."""
    found = _check_list(rule, path, "operations", "operations")
    for index, operation in enumerate(rule.get("operations") or ()):
        if operation not in _OPERATIONS:
            found.append(causes.not_supported(f"{path}.operations[{index}]", operation, _OPERATIONS))
    found += _check_list(rule, path, "apiGroups", "API groups")
    found += _check_list(rule, path, "apiVersions", "API versions")
    for index, version in enumerate(rule.get("apiVersions") or ()):
        if not version:
            found.append(causes.required(f"{path}.apiVersions[{index}]"))
    found += _check_resources(rule.get("resources") or (), f"{path}.resources")
    scope = rule.get("scope")
    if scope is not None and scope not in _SCOPES:
        found.append(causes.not_supported(f"{path}.scope", scope, _SCOPES))
    return found


def _check_list(rule: dict[str, Any], path: str, field: str, what: str) -> list[Cause]:
    values = rule.get(field) or ()
    if not values:
        return [causes.required(f"{path}.{field}")]
    if len(values) > 1 and "*" in values:
        told = f"if '*' is present, must not specify other {what}"
        return [causes.invalid(f"{path}.{field}", values, told)]
    return []


def _check_resources(resources: Sequence[str], path: str) -> list[Cause]:
    if not resources:
        return [causes.required(path)]
    found = []
    all_of: set[str] = set()
    everywhere: set[str] = set()
    for index, text in enumerate(resources):
        place = f"{path}[{index}]"
        if not text:
            found.append(causes.required(place))
            continue
        resource, slash, sub = text.partition("/")
        if not slash or text == "*/*":
            continue
        if resource in all_of:
            found.append(
                causes.invalid(place, text, f"if '{resource}/*' is present, must not specify {text}")
            )
        if sub in everywhere:
            found.append(causes.invalid(place, text, f"if '*/{sub}' is present, must not specify {text}"))
        if sub == "*":
            all_of.add(resource)
        if resource == "*":
            everywhere.add(sub)
    if len(resources) > 1 and "*/*" in resources:
        found.append(causes.invalid(path, resources, "if '*/*' is present, must not specify other resources"))
    if "*" in resources and any(text not in ("*", "") and "/" not in text for text in resources):
        told = "if '*' is present, must not specify other resources without subresources"
        found.append(causes.invalid(path, resources, told))
    return found

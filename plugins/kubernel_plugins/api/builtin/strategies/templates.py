"""What all types with a selector and a pod template have in common."""

from __future__ import annotations

from typing import Any

from kubernel.errors import Cause
from kubernel.objects import names, selectors
from kubernel_plugins.api.builtin import causes
from kubernel_plugins.api.builtin.strategies.base import field
from kubernel_plugins.api.builtin.strategies.pod_defaults import default_pod_spec
from kubernel_plugins.api.builtin.strategies.pod_validation import validate_pod_spec

__all__ = [
    "default_template",
    "not_negative",
    "percent_or_count",
    "validate_selector",
    "validate_template",
]

Obj = dict[str, Any]


def default_template(template: Any) -> None:
    spec = field(template, "spec")
    if isinstance(spec, dict):
        default_pod_spec(spec)
        account = spec.get("serviceAccountName") or spec.get("serviceAccount")
        if account:
            spec["serviceAccountName"] = spec["serviceAccount"] = account


def validate_selector(spec: Obj, path: str, kind: str) -> list[Cause]:
    """A selector is required, well formed, not empty, and selects the template."""
    selector = spec.get("selector")
    field_name = f"{path}.selector"
    if selector is None:
        return [causes.required(field_name)]
    if not selector.get("matchLabels") and not selector.get("matchExpressions"):
        return [causes.invalid(field_name, selector, f"empty selector is invalid for {kind}")]
    found = selector_problems(selector, field_name)
    if found:
        return found
    labels = field(spec, "template", "metadata", "labels") or {}
    if not selectors.from_object(selector).matches(labels):
        return [
            causes.invalid(
                f"{path}.template.metadata.labels", labels, "`selector` does not match template `labels`"
            )
        ]
    return []


def selector_problems(selector: Obj, path: str) -> list[Cause]:
    """The parts of a LabelSelector that are not well formed."""
    found: list[Cause] = []
    for key, value in (selector.get("matchLabels") or {}).items():
        found += [
            causes.invalid(f"{path}.matchLabels", key, text) for text in names.check_qualified_name(key)
        ]
        found += [
            causes.invalid(f"{path}.matchLabels", value, text) for text in names.check_label_value(value)
        ]
    for index, rule in enumerate(selector.get("matchExpressions") or ()):
        where = f"{path}.matchExpressions[{index}]"
        values = rule.get("values") or ()
        match rule.get("operator"):
            case "In" | "NotIn":
                if not values:
                    found.append(
                        causes.required(
                            f"{where}.values", "must be specified when `operator` is 'In' or 'NotIn'"
                        )
                    )
            case "Exists" | "DoesNotExist":
                if values:
                    found.append(
                        causes.forbidden(
                            f"{where}.values",
                            "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
                        )
                    )
            case other:
                found.append(causes.invalid(f"{where}.operator", other, "not a valid selector operator"))
        key = rule.get("key") or ""
        found += [causes.invalid(f"{where}.key", key, text) for text in names.check_qualified_name(key)]
    return found


def validate_template(template: Obj, path: str, *, restart: tuple[str, ...] = ("Always",)) -> list[Cause]:
    """The pod template at ``path``; ``restart`` are the restart policies that make sense here."""
    found: list[Cause] = []
    for key, value in (field(template, "metadata", "labels") or {}).items():
        where = f"{path}.metadata.labels"
        found += [causes.invalid(where, key, text) for text in names.check_qualified_name(key)]
        found += [causes.invalid(where, value, text) for text in names.check_label_value(value)]
    spec = template.get("spec") or {}
    found += validate_pod_spec(spec, f"{path}.spec")
    policy = spec.get("restartPolicy")
    if policy not in restart:
        found.append(causes.not_supported(f"{path}.spec.restartPolicy", policy, restart))
    if spec.get("ephemeralContainers"):
        found.append(
            causes.forbidden(
                f"{path}.spec.ephemeralContainers", "ephemeral containers not allowed in pod template"
            )
        )
    return found


def not_negative(spec: Obj, path: str, *keys: str) -> list[Cause]:
    return [
        causes.invalid(f"{path}.{key}", spec[key], "must be greater than or equal to 0")
        for key in keys
        if isinstance(spec.get(key), int) and spec[key] < 0
    ]


def percent_or_count(value: Any, path: str) -> list[Cause]:
    """An int-or-string that is a count or ``NN%``."""
    if isinstance(value, int):
        return [] if value >= 0 else [causes.invalid(path, value, "must be greater than or equal to 0")]
    if isinstance(value, str) and not (value.endswith("%") and value[:-1].isdigit()):
        return [
            causes.invalid(
                path,
                value,
                "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or "
                "'93%', regex used for validation is '[0-9]+%')",
            )
        ]
    return []

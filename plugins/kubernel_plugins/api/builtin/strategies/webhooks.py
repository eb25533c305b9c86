"""Configurations of admission webhooks.

Source: pkg/apis/admissionregistration/validation, k8s.io/apiserver/pkg/util/webhook/validation.go (v1.37).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from kubernel.objects import names
from kubernel_plugins.api.builtin import causes
from kubernel_plugins.api.builtin.strategies.base import Builtin
from kubernel_plugins.api.builtin.strategies.rules import check_rule
from kubernel_plugins.api.builtin.validation.values import label_selector, optional_one_of
from kubernel_plugins.webhook_rules import check_client_config

if TYPE_CHECKING:
    from kubernel.errors import Cause
    from kubernel.registry.request import Request

__all__ = ["WebhooksStrategy"]

Obj = dict[str, Any]

_VERSIONS = ("v1", "v1beta1")
_LONGEST_TIMEOUT = 30


class WebhooksStrategy(Builtin):
    """Of validating and of mutating ones."""

    def __init__(self) -> None:
        super().__init__(generation=True, unconditional_update=False, thorough=True)

    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        return _problems(obj, None)

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        return _problems(obj, old)


def _problems(obj: Obj, old: Obj | None) -> list[Cause]:
    found: list[Cause] = []
    seen: set[str] = set()
    for index, webhook in enumerate(obj.get("webhooks") or ()):
        path = f"webhooks[{index}]"
        name = webhook.get("name") or ""
        found += _check(webhook, path)
        if name and name in seen:
            found.append(causes.duplicate(f"{path}.name", name))
        seen.add(name)
    # What compiled under older rules stays allowed as long as nobody touches it.
    if old is None or _conditions(obj) != _conditions(old):
        found += _check_conditions(obj)
    return found


def _conditions(obj: Obj) -> list[Any]:
    return [webhook.get("matchConditions") for webhook in obj.get("webhooks") or ()]


def _check_conditions(obj: Obj) -> list[Cause]:
    if not any(_conditions(obj)):
        return []
    # CEL is loaded only where there is something to compile.
    from kubernel_plugins.api.builtin.strategies.policies import check_match_conditions

    return [
        cause
        for index, conditions in enumerate(_conditions(obj))
        for cause in check_match_conditions(conditions, f"webhooks[{index}].matchConditions")
    ]


def _check(webhook: Obj, path: str) -> list[Cause]:
    found = _check_name(webhook.get("name") or "", f"{path}.name")
    versions = webhook.get("admissionReviewVersions") or []
    if not versions:
        found.append(
            causes.required(f"{path}.admissionReviewVersions", f"must specify one of {', '.join(_VERSIONS)}")
        )
    elif not set(versions) & set(_VERSIONS):
        text = f"must include at least one of {', '.join(_VERSIONS)}"
        found.append(causes.invalid(f"{path}.admissionReviewVersions", versions, text))
    for index, version in enumerate(versions):
        where = f"{path}.admissionReviewVersions[{index}]"
        found += [causes.invalid(where, version, wrong) for wrong in names.check_dns1035_label(version)]
        if version in versions[:index]:
            found.append(causes.invalid(where, version, "duplicate version"))
    for index, rule in enumerate(webhook.get("rules") or ()):
        found += check_rule(rule, f"{path}.rules[{index}]")
    optional_one_of(webhook, "failurePolicy", path, ("Fail", "Ignore"), found)
    optional_one_of(webhook, "matchPolicy", path, ("Equivalent", "Exact"), found)
    if webhook.get("sideEffects") is None:
        found.append(causes.required(f"{path}.sideEffects", "must specify one of None, NoneOnDryRun"))
    optional_one_of(webhook, "sideEffects", path, ("None", "NoneOnDryRun"), found)
    optional_one_of(webhook, "reinvocationPolicy", path, ("IfNeeded", "Never"), found)
    timeout = webhook.get("timeoutSeconds")
    if timeout is not None and not 0 < timeout <= _LONGEST_TIMEOUT:
        text = "the timeout value must be between 1 and 30 seconds"
        found.append(causes.invalid(f"{path}.timeoutSeconds", timeout, text))
    for field in ("namespaceSelector", "objectSelector"):
        label_selector(webhook.get(field), f"{path}.{field}", found)
    for cause in check_client_config(webhook.get("clientConfig") or {}, f"{path}.clientConfig"):
        # Here, the schema's own rule speaks first.
        plain = cause.message.startswith("Required value: service n")
        found.append(replace(cause, message="Required value") if plain else cause)
    return found


def _check_name(name: str, path: str) -> list[Cause]:
    if not name:
        return [causes.required(path)]
    wrong = names.check_dns1123_subdomain(name)
    if wrong:
        return [causes.invalid(path, name, text) for text in wrong]
    if name.count(".") < 2:
        text = "should be a domain with at least three segments separated by dots"
        return [causes.invalid(path, name, text)]
    return []

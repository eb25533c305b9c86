"""From what policies say to what their bindings do about it: deny, warn, or note for the audit log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import orjson

from kubernel.errors import ApiError, Cause, Forbidden
from kubernel.objects import meta
from kubernel.registry.request import AUDIT_NOTES
from kubernel_plugins.admission.matching import presented
from kubernel_plugins.admission.policies import ConfigurationError
from kubernel_plugins.expressions import View, authorizer

if TYPE_CHECKING:
    from kubernel.plugin import Handle
    from kubernel.registry.request import Request
    from kubernel.store.records import Obj
    from kubernel_plugins.admission.policies import Hook, Policies
    from kubernel_plugins.admission.validating_policy.policy import Denial, Findings

__all__ = ["decide"]

_FAILURE = "validation.policy.admission.k8s.io/validation_failure"
_LONGEST_ANNOTATION = 10 * 1024
_CODES = {"Forbidden": 403, "Unauthorized": 401, "RequestEntityTooLarge": 413}


async def decide(handle: Handle, policies: Policies[Any], request: Request, hooks: Sequence[Hook]) -> None:
    """Raises ApiError with the first denial."""
    ask = authorizer(handle.hooks, request.user)
    namespace = policies.namespace_of(request)
    denied: list[tuple[Hook, str, str]] = []
    annotations: dict[str, list[str]] = {}
    for hook in hooks:
        compiled = policies.compiled(hook.policy)
        try:
            params = await policies.params(hook, request)
        except ConfigurationError as error:
            if compiled.fails:
                denied.append((hook, f"failed to configure {error.of}: {error}", ""))
            continue
        obj, old = await presented(request, hook.type)
        for param in params:
            view = View(request, hook.type, obj, old, params=param, namespace=namespace, ask=ask)
            findings: Findings = compiled.findings(view)
            for denial in findings.denials:
                _act(request, hook, denial, denied)
            denied += [(hook, error, "") for error in findings.errors]
            for key, value in findings.annotations:
                values = annotations.setdefault(f"{meta.name(hook.policy)}/{key}", [])
                if value[:_LONGEST_ANNOTATION] not in values:
                    values.append(value[:_LONGEST_ANNOTATION])
    if annotations:
        notes = request.notes.setdefault(AUDIT_NOTES, {})
        notes.update((key, ", ".join(values)) for key, values in annotations.items())
    if denied:
        raise _refusal(request, *denied[0])


def _act(request: Request, hook: Hook, denial: Denial, denied: list[tuple[Hook, str, str]]) -> None:
    policy, binding = meta.name(hook.policy), meta.name(hook.binding)
    actions: list[str] = hook.binding["spec"].get("validationActions") or []
    for action in actions:
        if action == "Deny":
            denied.append((hook, denial.message, denial.reason))
        elif action == "Warn":
            request.warn(
                f"Validation failed for ValidatingAdmissionPolicy '{policy}' with binding '{binding}': "
                f"{denial.message}"
            )
        else:
            failure: list[Obj] = [
                {
                    "message": denial.message,
                    "policy": policy,
                    "binding": binding,
                    "expressionIndex": denial.validation,
                    "validationActions": actions,
                }
            ]
            request.notes.setdefault(AUDIT_NOTES, {}).setdefault(_FAILURE, orjson.dumps(failure).decode())


_OF_POLICY = "failed to configure policy: "


def _refusal(request: Request, hook: Hook, message: str, reason: str) -> ApiError:
    # What is wrong with the policy itself is told of no binding.
    bound = "" if message.startswith(_OF_POLICY) else f" with binding '{meta.name(hook.binding)}'"
    text = f"ValidatingAdmissionPolicy '{meta.name(hook.policy)}'{bound} denied request: {message}"
    type = request.type
    error = Forbidden.for_object(type.plural, type.group, request.name, text, (Cause("", text),))
    error.status_reason = reason or "Invalid"
    error.status_code = _CODES.get(error.status_reason, 422)
    return error

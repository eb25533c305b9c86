"""Access reviews: the authorizers' answers as objects that are never stored.

Source: k8s.io/kubernetes/pkg/registry/authorization and pkg/apis/authorization/validation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kubernel.errors import BadRequest, Cause, Invalid
from kubernel.registry.attributes import Attributes
from kubernel.registry.request import UserInfo

if TYPE_CHECKING:
    from kubernel.plugin.manager import Hooks
    from kubernel.registry.registry import Registry
    from kubernel.registry.request import Request
    from kubernel.store.records import Obj

    from .policy import Policy

__all__ = ["Reviews"]

_AUTHORIZATION = "authorization.k8s.io"


class Reviews:
    """Handlers for POST on the review types."""

    def __init__(self, hooks: Hooks, policy: Policy) -> None:
        self._hooks = hooks
        self._policy = policy

    def attach(self, registry: Registry) -> None:
        """Become what answers the registered review types."""
        handlers: dict[tuple[str, str], Callable[[Request], Any]] = {
            (_AUTHORIZATION, "selfsubjectaccessreviews"): self.self_access,
            (_AUTHORIZATION, "subjectaccessreviews"): self.access,
            (_AUTHORIZATION, "localsubjectaccessreviews"): self.local_access,
            (_AUTHORIZATION, "selfsubjectrulesreviews"): self.self_rules,
            ("authentication.k8s.io", "selfsubjectreviews"): self.self_review,
        }
        for (group, plural), handler in handlers.items():
            type = registry.lookup(group, "v1", plural)
            if type is not None:
                type.create = handler

    def self_access(self, request: Request) -> Obj:
        obj, spec = _spec(request)
        return self._judged(obj, _attributes(request, spec, request.user))

    def access(self, request: Request) -> Obj:
        obj, spec = _spec(request)
        return self._judged(obj, _attributes(request, spec, _user(request, spec)))

    def local_access(self, request: Request) -> Obj:
        obj, spec = _spec(request)
        wanted = spec.get("resourceAttributes")
        if wanted is None:
            raise _invalid(
                request, "spec.resourceAttributes", "Required value: must be specified", "Required"
            )
        if wanted.get("namespace") != request.namespace:
            raise _invalid(
                request,
                "spec.resourceAttributes.namespace",
                f'Invalid value: "{wanted.get("namespace", "")}": must match metadata.namespace',
                "Invalid",
            )
        return self._judged(obj, _attributes(request, spec, _user(request, spec)))

    def self_rules(self, request: Request) -> Obj:
        obj, spec = _spec(request)
        namespace = spec.get("namespace") or ""
        if not namespace:
            raise BadRequest("no namespace on request")
        resource_rules: list[Obj] = []
        other_rules: list[Obj] = []
        for rule in self._policy.rules_of(request.user, namespace):
            (other_rules if rule.urls else resource_rules).append(rule.as_dict())
        status = {"resourceRules": resource_rules, "nonResourceRules": other_rules, "incomplete": False}
        return {**obj, "status": status}

    def self_review(self, request: Request) -> Obj:
        return {**(request.obj or {}), "status": {"userInfo": request.user.as_dict()}}

    def _judged(self, obj: Obj, attributes: Attributes) -> Obj:
        decision = self._hooks.authorize(attributes)
        status: dict[str, Any] = {"allowed": decision.allowed}
        if not decision.allowed and decision.final:
            status["denied"] = True
        if decision.reason:
            status["reason"] = decision.reason
        return {**obj, "status": status}


def _spec(request: Request) -> tuple[Obj, dict[str, Any]]:
    obj = request.obj or {}
    spec = obj.get("spec")
    return obj, spec if isinstance(spec, dict) else {}


def _invalid(request: Request, field: str, message: str, kind: str) -> Invalid:
    cause = Cause(f"FieldValue{kind}", message, field)
    return Invalid.for_object(request.type.kind, request.type.group, "", [cause])


def _user(request: Request, spec: dict[str, Any]) -> UserInfo:
    name, groups = spec.get("user") or "", tuple(spec.get("groups") or ())
    if not name and not groups:
        raise _invalid(
            request,
            "spec.user",
            'Invalid value: "": at least one of user or group must be specified',
            "Invalid",
        )
    extra = {key: tuple(values) for key, values in (spec.get("extra") or {}).items()}
    return UserInfo(name, groups, spec.get("uid") or "", extra)


def _attributes(request: Request, spec: dict[str, Any], user: UserInfo) -> Attributes:
    resource, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if (resource is None) == (path is None):
        why = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        if resource is not None:
            why = "cannot be specified in combination with resourceAttributes"
        raise _invalid(request, "spec.resourceAttributes", f'Invalid value: "null": {why}', "Invalid")
    if path is not None:
        return Attributes(user, path.get("verb") or "", path=path.get("path") or "/")
    wanted: dict[str, Any] = resource or {}
    return Attributes(
        user,
        wanted.get("verb") or "",
        wanted.get("group") or "",
        wanted.get("version") or "",
        wanted.get("resource") or "",
        wanted.get("subresource") or "",
        wanted.get("namespace") or "",
        wanted.get("name") or "",
    )

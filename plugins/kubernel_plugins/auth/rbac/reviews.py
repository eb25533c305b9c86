"""Access reviews: the authorizers' answers as objects that are never stored.

Source: k8s.io/kubernetes/pkg/registry/authorization and pkg/apis/authorization/validation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import orjson

from kubernel.errors import BadRequest, Cause, Invalid
from kubernel.registry.attributes import Attributes
from kubernel.registry.request import UserInfo
from kubernel_plugins.selector_terms import told_fields, told_labels

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
        problems = _targets(spec) + _metadata(request, obj)
        return self._judged(request, obj, spec, request.user, problems)

    def access(self, request: Request) -> Obj:
        obj, spec = _spec(request)
        problems = _targets(spec) + _subject(spec) + _metadata(request, obj)
        return self._judged(request, obj, spec, _user(spec), problems)

    def local_access(self, request: Request) -> Obj:
        obj, spec = _spec(request)
        problems = _targets(spec) + _subject(spec) + _metadata(request, obj)
        wanted = spec.get("resourceAttributes")
        if wanted is not None and (wanted.get("namespace") or "") != request.namespace:
            told = f'Invalid value: "{wanted.get("namespace") or ""}": must match metadata.namespace'
            problems.append(Cause("FieldValueInvalid", told, "spec.resourceAttributes.namespace"))
        if spec.get("nonResourceAttributes") is not None:
            problems.append(
                _invalid("spec.nonResourceAttributes", _path(spec), "disallowed on this kind of request")
            )
        return self._judged(request, obj, spec, _user(spec), problems)

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

    def _judged(
        self, request: Request, obj: Obj, spec: dict[str, Any], user: UserInfo, problems: list[Cause]
    ) -> Obj:
        if problems:
            raise Invalid.for_object(request.type.kind, request.type.group, "", problems)
        asked, lost = _attributes(spec, user)
        decision = self._hooks.authorize(asked)
        status: dict[str, Any] = {"allowed": decision.allowed}
        if not decision.allowed and decision.final:
            status["denied"] = True
        if decision.reason:
            status["reason"] = decision.reason
        if lost:
            status["evaluationError"] = lost
        return {**obj, "status": status}


def _spec(request: Request) -> tuple[Obj, dict[str, Any]]:
    obj = request.obj or {}
    spec = obj.get("spec")
    return obj, spec if isinstance(spec, dict) else {}


def _invalid(field: str, shown: str, message: str) -> Cause:
    return Cause("FieldValueInvalid", f"Invalid value: {shown}: {message}", field)


def _path(spec: Mapping[str, Any]) -> str:
    return orjson.dumps(spec["nonResourceAttributes"]).decode()


def _targets(spec: Mapping[str, Any]) -> list[Cause]:
    resource, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if resource is not None and path is not None:
        why = "cannot be specified in combination with resourceAttributes"
        return [_invalid("spec.nonResourceAttributes", _path(spec), why)]
    if resource is None and path is None:
        why = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        return [_invalid("spec.resourceAttributes", "null", why)]
    return []


def _subject(spec: Mapping[str, Any]) -> list[Cause]:
    if spec.get("user") or spec.get("groups"):
        return []
    return [_invalid("spec.user", '""', "at least one of user or group must be specified")]


def _metadata(request: Request, obj: Obj) -> list[Cause]:
    meta = {key: value for key, value in (obj.get("metadata") or {}).items() if key != "managedFields"}
    why = "must be empty"
    if request.type.namespaced:
        meta.pop("namespace", None)
        why = "must be empty except for namespace"
    # What the server has filled in was not sent.
    meta.pop("creationTimestamp", None)
    meta.pop("uid", None)
    return [_invalid("metadata", orjson.dumps(meta).decode(), why)] if meta else []


def _user(spec: Mapping[str, Any]) -> UserInfo:
    extra = {key: tuple(values) for key, values in (spec.get("extra") or {}).items()}
    return UserInfo(spec.get("user") or "", tuple(spec.get("groups") or ()), spec.get("uid") or "", extra)


def _attributes(spec: Mapping[str, Any], user: UserInfo) -> tuple[Attributes, str]:
    """What is asked, and what of it was not understood."""
    path = spec.get("nonResourceAttributes")
    if path is not None:
        return Attributes(user, path.get("verb") or "", path=path.get("path") or "/"), ""
    wanted: dict[str, Any] = spec["resourceAttributes"]
    (fields, no_fields), (labels, no_labels) = told_fields(wanted), told_labels(wanted)
    lost = [
        f"spec.resourceAttributes.{name} {how} due to parse error"
        for name, how in (("fieldSelector", no_fields), ("labelSelector", no_labels))
        if how
    ]
    asked = Attributes(
        user,
        wanted.get("verb") or "",
        wanted.get("group") or "",
        wanted.get("version") or "*",
        wanted.get("resource") or "",
        wanted.get("subresource") or "",
        wanted.get("namespace") or "",
        wanted.get("name") or "",
        "",
        labels,
        fields,
    )
    return asked, "; ".join(lost)

"""Access reviews: the authorizers' answers as objects that are never stored.

Source: k8s.io/kubernetes/pkg/registry/authorization and pkg/apis/authorization/validation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import orjson

from kubernel.clock import rfc3339
from kubernel.errors import BadRequest, Cause, Invalid
from kubernel.registry.attributes import Attributes
from kubernel.registry.request import UserInfo
from kubernel_plugins.selector_terms import told_fields, told_labels

if TYPE_CHECKING:
    from kubernel.clock import Clock
    from kubernel.plugin.manager import Hooks
    from kubernel.registry.registry import Registry
    from kubernel.registry.request import Request
    from kubernel.store.records import Obj

    from .policy import Policy

__all__ = ["Reviews"]

_AUTHORIZATION = "authorization.k8s.io"
_MASTERS = "system:masters"
_META = ("name", "generateName", "namespace", "uid", "resourceVersion", "generation", "labels", "annotations")
"""In Go's order."""


class Reviews:
    """Handlers for POST on the review types."""

    def __init__(self, hooks: Hooks, policy: Policy, clock: Clock) -> None:
        self._hooks = hooks
        self._clock = clock
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
        unlisted = self._hooks.unlisted_rules(request.user)
        status: Obj = {
            "resourceRules": resource_rules, "nonResourceRules": other_rules, "incomplete": bool(unlisted),
        }  # fmt: skip
        if unlisted:
            status["evaluationError"] = unlisted[0] if len(unlisted) == 1 else f"[{', '.join(unlisted)}]"
        return {**obj, "metadata": {}, "spec": {}, "status": status}

    def self_review(self, request: Request) -> Obj:
        meta = {"creationTimestamp": rfc3339(self._clock.time())}
        return {**(request.obj or {}), "metadata": meta, "status": {"userInfo": request.user.as_dict()}}

    def _judged(
        self, request: Request, obj: Obj, spec: dict[str, Any], user: UserInfo, problems: list[Cause]
    ) -> Obj:
        if problems:
            # The kind is empty in upstream's refusals.
            raise Invalid.for_object("", request.type.group, "", problems)
        asked, lost = _attributes(spec, user)
        decision = self._hooks.authorize(asked)
        status: dict[str, Any] = {"allowed": decision.allowed}
        if not decision.allowed and decision.final:
            status["denied"] = True
        reason = decision.reason
        if decision.allowed and not reason and _MASTERS not in user.groups:
            # Rights are looked up without finding out where they come from.
            reason = self._policy.because(asked)
        if reason:
            status["reason"] = reason
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
    """``nonResourceAttributes`` as Go prints its own struct."""
    told = spec.get("nonResourceAttributes")
    if told is None:
        return "null"
    return orjson.dumps({"Path": told.get("path") or "", "Verb": told.get("verb") or ""}).decode()


def _targets(spec: Mapping[str, Any]) -> list[Cause]:
    resource = spec.get("resourceAttributes")
    if (resource is None) is (spec.get("nonResourceAttributes") is None):
        why = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        return [_invalid("spec", _path(spec), why)]
    if resource is None:
        return []
    found: list[Cause] = []
    for name in ("fieldSelector", "labelSelector"):
        if resource.get(name) is not None:
            found += _selector(resource[name], f"spec.resourceAttributes.{name}")
    return found


def _selector(told: Mapping[str, Any], place: str) -> list[Cause]:
    raw, requirements = told.get("rawSelector") or "", told.get("requirements") or ()
    if raw and requirements:
        why = "may not specified at the same time as requirements"
        return [_invalid(f"{place}.rawSelector", orjson.dumps(raw).decode(), why)]
    if not raw and not requirements:
        why = f"when {place} is specified, requirements or rawSelector is required"
        return [Cause("FieldValueRequired", f"Required value: {why}", f"{place}.requirements")]
    found: list[Cause] = []
    for number, one in enumerate(requirements):
        where, operator, values = f"{place}.requirements[{number}]", one.get("operator"), one.get("values")
        if not one.get("key"):
            found.append(Cause("FieldValueRequired", "Required value: must be specified", f"{where}.key"))
        if operator in ("In", "NotIn") and not values:
            why = "must be specified when `operator` is 'In' or 'NotIn'"
            found.append(Cause("FieldValueRequired", f"Required value: {why}", f"{where}.values"))
        elif operator in ("Exists", "DoesNotExist") and values:
            why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            found.append(Cause("FieldValueForbidden", f"Forbidden: {why}", f"{where}.values"))
    return found


def _subject(spec: Mapping[str, Any]) -> list[Cause]:
    if spec.get("user") or spec.get("groups"):
        return []
    return [_invalid("spec.user", '""', "at least one of user or group must be specified")]


def _metadata(request: Request, obj: Obj) -> list[Cause]:
    # Clients send what they leave empty as null.
    sent = {key: value for key, value in (obj.get("metadata") or {}).items() if value}
    known = (key for key in _META if key in sent)
    meta = {key: sent[key] for key in (*known, *sorted(sent.keys() - {*_META, "managedFields"}))}
    local = request.type.namespaced
    if not meta.keys() - ({"namespace"} if local else set()):
        return []
    why = "must be empty except for namespace" if local else "must be empty"
    return [_invalid("metadata", orjson.dumps(meta).decode(), why)]


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

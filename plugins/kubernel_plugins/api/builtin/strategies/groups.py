"""Pod groups and the workloads whose templates they come from.

Source: k8s.io/api/scheduling/v1beta1, k8s.io/kubernetes/pkg/apis/scheduling/validation (v1.37), with GenericWorkload
on and what is alpha behind it off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kubernel.objects import names
from kubernel_plugins.api.builtin import causes
from kubernel_plugins.api.builtin.strategies.base import STATUS_ALONE, Builtin
from kubernel_plugins.api.builtin.validation.conditions import conditions
from kubernel_plugins.api.builtin.validation.values import named

if TYPE_CHECKING:
    from kubernel.errors import Cause
    from kubernel.registry.request import Request

__all__ = ["PodGroupStrategy", "WorkloadStrategy"]

Obj = dict[str, Any]

_POLICIES = ("basic", "gang")
_MODES = ("single", "all")
_MOST_TEMPLATES = 8
_HIGHEST = 1_000_000_000
_DISABLED = ("preemptionPolicy", "resourceClaims", "schedulingConstraints", "parentCompositePodGroupName")
_ONE_PRIORITY = "detected multiple priority configurations"
_NOT_ONCE_CREATED = "field cannot be set once created"
_NOT_ONCE_SET = "field cannot be cleared once set"


def _drop_disabled(group: Obj) -> None:
    """PodGroupPreemptionPolicy, DRAWorkloadResourceClaims, TopologyAwareWorkloadScheduling, CompositePodGroup."""
    for key in _DISABLED:
        group.pop(key, None)


def _union(value: Obj, path: str, members: tuple[str, ...], found: list[Cause]) -> None:
    chosen = [name for name in members if value.get(name) is not None]
    told = ", ".join(f"`{name}`" for name in members)
    if not chosen:
        found.append(causes.invalid(path, "", f"must specify one of: {told}"))
    elif len(chosen) > 1:
        shown = "{" + ", ".join(chosen) + "}"
        found.append(causes.invalid(path, shown, f"must specify exactly one of: {told}"))


def _group(group: Obj, path: str, found: list[Cause]) -> None:
    """What a group and a template of groups have in common."""
    policy, where = group.get("schedulingPolicy") or {}, f"{path}.schedulingPolicy"
    _union(policy, where, _POLICIES, found)
    if policy.get("gang") is not None:
        count = policy["gang"].get("minCount") or 0
        if not count:
            found.append(causes.required(f"{where}.gang.minCount"))
        elif count < 1:
            told = "must be greater than or equal to 1"
            found.append(causes.invalid(f"{where}.gang.minCount", count, told))
    if group.get("disruptionMode") is not None:
        _union(group["disruptionMode"], f"{path}.disruptionMode", _MODES, found)
    if group.get("priorityClassName"):
        named(group["priorityClassName"], f"{path}.priorityClassName", names.check_dns1123_subdomain, found)
    if (group.get("priority") or 0) > _HIGHEST:
        told = f"must be less than or equal to {_HIGHEST}"
        found.append(causes.invalid(f"{path}.priority", group["priority"], told))


def _unchanged(now: Obj, then: Obj, path: str, keys: tuple[str, ...], found: list[Cause]) -> None:
    found += [
        causes.invalid(f"{path}.{key}", None, causes.FIELD_IMMUTABLE)
        for key in keys
        if now.get(key) != then.get(key)
    ]


def _group_update(now: Obj, then: Obj, path: str, found: list[Cause]) -> None:
    policy, before = now.get("schedulingPolicy") or {}, then.get("schedulingPolicy") or {}
    where = f"{path}.schedulingPolicy"
    _unchanged(policy, before, where, ("basic",), found)
    if policy.get("gang") is not None and before.get("gang") is None:
        found.append(causes.invalid(f"{where}.gang", None, _NOT_ONCE_CREATED))
    if policy.get("gang") is None and before.get("gang") is not None:
        found.append(causes.invalid(f"{where}.gang", None, _NOT_ONCE_SET))
    _unchanged(now, then, path, ("disruptionMode", "priorityClassName", "priority"), found)


class PodGroupStrategy(Builtin):
    """Of the spec only the size of a gang may change."""

    resets = STATUS_ALONE

    def __init__(self) -> None:
        super().__init__(thorough=True)

    def default(self, obj: Obj) -> None:
        if obj["spec"].get("disruptionMode") is None:
            obj["spec"]["disruptionMode"] = {"single": {}}

    def prepare_for_create(self, request: Request, obj: Obj) -> None:
        super().prepare_for_create(request, obj)
        _drop_disabled(obj["spec"])

    def prepare_for_update(self, request: Request, obj: Obj, old: Obj) -> None:
        super().prepare_for_update(request, obj, old)
        if request.subresource != "status":
            _drop_disabled(obj["spec"])

    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        found: list[Cause] = []
        spec = obj["spec"]
        _group(spec, "spec", found)
        reference, path = spec.get("workloadRef"), "spec.workloadRef"
        if reference is not None:
            for key, check in (
                ("workloadName", names.check_dns1123_subdomain),
                ("templateName", names.check_dns1123_label),
            ):
                if reference.get(key):
                    named(reference[key], f"{path}.{key}", check, found)
                else:
                    found.append(causes.required(f"{path}.{key}"))
        return found

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        found: list[Cause] = []
        if request.subresource == "status":
            conditions((obj.get("status") or {}).get("conditions") or (), "status.conditions", found)
            return found
        _unchanged(obj["spec"], old["spec"], "spec", ("workloadRef",), found)
        _group_update(obj["spec"], old["spec"], "spec", found)
        return found + self.validate_create(request, obj)


class WorkloadStrategy(Builtin):
    def __init__(self) -> None:
        super().__init__(thorough=True)

    def prepare_for_create(self, request: Request, obj: Obj) -> None:
        super().prepare_for_create(request, obj)
        _drop_disabled_in_workload(obj["spec"])

    def prepare_for_update(self, request: Request, obj: Obj, old: Obj) -> None:
        super().prepare_for_update(request, obj, old)
        _drop_disabled_in_workload(obj["spec"])

    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        found: list[Cause] = []
        spec = obj["spec"]
        if spec.get("controllerRef") is not None:
            _check_controller(spec["controllerRef"], "spec.controllerRef", found)
        templates, path = spec.get("podGroupTemplates") or [], "spec.podGroupTemplates"
        if not templates:
            told = "must specify one of: `podGroupTemplates`, `compositePodGroupTemplates`"
            found.append(causes.invalid("spec", "", told))
        if len(templates) > _MOST_TEMPLATES:
            found.append(causes.too_many(path, len(templates), _MOST_TEMPLATES))
            return found
        seen: set[str] = set()
        for index, template in enumerate(templates):
            name, where = template.get("name") or "", f"{path}[{index}]"
            if name in seen:
                found.append(causes.duplicate(where, _published(template)))
            seen.add(name)
            if name:
                named(name, f"{where}.name", names.check_dns1123_label, found)
            else:
                found.append(causes.required(f"{where}.name"))
            _group(template, where, found)
        if len({(one.get("priorityClassName"), one.get("priority")) for one in templates}) > 1:
            found.append(causes.invalid("spec", None, _ONE_PRIORITY))
        return found

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        found: list[Cause] = []
        _unchanged(obj["spec"], old["spec"], "spec", ("controllerRef",), found)
        now, then = (each["spec"].get("podGroupTemplates") or () for each in (obj, old))
        known = {one.get("name"): one for one in then}
        path = "spec.podGroupTemplates"
        for index, template in enumerate(now):
            where, name = f"{path}[{index}]", template.get("name")
            if name in known:
                _group_update(template, known[name], where, found)
            else:
                found.append(causes.forbidden(where, "item may not be added"))
        left = {one.get("name") for one in now}
        found += [causes.forbidden(path, "item may not be removed") for name in known if name not in left]
        return found + self.validate_create(request, obj)


def _drop_disabled_in_workload(spec: Obj) -> None:
    spec.pop("compositePodGroupTemplates", None)
    for template in spec.get("podGroupTemplates") or ():
        _drop_disabled(template)
        template["schedulingConstraints"] = None


def _published(template: Obj) -> Obj:
    """With what Go never leaves out."""
    return {"name": "", **template}


def _check_controller(reference: Obj, path: str, found: list[Cause]) -> None:
    if reference.get("apiGroup"):
        named(reference["apiGroup"], f"{path}.apiGroup", names.check_dns1123_subdomain, found)
    for key in ("kind", "name"):
        if reference.get(key):
            named(reference[key], f"{path}.{key}", names.check_path_segment, found)
        else:
            found.append(causes.required(f"{path}.{key}"))

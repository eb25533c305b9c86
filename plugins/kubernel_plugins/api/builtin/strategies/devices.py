"""Devices: classes, claims and their templates, slices, taint rules.

Source: pkg/registry/resource (v1.37), with the feature gates in their default state.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from kubernel.clock import rfc3339
from kubernel_plugins.api.builtin import causes
from kubernel_plugins.api.builtin.strategies.base import STATUS_ALONE, Builtin, field
from kubernel_plugins.api.builtin.validation.conditions import conditions
from kubernel_plugins.api.builtin.validation.device_claims import claim_spec, claim_status, claim_template
from kubernel_plugins.api.builtin.validation.device_slices import resource_slice
from kubernel_plugins.api.builtin.validation.devices import device_class, taint_rule
from kubernel_plugins.api.builtin.validation.internal import go_equal, go_value

if TYPE_CHECKING:
    from kubernel.errors import Cause
    from kubernel.registry.request import Request
    from kubernel_plugins.api.builtin.context import Context

__all__ = [
    "DeviceClassStrategy",
    "DeviceTaintRuleStrategy",
    "ResourceClaimStrategy",
    "ResourceClaimTemplateStrategy",
    "ResourceSliceStrategy",
]

Obj = dict[str, Any]

_MOST_CONDITIONS = 8
_ADMIN_LABEL = "resource.kubernetes.io/admin-access"
_LISTED_VALUES = ("ints", "bools", "strings", "versions")  # DRAListTypeAttributes


class DeviceClassStrategy(Builtin):
    def __init__(self) -> None:
        super().__init__(generation=True, returns=True, thorough=True)

    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        return device_class(obj)

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        return device_class(obj, old)


def _default_taint(taint: Any, now: str) -> None:
    if isinstance(taint, dict) and taint.get("timeAdded") is None:
        taint["timeAdded"] = now


class DeviceTaintRuleStrategy(Builtin):
    resets = STATUS_ALONE

    def __init__(self, context: Context) -> None:
        super().__init__(generation=True, unconditional_update=False, thorough=True)
        self.context = context

    def default(self, obj: Obj) -> None:
        if isinstance(obj.get("spec"), dict):
            _default_taint(obj["spec"].setdefault("taint", {}), rfc3339(self.context.clock.time()))

    def prepare_for_update(self, request: Request, obj: Obj, old: Obj) -> None:
        """A changed effect counts from now on."""
        taint, before = field(obj, "spec", "taint"), field(old, "spec", "taint")
        if request.subresource != "status" and isinstance(taint, dict) and isinstance(before, dict):
            changed = taint.get("effect") != before.get("effect")
            if changed and taint.get("timeAdded") == before.get("timeAdded"):
                taint["timeAdded"] = rfc3339(self.context.clock.time())
        super().prepare_for_update(request, obj, old)

    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        return taint_rule(obj)

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        if request.subresource != "status":
            return taint_rule(obj, old)
        found: list[Cause] = []
        listed = field(obj, "status", "conditions") or ()
        conditions(listed, "status.conditions", found)
        if len(listed) > _MOST_CONDITIONS:
            found.append(causes.too_many("status.conditions", len(listed), _MOST_CONDITIONS))
        return found


def _asked(spec: Any) -> Iterator[Obj]:
    """The requests of a claim, alternatives each."""
    for request in field(spec, "devices", "requests") or ():
        if not isinstance(request, dict):
            continue
        for one in (request.get("exactly"), *(request.get("firstAvailable") or ())):
            if isinstance(one, dict):
                yield one


def _default_claim(spec: Any) -> None:
    for asked in _asked(spec):
        if not asked.get("allocationMode"):
            asked["allocationMode"] = "ExactCount"
        if asked["allocationMode"] == "ExactCount" and not asked.get("count"):
            asked["count"] = 1
        for toleration in asked.get("tolerations") or ():
            if isinstance(toleration, dict) and not toleration.get("operator"):
                toleration["operator"] = "Equal"


def _drop_disabled(spec: Any) -> None:
    for asked in _asked(spec):
        asked.pop("derivedAttributes", None)  # DRADerivedAttributes


class _Claiming(Builtin):
    def __init__(self, context: Context) -> None:
        super().__init__(returns=True, thorough=True)
        self.context = context

    def _admin(self, request: Request, spec: Any) -> list[Cause]:
        """Upstream has this path for templates, too."""
        listed = [field(one, "exactly") for one in field(spec, "devices", "requests") or ()]
        return self._refuse_admin(request, listed, "spec.devices.requests")

    def _refuse_admin(self, request: Request, listed: Iterable[Any], path: str) -> list[Cause]:
        """Only in namespaces that are labelled for it may claims reach devices that others use."""
        index = next((index for index, one in enumerate(listed) if field(one, "adminAccess")), None)
        if index is None:
            return []
        namespace = self.context.find("namespaces", request.namespace)
        if ((field(namespace, "metadata", "labels")) or {}).get(_ADMIN_LABEL) == "true":
            return []
        told = (
            f"admin access to devices requires the `{_ADMIN_LABEL}: true` label on the containing namespace"
        )
        return [causes.forbidden(f"{path}[{index}].adminAccess", told)]


class ResourceClaimStrategy(_Claiming):
    resets = STATUS_ALONE

    def default(self, obj: Obj) -> None:
        _default_claim(obj.get("spec"))

    def prepare_for_create(self, request: Request, obj: Obj) -> None:
        super().prepare_for_create(request, obj)
        _drop_disabled(obj.get("spec"))

    def prepare_for_update(self, request: Request, obj: Obj, old: Obj) -> None:
        super().prepare_for_update(request, obj, old)
        if request.subresource == "status":
            _drop_deallocated(obj, old)
        else:
            _drop_disabled(obj.get("spec"))

    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        found = self._admin(request, obj.get("spec"))
        claim_spec(obj.get("spec") or {}, "spec", found)
        return found

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        if request.subresource == "status":
            return [*self._admin_in_status(request, obj, old), *claim_status(obj, old)]
        return _unchanged("resource.ResourceClaimSpec", obj, old)

    def _admin_in_status(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        path = ("status", "allocation", "devices", "results")
        if any(field(one, "adminAccess") for one in field(old, *path) or ()):
            return []
        return self._refuse_admin(request, field(obj, *path) or (), ".".join(path))


def _drop_deallocated(obj: Obj, old: Obj) -> None:
    """What devices said goes with them."""
    now, then = (
        {_device(one) for one in field(each, "status", "allocation", "devices", "results") or ()}
        for each in (obj, old)
    )
    status = obj.get("status")
    if isinstance(status, dict) and status.get("devices"):
        status["devices"] = [one for one in status["devices"] if _device(one) not in then - now]
        if not status["devices"]:
            del status["devices"]


def _device(device: Obj) -> tuple[Any, ...]:
    return tuple(device.get(key) for key in ("driver", "pool", "device", "shareID"))


def _unchanged(type: str, obj: Obj, old: Obj, shown: Any = None) -> list[Cause]:
    if go_equal(type, obj.get("spec"), old.get("spec")):
        return []
    return [causes.invalid("spec", shown, causes.FIELD_IMMUTABLE)]


class ResourceClaimTemplateStrategy(_Claiming):
    def default(self, obj: Obj) -> None:
        _default_claim(field(obj, "spec", "spec"))

    def prepare_for_create(self, request: Request, obj: Obj) -> None:
        _drop_disabled(field(obj, "spec", "spec"))

    def prepare_for_update(self, request: Request, obj: Obj, old: Obj) -> None:
        _drop_disabled(field(obj, "spec", "spec"))

    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        return [*self._admin(request, field(obj, "spec", "spec")), *claim_template(obj)]

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        type = "resource.ResourceClaimTemplateSpec"
        return [*claim_template(obj), *_unchanged(type, obj, old, go_value(type, obj.get("spec") or {}))]


class ResourceSliceStrategy(Builtin):
    field_label_refusal = "field label not supported for resource.k8s.io/v1, Kind=ResourceSlice: {}"

    def __init__(self, context: Context) -> None:
        super().__init__(generation=True, returns=True, thorough=True)
        self.context = context

    def default(self, obj: Obj) -> None:
        now = rfc3339(self.context.clock.time())
        for device in _devices(obj):
            for taint in device.get("taints") or ():
                _default_taint(taint, now)

    def prepare_for_create(self, request: Request, obj: Obj) -> None:
        _drop_disabled_in_slice(obj)
        super().prepare_for_create(request, obj)

    def prepare_for_update(self, request: Request, obj: Obj, old: Obj) -> None:
        _drop_disabled_in_slice(obj)
        super().prepare_for_update(request, obj, old)

    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        return resource_slice(obj)

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        return resource_slice(obj, old)

    def warnings(self, request: Request, obj: Obj) -> list[str]:
        driver = field(obj, "spec", "driver") or ""
        if driver == driver.lower():
            return []
        return [f'spec.driver: driver names should be lowercase; "{driver}" contains uppercase characters']


def _devices(obj: Obj) -> Iterator[Obj]:
    return (one for one in field(obj, "spec", "devices") or () if isinstance(one, dict))


def _drop_disabled_in_slice(obj: Obj) -> None:
    """DRAPartitionableDevicesType, DRAOptionalNodeOperations, DRANodeAllocatableResources,
    DRADeviceCompatibilityGroups and DRAListTypeAttributes."""
    spec = obj.get("spec")
    if isinstance(spec, dict):
        spec.pop("partitionTypeAttribute", None)
        spec.pop("skipNodeOperations", None)
    for device in _devices(obj):
        device.pop("nodeAllocatableResources", None)
        for consumption in device.get("consumesCounters") or ():
            consumption.pop("compatibilityGroups", None)
        for attribute in (device.get("attributes") or {}).values():
            for key in _LISTED_VALUES:
                attribute.pop(key, None)

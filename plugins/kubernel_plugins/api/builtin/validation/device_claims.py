"""Claims of devices: what is asked for, and what was allocated.

Source: pkg/apis/resource/validation (v1.37).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kubernel.objects import names
from kubernel_plugins.api.builtin import causes
from kubernel_plugins.api.builtin.validation.addresses import interface_address
from kubernel_plugins.api.builtin.validation.conditions import conditions
from kubernel_plugins.api.builtin.validation.devices import (
    attribute_reference,
    binding_conditions,
    caseless_driver,
    configuration,
    declared_pool_name,
    each,
    free_form,
    pool_name,
    selectors,
    share_id,
    tolerations,
    unique,
    unique_by,
)
from kubernel_plugins.api.builtin.validation.scheduling import node_selector
from kubernel_plugins.api.builtin.validation.values import Found, Obj, annotation_keys, labels, named
from kubernel_plugins.api.builtin.validation.volumes import csi_driver_name

__all__ = ["claim_spec", "claim_status", "claim_template"]

_MODES = ("All", "ExactCount")
_MOST_REQUESTS = 32
_MOST_ALTERNATIVES = 8
_MOST_CONSTRAINTS = 32
_MOST_CONFIGURATIONS = 32
_MOST_RESERVATIONS = 256
_MOST_CONDITIONS = 8
_MOST_ADDRESSES = 16
_LONGEST_INTERFACE = 256
_LONGEST_HARDWARE_ADDRESS = 128
_ONE_KIND = "exactly one of `exactly` or `firstAvailable` is required"
_ONE_ATTRIBUTE = (
    'exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields are set'
)
_REFERENCE = (
    "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"
)

_Names = Mapping[str, Sequence[str]]
"""Each request's subrequests."""


def _request_names(devices: Obj) -> _Names:
    return {
        request.get("name") or "": [one.get("name") or "" for one in request.get("firstAvailable") or ()]
        for request in devices.get("requests") or ()
    }


def claim_template(obj: Obj) -> Found:
    found: Found = []
    spec = obj.get("spec") or {}
    metadata = spec.get("metadata") or {}
    annotation_keys(metadata.get("annotations"), "spec.metadata.annotations", found)
    labels(metadata.get("labels"), "spec.metadata.labels", found)
    for key, value in metadata.items():
        if value and key not in ("annotations", "labels"):
            # Upstream makes the name of the field from Go's.
            told = "uID" if key == "uid" else key
            found.append(causes.forbidden(f"spec.metadata.{told}", "cannot be set"))
    claim_spec(spec.get("spec") or {}, "spec.spec", found)
    return found


def claim_spec(spec: Obj, path: str, found: Found) -> None:
    devices, where = spec.get("devices") or {}, f"{path}.devices"
    known = _request_names(devices)
    requests = devices.get("requests")
    if each(requests, f"{where}.requests", _MOST_REQUESTS, _request, found):
        unique_by(("name",), requests, "resource.DeviceRequest", f"{where}.requests", found)

    def constraint(one: Obj, path: str, found: Found) -> None:
        _references(one, path, known, found)
        chosen = [key for key in ("matchAttribute", "distinctAttribute") if one.get(key) is not None]
        for key in chosen:
            attribute_reference(one[key], f"{path}.{key}", found)
        if not chosen:
            found.append(causes.required(path, _ONE_ATTRIBUTE))

    def config(one: Obj, path: str, found: Found) -> None:
        _references(one, path, known, found)
        configuration(one, path, found)

    each(devices.get("constraints"), f"{where}.constraints", _MOST_CONSTRAINTS, constraint, found)
    each(devices.get("config"), f"{where}.config", _MOST_CONFIGURATIONS, config, found)


def _request(request: Obj, path: str, found: Found) -> None:
    named(request.get("name") or "", f"{path}.name", names.check_dns1123_label, found)
    exactly, alternatives = request.get("exactly"), request.get("firstAvailable")
    if exactly is not None and alternatives:
        found.append(causes.invalid(path, None, f"{_ONE_KIND}, but multiple fields are set"))
        # What upstream declares is said all the same.
        where = f"{path}.firstAvailable"
        unique_by(("name",), alternatives, "resource.DeviceSubRequest", where, found)
        for index, one in enumerate(alternatives):
            _class_name(one, f"{where}[{index}]", found)
            _mode(one, f"{where}[{index}]", found)
        _mode(exactly, f"{path}.exactly", found)
    elif exactly is not None:
        _asked(exactly, f"{path}.exactly", found)
    elif alternatives:
        where = f"{path}.firstAvailable"
        if each(alternatives, where, _MOST_ALTERNATIVES, _alternative, found):
            unique_by(("name",), alternatives, "resource.DeviceSubRequest", where, found)
    else:
        found.append(causes.required(path, _ONE_KIND))


def _alternative(request: Obj, path: str, found: Found) -> None:
    named(request.get("name") or "", f"{path}.name", names.check_dns1123_label, found)
    _asked(request, path, found)


def _class_name(request: Obj, path: str, found: Found) -> None:
    name = request.get("deviceClassName") or ""
    if name:
        named(name, f"{path}.deviceClassName", names.check_dns1123_subdomain, found)
    else:
        found.append(causes.required(f"{path}.deviceClassName"))


def _mode(request: Obj, path: str, found: Found) -> None:
    mode = request.get("allocationMode")
    if mode not in _MODES:
        found.append(causes.not_supported(f"{path}.allocationMode", mode, _MODES))


def _asked(request: Obj, path: str, found: Found) -> None:
    _class_name(request, path, found)
    selectors(request.get("selectors"), f"{path}.selectors", found)
    count = request.get("count") or 0
    mode = request.get("allocationMode")
    if mode == "All" and count:
        told = "must not be specified when allocationMode is 'All'"
        found.append(causes.invalid(f"{path}.count", count, told))
    if mode == "ExactCount" and count <= 0:
        found.append(causes.invalid(f"{path}.count", count, "must be greater than zero"))
    _mode(request, path, found)
    tolerations(request.get("tolerations"), f"{path}.tolerations", found)


def _references(owner: Obj, path: str, known: _Names, found: Found) -> None:
    listed, where = owner.get("requests"), f"{path}.requests"

    def reference(name: str, path: str, found: Found) -> None:
        _reference(name, path, known, found)

    if each(listed, where, _MOST_REQUESTS, reference, found):
        unique(listed or (), where, found)


def _reference(name: str, path: str, known: _Names, found: Found) -> None:
    """``<request>`` or ``<request>/<subrequest>``."""
    first, *rest = name.split("/")
    if len(rest) > 1:
        found.append(causes.invalid(path, name, _REFERENCE))
        return
    for segment in (first, *rest):
        named(segment, path, names.check_dns1123_label, found)
    if first not in known or (rest and rest[0] not in known[first]):
        found.append(causes.invalid(path, name, _REFERENCE))


def claim_status(obj: Obj, old: Obj) -> Found:
    found: Found = []
    status, before = obj.get("status") or {}, old.get("status") or {}
    reserved, allocation = status.get("reservedFor") or [], status.get("allocation")
    if each(reserved, "status.reservedFor", _MOST_RESERVATIONS, _consumer, found):
        type = "resource.ResourceClaimConsumerReference"
        unique_by(("uid",), reserved, type, "status.reservedFor", found)
    results = ((allocation or {}).get("devices") or {}).get("results") or ()
    allocated = {_device_id(one) for one in results}
    devices = status.get("devices") or ()
    for index, device in enumerate(devices):
        _device_status(device, f"status.devices[{index}]", allocated, found)
    keys = ("driver", "device", "pool", "shareID")
    unique_by(keys, devices, "resource.AllocatedDeviceStatus", "status.devices", found)
    if reserved:
        if allocation is None:
            told = "may not be specified when `allocated` is not set"
            found.append(causes.forbidden("status.reservedFor", told))
        elif obj["metadata"].get("deletionTimestamp") and any(
            one not in (before.get("reservedFor") or ()) for one in reserved
        ):
            told = "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set"
            found.append(causes.forbidden("status.reservedFor", told))
    if allocation is not None and before.get("allocation") is not None:
        if allocation != before["allocation"]:
            told = "field cannot be modified once set"
            found.append(causes.invalid("status.allocation", None, told))
    elif allocation is not None:
        known = _request_names((obj.get("spec") or {}).get("devices") or {})
        _allocation(allocation, "status.allocation", known, found)
    return found


def _consumer(reference: Obj, path: str, found: Found) -> None:
    for key in ("resource", "name", "uid"):
        if not reference.get(key):
            found.append(causes.required(f"{path}.{key}"))


def _device_id(device: Obj) -> str:
    parts = [device.get(key) or "" for key in ("driver", "pool", "device")]
    if device.get("shareID") is not None:
        parts.append(device["shareID"])
    return "/".join(parts)


def _allocation(allocation: Obj, path: str, known: _Names, found: Found) -> None:
    devices, where = allocation.get("devices") or {}, f"{path}.devices"

    def result(one: Obj, path: str, found: Found) -> None:
        _reference(one.get("request") or "", f"{path}.request", known, found)
        caseless_driver(one.get("driver") or "", f"{path}.driver", found)
        declared_pool_name(one.get("pool") or "", f"{path}.pool", found)
        named(one.get("device") or "", f"{path}.device", names.check_dns1123_label, found)
        binding_conditions(one, path, found)
        tolerations(one.get("tolerations"), f"{path}.tolerations", found)
        if one.get("shareID") is not None:
            share_id(one["shareID"], f"{path}.shareID", found)

    def config(one: Obj, path: str, found: Found) -> None:
        source = one.get("source") or ""
        if not source:
            found.append(causes.required(f"{path}.source"))
        elif source not in ("FromClaim", "FromClass"):
            found.append(causes.not_supported(f"{path}.source", source, ("FromClaim", "FromClass")))
        _references(one, path, known, found)
        configuration(one, path, found)

    each(devices.get("results"), f"{where}.results", _MOST_REQUESTS, result, found)
    each(devices.get("config"), f"{where}.config", 2 * _MOST_CONFIGURATIONS, config, found)
    if allocation.get("nodeSelector") is not None:
        node_selector(allocation["nodeSelector"], f"{path}.nodeSelector", found)


def _device_status(device: Obj, path: str, allocated: set[str], found: Found) -> None:
    csi_driver_name(device.get("driver") or "", f"{path}.driver", found)
    pool_name(device.get("pool") or "", f"{path}.pool", found)
    named(device.get("device") or "", f"{path}.device", names.check_dns1123_label, found)
    if device.get("shareID") is not None:
        share_id(device["shareID"], f"{path}.shareID", found)
    if _device_id(device) not in allocated:
        shown: Any = {
            "Driver": device.get("driver") or "",
            "Pool": device.get("pool") or "",
            "Device": device.get("device") or "",
            "ShareID": device.get("shareID") or "",
        }
        found.append(causes.invalid(path, shown, "must be an allocated device in the claim"))
    listed = device.get("conditions") or ()
    if len(listed) > _MOST_CONDITIONS:
        found.append(causes.too_many(f"{path}.conditions", len(listed), _MOST_CONDITIONS))
    conditions(listed, f"{path}.conditions", found)
    if device.get("data") is not None:
        free_form(device["data"], f"{path}.data", found)
    network, where = device.get("networkData"), f"{path}.networkData"
    if network is None:
        return
    for key, limit in (("interfaceName", _LONGEST_INTERFACE), ("hardwareAddress", _LONGEST_HARDWARE_ADDRESS)):
        if len((network.get(key) or "").encode()) > limit:
            found.append(causes.too_long(f"{where}.{key}", limit))
    if each(network.get("ips"), f"{where}.ips", _MOST_ADDRESSES, interface_address, found):
        unique(network.get("ips") or (), f"{where}.ips", found)

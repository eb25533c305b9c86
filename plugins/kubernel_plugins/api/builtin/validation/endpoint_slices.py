"""EndpointSlices.

Source: pkg/apis/discovery/validation (v1.37).
"""

from __future__ import annotations

from collections.abc import Sequence

from kubernel.objects import names
from kubernel_plugins.api.builtin import causes
from kubernel_plugins.api.builtin.validation.addresses import (
    endpoint_address,
    ip_address,
    parse_ip,
    strict_ip_address,
)
from kubernel_plugins.api.builtin.validation.values import Found, Obj, named, one_of, optional_one_of

__all__ = ["endpoint_slice", "endpoint_slice_update"]

_ADDRESS_TYPES = ("FQDN", "IPv4", "IPv6")
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_MOST_ADDRESSES = 100
_MOST_ENDPOINTS = 1000
_MOST_PORTS = 20_000
_MOST_HINTS = 8
_QUALIFIED = "should be a domain with at least two segments separated by dots"


def endpoint_slice(obj: Obj, old: Obj | None = None) -> Found:
    found: Found = []
    type = obj.get("addressType") or ""
    if type:
        one_of(type, "addressType", _ADDRESS_TYPES, found)
    else:
        found.append(causes.required("addressType"))
    _ports(obj.get("ports") or (), found)
    endpoints = obj.get("endpoints") or ()
    if old is None or endpoints != (old.get("endpoints") or ()):
        _endpoints(endpoints, type, found)
    return found


def endpoint_slice_update(obj: Obj, old: Obj) -> Found:
    found = endpoint_slice(obj, old)
    if obj.get("addressType") != old.get("addressType"):
        found.append(causes.invalid("addressType", None, causes.FIELD_IMMUTABLE))
    return found


def _ports(ports: Sequence[Obj], found: Found) -> None:
    if len(ports) > _MOST_PORTS:
        found.append(causes.too_many("ports", len(ports), _MOST_PORTS))
        return
    taken: set[str] = set()
    for index, one in enumerate(ports):
        path, name = f"ports[{index}]", one.get("name") or ""
        if name:
            named(name, f"{path}.name", names.check_dns1123_label, found)
        if name in taken:
            found.append(causes.duplicate(f"{path}.name", name))
        taken.add(name)
        if one.get("protocol") is None:
            found.append(causes.required(f"{path}.protocol"))
        optional_one_of(one, "protocol", path, _PROTOCOLS, found)
        if one.get("appProtocol") is not None:
            named(one["appProtocol"], f"{path}.appProtocol", names.check_qualified_name, found)


def _endpoints(endpoints: Sequence[Obj], type: str, found: Found) -> None:
    if len(endpoints) > _MOST_ENDPOINTS:
        found.append(causes.too_many("endpoints", len(endpoints), _MOST_ENDPOINTS))
        return
    for index, endpoint in enumerate(endpoints):
        path = f"endpoints[{index}]"
        _addresses(endpoint.get("addresses") or (), type, f"{path}.addresses", found)
        if endpoint.get("nodeName") is not None:
            named(endpoint["nodeName"], f"{path}.nodeName", names.check_dns1123_subdomain, found)
        if endpoint.get("hostname") is not None:
            named(endpoint["hostname"], f"{path}.hostname", names.check_dns1123_label, found)
        hints = endpoint.get("hints") or {}
        _hints(hints.get("forZones") or (), f"{path}.hints.forZones", names.check_label_value, found)
        _hints(hints.get("forNodes") or (), f"{path}.hints.forNodes", names.check_dns1123_subdomain, found)


def _addresses(addresses: Sequence[str], type: str, path: str, found: Found) -> None:
    if not addresses:
        found.append(causes.required(path))
    elif len(addresses) > _MOST_ADDRESSES:
        found.append(causes.too_many(path, len(addresses), _MOST_ADDRESSES))
    for index, text in enumerate(addresses):
        where, before = f"{path}[{index}]", len(found)
        if type == "FQDN":
            _qualified(text, where, found)
            continue
        if type == "IPv4":
            ip_address(text, where, found)
        elif type == "IPv6":
            strict_ip_address(text, where, found)
        parsed = parse_ip(text)
        if len(found) > before or type not in ("IPv4", "IPv6") or parsed is None:
            continue
        if f"IPv{parsed.version}" != type:
            found.append(causes.invalid(path, text, f"must be an {type} address"))
        endpoint_address(text, where, found, loopback=True)


def _qualified(text: str, path: str, found: Found) -> None:
    if not text:
        found.append(causes.required(path))
        return
    name = text.removesuffix(".")
    wrong = names.check_dns1123_subdomain(name)
    if wrong:
        found.append(causes.invalid(path, name, ",".join(wrong)))
    elif "." not in name:
        found.append(causes.invalid(path, name, _QUALIFIED))
    else:
        label = next((label for label in name.split(".") if names.check_dns1123_label(label)), None)
        if label is not None:
            found.append(causes.invalid(path, label, ",".join(names.check_dns1123_label(label))))


def _hints(hints: Sequence[Obj], path: str, check: names.Check, found: Found) -> None:
    if len(hints) > _MOST_HINTS:
        found.append(causes.too_many(path, len(hints), _MOST_HINTS))
        return
    taken: set[str] = set()
    for index, hint in enumerate(hints):
        name, where = hint.get("name") or "", f"{path}[{index}].name"
        if name in taken:
            found.append(causes.duplicate(where, name))
        taken.add(name)
        named(name, where, check, found)

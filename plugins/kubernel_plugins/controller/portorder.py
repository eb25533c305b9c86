"""The order in which the ports of Endpoints and of EndpointSlices stand.

Upstream sorts them by the FNV-1a hash (128 bits) of how Go prints them, so that ``kubectl get endpoints`` shows an
order that looks like none; clients that compare whole objects count on it.

Source: k8s.io/endpointslice/util/controller_utils.go, k8s.io/kubernetes/pkg/api/v1/endpoints/util.go and
k8s.io/utils/dump (v1.37).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["Port", "Ports", "key", "of_endpoints", "of_slices"]

Port = dict[str, Any]
Ports = tuple[tuple[str, int | None, str, str], ...]
"""Ports as something to group by: (name, number, protocol, application protocol)."""

_OFFSET = 0x6C62272E07BB014262B821756295C58D
_PRIME = 0x0000000001000000000000000000013B
_MASK = (1 << 128) - 1


def key(ports: Iterable[Mapping[str, Any]]) -> Ports:
    return tuple(
        (
            port.get("name") or "",
            port.get("port"),
            port.get("protocol") or "TCP",
            port.get("appProtocol") or "",
        )
        for port in ports
    )


def of_slices(ports: Iterable[Mapping[str, Any]]) -> list[Port]:
    """As an EndpointSlice has them: a name that is empty is written."""
    found = [{**_port(entry), "name": entry[0]} for entry in key(ports)]
    if len(found) < 2:
        return found
    return sorted(found, key=lambda port: _fnv(_printed_of_slice(port)))


def of_endpoints(ports: Iterable[Mapping[str, Any]]) -> list[Port]:
    """As Endpoints have them: a name that is empty is left out."""
    found = [_port(entry) for entry in key(ports)]
    if len(found) < 2:
        return found
    return sorted(found, key=lambda port: _fnv(_printed_of_endpoints(port)))


def _port(entry: tuple[str, int | None, str, str]) -> Port:
    name, number, protocol, application = entry
    port: Port = {"port": number, "protocol": protocol}
    if name:
        port["name"] = name
    if application:
        port["appProtocol"] = application
    return port


def _printed_of_slice(port: Port) -> str:
    number = "<nil>" if port["port"] is None else port["port"]
    return (
        f"(v1.EndpointPort){{Name:(*string){port['name']} Protocol:(*v1.Protocol){port['protocol']} "
        f"Port:(*int32){number} AppProtocol:(*string){port.get('appProtocol', '<nil>')}}}"
    )


def _printed_of_endpoints(port: Port) -> str:
    return (
        f"(v1.EndpointPort){{Name:(string){port.get('name', '')} Port:(int32){port['port']} "
        f"Protocol:(v1.Protocol){port['protocol']} AppProtocol:(*string){port.get('appProtocol', '<nil>')}}}"
    )


def _fnv(text: str) -> int:
    value = _OFFSET
    for byte in text.encode():
        value = ((value ^ byte) * _PRIME) & _MASK
    return value

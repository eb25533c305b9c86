"""What a service must be beyond its schema."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from kubernel.errors import Cause
from kubernel.objects import names
from kubernel_plugins.api.builtin import causes

__all__ = ["validate_service"]

Obj = dict[str, Any]

_PORT_RANGE = "must be between 1 and 65535, inclusive"


def validate_service(service: Obj) -> list[Cause]:
    spec = service.get("spec") or {}
    found: list[Cause] = []
    type = spec.get("type")
    headless = spec.get("clusterIP") == "None"
    ports = spec.get("ports") or []
    if not ports and not headless and type != "ExternalName":
        found.append(causes.required("spec.ports"))
    if type == "ExternalName":
        name = (spec.get("externalName") or "").removesuffix(".")
        if not name:
            found.append(causes.required("spec.externalName"))
        else:
            found += [
                causes.invalid("spec.externalName", name, problem)
                for problem in names.check_dns1123_subdomain(name)
            ]
    if headless and type in ("NodePort", "LoadBalancer"):
        found.append(
            causes.invalid("spec.clusterIPs[0]", "None", "may not be set to 'None' for LoadBalancer services")
            if type == "LoadBalancer"
            else causes.invalid(
                "spec.clusterIPs[0]", "None", "may not be set to 'None' for NodePort services"
            )
        )
    found += _validate_ports(ports, type, headless)
    for key, value in (spec.get("selector") or {}).items():
        found += [causes.invalid("spec.selector", key, text) for text in names.check_qualified_name(key)]
        found += [causes.invalid("spec.selector", value, text) for text in names.check_label_value(value)]
    for index, address in enumerate(spec.get("externalIPs") or ()):
        if not _is_ip(address):
            found.append(
                causes.invalid(
                    f"spec.externalIPs[{index}]",
                    address,
                    "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
                )
            )
    external = type in ("NodePort", "LoadBalancer") or spec.get("externalIPs")
    if spec.get("externalTrafficPolicy") and not external:
        found.append(
            causes.invalid(
                "spec.externalTrafficPolicy",
                spec["externalTrafficPolicy"],
                "may only be set for externally-accessible services",
            )
        )
    return found


def _is_ip(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _validate_ports(ports: list[Obj], type: str | None, headless: bool) -> list[Cause]:
    found: list[Cause] = []
    named: set[str] = set()
    used: set[tuple[Any, Any]] = set()
    node_ports: set[tuple[Any, Any]] = set()
    for index, port in enumerate(ports):
        path = f"spec.ports[{index}]"
        name = port.get("name") or ""
        if not name:
            if len(ports) > 1:
                found.append(causes.required(f"{path}.name"))
        else:
            found += [causes.invalid(f"{path}.name", name, text) for text in names.check_dns1123_label(name)]
            if name in named:
                found.append(causes.duplicate(f"{path}.name", name))
            named.add(name)
        number = port.get("port") or 0
        if not 1 <= number <= 65535:
            found.append(causes.invalid(f"{path}.port", number, _PORT_RANGE))
        target = port.get("targetPort")
        if isinstance(target, int):
            if not 1 <= target <= 65535:
                found.append(causes.invalid(f"{path}.targetPort", target, _PORT_RANGE))
        elif target:
            found += [
                causes.invalid(f"{path}.targetPort", target, text) for text in names.check_port_name(target)
            ]
        key = (port.get("protocol"), number)
        if key in used:
            found.append(causes.duplicate(path, {"protocol": key[0], "port": key[1]}))
        used.add(key)
        node_port = port.get("nodePort")
        if node_port:
            if type not in ("NodePort", "LoadBalancer"):
                found.append(
                    causes.forbidden(f"{path}.nodePort", "may not be used when `type` is 'ClusterIP'")
                )
            elif (port.get("protocol"), node_port) in node_ports:
                found.append(causes.duplicate(f"{path}.nodePort", node_port))
            node_ports.add((port.get("protocol"), node_port))
    return found

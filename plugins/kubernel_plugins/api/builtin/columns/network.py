"""Columns of services and what belongs to them."""

from __future__ import annotations

from typing import Any

from kubernel.registry.types import Column
from kubernel_plugins.api.builtin.columns.common import (
    AGE,
    NAME,
    Obj,
    at,
    first_or,
    format_labels,
    format_selector,
    some,
    text,
)

__all__ = [
    "ENDPOINTS",
    "ENDPOINT_SLICE",
    "INGRESS",
    "INGRESS_CLASS",
    "IP_ADDRESS",
    "NETWORK_POLICY",
    "SERVICE",
    "SERVICE_CIDR",
]


def _load_balancer(obj: Obj) -> list[str]:
    points = at(obj, "status", "loadBalancer", "ingress") or ()
    return sorted({point.get("ip") or point.get("hostname") for point in points} - {None, ""})


def _cluster_ip(obj: Obj, now: float) -> str:
    addresses = at(obj, "spec", "clusterIPs") or ()
    return (addresses[0] if addresses else at(obj, "spec", "clusterIP")) or "<none>"


def _external_ip(obj: Obj, now: float) -> str:
    external = list(at(obj, "spec", "externalIPs") or ())
    match at(obj, "spec", "type"):
        case "ClusterIP" | "NodePort":
            return first_or(external)
        case "LoadBalancer":
            return first_or(_load_balancer(obj) + external, "<pending>")
        case "ExternalName":
            return str(at(obj, "spec", "externalName") or "")
        case _:
            return "<unknown>"


def _service_ports(obj: Obj, now: float) -> str:
    shown = []
    for port in at(obj, "spec", "ports") or ():
        number = (
            f"{port.get('port', 0)}:{port['nodePort']}" if port.get("nodePort") else str(port.get("port", 0))
        )
        shown.append(f"{number}/{port.get('protocol', '')}")
    return first_or(shown)


def _service_selector(obj: Obj, now: float) -> str:
    return format_labels(at(obj, "spec", "selector"))


def _host_port(ip: str, port: Any) -> str:
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"


def _endpoints(obj: Obj, now: float) -> str:
    subsets = obj.get("subsets") or ()
    if not subsets:
        return "<none>"
    shown: list[str] = []
    for subset in subsets:
        addresses = [address.get("ip", "") for address in subset.get("addresses") or ()]
        ports = subset.get("ports") or ()
        if not ports:
            shown.extend(addresses)
        for port in ports:
            shown.extend(_host_port(ip, port.get("port", 0)) for ip in addresses)
    return some(shown, len(shown), absent="")


def _slice_ports(obj: Obj, now: float) -> str:
    shown = [
        str(port["port"])
        if port.get("port") is not None
        else (port["name"] if port.get("name") is not None else "*")
        for port in obj.get("ports") or ()
    ]
    return some(shown, len(shown))


def _slice_endpoints(obj: Obj, now: float) -> str:
    shown = [
        address for endpoint in obj.get("endpoints") or () for address in endpoint.get("addresses") or ()
    ]
    return some(shown, len(shown))


def _hosts(obj: Obj, now: float) -> str:
    rules = at(obj, "spec", "rules") or ()
    shown: list[str] = []
    more = False
    for rule in rules:
        if len(shown) == 3:
            more = True
        elif rule.get("host"):
            shown.append(rule["host"])
    if not shown:
        return "*"
    return f"{','.join(shown)} + {len(rules) - 3} more..." if more else ",".join(shown)


def _ingress_ports(obj: Obj, now: float) -> str:
    return "80, 443" if at(obj, "spec", "tls") else "80"


def _ingress_address(obj: Obj, now: float) -> str:
    return ",".join(_load_balancer(obj))


def _class_parameters(obj: Obj, now: float) -> str:
    parameters = at(obj, "spec", "parameters")
    if parameters is None:
        return "<none>"
    group = parameters.get("apiGroup")
    kind = parameters.get("kind", "") + ("" if group is None else f".{group}")
    return f"{kind}/{parameters.get('name', '')}"


def _pod_selector(obj: Obj, now: float) -> str:
    return format_selector(at(obj, "spec", "podSelector") or {})


def _cidrs(obj: Obj, now: float) -> str:
    return ",".join(at(obj, "spec", "cidrs") or ())


def _parent(obj: Obj, now: float) -> str:
    parent = at(obj, "spec", "parentRef")
    if not parent:
        return "<none>"
    resource = parent.get("resource", "") + (f".{parent['group']}" if parent.get("group") else "")
    return "/".join(
        part for part in (resource.lower(), parent.get("namespace"), parent.get("name", "")) if part
    )


SERVICE = (
    NAME,
    Column("Type", text("spec", "type"), description="How the service is exposed."),
    Column("Cluster-IP", _cluster_ip, description="The address inside the cluster."),
    Column("External-IP", _external_ip, description="Addresses for which nodes also accept traffic."),
    Column("Port(s)", _service_ports, description="The ports it exposes."),
    AGE,
    Column("Selector", _service_selector, description="Which pods receive the traffic.", priority=1),
)
ENDPOINTS = (
    NAME,
    Column("Endpoints", _endpoints, description="The addresses and ports behind the service."),
    AGE,
)
ENDPOINT_SLICE = (
    NAME,
    Column("AddressType", text("addressType"), description="The type of the addresses."),
    Column("Ports", _slice_ports, description="The endpoints' ports."),
    Column("Endpoints", _slice_endpoints, description="The addresses of this slice."),
    AGE,
)
INGRESS = (
    NAME,
    Column(
        "Class",
        text("spec", "ingressClassName", absent="<none>"),
        description="Its ingress class.",
    ),
    Column(
        "Hosts",
        _hosts,
        description="The host names its rules are for.",
    ),
    Column(
        "Address",
        _ingress_address,
        description="Where the load balancer listens.",
    ),
    Column("Ports", _ingress_ports, description="Ports that are open."),
    AGE,
)
INGRESS_CLASS = (
    NAME,
    Column(
        "Controller",
        text("spec", "controller"),
        description="Who serves this class.",
    ),
    Column("Parameters", _class_parameters, description="An object with more settings."),
    AGE,
)
NETWORK_POLICY = (
    NAME,
    Column("Pod-Selector", _pod_selector, description="The pods to which this policy applies."),
    AGE,
)
SERVICE_CIDR = (
    NAME,
    Column("CIDRs", _cidrs, description="The blocks from which service addresses are taken."),
    AGE,
)
IP_ADDRESS = (
    NAME,
    Column("ParentRef", _parent, description="What has the address."),
    AGE,
)

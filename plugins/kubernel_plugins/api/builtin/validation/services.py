"""Services, Endpoints and what a load balancer says of itself."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from kubernel.objects import names
from kubernel_plugins.api.builtin import causes
from kubernel_plugins.api.builtin.validation.addresses import (
    cidr,
    dual_stack,
    endpoint_address,
    ip_address,
    parse_ip,
)
from kubernel_plugins.api.builtin.validation.internal import go_value
from kubernel_plugins.api.builtin.validation.values import (
    Found,
    Obj,
    labels,
    named,
    optional_one_of,
    port,
    port_or_name,
)

__all__ = [
    "cluster_addresses",
    "endpoints",
    "externally_accessible",
    "is_headless",
    "load_balancer_status",
    "needs_health_check",
    "service",
    "service_update",
]

_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_AFFINITIES = ("ClientIP", "None")
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_POLICIES = ("Cluster", "Local")
_FAMILIES = ("IPv4", "IPv6")
_FAMILY_POLICIES = ("PreferDualStack", "RequireDualStack", "SingleStack")
_DISTRIBUTIONS = ("PreferClose", "PreferSameZone", "PreferSameNode")
_IP_MODES = ("Proxy", "VIP")
_LONGEST_AFFINITY = 86400
_ONLY_BALANCER = "may only be used when `type` is 'LoadBalancer'"
_FIXED = "may not change once set"
_RANGES = "service.beta.kubernetes.io/load-balancer-source-ranges"
_MODE = "service.kubernetes.io/topology-mode"
_HINTS = "service.kubernetes.io/topology-aware-hints"


def is_headless(spec: Obj) -> bool:
    return bool(spec.get("clusterIPs") == ["None"])


def externally_accessible(spec: Mapping[str, Any]) -> bool:
    type = spec.get("type")
    return type in ("LoadBalancer", "NodePort") or (type == "ClusterIP" and bool(spec.get("externalIPs")))


def needs_health_check(spec: Mapping[str, Any]) -> bool:
    return spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


def service(obj: Obj, old: Obj | None = None) -> Found:
    found: Found = []
    spec, annotations = obj["spec"], obj["metadata"].get("annotations") or {}
    before: Obj = old["spec"] if old is not None else {}
    type, headless = spec.get("type") or "", is_headless(spec)
    if _MODE in annotations and annotations.get(_HINTS, annotations[_MODE]) != annotations[_MODE]:
        told = f"must match annotations[{_HINTS}] when both are specified"
        found.append(causes.invalid(f"metadata.annotations[{_MODE}]", annotations[_MODE], told))
    ports = spec.get("ports") or []
    if not ports and not headless and type != "ExternalName":
        found.append(causes.required("spec.ports"))
    if type in ("LoadBalancer", "NodePort") and headless:
        told = f"may not be set to 'None' for {type} services"
        found.append(causes.invalid("spec.clusterIPs[0]", "None", told))
    if type == "ExternalName":
        _external_name(spec, found)
    taken: set[str] = set()
    for index, one in enumerate(ports):
        _port(one, f"spec.ports[{index}]", len(ports) > 1, taken, found)
    labels(spec.get("selector"), "spec.selector", found)
    _affinity(spec, found)
    cluster_addresses(spec, before, found)
    for index, address in enumerate(spec.get("externalIPs") or ()):
        count = len(found)
        ip_address(address, f"spec.externalIPs[{index}]", found, before.get("externalIPs") or ())
        if len(found) == count:
            endpoint_address(address, f"spec.externalIPs[{index}]", found)
    if type not in _TYPES:
        found.append(causes.not_supported("spec.type", type, _TYPES))
    _unique_ports(ports, type, found)
    _source_ranges(spec, before, annotations, old, found)
    if spec.get("allocateLoadBalancerNodePorts") is not None and type != "LoadBalancer":
        found.append(causes.forbidden("spec.allocateLoadBalancerNodePorts", _ONLY_BALANCER))
    _balancer_class(spec, found)
    _traffic(spec, found)
    distribution = spec.get("trafficDistribution")
    if distribution is not None and distribution not in _DISTRIBUTIONS:
        found.append(causes.not_supported("spec.trafficDistribution", distribution, _DISTRIBUTIONS))
    return found


def _external_name(spec: Obj, found: Found) -> None:
    told = "may not be set for ExternalName services"
    for key in ("clusterIPs", "ipFamilies"):
        if spec.get(key):
            found.append(causes.forbidden(f"spec.{key}", told))
    if spec.get("ipFamilyPolicy") is not None:
        found.append(causes.forbidden("spec.ipFamilyPolicy", told))
    name = (spec.get("externalName") or "").removesuffix(".")
    if name:
        named(name, "spec.externalName", names.check_dns1123_subdomain, found)
    else:
        found.append(causes.required("spec.externalName"))


def _port(one: Obj, path: str, needs_name: bool, taken: set[str], found: Found) -> None:
    name = one.get("name") or ""
    if name:
        named(name, f"{path}.name", names.check_dns1123_label, found)
        if name in taken:
            found.append(causes.duplicate(f"{path}.name", name))
        taken.add(name)
    elif needs_name:
        found.append(causes.required(f"{path}.name"))
    port(one.get("port") or 0, f"{path}.port", found)
    _protocol(one, path, found)
    port_or_name(one.get("targetPort"), f"{path}.targetPort", found)
    if one.get("appProtocol") is not None:
        named(one["appProtocol"], f"{path}.appProtocol", names.check_qualified_name, found)


def _protocol(one: Obj, path: str, found: Found) -> None:
    protocol = one.get("protocol") or ""
    if not protocol:
        found.append(causes.required(f"{path}.protocol"))
    elif protocol not in _PROTOCOLS:
        found.append(causes.not_supported(f"{path}.protocol", protocol, _PROTOCOLS))


def _affinity(spec: Obj, found: Found) -> None:
    affinity, config = spec.get("sessionAffinity") or "", spec.get("sessionAffinityConfig")
    if not affinity:
        found.append(causes.required("spec.sessionAffinity"))
    elif affinity not in _AFFINITIES:
        found.append(causes.not_supported("spec.sessionAffinity", affinity, _AFFINITIES))
    if affinity == "ClientIP":
        where, told = "spec.sessionAffinityConfig", "when session affinity type is ClientIP"
        client = (config or {}).get("clientIP")
        seconds = (client or {}).get("timeoutSeconds")
        if config is None:
            found.append(causes.required(where, told))
        elif client is None:
            found.append(causes.required(f"{where}.clientIP", told))
        elif seconds is None:
            found.append(causes.required(f"{where}.clientIP.timeoutSeconds", told))
        elif not 0 < seconds <= _LONGEST_AFFINITY:
            told = f"must be greater than 0 and less than {_LONGEST_AFFINITY}"
            found.append(causes.invalid(f"{where}.clientIP.timeoutSeconds", seconds, told))
    elif affinity == "None" and config is not None:
        told = "must not be set when session affinity is None"
        found.append(causes.forbidden("spec.sessionAffinityConfig", told))


def _unique_ports(ports: list[Obj], type: str, found: Found) -> None:
    if type == "ClusterIP":
        told = "may not be used when `type` is 'ClusterIP'"
        found += [
            causes.forbidden(f"spec.ports[{index}].nodePort", told)
            for index, one in enumerate(ports)
            if one.get("nodePort")
        ]
    on_nodes: set[Any] = set()
    for index, one in enumerate(ports):
        key = (one.get("protocol"), one.get("nodePort"))
        if not one.get("nodePort"):
            continue
        if key in on_nodes:
            found.append(causes.duplicate(f"spec.ports[{index}].nodePort", one["nodePort"]))
        on_nodes.add(key)
    own: set[Any] = set()
    for index, one in enumerate(ports):
        key = (one.get("protocol"), one.get("port"))
        if key in own:
            shown = go_value("core.ServicePort", {"protocol": key[0], "port": key[1]})
            found.append(causes.duplicate(f"spec.ports[{index}]", shown))
        own.add(key)


def _source_ranges(spec: Obj, before: Obj, annotations: Obj, old: Obj | None, found: Found) -> None:
    where, balancer = "spec.LoadBalancerSourceRanges", spec.get("type") == "LoadBalancer"
    ranges = spec.get("loadBalancerSourceRanges")
    if ranges:
        if not balancer:
            found.append(causes.forbidden(where, _ONLY_BALANCER))
        known = [text.strip() for text in before.get("loadBalancerSourceRanges") or ()]
        for index, text in enumerate(ranges):
            cidr(text.strip(), f"{where}[{index}]", found, known)
    elif _RANGES in annotations:
        where = f"metadata.annotations[{_RANGES}]"
        if not balancer:
            found.append(causes.forbidden(where, _ONLY_BALANCER))
        told = annotations[_RANGES]
        had = ((old or {}).get("metadata") or {}).get("annotations") or {}
        if told.strip() and had.get(_RANGES) != told:
            for text in told.strip().split(","):
                cidr(text.strip(), where, found)


def _balancer_class(spec: Obj, found: Found) -> None:
    wanted = spec.get("loadBalancerClass")
    if wanted is None:
        return
    if spec.get("type") == "LoadBalancer":
        named(wanted, "spec.loadBalancerClass", names.check_qualified_name, found)
    else:
        found.append(causes.forbidden("spec.loadBalancerClass", _ONLY_BALANCER))


def _traffic(spec: Obj, found: Found) -> None:
    policy, where = spec.get("externalTrafficPolicy") or "", "spec.externalTrafficPolicy"
    if not externally_accessible(spec):
        if policy:
            told = "may only be set for externally-accessible services"
            found.append(causes.invalid(where, policy, told))
    elif not policy:
        found.append(causes.required(where))
    elif policy not in _POLICIES:
        found.append(causes.not_supported(where, policy, _POLICIES))
    number, where = spec.get("healthCheckNodePort") or 0, "spec.healthCheckNodePort"
    if not needs_health_check(spec):
        if number:
            told = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
            found.append(causes.invalid(where, number, told))
    elif not number:
        found.append(causes.required(where))
    else:
        port(number, where, found)
    if spec.get("internalTrafficPolicy") is None:
        if spec.get("type") in ("ClusterIP", "LoadBalancer", "NodePort"):
            found.append(causes.required("spec.internalTrafficPolicy"))
    else:
        optional_one_of(spec, "internalTrafficPolicy", "spec", _POLICIES, found)


def cluster_addresses(spec: Obj, before: Obj, found: Found) -> None:
    """clusterIP, clusterIPs and the families say the same. ``before`` is the stored spec, or empty."""
    if spec.get("type") == "ExternalName":
        return
    where, first, listed = "spec.clusterIPs", spec.get("clusterIP") or "", spec.get("clusterIPs") or []
    if first and not listed:
        found.append(causes.required(where))
    elif first and listed[0] != first:
        found.append(causes.invalid(where, listed, "first value must match `clusterIP`"))
    elif listed and not first:
        told = "must be empty when `clusterIP` is not specified"
        found.append(causes.invalid(where, listed, told))
    families: list[str] = spec.get("ipFamilies") or []
    for index, family in enumerate(families):
        if family not in _FAMILIES:
            found.append(causes.not_supported(f"spec.ipFamilies[{index}]", family, _FAMILIES))
        if family in families[:index]:
            found.append(causes.duplicate(f"spec.ipFamilies[{index}]", family))
    optional_one_of(spec, "ipFamilyPolicy", "spec", _FAMILY_POLICIES, found)
    wrong = len(found)
    for index, address in enumerate(listed):
        if index == 0 and address == "None":
            if len(listed) > 1:
                told = "'None' must be the first and only value"
                found.append(causes.invalid(where, listed, told))
            continue
        ip_address(address, f"{where}[{index}]", found, before.get("clusterIPs") or ())
    broken = len(found) > wrong
    if len(listed) > 2:
        found.append(causes.invalid(where, listed, "may only hold up to 2 values"))
    if broken:
        return
    if len(listed) > 1 and not dual_stack(listed):
        told = "may specify no more than one IP for each IP family"
        found.append(causes.invalid(where, listed, told))
    if not is_headless(spec):
        _match_families(listed, families, where, found)


def _match_families(listed: list[str], families: list[str], path: str, found: Found) -> None:
    for index, (address, family) in enumerate(zip(listed, families, strict=False)):
        if family in _FAMILIES and (family == "IPv6") != (":" in address):
            told = f"expected an {family} value as indicated by `ipFamilies[{index}]`"
            found.append(causes.invalid(f"{path}[{index}]", address, told))


def service_update(obj: Obj, old: Obj) -> Found:
    found: Found = []
    spec, before = obj["spec"], old["spec"]
    if "ExternalName" not in (spec.get("type"), before.get("type")):
        _addresses_update(spec, before, found)
        _families_update(spec, before, found)
    if spec.get("type") == before.get("type") == "LoadBalancer":
        wanted = spec.get("loadBalancerClass")
        if wanted != before.get("loadBalancerClass"):
            found.append(causes.invalid("spec.loadBalancerClass", wanted, _FIXED))
    _balancer_class(spec, found)
    moved = spec.get("healthCheckNodePort") != before.get("healthCheckNodePort")
    if moved and needs_health_check(spec) and needs_health_check(before):
        found.append(causes.forbidden("spec.healthCheckNodePort", causes.FIELD_IMMUTABLE))
    return found + service(obj, old)


def _addresses_update(spec: Obj, before: Obj, found: Found) -> None:
    if is_headless(spec) and is_headless(before):
        return
    new, old, where = spec.get("clusterIPs") or [], before.get("clusterIPs") or [], "spec.clusterIPs"
    if len(new) == len(old):
        for index, address in enumerate(old):
            if address != new[index]:
                found.append(causes.invalid(f"{where}[{index}]", new, _FIXED))
        return
    if not new:
        shown = spec.get("clusterIPs")
        found.append(causes.invalid(f"{where}[0]", shown, "primary clusterIP can not be unset"))
    elif old and new[0] != old[0]:
        found.append(causes.invalid(f"{where}[0]", new, _FIXED))
    if len(old) > len(new) == 1 and spec.get("ipFamilyPolicy") != "SingleStack":
        told = "must be set to 'SingleStack' when releasing the secondary clusterIP"
        found.append(causes.invalid("spec.ipFamilyPolicy", spec.get("ipFamilyPolicy"), told))


def _families_update(spec: Obj, before: Obj, found: Found) -> None:
    if is_headless(spec) or is_headless(before):
        return
    new, old, where = spec.get("ipFamilies") or [], before.get("ipFamilies") or [], "spec.ipFamilies[0]"
    if len(new) == len(old):
        found += [causes.invalid(where, new, _FIXED) for one, was in zip(new, old, strict=True) if one != was]
        return
    if len(old) > len(new) and not spec.get("clusterIPs"):
        found.append(causes.invalid(where, spec.get("ipFamilies"), "primary ipFamily can not be unset"))
    if new and old and new[0] != old[0]:
        found.append(causes.invalid(where, spec.get("clusterIPs"), _FIXED))
    if len(old) > len(new) == 1 and spec.get("ipFamilyPolicy") != "SingleStack":
        told = "must be set to 'SingleStack' when releasing the secondary ipFamily"
        found.append(causes.invalid("spec.ipFamilyPolicy", spec.get("ipFamilyPolicy"), told))


def load_balancer_status(status: Obj, before: Obj, is_balancer: bool, found: Found) -> None:
    """``status.loadBalancer`` of a service; ``before`` is the stored one."""
    where, points = "status.loadBalancer.ingress", status.get("ingress") or ()
    if points and not is_balancer:
        found.append(causes.forbidden(where, "may only be used when `spec.type` is 'LoadBalancer'"))
        return
    known = [point["ip"] for point in before.get("ingress") or () if point.get("ip")]
    for index, point in enumerate(points):
        _balancer_point(point, f"{where}[{index}]", known, found)


def _balancer_point(point: Obj, path: str, known: Collection[str], found: Found) -> None:
    address, mode, host = point.get("ip"), point.get("ipMode"), point.get("hostname")
    if address:
        ip_address(address, f"{path}.ip", found, known)
    if mode is None:
        if address:
            found.append(causes.required(f"{path}.ipMode", "must be specified when `ip` is set"))
    elif not address:
        found.append(causes.forbidden(f"{path}.ipMode", "may not be specified when `ip` is not set"))
    elif mode not in _IP_MODES:
        found.append(causes.not_supported(f"{path}.ipMode", mode, _IP_MODES))
    if host:
        named(host, f"{path}.hostname", names.check_dns1123_subdomain, found)
        if parse_ip(host) is not None:
            told = "must be a DNS name, not an IP address"
            found.append(causes.invalid(f"{path}.hostname", host, told))


def endpoints(obj: Obj, old: Obj | None = None) -> Found:
    found: Found = []
    if old is not None and obj.get("subsets") == old.get("subsets"):
        return found
    for index, subset in enumerate(obj.get("subsets") or ()):
        where = f"subsets[{index}]"
        if not subset.get("addresses") and not subset.get("notReadyAddresses"):
            found.append(causes.required(where, "must specify `addresses` or `notReadyAddresses`"))
        for kind in ("addresses", "notReadyAddresses"):
            for number, address in enumerate(subset.get(kind) or ()):
                _endpoint(address, f"{where}.{kind}[{number}]", found)
        ports = subset.get("ports") or ()
        for number, one in enumerate(ports):
            _endpoint_port(one, f"{where}.ports[{number}]", len(ports) > 1, found)
    return found


def _endpoint(address: Obj, path: str, found: Found) -> None:
    text = address.get("ip") or ""
    ip_address(text, f"{path}.ip", found)
    if address.get("hostname"):
        named(address["hostname"], f"{path}.hostname", names.check_dns1123_label, found)
    if address.get("nodeName") is not None:
        named(address["nodeName"], f"{path}.nodeName", names.check_dns1123_subdomain, found)
    endpoint_address(text, f"{path}.ip", found, loopback=True)


def _endpoint_port(one: Obj, path: str, needs_name: bool, found: Found) -> None:
    name = one.get("name") or ""
    if name:
        named(name, f"{path}.name", names.check_dns1123_label, found)
    elif needs_name:
        found.append(causes.required(f"{path}.name"))
    port(one.get("port") or 0, f"{path}.port", found)
    _protocol(one, path, found)
    if one.get("appProtocol") is not None:
        named(one["appProtocol"], f"{path}.appProtocol", names.check_qualified_name, found)

"""Ingresses and their classes, network policies, service ranges and addresses.

Source: pkg/apis/networking/validation (v1.37).
"""

from __future__ import annotations

import re
from typing import Any

from kubernel.objects import names
from kubernel_plugins.api.builtin import causes
from kubernel_plugins.api.builtin.validation.addresses import (
    canonical_cidr,
    cidr,
    ip_address,
    parse_ip,
    parse_network,
)
from kubernel_plugins.api.builtin.validation.values import (
    Found,
    Obj,
    label_selector,
    named,
    optional_one_of,
    port,
)

__all__ = [
    "address",
    "address_update",
    "ingress",
    "ingress_class",
    "ingress_status",
    "network_policy",
    "path_segment",
    "service_range",
    "service_range_update",
]

CLASS_ANNOTATION = "kubernetes.io/ingress.class"
_PATH_TYPES = ("Exact", "ImplementationSpecific", "Prefix")
_NOT_IN_PATHS = ("//", "/./", "/../", "%2f", "%2F")
_NOT_AT_END = ("/..", "/.")
_LONGEST_CONTROLLER = 250
_WILDCARD_PATTERN = r"\*\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
_wildcard = re.compile(_WILDCARD_PATTERN)
_WILDCARD = (
    "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must "
    "consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character "
    f"(e.g. '*.example.com', regex used for validation is '{_WILDCARD_PATTERN}')"
)
_HTTP_PATH = r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+"
_http_path = re.compile(_HTTP_PATH)
_ONE_PER_FAMILY = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64"


def path_segment(value: str, path: str, found: Found) -> None:
    named(value, path, names.check_path_segment, found)


def _reference(reference: Obj, path: str, found: Found) -> None:
    """What ingresses and their classes refer to."""
    if reference.get("apiGroup") is not None:
        named(reference["apiGroup"], f"{path}.apiGroup", names.check_dns1123_subdomain, found)
    for key in ("kind", "name"):
        if reference.get(key):
            path_segment(reference[key], f"{path}.{key}", found)
        else:
            found.append(causes.required(f"{path}.{key}"))


def ingress(obj: Obj, old: Obj | None = None) -> Found:
    found: Found = []
    spec = obj.get("spec") or {}
    annotations = obj["metadata"].get("annotations") or {}
    class_name = spec.get("ingressClassName")
    rules, backend = spec.get("rules") or [], spec.get("defaultBackend")
    if not rules and backend is None:
        told = "either `defaultBackend` or `rules` must be specified"
        found.append(causes.invalid("spec", None, told))
    if backend is not None:
        _backend(backend, "spec.defaultBackend", found)
    for index, rule in enumerate(rules):
        _rule(rule, f"spec.rules[{index}]", found)
    for index, entry in enumerate(spec.get("tls") or ()):
        path = f"spec.tls[{index}]"
        for number, host in enumerate(entry.get("hosts") or ()):
            _host(host, f"{path}.hosts[{number}]", found)
        if entry.get("secretName"):
            named(entry["secretName"], f"{path}.secretName", names.check_dns1123_subdomain, found)
    if class_name is not None:
        named(class_name, "spec.ingressClassName", names.check_dns1123_subdomain, found)
        legacy = annotations.get(CLASS_ANNOTATION)
        if old is None and legacy is not None and legacy != class_name:
            where = f"annotations.{CLASS_ANNOTATION}"
            wrong = "must match `ingressClassName` when both are specified"
            found.append(causes.invalid(where, legacy, wrong))
    return found


def _rule(rule: Obj, path: str, found: Found) -> None:
    host, http = rule.get("host") or "", rule.get("http")
    if host:
        if parse_ip(host) is not None:
            found.append(causes.invalid(f"{path}.host", host, "must be a DNS name, not an IP address"))
        _host(host, f"{path}.host", found)
    if http is None:
        return
    paths = http.get("paths") or ()
    if not paths:
        found.append(causes.required(f"{path}.http.paths"))
    for index, one in enumerate(paths):
        _path(one, f"{path}.http.paths[{index}]", found)


def _host(host: str, path: str, found: Found) -> None:
    if "*" not in host:
        named(host, path, names.check_dns1123_subdomain, found)
    elif not _wildcard.fullmatch(host):
        found.append(causes.invalid(path, host, _WILDCARD))


def _path(one: Obj, path: str, found: Found) -> None:
    kind, text, where = one.get("pathType"), one.get("path") or "", f"{path}.path"
    if kind is None:
        found.append(causes.required(f"{path}.pathType", "pathType must be specified"))
        return
    if kind in ("Exact", "Prefix"):
        if not text.startswith("/"):
            found.append(causes.invalid(where, text, "must be an absolute path"))
        if text:
            found += [
                causes.invalid(where, text, f"must not contain '{part}'")
                for part in _NOT_IN_PATHS
                if part in text
            ]
            found += [
                causes.invalid(where, text, f"cannot end with '{part}'")
                for part in _NOT_AT_END
                if text.endswith(part)
            ]
    elif kind == "ImplementationSpecific":
        if text and not text.startswith("/"):
            found.append(causes.invalid(where, text, "must be an absolute path"))
    else:
        found.append(causes.not_supported(f"{path}.pathType", kind, _PATH_TYPES))
    _backend(one.get("backend") or {}, f"{path}.backend", found)


def _backend(backend: Obj, path: str, found: Found) -> None:
    service, resource = backend.get("service"), backend.get("resource")
    if service is not None and resource is not None:
        found.append(causes.invalid(path, "", "cannot set both resource and service backends"))
    elif resource is not None:
        _reference(resource, f"{path}.resource", found)
    elif service is None:
        found.append(causes.invalid(path, "", "resource or service backend is required"))
    else:
        _service_backend(service, path, found)


def _service_backend(service: Obj, path: str, found: Found) -> None:
    name, where = service.get("name") or "", f"{path}.service"
    if name:
        named(name, f"{where}.name", names.check_dns1123_label, found)
    else:
        found.append(causes.required(f"{where}.name"))
    wanted = service.get("port") or {}
    port_name, number = wanted.get("name") or "", wanted.get("number") or 0
    if port_name and number:
        found.append(causes.invalid(path, "", "cannot set both port name & port number"))
    elif port_name:
        named(port_name, f"{where}.port.name", names.check_port_name, found)
    elif number:
        port(number, f"{where}.port.number", found)
    else:
        found.append(causes.required(path, "port name or number is required"))


def ingress_status(obj: Obj, old: Obj) -> Found:
    found: Found = []
    points, known = (
        ((one.get("status") or {}).get("loadBalancer") or {}).get("ingress") or () for one in (obj, old)
    )
    before = [point["ip"] for point in known if point.get("ip")]
    for index, point in enumerate(points):
        path, host = f"status.loadBalancer.ingress[{index}]", point.get("hostname")
        if point.get("ip"):
            ip_address(point["ip"], f"{path}.ip", found, before)
        if host:
            named(host, f"{path}.hostname", names.check_dns1123_subdomain, found)
            if parse_ip(host) is not None:
                told = "must be a DNS name, not an IP address"
                found.append(causes.invalid(f"{path}.hostname", host, told))
    return found


def ingress_class(obj: Obj, old: Obj | None = None) -> Found:
    found: Found = []
    spec = obj.get("spec") or {}
    controller, parameters = spec.get("controller") or "", spec.get("parameters")
    before = (old or {}).get("spec") or {}
    if old is not None and before.get("controller") != controller:
        found.append(causes.invalid("spec.controller", controller, causes.FIELD_IMMUTABLE))
    if not controller:
        found.append(causes.required("spec.controller"))
    else:
        if len(controller.encode()) > _LONGEST_CONTROLLER:
            found.append(causes.too_long("spec.controller", _LONGEST_CONTROLLER))
        _domain_prefixed(controller, "spec.controller", found)
    if parameters is not None:
        _parameters(parameters, "spec.parameters", found)
    return found


def _domain_prefixed(value: str, path: str, found: Found) -> None:
    host, _, rest = value.partition("/")
    if not host or not rest:
        found.append(causes.invalid(path, value, 'must be a domain-prefixed path (such as "acme.io/foo")'))
        return
    named(host, path, names.check_dns1123_subdomain, found)
    if not _http_path.fullmatch(rest):
        told = f"Invalid path (regex used for validation is '{_HTTP_PATH}')"
        found.append(causes.invalid(path, rest, told))


def _parameters(parameters: Obj, path: str, found: Found) -> None:
    _reference(parameters, path, found)
    scope, namespace = parameters.get("scope"), parameters.get("namespace")
    if scope is None:
        found.append(causes.required(f"{path}.scope"))
        return
    optional_one_of(parameters, "scope", path, ("Cluster", "Namespace"), found)
    if scope == "Namespace":
        if namespace is None:
            found.append(causes.required(f"{path}.namespace", "`parameters.scope` is set to 'Namespace'"))
        else:
            named(namespace, f"{path}.namespace", names.check_dns1123_label, found)
    if scope == "Cluster" and namespace is not None:
        found.append(causes.forbidden(f"{path}.namespace", "`parameters.scope` is set to 'Cluster'"))


def network_policy(obj: Obj) -> Found:
    found: Found = []
    spec = obj.get("spec") or {}
    label_selector(spec.get("podSelector"), "spec.podSelector", found)
    for side, peers in (("ingress", "from"), ("egress", "to")):
        for index, rule in enumerate(spec.get(side) or ()):
            path = f"spec.{side}[{index}]"
            for number, one in enumerate(rule.get("ports") or ()):
                _policy_port(one, f"{path}.ports[{number}]", found)
            for number, peer in enumerate(rule.get(peers) or ()):
                _peer(peer, f"{path}.{peers}[{number}]", found)
    types = spec.get("policyTypes") or []
    if len(types) > 2:
        told = "may not specify more than two policyTypes"
        found.append(causes.invalid("spec.policyTypes", types, told))
        return found
    for index, type in enumerate(types):
        if type not in ("Ingress", "Egress"):
            found.append(causes.not_supported(f"spec.policyTypes[{index}]", type, ("Ingress", "Egress")))
    return found


def _policy_port(one: Obj, path: str, found: Found) -> None:
    wanted, last = one.get("port"), one.get("endPort")
    optional_one_of(one, "protocol", path, ("TCP", "UDP", "SCTP"), found)
    if isinstance(wanted, int):
        port(wanted, f"{path}.port", found)
        if last is not None and last < wanted:
            found.append(causes.invalid(f"{path}.endPort", last, "must be greater than or equal to `port`"))
        if last is not None:
            port(last, f"{path}.endPort", found)
    elif wanted is not None:
        if last is not None:
            told = "may not be specified when `port` is non-numeric"
            found.append(causes.invalid(f"{path}.endPort", last, told))
        named(wanted, f"{path}.port", names.check_port_name, found)
    elif last is not None:
        told = "may not be specified when `port` is not specified"
        found.append(causes.invalid(f"{path}.endPort", last, told))


def _peer(peer: Obj, path: str, found: Found) -> None:
    count = 0
    for key in ("podSelector", "namespaceSelector"):
        if peer.get(key) is not None:
            count += 1
            label_selector(peer[key], f"{path}.{key}", found)
    block = peer.get("ipBlock")
    if block is not None:
        count += 1
        _block(block, f"{path}.ipBlock", found)
    if not count:
        found.append(causes.required(path, "must specify a peer"))
    elif count > 1 and block is not None:
        found.append(causes.forbidden(path, "may not specify both ipBlock and another peer"))


def _block(block: Obj, path: str, found: Found) -> None:
    whole = block.get("cidr") or ""
    if not whole:
        found.append(causes.required(f"{path}.cidr"))
        return
    cidr(whole, f"{path}.cidr", found)
    parsed = parse_network(whole)
    if parsed is None:
        return
    for index, text in enumerate(block.get("except") or ()):
        where = f"{path}.except[{index}]"
        cidr(text, where, found)
        part = parse_network(text)
        if part is not None and not _strictly_within(part[1], parsed[1]):
            found.append(causes.invalid(where, text, "must be a strict subset of `cidr`"))


def _strictly_within(part: Any, whole: Any) -> bool:
    return part.version == whole.version and part != whole and bool(part.subnet_of(whole))


def service_range(obj: Obj) -> Found:
    found: Found = []
    cidrs = (obj.get("spec") or {}).get("cidrs") or []
    if not cidrs:
        return [causes.required("spec.cidrs", "at least one CIDR required")]
    if len(cidrs) > 2:
        return [causes.invalid("spec.cidrs", {"CIDRs": cidrs}, "may only hold up to 2 values")]
    for index, text in enumerate(cidrs):
        canonical_cidr(text, f"spec.cidrs[{index}]", found)
    networks = [parsed[1] for text in cidrs if (parsed := parse_network(text)) is not None]
    if len(networks) == 2 and networks[0].version == networks[1].version:
        found.append(causes.invalid("spec.cidrs", cidrs, _ONE_PER_FAMILY))
    return found


def service_range_update(obj: Obj, old: Obj) -> Found:
    new, was = ((one.get("spec") or {}).get("cidrs") or [] for one in (obj, old))
    if len(new) == len(was) or (len(was), len(new)) == (1, 2):
        found = [
            causes.invalid(f"spec.cidrs[{index}]", text, causes.FIELD_IMMUTABLE)
            for index, (text, before) in enumerate(zip(new, was, strict=False))
            if text != before
        ]
        return found if len(new) == len(was) else found + service_range(obj)
    return [causes.invalid("spec.cidrs", new or None, causes.FIELD_IMMUTABLE)]


def address(obj: Obj) -> Found:
    """What an IPAddress is for; its name is checked as a name."""
    parent, path = (obj.get("spec") or {}).get("parentRef"), "spec.parentRef"
    if parent is None:
        return [causes.required(path)]
    found: Found = []
    if parent.get("group"):
        named(parent["group"], f"{path}.group", names.check_dns1123_subdomain, found)
    for key in ("resource", "name"):
        if parent.get(key):
            path_segment(parent[key], f"{path}.{key}", found)
        else:
            found.append(causes.required(f"{path}.{key}"))
    if parent.get("namespace"):
        path_segment(parent["namespace"], f"{path}.namespace", found)
    return found


def address_update(obj: Obj, old: Obj) -> Found:
    new, was = ((one.get("spec") or {}).get("parentRef") for one in (obj, old))
    if new != was:
        return [causes.invalid("spec.parentRef", new, causes.FIELD_IMMUTABLE)]
    return []

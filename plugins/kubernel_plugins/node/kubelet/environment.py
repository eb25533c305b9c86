"""A container's environment, command and arguments, with every reference resolved."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from kubernel.objects import quantity

if TYPE_CHECKING:
    from kubernel.store.records import Obj

__all__ = [
    "ConfigProblem",
    "Lookup",
    "expand",
    "field_value",
    "resolve",
    "resource_value",
    "service_variables",
]

Lookup = Callable[[str, str, str], "Obj | None"]
"""(``configmaps`` or ``secrets``, namespace, name) -> the object; None when there is none."""

_REFERENCE = re.compile(r"\$(\$|\(([^()]*)\))")
_SUBSCRIPT = re.compile(r"^metadata\.(labels|annotations)\['(.+)'\]$")


class ConfigProblem(Exception):
    """Something a container refers to is missing: ``CreateContainerConfigError``."""


def expand(text: str, variables: Mapping[str, str]) -> str:
    """``$(NAME)`` becomes the variable's value, ``$$`` becomes ``$``; an unknown name stays as it is
    (k8s.io/kubernetes/third_party/forked/golang/expansion)."""

    def replacement(match: re.Match[str]) -> str:
        if match[1] == "$":
            return "$"
        return variables.get(match[2], match[0])

    return _REFERENCE.sub(replacement, text)


def service_variables(services: Iterable[Obj], namespace: str, links: bool) -> dict[str, str]:
    """``{NAME}_SERVICE_HOST`` and the Docker link variables of the services a pod sees: those of its
    namespace when ``enableServiceLinks``, and always ``default/kubernetes``."""
    variables: dict[str, str] = {}
    for service in services:
        metadata, spec = service["metadata"], service.get("spec", {})
        address = spec.get("clusterIP", "")
        if not address or address == "None":
            continue
        master = metadata["name"] == "kubernetes" and metadata.get("namespace") == "default"
        if not master and not (links and metadata.get("namespace") == namespace):
            continue
        prefix = metadata["name"].upper().replace("-", "_")
        ports = spec.get("ports") or []
        variables[f"{prefix}_SERVICE_HOST"] = address
        if ports:
            variables[f"{prefix}_SERVICE_PORT"] = str(ports[0]["port"])
        host = f"[{address}]" if ":" in address else address
        for number, port in enumerate(ports):
            protocol = port.get("protocol", "TCP")
            if port.get("name"):
                name = port["name"].upper().replace("-", "_")
                variables[f"{prefix}_SERVICE_PORT_{name}"] = str(port["port"])
            url = f"{protocol.lower()}://{host}:{port['port']}"
            if number == 0:
                variables[f"{prefix}_PORT"] = url
            each = f"{prefix}_PORT_{port['port']}_{protocol}"
            variables[each] = url
            variables[f"{each}_PROTO"] = protocol.lower()
            variables[f"{each}_PORT"] = str(port["port"])
            variables[f"{each}_ADDR"] = address
    return variables


def field_value(pod: Obj, path: str, addresses: Mapping[str, str]) -> str:
    """What ``fieldRef`` names; ``addresses`` holds status.podIP, podIPs, hostIP, hostIPs."""
    metadata, spec = pod["metadata"], pod.get("spec", {})
    if path in addresses:
        return addresses[path]
    if match := _SUBSCRIPT.match(path):
        return str((metadata.get(match[1]) or {}).get(match[2], ""))
    if path in ("metadata.labels", "metadata.annotations"):
        pairs = sorted((metadata.get(path.removeprefix("metadata.")) or {}).items())
        return "\n".join(f'{key}="{_escape(value)}"' for key, value in pairs)
    known = {
        "metadata.name": metadata.get("name", ""),
        "metadata.namespace": metadata.get("namespace", ""),
        "metadata.uid": metadata.get("uid", ""),
        "spec.nodeName": spec.get("nodeName", ""),
        "spec.serviceAccountName": spec.get("serviceAccountName", ""),
    }
    if path not in known:
        raise ConfigProblem(f"unsupported fieldPath: {path}")
    return str(known[path])


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def resource_value(
    container: Mapping[str, Any], ref: Mapping[str, Any], allocatable: Mapping[str, str]
) -> str:
    """What ``resourceFieldRef`` names, in units of its divisor, rounded up; a limit that is not set is the
    node's allocatable."""
    kind, _, name = str(ref["resource"]).partition(".")
    resources = container.get("resources") or {}
    found = (resources.get(kind) or {}).get(name)
    if found is None:
        found = allocatable.get(name, "0") if kind == "limits" else "0"
    divisor = ref.get("divisor") or "1"
    if quantity.parse(divisor) == 0:
        divisor = "1"
    if name == "cpu":
        return str(math.ceil(quantity.to_int_milli(found) / quantity.to_int_milli(divisor)))
    return str(math.ceil(quantity.to_int(found) / quantity.to_int(divisor)))


def resolve(
    pod: Obj,
    container: Mapping[str, Any],
    *,
    lookup: Lookup,
    services: Iterable[Obj],
    addresses: Mapping[str, str],
    allocatable: Mapping[str, str],
) -> dict[str, str]:
    """The environment: services, then ``envFrom``, then ``env``, later ones winning. ConfigProblem with
    upstream's words when something required is missing."""
    namespace = pod["metadata"].get("namespace", "")
    links = pod.get("spec", {}).get("enableServiceLinks", True)
    variables = service_variables(services, namespace, links)
    for source in container.get("envFrom") or ():
        prefix = source.get("prefix") or ""
        for resource, key in (("configmaps", "configMapRef"), ("secrets", "secretRef")):
            ref = source.get(key)
            if ref is None:
                continue
            found = _find(lookup, resource, namespace, ref)
            variables |= {prefix + name: text for name, text in _data(found, resource).items()}
    literal: dict[str, str] = {}
    for entry in container.get("env") or ():
        value = _value(pod, container, entry, variables | literal, lookup, addresses, allocatable)
        if value is not None:
            literal[entry["name"]] = value
    return variables | literal


def _value(
    pod: Obj,
    container: Mapping[str, Any],
    entry: Mapping[str, Any],
    variables: Mapping[str, str],
    lookup: Lookup,
    addresses: Mapping[str, str],
    allocatable: Mapping[str, str],
) -> str | None:
    source = entry.get("valueFrom")
    if not source:
        return expand(entry.get("value") or "", variables)
    if ref := source.get("fieldRef"):
        return field_value(pod, ref["fieldPath"], addresses)
    if ref := source.get("resourceFieldRef"):
        of = container
        if ref.get("containerName"):
            spec = pod.get("spec", {})
            everyone = [*(spec.get("initContainers") or ()), *spec["containers"]]
            of = next((c for c in everyone if c["name"] == ref["containerName"]), container)
        return resource_value(of, ref, allocatable)
    namespace = pod["metadata"].get("namespace", "")
    for resource, key, kind in (
        ("configmaps", "configMapKeyRef", "ConfigMap"),
        ("secrets", "secretKeyRef", "Secret"),
    ):
        if ref := source.get(key):
            found = _find(lookup, resource, namespace, ref)
            data = _data(found, resource)
            if ref["key"] in data:
                return data[ref["key"]]
            if ref.get("optional"):
                return None
            raise ConfigProblem(f"couldn't find key {ref['key']} in {kind} {namespace}/{ref['name']}")
    return None


def _find(lookup: Lookup, resource: str, namespace: str, ref: Mapping[str, Any]) -> Obj | None:
    found = lookup(resource, namespace, ref.get("name", ""))
    if found is None and not ref.get("optional"):
        raise ConfigProblem(f'{resource.removesuffix("s")} "{ref.get("name", "")}" not found')
    return found


def _data(found: Obj | None, resource: str) -> dict[str, str]:
    if found is None:
        return {}
    if resource == "secrets":
        return {
            key: base64.b64decode(value).decode(errors="surrogateescape")
            for key, value in (found.get("data") or {}).items()
        }
    return dict(found.get("data") or {})

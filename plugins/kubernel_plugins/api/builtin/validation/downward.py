"""Fields of the pod itself that containers get to see, as variables or files."""

from __future__ import annotations

from kubernel.objects import names, quantity
from kubernel_plugins.api.builtin import causes
from kubernel_plugins.api.builtin.validation.values import (
    Found,
    Obj,
    named,
    relative_unreserved_path,
)

__all__ = ["ENV_FIELDS", "downward_file", "field_reference", "resource_reference"]

ENV_FIELDS = (
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
)
_FILE_FIELDS = (
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
)
_KNOWN = frozenset((*ENV_FIELDS, *_FILE_FIELDS, "spec.restartPolicy", "spec.schedulerName", "status.phase"))
_RESOURCES = (
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
)
_HUGE_PAGES = ("limits.hugepages-", "requests.hugepages-")
_MEMORY_DIVISORS = ("1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei")
_DIVISORS = {
    "cpu": (("1m", "1"), "cpu"),
    "memory": (_MEMORY_DIVISORS, "memory"),
    "ephemeral-storage": (_MEMORY_DIVISORS, "local ephemeral storage"),
}
_MODE = "must be a number between 0 and 0777 (octal), both inclusive"


def field_reference(reference: Obj, path: str, supported: tuple[str, ...], found: Found) -> None:
    for key in ("apiVersion", "fieldPath"):
        if not reference.get(key):
            found.append(causes.required(f"{path}.{key}"))
            return
    wanted, where = reference["fieldPath"], f"{path}.fieldPath"
    if reference["apiVersion"] != "v1":
        told = f"error converting fieldPath: unsupported pod version: {reference['apiVersion']}"
        found.append(causes.invalid(where, wanted, told))
        return
    name, bracket, key = wanted[:-2].partition("['") if wanted.endswith("']") else ("", "", "")
    if not bracket or not name:
        name = "spec.nodeName" if wanted == "spec.host" else wanted
        if name not in _KNOWN:
            told = f"error converting fieldPath: field label not supported: {wanted}"
            found.append(causes.invalid(where, wanted, told))
        elif name not in supported:
            found.append(causes.not_supported(where, name, supported))
        return
    if name == "metadata.annotations":
        named(key.lower(), path, names.check_qualified_name, found)
    elif name == "metadata.labels":
        named(key, path, names.check_qualified_name, found)
    else:
        told = f"error converting fieldPath: field label does not support subscript: {wanted}"
        found.append(causes.invalid(where, wanted, told))


def resource_reference(reference: Obj, path: str, found: Found, *, in_file: bool) -> None:
    """In files the container must be named."""
    resource = reference.get("resource") or ""
    if in_file and not reference.get("containerName"):
        found.append(causes.required(f"{path}.containerName"))
    elif not resource:
        found.append(causes.required(f"{path}.resource"))
    elif resource not in _RESOURCES and not resource.startswith(_HUGE_PAGES):
        found.append(causes.not_supported(f"{path}.resource", resource, _RESOURCES))
    divisor = reference.get("divisor")
    if divisor and quantity.parse(divisor) != 0:
        _divisor(resource, quantity.canonical(divisor), f"{path}.divisor", found)


def _divisor(resource: str, divisor: str, path: str, found: Found) -> None:
    known = resource in _RESOURCES
    allowed, what = _DIVISORS[resource.partition(".")[2]] if known else (_MEMORY_DIVISORS, "hugepages")
    if not known and not resource.startswith(_HUGE_PAGES):
        return
    if divisor not in allowed:
        shown = "1m and 1" if what == "cpu" else ", ".join(allowed)
        told = f"only divisor's values {shown} are supported with the {what} resource"
        found.append(causes.invalid(path, resource, told))


def downward_file(file: Obj, path: str, found: Found) -> None:
    where = file.get("path") or ""
    if not where:
        found.append(causes.required(f"{path}.path"))
    relative_unreserved_path(where, f"{path}.path", found)
    if file.get("fieldRef") is not None:
        field_reference(file["fieldRef"], f"{path}.fieldRef", _FILE_FIELDS, found)
        if file.get("resourceFieldRef") is not None:
            told = "fieldRef and resourceFieldRef can not be specified simultaneously"
            found.append(causes.invalid(path, "resource", told))
    elif file.get("resourceFieldRef") is not None:
        resource_reference(file["resourceFieldRef"], f"{path}.resourceFieldRef", found, in_file=True)
    else:
        found.append(causes.required(path, "one of fieldRef and resourceFieldRef is required"))
    mode = file.get("mode")
    if mode is not None and not 0 <= mode <= 0o777:
        found.append(causes.invalid(f"{path}.mode", mode, _MODE))

"""IPAddress objects of services: who gives them and who repairs them agree on their form.

Source: k8s.io/kubernetes/pkg/registry/core/service/ipallocator (v1.37).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubernel.objects import meta

if TYPE_CHECKING:
    from kubernel.store.records import Obj

__all__ = [
    "ADDRESSES",
    "family",
    "is_allocated",
    "is_labelled",
    "of_service",
    "service_addresses",
]

ADDRESSES = "ipaddresses.v1.networking.k8s.io"
_FAMILY = "ipaddress.kubernetes.io/ip-family"
_MANAGED_BY = "ipaddress.kubernetes.io/managed-by"
_ALLOCATOR = "ipallocator.k8s.io"


def family(address: str) -> str:
    return "IPv6" if ":" in address else "IPv4"


def is_of(entry: Obj, service: Obj) -> bool:
    """Whether an IPAddress says that it is the service's."""
    parent = meta.get(entry, "spec", "parentRef", default={})
    where = parent.get("namespace", ""), parent.get("name")
    return (parent.get("group") or "", parent.get("resource")) == ("", "services") and where == meta.key(
        service
    )


def of_service(address: str, service: Obj) -> Obj:
    """The IPAddress by which a service has an address."""
    parent = {"resource": "services", "namespace": meta.namespace(service), "name": meta.name(service)}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "IPAddress",
        "metadata": {"name": address, "labels": {_FAMILY: family(address), _MANAGED_BY: _ALLOCATOR}},
        "spec": {"parentRef": parent},
    }


def is_allocated(entry: Obj) -> bool:
    """Whether the allocator of services made this IPAddress."""
    return meta.labels(entry).get(_MANAGED_BY) == _ALLOCATOR


def is_labelled(entry: Obj) -> bool:
    """Whether an IPAddress has the labels that the allocator gives."""
    return is_allocated(entry) and meta.labels(entry).get(_FAMILY) == family(meta.name(entry))


def service_addresses(service: Obj) -> list[str]:
    """The cluster IPs that a service has."""
    spec = service.get("spec") or {}
    if spec.get("type") == "ExternalName":
        return []
    found = spec.get("clusterIPs") or [spec.get("clusterIP")]
    return [address for address in found if address and address != "None"]

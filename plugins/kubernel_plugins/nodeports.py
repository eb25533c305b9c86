"""Who has which node port, as it is stored: a record for each port decides between servers that share a store.

Upstream keeps one bitmap for all of them, which nobody is served either (``RangeAllocation``,
k8s.io/kubernetes/pkg/registry/core/service/portallocator, v1.37). A record for each port needs no second
try when others take other ports.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubernel.objects import meta
from kubernel.store.records import Key

if TYPE_CHECKING:
    from kubernel.store.records import Obj

__all__ = ["NODE_PORTS", "RESOURCE", "key_of", "of_service", "owner", "port_of", "service_ports"]

NODE_PORTS = range(30000, 32768)
RESOURCE = "nodeports"


def key_of(port: int) -> Key:
    return Key(RESOURCE, "", str(port))


def port_of(entry: Obj) -> int:
    return int(meta.name(entry))


def of_service(port: int, service: Obj, now: str) -> Obj:
    """The record by which a service has a port; ``now`` is RFC 3339."""
    namespace, name = meta.key(service)
    return {
        "apiVersion": "kubernel.dev/v1",
        "kind": "NodePort",
        "metadata": {"name": str(port), "creationTimestamp": now},
        "spec": {"service": {"namespace": namespace, "name": name}},
    }


def owner(entry: Obj) -> tuple[str, str]:
    """(namespace, name) of the service that has the port."""
    service = entry["spec"]["service"]
    return service["namespace"], service["name"]


def service_ports(service: Obj) -> list[int]:
    """The node ports that a service has, each once."""
    spec = service.get("spec") or {}
    numbers = [port["nodePort"] for port in spec.get("ports") or () if port.get("nodePort")]
    if spec.get("healthCheckNodePort"):
        numbers.append(spec["healthCheckNodePort"])
    return list(dict.fromkeys(numbers))

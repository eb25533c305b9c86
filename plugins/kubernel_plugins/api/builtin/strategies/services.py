"""Services: addresses, node ports and the defaults that hang together with them.

Source: pkg/apis/core/v1/defaults.go, pkg/registry/core/service (v1.37).
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field as member
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

from kubernel.errors import Cause, InternalError, Invalid
from kubernel_plugins.api.builtin import causes
from kubernel_plugins.api.builtin.strategies.allocation import AddressPools, Full, PortPool
from kubernel_plugins.api.builtin.strategies.base import Builtin, field
from kubernel_plugins.api.builtin.strategies.service_validation import validate_service

if TYPE_CHECKING:
    from kubernel.registry.request import Request
    from kubernel.store.records import Obj
    from kubernel_plugins.api.builtin.context import Context

__all__ = ["ServiceStrategy"]

_NOTE = "builtin/services"
_MANAGED_BY, _ALLOCATOR = "ipaddress.kubernetes.io/managed-by", "ipallocator.k8s.io"
_WITH_NODE_PORTS = ("NodePort", "LoadBalancer")


@dataclass(slots=True)
class _Taken:
    """What a write reserved, and what it lets go of once it is stored."""

    addresses: list[str] = member(default_factory=list)
    ports: list[int] = member(default_factory=list)
    old_addresses: list[str] = member(default_factory=list)
    old_ports: list[int] = member(default_factory=list)


def _addresses(service: Obj) -> list[str]:
    spec = service.get("spec") or {}
    if spec.get("type") == "ExternalName":
        return []
    ips = spec.get("clusterIPs") or ([spec["clusterIP"]] if spec.get("clusterIP") else [])
    return [ip for ip in ips if ip and ip != "None"]


def _ports(service: Obj) -> list[int]:
    spec = service.get("spec") or {}
    numbers = [port["nodePort"] for port in spec.get("ports") or () if port.get("nodePort")]
    if spec.get("healthCheckNodePort"):
        numbers.append(spec["healthCheckNodePort"])
    return list(dict.fromkeys(numbers))


def _node_ports(spec: dict[str, Any]) -> list[int]:
    return sorted(port.get("nodePort") or 0 for port in spec.get("ports") or ())


def _drop_what_the_type_had(spec: dict[str, Any], old: dict[str, Any]) -> None:
    """A client that changes the type and leaves alone what only the former one has, means to lose it
    (pkg/registry/core/service/strategy.go, dropTypeDependentFields)."""

    def had(*types: str) -> bool:
        return old.get("type") in types and spec.get("type") not in types

    if had(*_WITH_NODE_PORTS):
        if _node_ports(spec) == _node_ports(old):
            for port in spec.get("ports") or ():
                port.pop("nodePort", None)
        if not spec.get("externalIPs") and spec.get("externalTrafficPolicy") == old.get(
            "externalTrafficPolicy"
        ):
            spec.pop("externalTrafficPolicy", None)
    if had("LoadBalancer"):
        for key in ("allocateLoadBalancerNodePorts", "loadBalancerClass", "healthCheckNodePort"):
            if spec.get(key) == old.get(key):
                spec.pop(key, None)


class ServiceStrategy(Builtin):
    def __init__(self, context: Context) -> None:
        super().__init__(returns=True, create_on_update=True)
        self.context = context
        self._pools: tuple[AddressPools, PortPool] | None = None

    def default(self, obj: Obj) -> None:
        spec = obj.get("spec")
        if not isinstance(spec, dict):
            return
        type = spec.setdefault("type", "ClusterIP") or "ClusterIP"
        affinity = spec.setdefault("sessionAffinity", "None")
        if affinity == "None":
            spec.pop("sessionAffinityConfig", None)
        elif (
            affinity == "ClientIP"
            and field(spec, "sessionAffinityConfig", "clientIP", "timeoutSeconds") is None
        ):
            spec["sessionAffinityConfig"] = {"clientIP": {"timeoutSeconds": 10800}}
        for port in spec.get("ports") or ():
            if isinstance(port, dict):
                port.setdefault("protocol", "TCP")
                if not port.get("targetPort") and "port" in port:
                    port["targetPort"] = port["port"]
        if type in _WITH_NODE_PORTS or (type == "ClusterIP" and spec.get("externalIPs")):
            spec.setdefault("externalTrafficPolicy", "Cluster")
        if type != "ExternalName":
            spec.setdefault("internalTrafficPolicy", "Cluster")
        if type == "LoadBalancer":
            spec.setdefault("allocateLoadBalancerNodePorts", True)
            for point in field(obj, "status", "loadBalancer", "ingress") or ():
                if isinstance(point, dict) and point.get("ip"):
                    point.setdefault("ipMode", "VIP")

    def initial_status(self, request: Request, obj: Obj) -> Obj:
        return {"loadBalancer": {}}

    def prepare_for_create(self, request: Request, obj: Obj) -> None:
        super().prepare_for_create(request, obj)
        if isinstance(obj.get("spec"), dict):
            self._normalize(obj["spec"])
            self._reserve(request, obj, None)

    def prepare_for_update(self, request: Request, obj: Obj, old: Obj) -> None:
        super().prepare_for_update(request, obj, old)
        if request.subresource or not isinstance(obj.get("spec"), dict):
            return
        self._carry_over(obj["spec"], old["spec"])
        self._normalize(obj["spec"])
        self._reserve(request, obj, old)

    @staticmethod
    def _carry_over(spec: dict[str, Any], old: dict[str, Any]) -> None:
        """A client that leaves out what was allocated means to keep it."""
        if spec.get("type") != "ExternalName" and old.get("type") != "ExternalName":
            if not spec.get("clusterIP") and old.get("clusterIP"):
                spec["clusterIP"] = old["clusterIP"]
                if not spec.get("clusterIPs") and old.get("clusterIPs"):
                    spec["clusterIPs"] = list(old["clusterIPs"])
            elif spec.get("clusterIP") != old.get("clusterIP") and spec.get("clusterIPs") == old.get(
                "clusterIPs"
            ):
                # A patch of the one field means both.
                spec["clusterIPs"] = [spec["clusterIP"], *(spec.get("clusterIPs") or ())[1:]]
            for key in ("ipFamilies", "ipFamilyPolicy"):
                if not spec.get(key) and old.get(key):
                    spec[key] = old[key]
        _drop_what_the_type_had(spec, old)
        if spec.get("type") in _WITH_NODE_PORTS and old.get("type") in _WITH_NODE_PORTS:
            known = {(port.get("protocol"), port["port"]): port for port in old.get("ports") or ()}
            in_use = {port.get("nodePort") for port in spec.get("ports") or ()}
            for port in spec.get("ports") or ():
                before = known.get((port.get("protocol"), port.get("port")))
                if not port.get("nodePort") and before and before.get("nodePort") not in in_use:
                    port["nodePort"] = before["nodePort"]
            if spec.get("externalTrafficPolicy") == "Local" and old.get("healthCheckNodePort"):
                spec.setdefault("healthCheckNodePort", old["healthCheckNodePort"])

    @staticmethod
    def _normalize(spec: dict[str, Any]) -> None:
        """clusterIP and clusterIPs say the same; what the type does not use is dropped."""
        type = spec.get("type")
        if type == "ExternalName":
            for key in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "healthCheckNodePort"):
                spec.pop(key, None)
        elif spec.get("clusterIP") and not spec.get("clusterIPs"):
            spec["clusterIPs"] = [spec["clusterIP"]]
        elif spec.get("clusterIPs") and not spec.get("clusterIP"):
            spec["clusterIP"] = spec["clusterIPs"][0]
        if type not in _WITH_NODE_PORTS:
            for port in spec.get("ports") or ():
                if isinstance(port, dict) and type == "ExternalName":
                    port.pop("nodePort", None)
            spec.pop("allocateLoadBalancerNodePorts", None)
            spec.pop("healthCheckNodePort", None)

    def _reserve(self, request: Request, obj: Obj, old: Obj | None) -> None:
        """Take what the service needs and does not have yet; all or nothing."""
        addresses, ports = self._loaded()
        taken = _Taken()
        request.notes[_NOTE] = taken
        spec = obj["spec"]
        found: list[Cause] = []
        had_addresses = _addresses(old) if old else []
        had_ports = _ports(old) if old else []
        try:
            if spec.get("type") in ("ClusterIP", *_WITH_NODE_PORTS):
                self._families(spec, addresses)
                found += self._reserve_address(spec, had_addresses, addresses, taken)
            if spec.get("type") in _WITH_NODE_PORTS:
                found += self._reserve_ports(spec, had_ports, ports, taken)
        except Full:
            self._release(taken.addresses, taken.ports)
            raise InternalError(
                "failed to allocate a serviceIP or a nodePort: range is full",
            ) from None
        if found:
            self._release(taken.addresses, taken.ports)
            taken.addresses, taken.ports = [], []
            raise Invalid.for_object("Service", "", obj["metadata"].get("name") or "", found)
        now_addresses, now_ports = set(_addresses(obj)), set(_ports(obj))
        taken.old_addresses = [ip for ip in had_addresses if ip not in now_addresses]
        taken.old_ports = [port for port in had_ports if port not in now_ports]

    @staticmethod
    def _families(spec: dict[str, Any], addresses: AddressPools) -> None:
        own = f"IPv{addresses.families[0]}"
        if spec.get("clusterIP") == "None" and not spec.get("selector"):
            spec.setdefault("ipFamilyPolicy", "RequireDualStack")
            families = list(spec.get("ipFamilies") or [own])
            if spec["ipFamilyPolicy"] != "SingleStack" and len(families) == 1:
                families.append("IPv4" if families[0] == "IPv6" else "IPv6")
            spec["ipFamilies"] = families
            return
        spec.setdefault("ipFamilyPolicy", "SingleStack")
        if not spec.get("ipFamilies"):
            spec["ipFamilies"] = [own]

    def _reserve_address(
        self, spec: dict[str, Any], had: list[str], pool: AddressPools, taken: _Taken
    ) -> list[Cause]:
        wanted = spec.get("clusterIP") or ""
        if wanted == "None":
            return []
        if not wanted:
            address = pool.take_any(self.context.rng)
            taken.addresses.append(address)
            spec["clusterIP"], spec["clusterIPs"] = address, [address]
            return []
        if had:
            return []  # its own, or a change that validation refuses
        if wanted not in pool:
            why = f"the provided network does not match the current range: {pool}"
            problem = f"failed to allocate IP {wanted}: {why}"
            return [causes.invalid("spec.clusterIPs", [wanted], problem)]
        if not pool.take(wanted):
            problem = f"failed to allocate IP {wanted}: provided IP is already allocated"
            return [causes.invalid("spec.clusterIPs", [wanted], problem)]
        taken.addresses.append(wanted)
        return []

    def _reserve_ports(
        self, spec: dict[str, Any], had: list[int], pool: PortPool, taken: _Taken
    ) -> list[Cause]:
        found: list[Cause] = []
        mine = set(had)
        for index, port in enumerate(spec.get("ports") or ()):
            number = port.get("nodePort")
            if not number or number in mine:
                continue
            if number not in pool.ports:
                found.append(
                    causes.invalid(
                        f"spec.ports[{index}].nodePort",
                        number,
                        "provided port is not in the valid range. The range of valid ports is "
                        f"{pool.ports.start}-{pool.ports.stop - 1}",
                    )
                )
            elif not pool.take(number):
                found.append(
                    causes.invalid(
                        f"spec.ports[{index}].nodePort", number, "provided port is already allocated"
                    )
                )
            else:
                taken.ports.append(number)
                mine.add(number)
        if spec.get("type") == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts") is False:
            return found
        # One number serves the same port over several protocols.
        shared: dict[tuple[int, int], int] = {}
        for port in spec.get("ports") or ():
            if not port.get("nodePort") and not found:
                same = next((one for (p, _), one in shared.items() if p == port.get("port")), None)
                number = pool.take_any(self.context.rng) if same is None else same
                if same is None:
                    taken.ports.append(number)
                port["nodePort"] = number
            shared[port.get("port", 0), len(shared)] = port.get("nodePort", 0)
        if spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local":
            number = spec.get("healthCheckNodePort")
            if not number:
                spec["healthCheckNodePort"] = pool.take_any(self.context.rng)
                taken.ports.append(spec["healthCheckNodePort"])
            elif number not in mine:
                if pool.take(number):
                    taken.ports.append(number)
                else:
                    found.append(
                        causes.invalid(
                            "spec.healthCheckNodePort", number, "provided port is already allocated"
                        )
                    )
        return found

    def finish(self, request: Request, obj: Obj, *, committed: bool) -> None:
        taken: _Taken | None = request.notes.pop(_NOTE, None)
        if taken is None:
            return
        if committed:
            self._release(taken.old_addresses, taken.old_ports)
        else:
            self._release(taken.addresses, taken.ports)

    def after_delete(self, request: Request, obj: Obj) -> None:
        self._release(_addresses(obj), _ports(obj))

    def _release(self, addresses: list[str], ports: list[int]) -> None:
        pools = self._loaded()
        for address in addresses:
            pools[0].release(address)
        for port in ports:
            pools[1].release(port)

    def _loaded(self) -> tuple[AddressPools, PortPool]:
        """The pools, filled from the stored services when first needed."""
        if self._pools is None:
            services = list(self.context.stored("services"))
            held = [address for service in services for address in _addresses(service)]
            pools = AddressPools(held, self._is_held_elsewhere), PortPool()
            for service in services:
                for port in _ports(service):
                    pools[1].take(port)
            self._pools = pools
        self._pools[0].use(self._cidrs())
        return self._pools

    def _cidrs(self) -> list[str]:
        """The cluster's own range first, then those of ServiceCIDRs that are not on their way out."""
        found = [str(self.context.cluster.service_cidr)]
        for one in self.context.stored("servicecidrs.networking.k8s.io"):
            if "deletionTimestamp" not in one["metadata"]:
                found += [cidr for cidr in one["spec"].get("cidrs") or () if cidr not in found]
        family = ip_network(found[0]).version
        return [cidr for cidr in found if ip_network(cidr).version == family]

    def _is_held_elsewhere(self, address: str) -> bool:
        """Whether an IPAddress of somebody else says so; those of services follow the services."""
        found = self.context.find("ipaddresses.networking.k8s.io", address)
        labels = field(found, "metadata", "labels") or {}
        return found is not None and labels.get(_MANAGED_BY) != _ALLOCATOR

    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        return validate_service(obj)

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        if request.subresource == "status":
            return []
        found = []
        new, before = field(obj, "spec", "clusterIPs") or [], field(old, "spec", "clusterIPs") or []
        types = (field(obj, "spec", "type"), field(old, "spec", "type"))
        if "ExternalName" not in types and before and new and new[0] != before[0]:
            found.append(causes.invalid("spec.clusterIPs[0]", new, "may not change once set"))
        return found + validate_service(obj)

"""Services: addresses, node ports and the defaults that hang together with them.

Source: pkg/apis/core/v1/defaults.go, pkg/registry/core/service (v1.37).
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from dataclasses import field as member
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

from kubernel.clock import rfc3339
from kubernel.errors import AlreadyExists, Cause, InternalError, Invalid, NotFound
from kubernel.objects import meta
from kubernel.store import AlreadyExistsInStore, MissingKey, StaleRevision
from kubernel_plugins.api.builtin import causes
from kubernel_plugins.api.builtin.strategies.allocation import AddressPools, Full, PortPool
from kubernel_plugins.api.builtin.strategies.base import Builtin, field
from kubernel_plugins.api.builtin.validation.services import (
    cluster_addresses,
    externally_accessible,
    load_balancer_status,
    needs_health_check,
    service,
    service_update,
)
from kubernel_plugins.ipaddresses import ADDRESSES, is_of, of_service, service_addresses
from kubernel_plugins.nodeports import key_of, owner, service_ports
from kubernel_plugins.nodeports import of_service as of_service_port

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping

    from kubernel.registry.request import Request
    from kubernel.store.records import Obj
    from kubernel_plugins.api.builtin.context import Context

__all__ = ["ServiceStrategy"]

_NOTE = "builtin/services"
_STORED = "ipaddresses.networking.k8s.io"
_FULL = "failed to allocate a serviceIP or a nodePort: range is full"
_ALLOCATED = "provided port is already allocated"
_WITH_NODE_PORTS = ("NodePort", "LoadBalancer")


@dataclass(slots=True)
class _Taken:
    """What a write reserved, and what it lets go of once it is stored."""

    addresses: list[str] = member(default_factory=list)
    chosen: bool = False
    """Whether the server chose the address."""
    kept: list[str] = member(default_factory=list)
    """Addresses whose IPAddress this write made."""
    ports: list[int] = member(default_factory=list)
    chosen_ports: set[int] = member(default_factory=set)
    """Those of them that the server chose."""
    kept_ports: list[int] = member(default_factory=list)
    """Ports whose record this write made."""
    old_addresses: list[str] = member(default_factory=list)
    old_ports: list[int] = member(default_factory=list)


def _already(address: str) -> Cause:
    problem = f"failed to allocate IP {address}: provided IP is already allocated"
    return causes.invalid("spec.clusterIPs", [address], problem)


def _no_health_check(number: int, why: str) -> InternalError:
    return InternalError.because(f"failed to allocate requested HealthCheck NodePort {number}: {why}")


def _out_of_range(pool: PortPool) -> str:
    valid = f"{pool.ports.start}-{pool.ports.stop - 1}"
    return f"provided port is not in the valid range. The range of valid ports is {valid}"


def _renumber(spec: dict[str, Any], before: int, now: int) -> None:
    for port in spec.get("ports") or ():
        if port.get("nodePort") == before:
            port["nodePort"] = now
    if spec.get("healthCheckNodePort") == before:
        spec["healthCheckNodePort"] = now


class ServiceStrategy(Builtin):
    def __init__(self, context: Context) -> None:
        super().__init__(returns=True, create_on_update=True, thorough=True)
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

    def prepare_for_create(self, request: Request, obj: Obj) -> None:
        super().prepare_for_create(request, obj)
        if isinstance(obj.get("spec"), dict):
            self._normalize(obj["spec"], {})
            self._reserve(request, obj, None)

    def prepare_for_update(self, request: Request, obj: Obj, old: Obj) -> None:
        super().prepare_for_update(request, obj, old)
        if request.subresource or not isinstance(obj.get("spec"), dict):
            return
        self._carry_over(obj["spec"], old["spec"])
        self._normalize(obj["spec"], old["spec"])
        self._reserve(request, obj, old)
        self._drop_unused(obj["spec"], old["spec"])
        if obj["spec"].get("type") != "LoadBalancer":
            obj["status"] = {**(obj.get("status") or {}), "loadBalancer": {}}

    @staticmethod
    def _carry_over(spec: dict[str, Any], old: dict[str, Any]) -> None:
        """A client that leaves out what was allocated means to keep it (patchAllocatedValues)."""
        if "ExternalName" not in (spec.get("type"), old.get("type")):
            if not spec.get("clusterIP") and old.get("clusterIP"):
                spec["clusterIP"] = old["clusterIP"]
            if not spec.get("clusterIPs") and old.get("clusterIPs"):
                spec["clusterIPs"] = list(old["clusterIPs"])
            if spec.get("ipFamilyPolicy") is None and old.get("ipFamilyPolicy"):
                spec["ipFamilyPolicy"] = old["ipFamilyPolicy"]
        if spec.get("type") in _WITH_NODE_PORTS and old.get("type") in _WITH_NODE_PORTS:
            known = {port.get("name"): port.get("nodePort") for port in old.get("ports") or ()}
            in_use = {port.get("nodePort") for port in spec.get("ports") or ()}
            for port in spec.get("ports") or ():
                before = known.get(port.get("name"))
                if not port.get("nodePort") and before and before not in in_use:
                    port["nodePort"] = before
            if needs_health_check(spec) and needs_health_check(old) and old.get("healthCheckNodePort"):
                spec.setdefault("healthCheckNodePort", old["healthCheckNodePort"])

    @staticmethod
    def _normalize(spec: dict[str, Any], old: Mapping[str, Any]) -> None:
        """An older client knows clusterIP alone: then clusterIPs follows it (normalizeClusterIPs)."""
        first, was = spec.get("clusterIP") or "", old.get("clusterIP") or ""
        if not old:
            if first and not spec.get("clusterIPs"):
                spec["clusterIPs"] = [first]
        elif first != was and (spec.get("clusterIPs") or []) == (old.get("clusterIPs") or []):
            if first:
                spec["clusterIPs"] = [first]
            else:
                spec.pop("clusterIPs", None)

    @staticmethod
    def _drop_unused(spec: dict[str, Any], old: Mapping[str, Any]) -> None:
        """What another type needed and the client did not touch goes (dropTypeDependentFields)."""

        def same(*keys: str) -> bool:
            return all(spec.get(key) == old.get(key) for key in keys)

        if old.get("type") != "ExternalName" and spec.get("type") == "ExternalName":
            for keys in (("clusterIP", "clusterIPs"), ("ipFamilies",), ("ipFamilyPolicy",)):
                if same(*keys):
                    for key in keys:
                        spec.pop(key, None)
        if old.get("type") in _WITH_NODE_PORTS and spec.get("type") not in _WITH_NODE_PORTS:
            had = {port.get("nodePort") for port in old.get("ports") or ()}
            ports = [port for port in spec.get("ports") or () if port.get("nodePort")]
            if all(port["nodePort"] in had for port in ports):
                for port in ports:
                    del port["nodePort"]
        if needs_health_check(old) and not needs_health_check(spec) and same("healthCheckNodePort"):
            spec.pop("healthCheckNodePort", None)
        if old.get("type") == "LoadBalancer" != spec.get("type"):
            for key in ("allocateLoadBalancerNodePorts", "loadBalancerClass"):
                if same(key):
                    spec.pop(key, None)
        if externally_accessible(old) and not externally_accessible(spec) and same("externalTrafficPolicy"):
            spec.pop("externalTrafficPolicy", None)

    def _reserve(self, request: Request, obj: Obj, old: Obj | None) -> None:
        """Take what the service needs and does not have yet; all or nothing."""
        addresses, ports = self._loaded()
        taken = _Taken()
        request.notes[_NOTE] = taken
        spec = obj["spec"]
        found: list[Cause] = []
        had_addresses = service_addresses(old) if old else []
        had_ports = service_ports(old) if old else []
        try:
            if spec.get("type") != "ExternalName":
                found += self._families(spec, old["spec"] if old else {}, addresses)
            if not found and spec.get("type") != "ExternalName":
                found += self._reserve_address(request, spec, had_addresses, addresses)
            if not found and spec.get("type") in _WITH_NODE_PORTS:
                found += self._reserve_ports(spec, had_ports, ports, taken)
        except Full:
            self._release(taken.addresses, taken.ports)
            raise InternalError.because(_FULL) from None
        if found:
            self._release(taken.addresses, taken.ports)
            taken.addresses, taken.ports = [], []
            raise Invalid.for_object("Service", "", obj["metadata"].get("name") or "", found)
        now_addresses, now_ports = set(service_addresses(obj)), set(service_ports(obj))
        taken.old_addresses = [ip for ip in had_addresses if ip not in now_addresses]
        taken.old_ports = [port for port in had_ports if port not in now_ports]

    @staticmethod
    def _families(spec: dict[str, Any], old: dict[str, Any], pool: AddressPools) -> list[Cause]:
        """The policy and the families, which follow from the addresses and the cluster's own family
        (initIPFamilyFields)."""
        own, headless = (
            f"IPv{pool.families[0]}",
            spec.get("clusterIP") == "None" and not spec.get("selector"),
        )
        if spec.get("ipFamilyPolicy") is None:
            spec["ipFamilyPolicy"] = "RequireDualStack" if headless else "SingleStack"
        found: list[Cause] = []
        cluster_addresses(spec, old, found)
        if found:
            return found
        policy, where = spec["ipFamilyPolicy"], "spec.ipFamilyPolicy"
        if policy == "SingleStack":
            for key, what in (("clusterIPs", "cluster IPs"), ("ipFamilies", "IP families")):
                listed = spec.get(key) or ()
                if old and len(listed) > 1 and listed == old.get(key):
                    spec[key] = listed[:1]
                elif len(listed) == 2:
                    told = (
                        f"must be 'RequireDualStack' or 'PreferDualStack' when multiple {what} are specified"
                    )
                    found.append(causes.invalid(where, policy, told))
        elif old:
            for key, what in (("clusterIPs", "cluster IP"), ("ipFamilies", "IP family")):
                if 0 < len(spec.get(key) or ()) < len(old.get(key) or ()):
                    told = f"must be 'SingleStack' to release the secondary {what}"
                    found.append(causes.invalid(where, policy, told))
        families = list(spec.get("ipFamilies") or ())
        for index, address in enumerate(spec.get("clusterIPs") or ()):
            family = "IPv6" if ":" in address else "IPv4"
            if address == "None":
                break
            if index >= len(families) and family == own:
                families.append(family)
            elif index >= len(families):
                told = f"{family} is not configured on this cluster"
                found.append(causes.invalid(f"spec.clusterIPs[{index}]", spec["clusterIPs"], told))
        if found:
            return found
        if headless:
            families = families or [own]
            if len(families) == 1 and policy != "SingleStack":
                families.append("IPv4" if families[0] == "IPv6" else "IPv6")
        else:
            if policy == "RequireDualStack":
                told = "this cluster is not configured for dual-stack services"
                found.append(causes.invalid(where, policy, told))
            found += [
                causes.invalid(f"spec.ipFamilies[{index}]", family, "not configured on this cluster")
                for index, family in enumerate(families)
                if family != own
            ]
        spec["ipFamilies"] = families or [own]
        return found

    def _reserve_address(
        self, request: Request, spec: dict[str, Any], had: list[str], pool: AddressPools
    ) -> list[Cause]:
        taken: _Taken = request.notes[_NOTE]
        wanted = spec.get("clusterIP") or ""
        if wanted == "None":
            return []
        if not wanted:
            # Nothing is chosen for who only tries: upstream shows the range's own address.
            network = str(pool.first.network.network_address)
            address = network if request.dry_run else pool.take_any(self.context.rng)
            taken.addresses.append(address)
            taken.chosen = True
            spec["clusterIP"], spec["clusterIPs"] = address, [address]
            return []
        if had:
            return []  # its own, or a change that validation refuses
        if wanted not in pool:
            why = "the provided network does not match the current range"
            problem = f"failed to allocate IP {wanted}: {why}"
            return [causes.invalid("spec.clusterIPs", [wanted], problem)]
        if not request.dry_run:
            if not pool.take(wanted):
                return [_already(wanted)]
            taken.addresses.append(wanted)
        return []

    def _reserve_ports(
        self, spec: dict[str, Any], had: list[int], pool: PortPool, taken: _Taken
    ) -> list[Cause]:
        found: list[Cause] = []
        mine = set(had)
        numbers: dict[Any, int] = {}
        for index, port in enumerate(spec.get("ports") or ()):
            number = port.get("nodePort")
            if not number:
                continue
            # The same port over another protocol may have the same number.
            before = numbers.setdefault(port.get("port"), 0)
            numbers[port.get("port")] = before or number
            if number in had or number == before:
                continue
            if number not in pool.ports:
                found.append(
                    causes.invalid(
                        f"spec.ports[{index}].nodePort",
                        number,
                        _out_of_range(pool),
                    )
                )
            elif not pool.take(number):
                found.append(causes.invalid(f"spec.ports[{index}].nodePort", number, _ALLOCATED))
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
                    taken.chosen_ports.add(number)
                port["nodePort"] = number
            shared[port.get("port", 0), len(shared)] = port.get("nodePort", 0)
        if spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local":
            number = spec.get("healthCheckNodePort")
            if not number:
                number = spec["healthCheckNodePort"] = pool.take_any(self.context.rng)
                taken.ports.append(number)
                taken.chosen_ports.add(number)
            elif number not in mine:
                if pool.take(number):
                    taken.ports.append(number)
                else:
                    why = _ALLOCATED if number in pool.ports else _out_of_range(pool)
                    raise _no_health_check(number, why)
        return found

    def reserve(self, request: Request, obj: Obj) -> Awaitable[None] | None:
        taken: _Taken | None = request.notes.get(_NOTE)
        if taken is None or not (taken.addresses or taken.ports):
            return None
        return self._keep(request, obj, taken)

    async def _keep(self, request: Request, obj: Obj, taken: _Taken) -> None:
        """Objects for what was taken, which decide between servers that share a store."""
        if taken.addresses:
            await self._keep_addresses(request, obj, taken)
        if taken.ports:
            await self._keep_ports(request, obj, taken)

    async def _keep_ports(self, request: Request, obj: Obj, taken: _Taken) -> None:
        await self._drop_ports(taken.kept_ports, obj)  # of a name that was taken
        taken.kept_ports = []
        pool = self._loaded()[1]
        for port in list(taken.ports):
            number = port
            while not await self._keep_port(number, obj):
                # Another server was quicker.
                taken.ports.remove(number)
                pool.release(number)
                if port not in taken.chosen_ports:
                    raise self._taken_port(request, obj, number)
                try:
                    number = pool.take_any(self.context.rng)
                except Full:
                    raise InternalError.because(_FULL) from None
                taken.ports.append(number)
            taken.kept_ports.append(number)
            if number != port:
                _renumber(obj["spec"], port, number)

    def _taken_port(self, request: Request, obj: Obj, number: int) -> Invalid | InternalError:
        for index, port in enumerate(obj["spec"].get("ports") or ()):
            if port.get("nodePort") == number:
                cause = causes.invalid(f"spec.ports[{index}].nodePort", number, _ALLOCATED)
                return Invalid.for_object("Service", "", request.name, [cause])
        return _no_health_check(number, _ALLOCATED)

    async def _keep_port(self, port: int, service: Obj) -> bool:
        now = rfc3339(self.context.clock.time())
        try:
            await self.context.registry.store.create(key_of(port), of_service_port(port, service, now))
        except AlreadyExistsInStore:
            return False
        return True

    async def _drop_ports(self, ports: list[int], service: Obj) -> None:
        store = self.context.registry.store
        for port in ports:
            record = store.get(key_of(port))
            if record is not None and owner(record.obj) == meta.key(service):
                with suppress(MissingKey, StaleRevision):
                    await store.delete(record.key, record.obj, expect=record.revision)

    async def _keep_addresses(self, request: Request, obj: Obj, taken: _Taken) -> None:
        """An IPAddress for each address, which decides between servers that share a store."""
        await self._drop_addresses(taken.kept, obj)  # of a name that was taken
        taken.kept = []
        for address in list(taken.addresses):
            while not await self._keep_address(address, obj):
                # Another server was quicker.
                self._release(taken.addresses, [])
                taken.addresses = []
                if not taken.chosen:
                    raise Invalid.for_object("Service", "", request.name, [_already(address)])
                try:
                    address = self._loaded()[0].take_any(self.context.rng)
                except Full:
                    raise InternalError.because(_FULL) from None
                taken.addresses = [address]
                obj["spec"]["clusterIP"], obj["spec"]["clusterIPs"] = address, [address]
            taken.kept.append(address)

    async def _keep_address(self, address: str, service: Obj) -> bool:
        try:
            await self.context.server.create(ADDRESSES, of_service(address, service))
        except AlreadyExists:
            return False
        return True

    async def _drop_addresses(self, addresses: list[str], service: Obj) -> None:
        for address in addresses:
            entry = self.context.find(_STORED, address)
            if entry is not None and is_of(entry, service):
                try:
                    await self.context.server.delete(ADDRESSES, address, uid=entry["metadata"]["uid"])
                except NotFound:
                    continue

    def finish(self, request: Request, obj: Obj, *, committed: bool) -> Awaitable[None] | None:
        taken: _Taken | None = request.notes.pop(_NOTE, None)
        if taken is None:
            return None
        # From now on it is the stored objects that hold what was taken.
        self._release(taken.addresses, taken.ports)
        addresses = taken.old_addresses if committed else taken.kept
        ports = taken.old_ports if committed else taken.kept_ports
        return self._let_go(addresses, ports, obj) if addresses or ports else None

    def after_delete(self, request: Request, obj: Obj) -> Awaitable[None] | None:
        addresses, ports = service_addresses(obj), service_ports(obj)
        return self._let_go(addresses, ports, obj) if addresses or ports else None

    async def _let_go(self, addresses: list[str], ports: list[int], service: Obj) -> None:
        await self._drop_addresses(addresses, service)
        await self._drop_ports(ports, service)
        self._release(addresses, ports)

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
            held = [address for service in services for address in service_addresses(service)]
            ports = [port for service in services for port in service_ports(service)]
            self._pools = (
                AddressPools([one for one in held if not self._is_given(one)], self._is_given),
                PortPool([one for one in ports if not self._is_given_port(one)], self._is_given_port),
            )
        self._pools[0].use(self._cidrs())
        return self._pools

    def _is_given(self, address: str) -> bool:
        return self.context.find(_STORED, address) is not None

    def _is_given_port(self, port: int) -> bool:
        return self.context.registry.store.get(key_of(port)) is not None

    def _cidrs(self) -> list[str]:
        """The cluster's own range first, then those of ServiceCIDRs that are not on their way out."""
        found = [str(self.context.cluster.service_cidr)]
        for one in self.context.stored("servicecidrs.networking.k8s.io"):
            if "deletionTimestamp" not in one["metadata"]:
                found += [cidr for cidr in one["spec"].get("cidrs") or () if cidr not in found]
        family = ip_network(found[0]).version
        return [cidr for cidr in found if ip_network(cidr).version == family]

    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        return service(obj)

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        if request.subresource != "status":
            return service_update(obj, old)
        found: list[Cause] = []
        balancer, before = (field(one, "status", "loadBalancer") or {} for one in (obj, old))
        load_balancer_status(balancer, before, obj["spec"].get("type") == "LoadBalancer", found)
        return found

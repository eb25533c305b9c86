"""The one form of the subsets of Endpoints.

Source: k8s.io/kubernetes/pkg/api/v1/endpoints/util.go (v1.37).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from kubernel_plugins.controller import portorder

__all__ = ["Subset", "repack"]

Subset = dict[str, Any]
_Identity = tuple[str, str]
"""(address, uid of what it belongs to)."""


def repack(subsets: Iterable[Mapping[str, Any]]) -> list[Subset]:
    """Each set of addresses once, with all its ports; what is not ready by one of two statements is not. Upstream
    sorts subsets by a hash of all they hold; here they stand in the order of their ports."""
    addresses: dict[_Identity, Mapping[str, Any]] = {}
    serving: dict[portorder.Ports, dict[_Identity, bool]] = defaultdict(dict)
    for subset in subsets:
        ports: list[portorder.Ports] = [(port,) for port in portorder.key(subset.get("ports") or ())]
        for field, ready in (("addresses", True), ("notReadyAddresses", False)):
            for address in subset.get(field) or ():
                identity = address["ip"], (address.get("targetRef") or {}).get("uid", "")
                addresses.setdefault(identity, address)
                for port in ports or [()]:
                    serving[port][identity] = serving[port].get(identity, True) and ready
    together: dict[tuple[tuple[_Identity, bool], ...], portorder.Ports] = {}
    for port, ready_by_identity in serving.items():
        served = tuple(sorted(ready_by_identity.items()))
        together[served] = (*together.get(served, ()), *port)
    found = []
    for served, served_ports in together.items():
        subset = {}
        for field, ready in (("addresses", True), ("notReadyAddresses", False)):
            if chosen := [addresses[identity] for identity, is_ready in served if is_ready is ready]:
                subset[field] = chosen
        if served_ports:
            subset["ports"] = portorder.of_endpoints(_named(served_ports))
        found.append(subset)
    return sorted(found, key=_rank)


def _named(ports: portorder.Ports) -> Iterable[Mapping[str, Any]]:
    return (
        {"name": name, "port": number, "protocol": protocol, "appProtocol": application}
        for name, number, protocol, application in ports
    )


def _rank(subset: Subset) -> tuple[Any, ...]:
    first = subset.get("addresses") or subset["notReadyAddresses"]
    return portorder.key(subset.get("ports") or ()), first[0]["ip"]

"""Cluster IPs and node ports: which are free, as the stored IPAddresses and services have it.

Both pools are split as upstream's: automatic allocation keeps away from a lower band, so that addresses
asked for by number are likely to be free (KEP-3070, KEP-3668).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from kubernel_plugins.nodeports import NODE_PORTS

__all__ = ["AddressPool", "AddressPools", "Full", "PortPool"]


class Full(Exception):
    """Nothing is free."""


class AddressPool:
    """The addresses of a service CIDR, without its network (and IPv4 broadcast) address."""

    def __init__(self, cidr: str) -> None:
        self.network: IPv4Network | IPv6Network = ip_network(cidr)
        every = self.network.num_addresses
        self.size = max(every - (2 if self.network.version == 4 else 1), 0)
        self.band = 0 if every <= 16 else min(max(16, every // 16), 256)

    def candidates(self, rng: random.Random) -> Iterator[str]:
        """All of them, from a random start on; those of the lower band last."""
        first = self.network.network_address + 1
        for low, high in ((self.band, self.size), (0, self.band)):
            if high > low:
                start = rng.randrange(high - low)
                for step in range(high - low):
                    yield str(first + (low + (start + step) % (high - low)))

    def __contains__(self, address: str) -> bool:
        try:
            number = int(ip_address(address)) - int(self.network.network_address) - 1
        except ValueError:
            return False
        return 0 <= number < self.size


class AddressPools:
    """The addresses of all service CIDRs of the cluster; ranges may overlap and come and go.

    Who has an address says its IPAddress: ``given(address)`` is whether there is one. ``held`` are those that
    are in use though they have none, or not yet.
    """

    def __init__(self, held: Iterable[str], given: Callable[[str], bool]) -> None:
        self._pools: dict[str, AddressPool] = {}
        self._held = set(held)
        self._given = given

    def use(self, cidrs: Iterable[str]) -> None:
        """These are the ranges now, in order of preference."""
        known = self._pools
        self._pools = {cidr: known.get(cidr) or AddressPool(cidr) for cidr in cidrs}

    @property
    def families(self) -> list[int]:
        return [pool.network.version for pool in self._pools.values()]

    @property
    def first(self) -> AddressPool:
        """The cluster's own range."""
        return next(iter(self._pools.values()))

    def __contains__(self, address: str) -> bool:
        return any(address in pool for pool in self._pools.values())

    def __str__(self) -> str:
        return ",".join(self._pools)

    def take(self, address: str) -> bool:
        """Whether it was free; then it is held."""
        if address in self._held or address not in self or self._given(address):
            return False
        self._held.add(address)
        return True

    def take_any(self, rng: random.Random) -> str:
        """Full when no range has a free one."""
        for pool in self._pools.values():
            for address in pool.candidates(rng):
                if address not in self._held and not self._given(address):
                    self._held.add(address)
                    return address
        raise Full

    def release(self, address: str) -> None:
        self._held.discard(address)


class PortPool:
    """The node ports. ``given(port)`` is whether a record says that somebody has it; ``held`` are those that are in
    use though they have none, or not yet."""

    def __init__(self, held: Iterable[int], given: Callable[[int], bool], ports: range = NODE_PORTS) -> None:
        self.ports = ports
        self.band = 0 if len(ports) <= 16 else min(max(16, len(ports) // 32), 128)
        self._held = set(held)
        self._given = given

    def take(self, port: int) -> bool:
        """Whether it was free; then it is held."""
        if port in self._held or port not in self.ports or self._given(port):
            return False
        self._held.add(port)
        return True

    def take_any(self, rng: random.Random) -> int:
        """Full when there is no free one."""
        for ports in (self.ports[self.band :], self.ports[: self.band]):
            start = rng.randrange(len(ports)) if ports else 0
            for step in range(len(ports)):
                port = ports[(start + step) % len(ports)]
                if self.take(port):
                    return port
        raise Full

    def release(self, port: int) -> None:
        self._held.discard(port)

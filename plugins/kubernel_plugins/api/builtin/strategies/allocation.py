"""Cluster IPs and node ports: who has which, rebuilt from the stored services.

Both pools are split as upstream's: automatic allocation keeps away from a lower band, so that addresses
asked for by number are likely to be free (KEP-3070, KEP-3668).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

__all__ = ["NODE_PORTS", "AddressPool", "AddressPools", "Full", "NumberPool", "PortPool"]

NODE_PORTS = range(30000, 32768)


class Full(Exception):
    """Nothing is free."""


class NumberPool:
    """Numbers 0..size-1, of which the first ``band`` are given only when the others are taken."""

    def __init__(self, size: int, band: int) -> None:
        self.size = size
        self.band = min(band, size)
        self.taken: set[int] = set()

    def take(self, number: int) -> bool:
        """Whether it was free; then it is taken."""
        if number in self.taken:
            return False
        self.taken.add(number)
        return True

    def take_any(self, rng: random.Random) -> int:
        """A free number from a random start on; Full when there is none."""
        for first, last in ((self.band, self.size), (0, self.band)):
            width = last - first
            free = width - sum(1 for number in self.taken if first <= number < last)
            if free <= 0:
                continue
            start = rng.randrange(width)
            for step in range(width):
                number = first + (start + step) % width
                if self.take(number):
                    return number
        raise Full

    def release(self, number: int) -> None:
        self.taken.discard(number)


class AddressPool:
    """The addresses of a service CIDR, without its network (and IPv4 broadcast) address."""

    def __init__(self, cidr: str) -> None:
        self.network: IPv4Network | IPv6Network = ip_network(cidr)
        reserved = 2 if self.network.version == 4 else 1
        size = max(min(self.network.num_addresses - reserved, 2**16), 0)
        self._numbers = NumberPool(size, min(max(16, size // 16), 256))

    def take(self, address: str) -> bool:
        number = self._number(address)
        return number is not None and self._numbers.take(number)

    def take_any(self, rng: random.Random) -> str:
        return str(self.network.network_address + 1 + self._numbers.take_any(rng))

    def release(self, address: str) -> None:
        number = self._number(address)
        if number is not None:
            self._numbers.release(number)

    def __contains__(self, address: str) -> bool:
        return self._number(address) is not None

    def _number(self, address: str) -> int | None:
        try:
            number = int(ip_address(address)) - int(self.network.network_address) - 1
        except ValueError:
            return None
        return number if 0 <= number < self._numbers.size else None


class AddressPools:
    """The addresses of all service CIDRs of the cluster; ranges may overlap and come and go.

    ``elsewhere(address)`` is whether somebody has an address though no service does.
    """

    def __init__(self, taken: Iterable[str], elsewhere: Callable[[str], bool]) -> None:
        self._pools: dict[str, AddressPool] = {}
        self._held = set(taken)
        self._elsewhere = elsewhere

    def use(self, cidrs: Iterable[str]) -> None:
        """These are the ranges now, in order of preference."""
        known = self._pools
        self._pools = {}
        for cidr in cidrs:
            pool = known.get(cidr)
            if pool is None:
                pool = AddressPool(cidr)
                for address in self._held:
                    pool.take(address)
            self._pools[cidr] = pool

    @property
    def families(self) -> list[int]:
        return [pool.network.version for pool in self._pools.values()]

    def __contains__(self, address: str) -> bool:
        return any(address in pool for pool in self._pools.values())

    def __str__(self) -> str:
        return ",".join(self._pools)

    def take(self, address: str) -> bool:
        """Whether it was free; then it is taken."""
        if address in self._held or address not in self or self._elsewhere(address):
            return False
        self._hold(address)
        return True

    def take_any(self, rng: random.Random) -> str:
        """Full when no range has a free one."""
        for pool in self._pools.values():
            try:
                while True:
                    address = pool.take_any(rng)
                    if address not in self._held and not self._elsewhere(address):
                        self._hold(address)
                        return address
            except Full:
                continue
        raise Full

    def release(self, address: str) -> None:
        self._held.discard(address)
        for pool in self._pools.values():
            pool.release(address)

    def _hold(self, address: str) -> None:
        self._held.add(address)
        for pool in self._pools.values():
            pool.take(address)


class PortPool:
    """The node ports."""

    def __init__(self, ports: range = NODE_PORTS) -> None:
        self.ports = ports
        self._numbers = NumberPool(len(ports), min(max(16, len(ports) // 32), 128))

    def take(self, port: int) -> bool:
        return port in self.ports and self._numbers.take(port - self.ports.start)

    def take_any(self, rng: random.Random) -> int:
        return self.ports.start + self._numbers.take_any(rng)

    def release(self, port: int) -> None:
        self._numbers.release(port - self.ports.start)

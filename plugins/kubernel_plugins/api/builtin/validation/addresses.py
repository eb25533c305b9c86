"""Addresses and ranges, as upstream's strict parsers take them (KEP-4858)."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection

from kubernel_plugins.addresses import Address, parse_ip, unpadded
from kubernel_plugins.api.builtin import causes
from kubernel_plugins.api.builtin.validation.values import Found

__all__ = [
    "canonical_cidr",
    "cidr",
    "dual_stack",
    "endpoint_address",
    "interface_address",
    "ip_address",
    "parse_ip",
    "parse_network",
    "strict_ip_address",
    "strict_ip_problems",
]

_IP = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
_CIDR = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def ip_address(text: str, path: str, found: Found, known: Collection[str] = ()) -> None:
    """``known`` were there before, when less was asked."""
    if text in known:
        return
    address = parse_ip(text)
    if address is None:
        found.append(causes.invalid(path, text, _IP))
    elif unpadded(text) != text:
        found.append(causes.invalid(path, text, "must not have leading 0s"))
    elif isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        found.append(causes.invalid(path, text, "must not be an IPv4-mapped IPv6 address"))


def strict_ip_address(text: str, path: str, found: Found) -> None:
    """An address in its one spelling."""
    before = len(found)
    ip_address(text, path, found)
    address = parse_ip(text)
    if len(found) == before and address is not None and str(address) != text:
        found.append(causes.invalid(path, text, f'must be in canonical form ("{address}")'))


def strict_ip_problems(text: str) -> list[str]:
    """What is wrong with a name that is an address."""
    found: Found = []
    strict_ip_address(text, "", found)
    return [cause.message.partition(": ")[2].partition(": ")[2] for cause in found]


def parse_network(text: str) -> tuple[Address, Network] | None:
    """(the address as written, its network); None for what is no CIDR."""
    head, slash, bits = text.partition("/")
    address = parse_ip(head)
    if not slash or address is None or not bits.isascii() or not bits.isdigit():
        return None
    if int(bits) > address.max_prefixlen:
        return None
    return address, ipaddress.ip_network(f"{address}/{int(bits)}", strict=False)


def cidr(text: str, path: str, found: Found, known: Collection[str] = ()) -> bool:
    """Whether it is a good one."""
    if text in known:
        return True
    parsed = parse_network(text)
    problem = ""
    if parsed is None:
        problem = _CIDR
    else:
        address, network = parsed
        head, _, bits = text.partition("/")
        if unpadded(head) != head or (bits != "0" and bits.startswith("0")):
            problem = "must not have leading 0s in IP or prefix length"
        elif isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            problem = "must not have an IPv4-mapped IPv6 address"
        elif address != network.network_address:
            problem = "must not have bits set beyond the prefix length"
    if problem:
        found.append(causes.invalid(path, text, problem))
    return not problem


def canonical_cidr(text: str, path: str, found: Found) -> None:
    """A good one in its one spelling."""
    if not cidr(text, path, found):
        return
    parsed = parse_network(text)
    if parsed is not None and str(parsed[1]) != text:
        found.append(causes.invalid(path, text, f'must be in canonical form ("{parsed[1]}")'))


def dual_stack(texts: Collection[str]) -> bool:
    """Whether there are addresses of both families."""
    return {":" in text for text in texts} == {True, False}


def endpoint_address(text: str, path: str, found: Found, *, loopback: bool = False) -> None:
    """An address where others can be reached. ``loopback``: also on this machine, where our pods' addresses are
    (upstream never lets those through)."""
    address = parse_ip(text)
    if address is None:
        found.append(causes.invalid(path, text, "must be a valid IP address"))
        return
    if address.is_unspecified:
        found.append(causes.invalid(path, text, f"may not be unspecified ({text})"))
    for wrong, what in (
        (address.is_loopback and not loopback, "loopback range (127.0.0.0/8, ::1/128)"),
        (address.is_link_local, "link-local range (169.254.0.0/16, fe80::/10)"),
        (_link_local_multicast(address), "link-local multicast range (224.0.0.0/24, ff02::/10)"),
    ):
        if wrong:
            found.append(causes.invalid(path, text, f"may not be in the {what}"))


def _link_local_multicast(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv4Address):
        return address in ipaddress.ip_network("224.0.0.0/24")
    return address.packed[0] == 0xFF and address.packed[1] & 0x0F == 0x02


def interface_address(text: str, path: str, found: Found) -> None:
    """An interface's own address with the length of its network's prefix."""
    parsed = parse_network(text)
    if parsed is None:
        told = "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)"
        found.append(causes.invalid(path, text, told))
        return
    canonical = f"{parsed[0]}/{parsed[1].prefixlen}"
    if text != canonical:
        found.append(causes.invalid(path, text, f'must be in canonical form ("{canonical}")'))

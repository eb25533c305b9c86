"""Warnings of addresses that are not written as they should be.

Source: k8s.io/apimachinery/pkg/util/validation/ip.go (v1.37).
"""

from __future__ import annotations

import ipaddress

from kubernel.registry.causes import show
from kubernel_plugins.addresses import Address, parse_ip

__all__ = ["warn_of_cidr", "warn_of_ip"]


def _sloppy(text: str) -> Address | None:
    """As Go once read addresses: numbers may begin with zeros, and IPv4 within IPv6 is IPv4."""
    address = parse_ip(text)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _strict(text: str) -> Address | None:
    """None for what is no address, or IPv4 within IPv6."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return None
    return address


def warn_of_ip(text: str, path: str) -> list[str]:
    read = _sloppy(text)
    if read is None:
        return []
    address = _strict(text)
    if address is None:
        return [f"{path}: non-standard IP address {show(text)} is invalid: use {show(str(read))}"]
    if address.version == 6 and str(address) != text:
        told = show(str(address))
        return [f"{path}: IPv6 address {show(text)} should be in RFC 5952 canonical format ({told})"]
    return []


def warn_of_cidr(text: str, path: str) -> list[str]:
    host, slash, bits = text.partition("/")
    read = _sloppy(host)
    if read is None or not slash or not bits.isdecimal():
        return []
    strict = _strict(host)
    length = int(bits)
    if strict is None and ":" in host:
        length -= 96
    if not 0 <= length <= read.max_prefixlen:
        return []
    network = ipaddress.ip_network((read, length), strict=False)
    found: list[str] = []
    if network.network_address != read:
        single = f"{read}/{read.max_prefixlen}"
        found.append(
            f"{path}: CIDR value {show(text)} is ambiguous in this context (should be {show(str(network))} or "
            f"{show(single)}?)"
        )
    if strict is None:
        found.append(f"{path}: non-standard CIDR value {show(text)} is invalid: use {show(str(network))}")
    if not found and read.version == 6 and f"{read}/{length}" != text:
        told = show(f"{read}/{length}")
        found.append(f"{path}: IPv6 CIDR value {show(text)} should be in RFC 5952 canonical format ({told})")
    return found

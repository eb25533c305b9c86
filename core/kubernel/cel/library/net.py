"""Kubernetes' IP addresses, CIDR ranges and URLs."""

from __future__ import annotations

import ipaddress
import re
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from kubernel.cel.errors import EvaluationError
from kubernel.cel.values import Opaque, size_of

from .declare import Table, function, member, traversal, twice

__all__ = ["Cidr", "Ip", "Url", "parse_url", "table"]

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*")
_BAD_ESCAPE = re.compile(r"%(?![0-9a-fA-F]{2})..?")


class Ip(Opaque):
    __slots__ = ("address",)
    TYPE = "net.IP"

    def __init__(self, address: _Address) -> None:
        self.address = address

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ip) and self.address == other.address

    def __hash__(self) -> int:
        return hash(self.address)


class Cidr(Opaque):
    __slots__ = ("address", "network")
    TYPE = "net.CIDR"

    def __init__(self, interface: Any) -> None:
        self.address = interface.ip
        self.network = interface.network

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Cidr)
            and self.address == other.address
            and self.network.prefixlen == other.network.prefixlen
        )

    def __hash__(self) -> int:
        return hash(self.network)


def _address(text: str) -> _Address:
    if "%" in text:
        raise EvaluationError(f'IP Address "{text}" parse error: IP address with zone value is not allowed')
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise EvaluationError(
            f'IP Address "{text}" parse error during conversion from string: '
            f'ParseAddr("{text}"): unable to parse IP'
        ) from None
    if address.version == 6 and address.ipv4_mapped is not None:
        raise EvaluationError(f'IP Address "{text}" parse error: IPv4-mapped IPv6 address is not allowed')
    return address


def _ip(text: str) -> Ip:
    return Ip(_address(text))


def _is(parse: Any) -> Any:
    def check(text: str) -> bool:
        try:
            parse(text)
        except EvaluationError:
            return False
        return True

    return check


def _cidr(text: str) -> Cidr:
    address, slash, length = text.partition("/")
    fault = ""
    if not slash:
        fault = "no '/'"
    elif not length.isascii() or not length.isdigit() or (len(length) > 1 and length[0] == "0"):
        fault = f'bad bits after slash: "{length}"'
    else:
        _address(address)
        try:
            return Cidr(ipaddress.ip_interface(text))
        except ValueError:
            fault = "prefix length out of range"
    raise EvaluationError(
        f'network address parse error during conversion from string: netip.ParsePrefix("{text}"): {fault}'
    )


def _contains_ip(cidr: Cidr, address: Ip | str) -> bool:
    one = address.address if isinstance(address, Ip) else _address(address)
    return one in cidr.network


def _contains_cidr(cidr: Cidr, other: Cidr | str) -> bool:
    one = other if isinstance(other, Cidr) else _cidr(other)
    return (
        one.network.version == cidr.network.version
        and one.network.prefixlen >= cidr.network.prefixlen
        and one.network.network_address in cidr.network
    )


def _masked(cidr: Cidr) -> Cidr:
    return Cidr(ipaddress.ip_interface(str(cidr.network)))


def _link_local_multicast(ip: Ip) -> bool:
    address = ip.address
    if address.version == 4:
        return address in ipaddress.ip_network("224.0.0.0/24")
    packed = address.packed
    return packed[0] == 0xFF and packed[1] & 0x0F == 2


def _global_unicast(ip: Ip) -> bool:
    address = ip.address
    broadcast = address.version == 4 and int(address) == 0xFFFFFFFF
    return not (
        broadcast
        or address.is_unspecified
        or address.is_loopback
        or address.is_multicast
        or address.is_link_local
    )


def _within_cost(values: list[Any], result: Any) -> int:
    text = (size_of(values[1]) + 9) // 10 if isinstance(values[1], str) else 0
    return (8 if values[0].network.version == 4 else 32) // 10 + 1 + text


class Url(Opaque):
    __slots__ = ("parts", "text")
    TYPE = "kubernetes.URL"

    def __init__(self, text: str) -> None:
        self.text = text
        self.parts = urlsplit(text)
        _ = self.parts.port

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Url) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)


def parse_url(text: str) -> Url:
    """An absolute URI or an absolute path, as Go's ParseRequestURI wants it."""
    wrong = ""
    scheme, colon, _ = text.partition(":")
    if not text:
        wrong = "empty url"
    elif any(ord(char) < 0x20 or ord(char) == 0x7F for char in text):
        wrong = "net/url: invalid control character in URL"
    elif not text.startswith("/") and not (colon and _SCHEME.fullmatch(scheme)):
        wrong = "invalid URI for request"
    elif (bad := _BAD_ESCAPE.search(text)) is not None:
        wrong = f'invalid URL escape "{bad[0]}"'
    if not wrong:
        try:
            made = Url(text)
            host = made.parts.netloc.rpartition("@")[2]
            if " " in host:
                wrong = 'invalid character " " in host name'
            else:
                return made
        except ValueError:
            wrong = "invalid host or port"
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    raise EvaluationError(f'URL parse error during conversion from string: parse "{quoted}": {wrong}')


def _host(url: Url) -> str:
    return url.parts.netloc.rpartition("@")[2]


def _hostname(url: Url) -> str:
    host = _host(url)
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]


def _port(url: Url) -> str:
    host = _host(url)
    return host.rpartition("]")[2].partition(":")[2]


def _escaped_path(url: Url) -> str:
    return quote(url.parts.path, safe="/%:@!$&'()*+,;=-._~[]")


def table() -> Table:
    ip, cidr, url = Ip.TYPE, Cidr.TYPE, Url.TYPE
    return [
        function("ip", "string", ip, _ip, traversal),
        function("isIP", "string", "bool", _is(_address), traversal),
        function("ip.isCanonical", "string", "bool", lambda text: str(_address(text)) == text, twice),
        function("string", ip, "string", lambda one: str(one.address)),
        member("family", ip, "int", lambda one: one.address.version),
        member("isUnspecified", ip, "bool", lambda one: one.address.is_unspecified),
        member("isLoopback", ip, "bool", lambda one: one.address.is_loopback),
        member("isLinkLocalMulticast", ip, "bool", _link_local_multicast),
        member("isLinkLocalUnicast", ip, "bool", lambda one: one.address.is_link_local),
        member("isGlobalUnicast", ip, "bool", _global_unicast),
        function("cidr", "string", cidr, _cidr, traversal),
        function("isCIDR", "string", "bool", _is(_cidr), traversal),
        function("string", cidr, "string", lambda one: f"{one.address}/{one.network.prefixlen}"),
        member("containsIP", f"{cidr};{ip}", "bool", _contains_ip, _within_cost),
        member("containsIP", f"{cidr};string", "bool", _contains_ip, _within_cost),
        member("containsCIDR", f"{cidr};{cidr}", "bool", _contains_cidr, _within_cost),
        member("containsCIDR", f"{cidr};string", "bool", _contains_cidr, _within_cost),
        member("ip", cidr, ip, lambda one: Ip(one.address)),
        member("masked", cidr, cidr, _masked),
        member("prefixLength", cidr, "int", lambda one: one.network.prefixlen),
        function("url", "string", url, parse_url, traversal),
        function("isURL", "string", "bool", _is(parse_url), traversal),
        member("getScheme", url, "string", lambda one: one.parts.scheme),
        member("getHost", url, "string", _host),
        member("getHostname", url, "string", _hostname),
        member("getPort", url, "string", _port),
        member("getEscapedPath", url, "string", _escaped_path),
        member(
            "getQuery",
            url,
            "map(string,list(string))",
            lambda one: parse_qs(one.parts.query, keep_blank_values=True),
        ),
    ]

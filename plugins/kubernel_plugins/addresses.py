"""IP addresses as they are written in objects.

Source: k8s.io/utils/net/parse.go (v1.37).
"""

from __future__ import annotations

import ipaddress
import re

__all__ = ["Address", "parse_ip", "unpadded"]

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_zeros = re.compile(r"(^|\.)0+(?=[0-9])")


def unpadded(text: str) -> str:
    """Leading zeros of an IPv4 address gone: it used to be taken."""
    if ":" in text:
        head, colon, tail = text.rpartition(":")
        return head + colon + _zeros.sub(r"\1", tail) if "." in tail else text
    return _zeros.sub(r"\1", text)


def parse_ip(text: str) -> Address | None:
    """None for what is no address, leading zeros or not."""
    if "%" in text:
        return None
    try:
        return ipaddress.ip_address(unpadded(text))
    except ValueError:
        return None

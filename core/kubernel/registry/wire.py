"""Protobuf's wire format: numbers and fields to bytes (protobuf.dev/programming-guides/encoding)."""

from __future__ import annotations

__all__ = ["DELIMITED", "FIXED64", "VARINT", "delimited", "tag", "varint"]

VARINT, FIXED64, DELIMITED = 0, 1, 2

_SMALL = tuple(bytes((value,)) for value in range(0x80))


def varint(value: int) -> bytes:
    """Negative numbers are written as 64-bit two's complement."""
    if 0 <= value < 0x80:
        return _SMALL[value]
    out = bytearray()
    value &= 0xFFFF_FFFF_FFFF_FFFF
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def tag(number: int, wire_type: int) -> bytes:
    return varint(number << 3 | wire_type)


def delimited(number: int, data: bytes) -> bytes:
    """A string, bytes or message field."""
    return tag(number, DELIMITED) + varint(len(data)) + data

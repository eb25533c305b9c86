"""The subject of a certificate, read from its DER without a cryptography library.

Only certificates that the TLS library has verified come here. Source: RFC 5280 section 4.1. Where there is more than
one authority it is looked which one that was.
"""

from __future__ import annotations

__all__ = ["is_issued_by", "subject"]

_SEQUENCE, _SET, _OID, _VERSION = 0x30, 0x31, 0x06, 0xA0
_COMMON_NAME, _ORGANIZATION = b"\x55\x04\x03", b"\x55\x04\x0a"
_ENCODINGS = {0x0C: "utf-8", 0x13: "ascii", 0x14: "latin-1", 0x16: "ascii", 0x1E: "utf-16-be"}


def subject(der: bytes) -> tuple[str, tuple[str, ...]]:
    """(common name, organizations); the name is empty when there is none. ValueError for no certificate."""
    _, certificate, _ = _element(der, 0, _SEQUENCE)
    _, body, _ = _element(certificate, 0, _SEQUENCE)
    position = 0
    tag, _, after = _element(body, position)
    if tag == _VERSION:
        position = after
    # serialNumber, signature, issuer, validity
    for _ in range(4):
        _, _, position = _element(body, position)
    _, names, _ = _element(body, position, _SEQUENCE)
    common_name, organizations = "", []
    position = 0
    while position < len(names):
        _, relative, position = _element(names, position, _SET)
        inner = 0
        while inner < len(relative):
            _, attribute, inner = _element(relative, inner, _SEQUENCE)
            _, kind, value_at = _element(attribute, 0, _OID)
            tag, value, _ = _element(attribute, value_at)
            if kind == _COMMON_NAME:
                common_name = _text(tag, value)
            elif kind == _ORGANIZATION:
                organizations.append(_text(tag, value))
    return common_name, tuple(organizations)


def is_issued_by(der: bytes, authorities: bytes) -> bool:
    """Whether one of the ``authorities`` (PEM) has signed the certificate itself, without others in between."""
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature

    certificate = x509.load_der_x509_certificate(der)
    for authority in x509.load_pem_x509_certificates(authorities):
        try:
            certificate.verify_directly_issued_by(authority)
        except (InvalidSignature, TypeError, ValueError):
            continue
        return True
    return False


def _text(tag: int, value: bytes) -> str:
    encoding = _ENCODINGS.get(tag)
    if encoding is None:
        raise ValueError(f"certificate subject has a string of unknown type {tag:#x}")
    return value.decode(encoding)


def _element(data: bytes, position: int, expected: int = 0) -> tuple[int, bytes, int]:
    """(tag, contents, where the next element begins)."""
    if position + 2 > len(data):
        raise ValueError("certificate is cut short")
    tag, length = data[position], data[position + 1]
    position += 2
    if length & 0x80:
        count = length & 0x7F
        if not 0 < count <= 4 or position + count > len(data):
            raise ValueError("certificate has a bad length")
        length = int.from_bytes(data[position : position + count], "big")
        position += count
    if position + length > len(data):
        raise ValueError("certificate is cut short")
    if expected and tag != expected:
        raise ValueError(f"certificate has tag {tag:#x} where {expected:#x} belongs")
    return tag, data[position : position + length], position + length

"""The providers of an EncryptionConfiguration, in upstream's format: ``k8s:enc:PROVIDER:v1:KEY:`` and the ciphertext.

Source: k8s.io/apiserver/pkg/storage/value/encrypt/{aes,secretbox,identity} (v1.37). The library is imported when the
first value is encrypted or decrypted, not at the start.
"""

from __future__ import annotations

import hmac
import os
import struct
from typing import Protocol

__all__ = ["PREFIX", "AesCbc", "AesGcm", "Cipher", "Identity", "Secretbox"]

PREFIX = b"k8s:enc:"


class Cipher(Protocol):
    """One key of one provider. ``place`` is authenticated with the value where the provider can do that."""

    prefix: bytes

    def seal(self, value: bytes, place: bytes) -> bytes: ...

    def open(self, sealed: bytes, place: bytes) -> bytes:
        """ValueError for what was not sealed with this key."""
        ...


class Identity:
    """Values as they are."""

    prefix = b""

    def seal(self, value: bytes, place: bytes) -> bytes:
        return value

    def open(self, sealed: bytes, place: bytes) -> bytes:
        if sealed.startswith(PREFIX):
            raise ValueError("it is encrypted")
        return sealed


class AesGcm:
    """Random nonces: a key is good for 2^32 values."""

    def __init__(self, name: str, key: bytes) -> None:
        self.prefix = b"%baesgcm:v1:%b:" % (PREFIX, name.encode())
        self._key = key

    def seal(self, value: bytes, place: bytes) -> bytes:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce = os.urandom(12)
        return nonce + AESGCM(self._key).encrypt(nonce, value, place)

    def open(self, sealed: bytes, place: bytes) -> bytes:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        try:
            return AESGCM(self._key).decrypt(sealed[:12], sealed[12:], place)
        except InvalidTag:
            raise ValueError("the authentication tag is wrong") from None


class AesCbc:
    """Not authenticated: upstream advises against it."""

    def __init__(self, name: str, key: bytes) -> None:
        self.prefix = b"%baescbc:v1:%b:" % (PREFIX, name.encode())
        self._key = key

    def seal(self, value: bytes, place: bytes) -> bytes:
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

        nonce = os.urandom(16)
        fill = 16 - len(value) % 16
        encryptor = Cipher(algorithms.AES(self._key), modes.CBC(nonce)).encryptor()
        return nonce + encryptor.update(value + bytes([fill]) * fill) + encryptor.finalize()

    def open(self, sealed: bytes, place: bytes) -> bytes:
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

        if len(sealed) < 32 or len(sealed) % 16:
            raise ValueError("the stored data is not a multiple of the block size")
        decryptor = Cipher(algorithms.AES(self._key), modes.CBC(sealed[:16])).decryptor()
        value = decryptor.update(sealed[16:]) + decryptor.finalize()
        fill = value[-1]
        if not 0 < fill <= 16 or value[-fill:] != bytes([fill]) * fill:
            raise ValueError("the padding is wrong")
        return value[:-fill]


class Secretbox:
    """XSalsa20 and Poly1305, as NaCl's ``crypto_secretbox``. Salsa20 is in no library that is a dependency; it is
    short, and its blocks are computed here: about a millisecond a kilobyte."""

    def __init__(self, name: str, key: bytes) -> None:
        self.prefix = b"%bsecretbox:v1:%b:" % (PREFIX, name.encode())
        self._key = key

    def seal(self, value: bytes, place: bytes) -> bytes:
        nonce = os.urandom(24)
        return nonce + self.box(nonce, value)

    def box(self, nonce: bytes, value: bytes) -> bytes:
        """The tag, then the ciphertext."""
        stream = _stream(self._key, nonce, 32 + len(value))
        sealed = _xor(value, stream[32:])
        return _tag(stream[:32], sealed) + sealed

    def open(self, sealed: bytes, place: bytes) -> bytes:
        nonce, tag, text = sealed[:24], sealed[24:40], sealed[40:]
        if len(tag) != 16:
            raise ValueError("it is too short")
        stream = _stream(self._key, nonce, 32 + len(text))
        if not hmac.compare_digest(_tag(stream[:32], text), tag):
            raise ValueError("the authentication tag is wrong")
        return _xor(text, stream[32:])


_WORDS = struct.Struct("<16I")
_SIGMA = struct.unpack("<4I", b"expand 32-byte k")
_QUARTERS = (
    (0, 4, 8, 12), (5, 9, 13, 1), (10, 14, 2, 6), (15, 3, 7, 11),
    (0, 1, 2, 3), (5, 6, 7, 4), (10, 11, 8, 9), (15, 12, 13, 14),
)  # fmt: skip


def _rounds(state: list[int]) -> list[int]:
    """Twenty rounds of Salsa20 (D. J. Bernstein, "The Salsa20 family of stream ciphers")."""
    x = list(state)
    for _ in range(10):
        for a, b, c, d in _QUARTERS:
            t = (x[a] + x[d]) & 0xFFFFFFFF
            x[b] ^= (t << 7 | t >> 25) & 0xFFFFFFFF
            t = (x[b] + x[a]) & 0xFFFFFFFF
            x[c] ^= (t << 9 | t >> 23) & 0xFFFFFFFF
            t = (x[c] + x[b]) & 0xFFFFFFFF
            x[d] ^= (t << 13 | t >> 19) & 0xFFFFFFFF
            t = (x[d] + x[c]) & 0xFFFFFFFF
            x[a] ^= (t << 18 | t >> 14) & 0xFFFFFFFF
    return x


def _state(key: bytes, sixteen: bytes) -> list[int]:
    k, n, s = struct.unpack("<8I", key), struct.unpack("<4I", sixteen), _SIGMA
    return [s[0], *k[:4], s[1], *n, s[2], *k[4:], s[3]]


def _stream(key: bytes, nonce: bytes, length: int) -> bytes:
    x = _rounds(_state(key, nonce[:16]))
    inner = struct.pack("<8I", x[0], x[5], x[10], x[15], *x[6:10])
    blocks = []
    for number in range((length + 63) // 64):
        state = _state(inner, nonce[16:24] + number.to_bytes(8, "little"))
        mixed = _rounds(state)
        blocks.append(_WORDS.pack(*((a + b) & 0xFFFFFFFF for a, b in zip(state, mixed, strict=True))))
    return b"".join(blocks)[:length]


def _xor(left: bytes, right: bytes) -> bytes:
    size = len(left)
    return (int.from_bytes(left, "little") ^ int.from_bytes(right[:size], "little")).to_bytes(size, "little")


def _tag(key: bytes, text: bytes) -> bytes:
    from cryptography.hazmat.primitives.poly1305 import Poly1305

    return Poly1305.generate_tag(key, text)

"""Bootstrap tokens: Secrets that let a new node trust a cluster, and be trusted by it.

Source: k8s.io/cluster-bootstrap/{token/api,token/jws,util/secrets} (v1.37).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
from typing import TYPE_CHECKING

from kubernel.objects import meta, times

if TYPE_CHECKING:
    from kubernel.store.records import Obj

__all__ = ["NAMESPACE", "TYPE", "authenticated_groups", "expires", "signature", "signing_token"]

NAMESPACE = "kube-system"
TYPE = "bootstrap.kubernetes.io/token"
_NAME = re.compile(r"bootstrap-token-([a-z0-9]{6})", re.ASCII)
_EXTRA_GROUP = re.compile(r"system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]", re.ASCII)
_SECRET = re.compile(r"[a-z0-9]{16}", re.ASCII)


def _value(secret: Obj, key: str) -> str:
    try:
        return base64.b64decode((secret.get("data") or {}).get(key, "")).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""


def expires(secret: Obj) -> float | None:
    """Epoch seconds; None for a token that stays. What cannot be read has expired."""
    text = _value(secret, "expiration")
    if not text:
        return None
    try:
        return times.parse(text)
    except ValueError:
        return 0.0


def signing_token(secret: Obj, now: float) -> tuple[str, str] | None:
    """(id, secret) of a token that may sign."""
    return _usable(secret, now, "signing")


def authenticated_groups(secret: Obj, now: float, shown: str) -> tuple[str, ...] | None:
    """The groups of who shows this secret part of the token; None when it is not good for that."""
    found = _usable(secret, now, "authentication")
    if found is None or meta.is_deleting(secret):
        return None
    # The comparison's duration says nothing about the secret.
    if not hmac.compare_digest(found[1].encode(), shown.encode()):
        return None
    extra = [group for group in _value(secret, "auth-extra-groups").split(",") if group]
    if any(_EXTRA_GROUP.fullmatch(group) is None for group in extra):
        return None
    return ("system:bootstrappers", *sorted(extra))


def _usable(secret: Obj, now: float, usage: str) -> tuple[str, str] | None:
    named = _NAME.fullmatch(meta.name(secret))
    if secret.get("type") != TYPE or named is None or _value(secret, "token-id") != named[1]:
        return None
    if not _SECRET.fullmatch(_value(secret, "token-secret")):
        return None
    end = expires(secret)
    if end is not None and end <= now:
        return None
    if _value(secret, f"usage-bootstrap-{usage}") != "true":
        return None
    return named[1], _value(secret, "token-secret")


def signature(content: str, token_id: str, token_secret: str) -> str:
    """A detached JWS (RFC 7515, appendix F) of ``content``."""
    header = _encode(json.dumps({"alg": "HS256", "kid": token_id}, separators=(",", ":")).encode())
    signed = f"{header}.{_encode(content.encode())}".encode()
    digest = hmac.new(token_secret.encode(), signed, hashlib.sha256).digest()
    return f"{header}..{_encode(digest)}"


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

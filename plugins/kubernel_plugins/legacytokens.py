"""Service account tokens in Secrets: who makes, shows and clears them away agree on their form.

Source: k8s.io/kubernetes/pkg/serviceaccount/legacy.go, pkg/controlplane/controller/legacytokentracking (v1.37).
"""

from __future__ import annotations

import base64
import time
from typing import TYPE_CHECKING, Any

from kubernel.objects import meta

if TYPE_CHECKING:
    from kubernel.store.records import Obj

__all__ = [
    "ACCOUNT_NAME",
    "ACCOUNT_UID",
    "INVALID_SINCE",
    "ISSUER",
    "LAST_USED",
    "TOKEN_TYPE",
    "account_key",
    "claim",
    "claims",
    "date",
    "is_referenced",
    "is_token",
    "value",
]

ISSUER = "kubernetes/serviceaccount"
TOKEN_TYPE = "kubernetes.io/service-account-token"  # noqa: S105 - a type's name
ACCOUNT_NAME = "kubernetes.io/service-account.name"
ACCOUNT_UID = "kubernetes.io/service-account.uid"
LAST_USED = "kubernetes.io/legacy-token-last-used"
INVALID_SINCE = "kubernetes.io/legacy-token-invalid-since"
_CLAIM = "kubernetes.io/serviceaccount/"


def is_token(secret: Obj) -> bool:
    return secret.get("type") == TOKEN_TYPE


def account_key(secret: Obj) -> tuple[str, str]:
    """Namespace and name of the account whose token it is to be; the name is empty for nobody's."""
    return meta.namespace(secret), meta.annotations(secret).get(ACCOUNT_NAME, "")


def is_referenced(account: Obj, secret: str) -> bool:
    """Whether an account lists the secret: then it was made by a cluster, not by hand."""
    return any(entry.get("name") == secret for entry in account.get("secrets") or ())


def claims(account: Obj, secret: Obj) -> dict[str, Any]:
    """Of a token without an end, good as long as its secret holds it."""
    namespace, name = meta.key(account)
    return {
        "iss": ISSUER,
        f"{_CLAIM}namespace": namespace,
        f"{_CLAIM}secret.name": meta.name(secret),
        f"{_CLAIM}service-account.name": name,
        f"{_CLAIM}service-account.uid": meta.uid(account),
        "sub": f"system:serviceaccount:{namespace}:{name}",
    }


def claim(found: dict[str, Any], name: str) -> str:
    """``namespace``, ``secret.name``, ``service-account.name`` or ``service-account.uid``; empty when absent."""
    said = found.get(f"{_CLAIM}{name}")
    return said if isinstance(said, str) else ""


def value(secret: Obj, key: str) -> bytes:
    """Decoded data of a secret; empty when absent."""
    return base64.b64decode((secret.get("data") or {}).get(key) or "")


def date(now: float) -> str:
    """A day as the labels have it."""
    return time.strftime("%Y-%m-%d", time.gmtime(now))

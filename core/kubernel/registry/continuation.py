"""Continue tokens: where a list in chunks goes on, and of which revision.

Source of their form and of what is said of wrong ones: k8s.io/apiserver/pkg/storage/continue.go.
"""

from __future__ import annotations

import base64
import json
import posixpath
import string
from typing import Any

import orjson

from kubernel.errors import BadRequest
from kubernel.objects.go_json import kind_of, object_problem

__all__ = ["LATEST", "decode_token", "encode_token"]

LATEST = -1
"""The revision of a token that goes on with what is there now: an inconsistent list (KEP-365)."""

_VERSION = "meta.k8s.io/v1"
_ALPHABET = frozenset(string.ascii_letters + string.digits + "-_")
_FIELDS = {"v": (str, "string"), "rv": (int, "int64"), "start": (str, "string")}


def encode_token(revision: int, after: tuple[str, str]) -> str:
    """A token that goes on after the object ``(namespace, name)``."""
    token = {"v": _VERSION, "rv": revision, "start": "/".join(after) + "\0"}
    return base64.urlsafe_b64encode(orjson.dumps(token)).rstrip(b"=").decode()


def decode_token(text: str) -> tuple[int, tuple[str, str]]:
    """The revision, LATEST for any that is below zero, and ``(namespace, name)`` to go on after. BadRequest."""
    token = _fields(text)
    if token["v"] != _VERSION:
        raise _invalid(f": server does not recognize this encoded version {token['v']}")
    revision, start = token["rv"], token["start"]
    if not revision:
        raise _invalid(f": incorrect encoded start resourceVersion (version {_VERSION})")
    if not start:
        raise _invalid(f": encoded start key empty (version {_VERSION})")
    path = "/" + start.removeprefix("/")
    if posixpath.normpath(path) != path:
        raise _invalid(f": {start}")
    namespace, _, name = start.removesuffix("\0").rpartition("/")
    return max(revision, LATEST), (namespace, name)


def _fields(text: str) -> dict[str, Any]:
    wrong = next((place for place, character in enumerate(text) if character not in _ALPHABET), None)
    if wrong is None and len(text) % 4 == 1:
        wrong = len(text) - 1
    if wrong is not None:
        raise _invalid(f": illegal base64 data at input byte {wrong}")
    decoded = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode(errors="replace")
    problem = object_problem(decoded)
    if problem:
        raise _invalid(f": {problem.replace('map[string]interface {}', 'storage.continueToken')}")
    given = json.loads(decoded) or {}
    token: dict[str, Any] = {"v": "", "rv": 0, "start": ""}
    for name, (kind, told) in _FIELDS.items():
        value = given.get(name)
        if value is None:
            continue
        if type(value) is not kind:
            raise _invalid(
                f": json: cannot unmarshal {kind_of(value)} into Go struct field continueToken.{name} of type {told}"
            )
        token[name] = value
    return token


def _invalid(why: str) -> BadRequest:
    return BadRequest(f"invalid continue token: continue key is not valid{why}")

"""Formats that are known for a type; others are allowed, and mean nothing.

Source: k8s.io/apiextensions-apiserver/pkg/apiserver/validation/formats.go (v1.37).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kubernel_plugins.api.custom.rules.traversal import everything, version_schemas

__all__ = ["unknown_formats"]

_STRINGS = frozenset(
    (
        "bsonobjectid", "uri", "email", "hostname", "ipv4", "ipv6", "cidr", "mac", "uuid", "uuid3", "uuid4", "uuid5",
        "isbn", "isbn10", "isbn13", "creditcard", "ssn", "hexcolor", "rgbcolor", "byte", "password", "date", "duration",
        "datetime", "k8sshortname", "k8slongname",
    )
)  # fmt: skip
"""Without dashes, which make no difference."""
_NUMBERS = {"integer": ("int32", "int64"), "number": ("float", "double")}


def unknown_formats(definition: Mapping[str, Any]) -> list[str]:
    """Each as often as it occurs, in order."""
    return [
        one["format"]
        for _, schema in version_schemas(definition.get("spec") or {})
        for one in everything(schema)
        if one.get("format") and not _known(one.get("type") or "", one["format"])
    ]


def _known(type_: str, name: str) -> bool:
    if type_ in ("", "string"):
        return name.replace("-", "") in _STRINGS
    return name in _NUMBERS.get(type_, ())

"""What of a schema is allowed, and means nothing: formats that are not known for a type, sets of what is no scalar.

Source: k8s.io/apiextensions-apiserver/pkg/apiserver/validation/formats.go (v1.37).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kubernel_plugins.api.custom.rules.traversal import everything, version_schemas

__all__ = ["unknown_formats", "unsupported_sets"]

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


def unsupported_sets(definition: Mapping[str, Any]) -> list[str]:
    """The types of items that lists have which are sets of what is no scalar."""
    found = {
        (one.get("items") or {}).get("type")
        for _, schema in version_schemas(definition.get("spec") or {})
        for one in everything(schema)
        if one.get("x-kubernetes-list-type") == "set"
    }
    return sorted(type for type in found if type in ("array", "object"))


def _known(type_: str, name: str) -> bool:
    if type_ in ("", "string"):
        return name.replace("-", "") in _STRINGS
    return name in _NUMBERS.get(type_, ())

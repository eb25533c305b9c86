"""The field numbers of protobuf messages, which no schema tells."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["EXTENSIONS", "META", "SPECIAL", "Field", "FieldTable"]

META = "io.k8s.apimachinery.pkg.apis.meta.v1."
EXTENSIONS = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions."

SPECIAL = {
    f"{META}Time": "time",
    f"{META}MicroTime": "micro time",
    f"{META}Duration": "duration",
    f"{META}FieldsV1": "raw",
    "io.k8s.apimachinery.pkg.api.resource.Quantity": "quantity",
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": "integer or string",
    "io.k8s.apimachinery.pkg.runtime.RawExtension": "raw",
    f"{EXTENSIONS}v1.JSON": "raw",
    f"{EXTENSIONS}v1.JSONSchemaPropsOrArray": "schema or schemas",
    f"{EXTENSIONS}v1.JSONSchemaPropsOrStringArray": "schema or strings",
    f"{EXTENSIONS}v1.JSONSchemaPropsOrBool": "schema or truth",
}
"""Messages whose JSON is not that of their fields, and what it is instead: encoder and decoder have each of these."""


class Field(NamedTuple):
    name: str
    kind: str
    """``s``, ``b``, ``i``, ``d``, ``y`` or the name of a message."""
    shape: str
    """Empty, ``*`` repeated, ``%`` map, ``^`` inlined."""
    mark: str
    """``?`` a pointer, ``&`` a pointer that JSON has as null, ``!`` no pointer but JSON keeps its zero, ``-`` a struct
    whose zero JSON leaves out; empty for a struct that is always there and for what JSON leaves out when zero."""


class FieldTable:
    """The text that ``build_schema/protobuf_fields.py`` prints, parsed message by message when used."""

    def __init__(self, text: str) -> None:
        self._lines = {
            name: fields for name, _, fields in (line.partition(" ") for line in text.splitlines())
        }
        self._messages: dict[str, dict[int, Field]] = {}

    def __contains__(self, message: str) -> bool:
        return message in self._lines

    def is_strings(self, name: str) -> bool:
        """Whether the message is a list of strings in JSON."""
        return self._lines.get(name) == "~strings"

    def message(self, name: str) -> dict[int, Field]:
        """Field number -> field; KeyError for an unknown message."""
        fields = self._messages.get(name)
        if fields is None:
            package = name.rpartition(".")[0]
            fields = self._messages[name] = dict(_field(part, package) for part in self._lines[name].split())
        return fields


def _field(text: str, package: str) -> tuple[int, Field]:
    name, _, rest = text.partition("=")
    digits = len(rest) - len(rest.lstrip("0123456789"))
    number, kind = int(rest[:digits]), rest[digits:]
    mark = kind[0] if kind[0] in "?&!-" else ""
    kind = kind.removeprefix(mark)
    shape = kind[0] if kind[0] in "*%^" else ""
    kind = kind.removeprefix(shape)
    if kind.startswith(">."):
        kind = f"{package}{kind[1:]}"
    return number, Field(name, kind.removeprefix(">"), shape, mark)

"""Kubernetes' named formats: ``format.dns1123Label().validate(name)`` is optional.none() when the name is right."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from typing import Any

from kubernel.cel.errors import EvaluationError
from kubernel.cel.times import parse_date, parse_timestamp
from kubernel.cel.values import NONE, Opaque, Optional, size_of
from kubernel.objects import names

from .declare import Table, function, member
from .net import parse_url

__all__ = ["Format", "table"]

Check = Callable[[str], list[str]]

_UUID = re.compile(r"(?i)[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}", re.ASCII)


class Format(Opaque):
    __slots__ = ("check", "name", "size")
    TYPE = "kubernetes.NamedFormat"

    def __init__(self, name: str, check: Check, size: int) -> None:
        self.name = name
        self.check = check
        self.size = size

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Format) and self.name == other.name

    def __hash__(self) -> int:
        return hash(self.name)


def _prefix(check: Check) -> Check:
    return lambda text: names.masked(check, text)


def _reads(parse: Callable[[str], Any], message: str) -> Check:
    def check(text: str) -> list[str]:
        try:
            parse(text)
        except ValueError:
            return [message]
        return []

    return check


def _base64(text: str) -> None:
    try:
        base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(text) from error


def _uri(text: str) -> list[str]:
    try:
        parse_url(text)
    except EvaluationError as error:
        return [str(error).removeprefix("URL parse error during conversion from string: ")]
    return []


def _formats() -> list[Format]:
    # The sizes are those of upstream's patterns: they price a call.
    return [
        Format("dns1123Label", names.check_dns1123_label, 30),
        Format("dns1123Subdomain", names.check_dns1123_subdomain, 60),
        Format("dns1035Label", names.check_dns1035_label, 30),
        Format("qualifiedName", names.check_qualified_name, 60),
        Format("dns1123LabelPrefix", _prefix(names.check_dns1123_label), 30),
        Format("dns1123SubdomainPrefix", _prefix(names.check_dns1123_subdomain), 60),
        Format("dns1035LabelPrefix", _prefix(names.check_dns1035_label), 30),
        Format("labelValue", names.check_label_value, 40),
        Format("uri", _uri, 2170),
        Format("uuid", lambda text: [] if _UUID.fullmatch(text) else ["does not match the UUID format"], 78),
        Format("byte", _reads(_base64, "invalid base64"), 75),
        Format("date", _reads(parse_date, "invalid date"), 90),
        Format("datetime", _reads(parse_timestamp, "invalid datetime"), 90),
    ]


def _validate(format: Format, text: str) -> Optional:
    problems = format.check(text)
    return Optional(problems) if problems else NONE


def _validate_cost(values: list[Any], result: Any) -> int:
    pattern: int = values[0].size
    return ((size_of(values[1]) + 10) // 10) * ((pattern + 3) // 4)


def table() -> Table:
    formats = {format.name: format for format in _formats()}
    kind = Format.TYPE
    return [
        *(function(f"format.{name}", "", kind, lambda one=format: one) for name, format in formats.items()),
        function(
            "format.named",
            "string",
            f"optional({kind})",
            lambda name: Optional(formats[name]) if name in formats else NONE,
        ),
        member("validate", f"{kind};string", "optional(list(string))", _validate, _validate_cost),
    ]

"""From marked data to a settings dataclass: every key and every type is checked."""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

if TYPE_CHECKING:
    from kubernel.config.document import Marked

__all__ = ["Duration", "camel_case", "parse_duration", "suggest", "to_dataclass"]

T = TypeVar("T")

_DURATION = object()

Duration = Annotated[float, _DURATION]
"""Seconds. Written as ``90``, ``10s``, ``1h30m`` or ``250ms``."""

_UNITS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ns|us|ms|s|m|h|d)")
_INITIALISMS = {
    "cidr": "CIDR",
    "cidrs": "CIDRs",
    "cpu": "CPU",
    "dns": "DNS",
    "http": "HTTP",
    "ip": "IP",
    "ips": "IPs",
    "qps": "QPS",
    "tls": "TLS",
    "uid": "UID",
    "url": "URL",
}


def camel_case(field: str) -> str:
    """``pod_cidr`` -> ``podCIDR``: the key in YAML of a dataclass field, initialisms as upstream has them."""
    first, *rest = field.split("_")
    return first + "".join(_INITIALISMS.get(word, word.capitalize()) for word in rest)


def parse_duration(text: str) -> float:
    """Seconds of ``1h30m``, ``10s``, ``250ms``, ``1d``; ValueError for anything else."""
    position, seconds = 0, 0.0
    while position < len(text) and (part := _PART.match(text, position)):
        seconds += float(part[1]) * _UNITS[part[2]]
        position = part.end()
    if not text or position != len(text):
        raise ValueError(f'"{text}" is not a duration such as 10s, 1h30m or 250ms')
    return seconds


def suggest(word: str, known: Iterable[str]) -> str:
    """``; did you mean "x"?`` or the list of what there is."""
    import difflib

    choices = sorted(set(known))
    folded = {choice.lower(): choice for choice in reversed(choices)}
    close = difflib.get_close_matches(word.lower(), folded, n=1, cutoff=0.6)
    if close:
        return f'; did you mean "{folded[close[0]]}"?'
    if not choices:
        return "; there is none"
    return f"; known: {', '.join(choices)}"


def to_dataclass(cls: type[T], data: Marked, base: T | None = None) -> T:
    """``data`` as an instance of ``cls``; what it leaves out comes from ``base`` or the defaults.

    ConfigError for unknown keys, wrong types, missing settings, and a ValueError of ``__post_init__``.
    """
    if data.value is None:
        data = dataclasses.replace(data, value={})
    if not isinstance(data.value, dict):
        raise data.error(f"expected a mapping of settings, got {data.kind}")
    fields = {camel_case(field.name): field for field in dataclasses.fields(cls) if field.init}  # type: ignore[arg-type]
    hints = typing.get_type_hints(cls, include_extras=True) if data.value else {}
    values: dict[str, Any] = {}
    for key, item in data.value.items():
        if key not in fields:
            raise item.error(_unknown(key, fields), at_key=True)
        values[fields[key].name] = _convert(hints[fields[key].name], item)
    if base is None:
        for key, field in fields.items():
            required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
            if required and field.name not in values:
                raise data.error(f'the setting "{key}" is missing')
    try:
        return dataclasses.replace(base, **values) if base is not None else cls(**values)  # type: ignore[type-var]
    except ValueError as error:
        raise _blame(data, str(error)).error(str(error)) from error


def _unknown(key: str, fields: Mapping[str, Any]) -> str:
    if not fields:
        return f'unknown setting "{key}"; there are no settings here'
    return f'unknown setting "{key}"{suggest(key, fields)}'


def _blame(data: Marked, message: str) -> Marked:
    """The setting that the message of a ``__post_init__`` begins with, or the whole section."""
    item: Marked | None = data.value.get(message.split(":", 1)[0].split(" ", 1)[0])
    return data if item is None else dataclasses.replace(item, path=data.path)


def _convert(hint: Any, data: Marked) -> Any:
    origin = typing.get_origin(hint)
    if origin is Annotated:
        kind, *marks = typing.get_args(hint)
        return _duration(data) if _DURATION in marks else _convert(kind, data)
    if origin in (typing.Union, types.UnionType):
        return _union(typing.get_args(hint), data)
    if origin is Literal:
        choices = typing.get_args(hint)
        for choice in choices:
            if data.value == choice and type(data.value) is type(choice):
                return choice
        raise data.error(f"got {data.kind}; it must be one of {', '.join(str(choice) for choice in choices)}")
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return to_dataclass(hint, data)
    if origin in (list, tuple, Sequence) or hint in (list, tuple):
        return _sequence(origin or hint, typing.get_args(hint), data)
    if origin in (dict, Mapping) or hint is dict:
        if not isinstance(data.value, dict):
            raise data.error(f"expected a mapping, got {data.kind}")
        kind = (*typing.get_args(hint), Any, Any)[1]
        return {key: _convert(kind, item) for key, item in data.value.items()}
    return _scalar(hint, data)


def _scalar(hint: Any, data: Marked) -> Any:
    value = data.value
    if hint is Any or hint is object:
        return data.plain()
    if hint is bool and isinstance(value, bool):
        return value
    if hint is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if hint is str and isinstance(value, str):
        return value
    if hint is Path and isinstance(value, (str, Path)) and str(value):
        return Path(value).expanduser()
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "text", Path: "a path"}
    hint_text = names.get(hint, getattr(hint, "__name__", str(hint)))
    quote = "; write it in quotes" if hint is str and isinstance(value, (bool, int, float)) else ""
    raise data.error(f"expected {hint_text}, got {data.kind}{quote}")


def _duration(data: Marked) -> float:
    value = data.value
    if isinstance(value, str):
        try:
            return parse_duration(value)
        except ValueError as error:
            raise data.error(str(error)) from error
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0:
        return float(value)
    raise data.error(f"expected a duration such as 10s, 1h30m or 250ms, got {data.kind}")


def _sequence(origin: Any, arguments: tuple[Any, ...], data: Marked) -> Any:
    if not isinstance(data.value, list):
        raise data.error(f"expected a list, got {data.kind}")
    kind = arguments[0] if arguments else Any
    items = [_convert(kind, item) for item in data.value]
    return items if origin is list else tuple(items)


def _union(members: tuple[Any, ...], data: Marked) -> Any:
    """The first member that takes the value; the error is the only real member's own."""
    from kubernel.errors import ConfigError

    real = [member for member in members if member is not type(None)]
    if data.value is None and len(real) < len(members):
        return None
    if len(real) == 1:
        return _convert(real[0], data)
    for member in real:
        try:
            return _convert(member, data)
        except ConfigError:
            continue
    raise data.error(f"got {data.kind}; it must be one of {', '.join(_name(member) for member in real)}")


def _name(hint: Any) -> str:
    return getattr(hint, "__name__", None) or str(hint)

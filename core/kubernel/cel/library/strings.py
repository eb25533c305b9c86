"""The string functions of cel-go's strings extension, version 2: the one that Kubernetes enables."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

from kubernel.cel.errors import EvaluationError
from kubernel.cel.times import format_duration, format_timestamp
from kubernel.cel.types import Type
from kubernel.cel.values import LONGEST, Duration, Timestamp, key_text, runtime_type, size_of, too_large

from .declare import Table, function, member, traversal, twice

__all__ = ["table"]

_UPPER = str.maketrans("abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_LOWER = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")
_QUOTED = {
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
    "\\": "\\\\",
    '"': '\\"',
}
_SPACES = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
_MOST_DIGITS = 100
_DIGITS = frozenset("0123456789")
_TIMES = "\N{MULTIPLICATION SIGN}"
_SUPERSCRIPT = str.maketrans("0123456789-+", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺")


def _char_at(text: str, at: int) -> str:
    if not 0 <= at <= len(text):
        raise EvaluationError(f"index out of range: {at}")
    return text[at : at + 1]


def _index_of(text: str, part: str, start: int = 0) -> int:
    if part == "":
        return start
    if not 0 <= start <= len(text):
        raise EvaluationError(f"index out of range: {start}")
    return text.find(part, start)


def _last_index_of(text: str, part: str, start: int | None = None) -> int:
    if start is None:
        return len(text) if part == "" else text.rfind(part)
    if part == "":
        return start
    if not 0 <= start <= len(text):
        raise EvaluationError(f"index out of range: {start}")
    return text.rfind(part, 0, start + len(part))


def _substring(text: str, start: int, end: int | None = None) -> str:
    last = len(text) if end is None else end
    if not 0 <= start <= len(text):
        raise EvaluationError(f"index out of range: {start}")
    if not 0 <= last <= len(text):
        raise EvaluationError(f"index out of range: {last}")
    if start > last:
        raise EvaluationError(f"invalid substring range. start: {start}, end: {last}")
    return text[start:last]


def _replace(text: str, old: str, new: str, limit: int = -1) -> str:
    if limit == 0:
        return text
    times = text.count(old) if limit < 0 else min(text.count(old), limit)
    if len(text) + times * (len(new) - len(old)) > LONGEST:
        raise too_large()
    return text.replace(old, new, limit)


def _split(text: str, separator: str, limit: int = -1) -> list[str]:
    if limit == 0:
        return []
    if separator == "":
        parts = list(text)
        return (
            parts if limit < 0 or len(parts) <= limit else [*parts[: limit - 1], "".join(parts[limit - 1 :])]
        )
    return text.split(separator, -1 if limit < 0 else limit - 1)


def _join(parts: list[Any], separator: str = "") -> str:
    if sum(map(len, parts)) + len(separator) * len(parts) > LONGEST:
        raise too_large()
    return separator.join(parts)


def _join_cost(values: list[Any], result: Any) -> int:
    return (2 * size_of(result) + 9) // 10


def _quote(text: str) -> str:
    return '"' + "".join(_QUOTED.get(char, char) for char in text) + '"'


def _trim(text: str) -> str:
    # Unicode white space only: Python's strip also takes the separators U+001C to U+001F.
    return text.strip(_SPACES)


def _format(text: str, values: list[Any]) -> str:
    made: list[str] = []
    at = used = length = 0
    while at < len(text):
        char = text[at]
        at += 1
        if char != "%":
            made.append(char)
            continue
        if text[at : at + 1] == "%":
            made.append("%")
            at += 1
            continue
        precision = None
        if text[at : at + 1] == ".":
            start = at = at + 1
            while text[at : at + 1] in _DIGITS:
                at += 1
            precision = int(text[start:at] or "0") if at - start < 4 else _MOST_DIGITS + 1
            if precision > _MOST_DIGITS:
                raise EvaluationError(f"could not parse formatting clause: precision exceeds {_MOST_DIGITS}")
        verb = text[at : at + 1]
        at += 1
        if verb not in _VERBS or not verb:
            raise EvaluationError(
                f'could not parse formatting clause: unrecognized formatting clause "{verb}"'
            )
        if used >= len(values):
            raise EvaluationError(f"index {used} out of range")
        try:
            made.append(_VERBS[verb](values[used], precision))
        except EvaluationError as error:
            raise EvaluationError(f"error during formatting: {error}") from None
        used += 1
        length += len(made[-1])
        if length > LONGEST:
            raise too_large()
    return "".join(made)


def _as_string(value: Any, precision: int | None) -> str:
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, bool):
        return key_text(value)
    if isinstance(value, float):
        if math.isnan(value) or math.isinf(value):
            return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
        text = repr(value)
        return text[:-2] if text.endswith(".0") else text
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, Timestamp):
        return format_timestamp(value.nanos)
    if isinstance(value, Duration):
        return format_duration(value.nanos)
    if isinstance(value, Type):
        return str(value)
    if isinstance(value, list):
        return f"[{_listed(_as_string(item, None) for item in value)}]"
    if isinstance(value, dict):
        pairs = sorted((_as_string(key, None), _as_string(item, None)) for key, item in value.items())
        return f"{{{_listed(f'{key}: {item}' for key, item in pairs)}}}"
    raise EvaluationError(
        "string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, durations, and "
        f"timestamps, was given {runtime_type(value)}"
    )


def _listed(texts: Iterable[str]) -> str:
    parts: list[str] = []
    length = 0
    for text in texts:
        length += len(text) + 2
        if length > LONGEST:
            raise too_large()
        parts.append(text)
    return ", ".join(parts)


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _as_decimal(value: Any, precision: int | None) -> str:
    if _is_int(value):
        return str(int(value))
    if isinstance(value, float) and not math.isfinite(value):
        return _as_string(value, None)
    raise EvaluationError(f"decimal clause can only be used on integers, was given {runtime_type(value)}")


def _as_fixed(value: Any, precision: int | None) -> str:
    return _as_real(value, "fixed-point", f".{6 if precision is None else precision}f")


def _as_exponent(value: Any, precision: int | None) -> str:
    text = _as_real(value, "scientific", f".{6 if precision is None else precision}e")
    mantissa, exponent, power = text.partition("e")
    return f"{mantissa} {_TIMES} 10{power.lstrip('+').translate(_SUPERSCRIPT)}" if exponent else text


def _as_real(value: Any, clause: str, spec: str) -> str:
    if isinstance(value, float) or _is_int(value):
        number = float(value)
        return format(number, spec) if math.isfinite(number) else _as_string(number, None)
    raise EvaluationError(f"{clause} clause can only be used on doubles, was given {runtime_type(value)}")


def _as_binary(value: Any, precision: int | None) -> str:
    if isinstance(value, int):
        return format(int(value), "b")
    raise EvaluationError(
        f"only integers and bools can be formatted as binary, was given {runtime_type(value)}"
    )


def _as_octal(value: Any, precision: int | None) -> str:
    if _is_int(value):
        return format(int(value), "o")
    raise EvaluationError(f"octal clause can only be used on integers, was given {runtime_type(value)}")


def _as_hex(value: Any, precision: int | None) -> str:
    if _is_int(value):
        return format(int(value), "x")
    if isinstance(value, str | bytes):
        return (value.encode() if isinstance(value, str) else value).hex()
    raise EvaluationError(
        f"only integers, byte buffers, and strings can be formatted as hex, was given {runtime_type(value)}"
    )


_VERBS: dict[str, Callable[[Any, int | None], str]] = {
    "s": _as_string,
    "d": _as_decimal,
    "f": _as_fixed,
    "e": _as_exponent,
    "b": _as_binary,
    "o": _as_octal,
    "x": _as_hex,
    "X": lambda value, precision: _as_hex(value, precision).upper(),
}


def table() -> Table:
    return [
        member("charAt", "string;int", "string", _char_at),
        member("indexOf", "string;string", "int", _index_of, traversal),
        member("indexOf", "string;string;int", "int", _index_of, traversal),
        member("lastIndexOf", "string;string", "int", _last_index_of, traversal),
        member("lastIndexOf", "string;string;int", "int", _last_index_of, traversal),
        member("lowerAscii", "string", "string", lambda text: text.translate(_LOWER), traversal),
        member("upperAscii", "string", "string", lambda text: text.translate(_UPPER), traversal),
        member("replace", "string;string;string", "string", _replace, twice),
        member("replace", "string;string;string;int", "string", _replace, twice),
        member("split", "string;string", "list(string)", _split, twice),
        member("split", "string;string;int", "list(string)", _split, twice),
        member("substring", "string;int", "string", _substring, traversal),
        member("substring", "string;int;int", "string", _substring, traversal),
        member("trim", "string", "string", _trim, traversal),
        member("join", "list(string)", "string", _join, _join_cost),
        member("join", "list(string);string", "string", _join, _join_cost),
        member("format", "string;list(dyn)", "string", _format, traversal),
        function("strings.quote", "string", "string", _quote),
    ]

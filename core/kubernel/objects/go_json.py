"""What Go's encoding/json says of a text that is no JSON object."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import orjson

__all__ = [
    "JSON_ESCAPES",
    "go_float",
    "go_json",
    "go_type",
    "kind_of",
    "kind_problem",
    "object_problem",
    "printed",
    "syntax_problem",
]

JSON_ESCAPES = str.maketrans(
    {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
)
"""What Go's encoding/json escapes beyond JSON's own rules."""
_END = "unexpected end of JSON input"
_KINDS = {dict: "object", list: "array", str: "string", bool: "bool", int: "number", float: "number"}
_TYPES = {
    str: "string",
    bool: "bool",
    int: "int64",
    float: "float64",
    list: "[]interface {}",
    dict: "map[string]interface {}",
}
_WHERE = (
    ("Expecting value", "looking for beginning of value"),
    ("Expecting property name", "looking for beginning of object key string"),
    ("Expecting ':'", "after object key"),
    ("Extra data", "after top-level value"),
    ("Invalid control character", "in string literal"),
    ("Invalid \\escape", "in string escape code"),
    ("Invalid \\uXXXX", "in \\u hexadecimal character escape"),
)
_string = re.compile(r'"(?:[^"\\]|\\.)*"')
_pairs = re.compile(r"\[[^][{}]*\]|\{[^][{}]*\}")


def object_problem(text: str) -> str:
    """Empty where the text is an object, or null."""
    try:
        value = json.loads(text, parse_constant=_refuse)
    except json.JSONDecodeError as error:
        return _syntax(text, error)
    except ValueError as error:
        return str(error)
    if value is None or isinstance(value, dict):
        return ""
    return f"json: cannot unmarshal {_KINDS[type(value)]} into Go value of type map[string]interface {{}}"


def kind_of(value: Any) -> str:
    """What Go calls such a JSON value."""
    return "null" if value is None else _KINDS[type(value)]


def go_type(value: Any) -> str:
    """What Go's encoding/json reads such a JSON value as, where nothing says what it is to be."""
    return "<nil>" if value is None else _TYPES[type(value)]


def kind_problem(value: Any) -> str:
    """Why a JSON value cannot say what object it is; empty where it can."""
    if not isinstance(value, dict):
        return (
            f"json parse error: json: cannot unmarshal {kind_of(value)} into Go value of type "
            'struct { APIVersion string "json:\\"apiVersion,omitempty\\""; Kind string "json:\\"kind,omitempty\\"" }'
        )
    for key in ("apiVersion", "kind"):
        if not isinstance(value.get(key, ""), str | None):
            told = f"json: cannot unmarshal {kind_of(value[key])} into Go struct field .{key} of type string"
            return f"json parse error: {told}"
    return ""


def printed(value: Any) -> str:
    """A JSON value as Go's ``%v`` prints it."""
    if isinstance(value, dict):
        return f"map[{' '.join(f'{key}:{printed(value[key])}' for key in sorted(value))}]"
    if isinstance(value, list | tuple):
        return f"[{' '.join(map(printed, value))}]"
    if value is None:
        return "<nil>"
    if isinstance(value, float):
        return go_float(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def go_float(value: float) -> str:
    """As Go's ``%g`` writes it: the fewest digits that read back, an exponent outside 1e-4 … 1e6."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    text = repr(value)
    sign = "-" if text[0] == "-" else ""
    mantissa, _, exponent = text.lstrip("-").partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    if not digits:
        return f"{sign}0"
    leading = len(whole + fraction) - len(digits)
    power = len(whole) - leading - 1 + int(exponent or "0")
    digits = digits.rstrip("0")
    if power < -4 or power >= 6:
        tail = f".{digits[1:]}" if len(digits) > 1 else ""
        return f"{sign}{digits[0]}{tail}e{'-' if power < 0 else '+'}{abs(power):02d}"
    if power < 0:
        return f"{sign}0.{'0' * (-power - 1)}{digits}"
    if len(digits) <= power + 1:
        return sign + digits.ljust(power + 1, "0")
    return f"{sign}{digits[: power + 1]}.{digits[power + 1 :]}"


def go_json(value: Any) -> str:
    """A JSON value as Go's encoding/json writes a map: keys sorted, what HTML would read escaped."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode().translate(JSON_ESCAPES)


def syntax_problem(text: str) -> str:
    """Empty where the text is JSON."""
    try:
        json.loads(text, parse_constant=_refuse)
    except json.JSONDecodeError as error:
        return _syntax(text, error)
    except ValueError as error:
        return str(error)
    return ""


def _refuse(name: str) -> None:
    raise ValueError(f"invalid character '{name[0]}' looking for beginning of value")


def _syntax(text: str, error: json.JSONDecodeError) -> str:
    what, position = error.msg, error.pos
    if what.startswith("Illegal trailing comma"):
        in_object = what.endswith("object")
        position = position + 1 + len(text[position + 1 :]) - len(text[position + 1 :].lstrip())
        what = "Expecting property name" if in_object else "Expecting value"
    if position >= len(text) or what.startswith("Unterminated string"):
        return _END
    if what.startswith("Expecting ','"):
        where = f"after {'array element' if _innermost(text[:position]) == '[' else 'object key:value pair'}"
    else:
        where = next(told for start, told in _WHERE if what.startswith(start))
    character = text[position]
    shown = json.dumps(character)[1:-1].replace('\\"', '"').replace("'", "\\'")
    return f"invalid character '{shown}' {where}"


def _innermost(text: str) -> str:
    """The bracket that is open at the end of it."""
    text, count = _string.sub("", text), 1
    while count:
        text, count = _pairs.subn("", text)
    return max("[", "{", key=text.rfind)

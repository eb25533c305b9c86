"""What Go's encoding/json says of a text that is no JSON object."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any

import orjson

__all__ = ["JSON_ESCAPES", "go_json", "kind_of", "object_problem", "printed", "syntax_problem"]

JSON_ESCAPES = str.maketrans(
    {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
)
"""What Go's encoding/json escapes beyond JSON's own rules."""
_END = "unexpected end of JSON input"
_KINDS = {dict: "object", list: "array", str: "string", bool: "bool", int: "number", float: "number"}
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


def printed(value: Any) -> str:
    """A JSON value as Go's ``%v`` prints it."""
    if isinstance(value, dict):
        return f"map[{' '.join(f'{key}:{printed(value[key])}' for key in sorted(value))}]"
    if isinstance(value, list | tuple):
        return f"[{' '.join(map(printed, value))}]"
    if value is None:
        return "<nil>"
    if isinstance(value, float):
        return _float(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _float(value: float) -> str:
    """As ``%g`` with the shortest digits: with an exponent where it is less than -4 or more than 5."""
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    place = len(digits) - 1 + int(exponent)
    if -4 <= place < 6:
        return format(Decimal(repr(value)).normalize(), "f")
    text = "".join(map(str, digits))
    mantissa = f"{text[0]}.{text[1:]}" if text[1:] else text
    return f"{'-' * sign}{mantissa}e{'-' if place < 0 else '+'}{abs(place):02}"


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

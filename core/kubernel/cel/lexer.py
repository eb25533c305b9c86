"""Source text to tokens, by the lexical rules of the CEL specification."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from .errors import CompileError, Issue
from .values import INT_MAX, UINT_MAX, UInt

__all__ = ["CONSTANTS", "RESERVED", "Token", "tokenize"]

CONSTANTS = frozenset(("true", "false", "null"))
RESERVED = frozenset(
    (
        "as", "break", "const", "continue", "else", "for", "function", "if", "import", "let", "loop", "package",
        "namespace", "return", "var", "void", "while",
    )
)  # fmt: skip
"""Words that are no identifiers, for languages that expressions may be translated to."""

_TOKEN = re.compile(
    r"""
    (?P<space>[\t\ \r\n\f]+|//[^\n]*)
  | (?P<text>(?:[bB][rR]?|[rR][bB]?)?(?:\"\"\"|'''|"|'))
  | (?P<float>(?:\d+\.\d+(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+|\.\d+(?:[eE][+-]?\d+)?))
  | (?P<int>(?:0x[0-9a-fA-F]+|\d+)[uU]?)
  | (?P<ident>[_a-zA-Z][_a-zA-Z0-9]*)
  | (?P<escaped>`[a-zA-Z0-9_.\-/\ ]+`)
  | (?P<op>==|!=|<=|>=|&&|\|\||[-+*/%!<>?:.,()\[\]{}])
    """,
    re.VERBOSE,
)
_ESCAPE = re.compile(
    r"""\\(?:([abfnrtv\\?"'`])|x([0-9a-fA-F]{2})|X([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-3][0-7]{2})|(.|\n|$))""",
)
_SIMPLE = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


class Token(NamedTuple):
    """``kind`` is ``ident``, ``escaped``, ``value``, ``op`` or ``end``; ``text`` what the source says."""

    kind: str
    text: str
    at: int
    value: Any = None


def tokenize(source: str) -> list[Token]:
    """All tokens, an ``end`` last. Raises CompileError."""
    tokens: list[Token] = []
    issues: list[Issue] = []
    at = 0
    while at < len(source):
        found = _TOKEN.match(source, at)
        if found is None:
            issues.append(Issue(at, f"Syntax error: token recognition error at: '{source[at]}'"))
            at += 1
            continue
        kind, text = str(found.lastgroup), found[0]
        end = found.end()
        if kind == "text":
            token, end = _text(source, at, text, issues)
            tokens.append(token)
        elif kind in ("float", "int"):
            tokens.append(_number(kind, text, at, issues))
        elif kind != "space":
            tokens.append(Token(kind, text, at))
        at = end
    if issues:
        raise CompileError(source, issues)
    tokens.append(Token("end", "<EOF>", len(source)))
    return tokens


def _number(kind: str, text: str, at: int, issues: list[Issue]) -> Token:
    if kind == "float":
        number = float(text)
        if number == float("inf"):
            issues.append(Issue(at, "invalid double literal"))
        return Token("value", text, at, number)
    unsigned = text[-1] in "uU"
    digits = text[:-1] if unsigned else text
    # Longer than any that fits; Python refuses to read thousands of digits.
    value = int(digits, 16 if digits.startswith("0x") else 10) if len(digits) < 100 else UINT_MAX + 1
    # One above the largest int is left to the parser: with a minus sign before, it is the smallest.
    if value > (UINT_MAX if unsigned else INT_MAX + 1):
        issues.append(Issue(at, "invalid uint literal" if unsigned else "invalid int literal"))
        value = 0
    return Token("value", text, at, UInt(value) if unsigned else value)


def _text(source: str, at: int, opening: str, issues: list[Issue]) -> tuple[Token, int]:
    prefix = opening.rstrip("'\"").lower()
    quote = opening[len(prefix) :]
    raw = "r" in prefix
    start = scan = at + len(opening)
    while True:
        if scan >= len(source) or (len(quote) == 1 and source[scan] in "\n\r"):
            issues.append(Issue(at, f"Syntax error: token recognition error at: '{source[at:scan]}'"))
            return Token("value", source[at:scan], at, ""), max(scan, at + 1)
        if source.startswith(quote, scan):
            break
        scan += 2 if source[scan] == "\\" and not raw else 1
    body = source[start:scan]
    end = scan + len(quote)
    binary = "b" in prefix
    value: str | bytes
    try:
        if raw or "\\" not in body:
            value = body.encode() if binary else body
        else:
            value = _unescape_bytes(body) if binary else _ESCAPE.sub(_unescape, body)
    except ValueError as error:
        issues.append(Issue(at, str(error)))
        value = b"" if binary else ""
    return Token("value", source[at:end], at, value), end


def _unescape(found: re.Match[str]) -> str:
    simple, low, high, four, eight, octal, other = found.groups()
    if simple is not None:
        return _SIMPLE.get(simple, simple)
    if other is not None:
        raise ValueError("unable to unescape string")
    code = int(octal, 8) if octal is not None else int(low or high or four or eight, 16)
    if code > 0x10FFFF or 0xD800 <= code < 0xE000:
        raise ValueError("invalid unicode code point")
    return chr(code)


def _unescape_bytes(body: str) -> bytes:
    parts: list[bytes] = []
    at = 0
    for found in _ESCAPE.finditer(body):
        parts.append(body[at : found.start()].encode())
        low, high, octal = found[2], found[3], found[6]
        if octal is not None:
            parts.append(bytes([int(octal, 8)]))
        elif low or high:
            parts.append(bytes([int(low or high, 16)]))
        elif found[4] or found[5]:
            raise ValueError("unable to unescape string")
        else:
            parts.append(_unescape(found).encode())
        at = found.end()
    parts.append(body[at:].encode())
    return b"".join(parts)

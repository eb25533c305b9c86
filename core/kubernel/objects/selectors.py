"""Label and field selectors.

Grammar, meaning and error texts are those of k8s.io/apimachinery/pkg/labels and pkg/fields: a selector is a
list of requirements that must all hold. ``a!=b`` and ``a notin (b)`` also select objects without the label.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from kubernel.objects.names import check_label_value, check_qualified_name

__all__ = [
    "EVERYTHING",
    "NOTHING",
    "LabelSelector",
    "Operator",
    "Requirement",
    "Selector",
    "check_label_selector",
    "from_labels",
    "from_object",
    "go_text",
    "parse_fields",
    "parse_labels",
]

Operator = Literal["=", "==", "!=", "in", "notin", "exists", "!", "gt", "lt"]
LabelSelector = Mapping[str, Any]
"""A metav1.LabelSelector: ``{matchLabels: {…}, matchExpressions: [{key, operator, values}]}``."""

_OBJECT_OPERATORS: Mapping[str, Operator] = {
    "In": "in",
    "NotIn": "notin",
    "Exists": "exists",
    "DoesNotExist": "!",
}
_BINARY = ("in", "notin", "=", "==", "!=", "gt", "lt")
_INT64 = re.compile(r"[+-]?[0-9]+", re.ASCII)


def _int64(text: str) -> int | None:
    if not _INT64.fullmatch(text) or len(text) > 40:
        return None
    value = int(text)
    return value if -(2**63) <= value < 2**63 else None


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on one label. ``values`` are sorted; one for ``=``, ``!=``, ``gt`` and ``lt``, none for
    ``exists`` and ``!``."""

    key: str
    operator: Operator
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        match self.operator:
            case "=" | "==" | "in":
                return value in self.values
            case "!=" | "notin":
                return value not in self.values
            case "exists":
                return value is not None
            case "!":
                return value is None
            case _:
                number = None if value is None else _int64(value)
                if number is None:
                    return False
                bound = int(self.values[0])
                return number > bound if self.operator == "gt" else number < bound

    def __str__(self) -> str:
        match self.operator:
            case "exists":
                return self.key
            case "!":
                return f"!{self.key}"
            case "in" | "notin":
                return f"{self.key} {self.operator} ({','.join(self.values)})"
            case "gt" | "lt":
                return f"{self.key}{'>' if self.operator == 'gt' else '<'}{self.values[0]}"
            case _:
                return f"{self.key}{self.operator}{self.values[0]}"


class Selector:
    """All its requirements must hold. Immutable; compare with ``==``."""

    __slots__ = ("_equal", "_other", "nothing", "requirements")

    def __init__(self, requirements: Sequence[Requirement] = (), *, nothing: bool = False) -> None:
        self.requirements = tuple(sorted(requirements, key=lambda requirement: requirement.key))
        self.nothing = nothing
        """It selects no object at all, as a null LabelSelector does."""
        self._equal = tuple(
            (each.key, each.values[0]) for each in self.requirements if each.operator in ("=", "==")
        )
        self._other = tuple(each for each in self.requirements if each.operator not in ("=", "=="))

    def matches(self, labels: Mapping[str, str]) -> bool:
        if self.nothing:
            return False
        for key, value in self._equal:
            if labels.get(key) != value:
                return False
        return all(each.matches(labels) for each in self._other)

    @property
    def everything(self) -> bool:
        """It has no requirement and selects all objects."""
        return not self.requirements and not self.nothing

    @property
    def empty(self) -> bool:
        """The same as ``everything``: upstream's ``Empty()``, "does not restrict the selection"."""
        return self.everything

    def exact(self, key: str) -> str | None:
        """The value that the label ``key`` must have, when an ``=`` requirement says so."""
        return next((value for name, value in self._equal if name == key), None)

    def to_string(self) -> str:
        """The selector in query form; ``parse_labels`` reads it back."""
        return ",".join(map(str, self.requirements))

    __str__ = to_string

    def __repr__(self) -> str:
        return f"Selector({'nothing' if self.nothing else self.to_string()!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Selector):
            return NotImplemented
        return self.requirements == other.requirements and self.nothing == other.nothing

    def __hash__(self) -> int:
        return hash((self.requirements, self.nothing))


EVERYTHING = Selector()
NOTHING = Selector(nothing=True)


def from_labels(labels: Mapping[str, str] | None) -> Selector:
    """The selector of exactly these label values (a Service's ``spec.selector``)."""
    return Selector([Requirement(key, "=", (value,)) for key, value in (labels or {}).items()])


def from_object(selector: LabelSelector | None) -> Selector:
    """The meaning of a metav1.LabelSelector: null selects nothing, empty selects everything.

    Raises ValueError for one that validation would have refused.
    """
    if selector is None:
        return NOTHING
    requirements = [
        _requirement(key, "=", (value,)) for key, value in (selector.get("matchLabels") or {}).items()
    ]
    for expression in selector.get("matchExpressions") or ():
        word = expression.get("operator", "")
        operator = _OBJECT_OPERATORS.get(word)
        if operator is None:
            raise ValueError(f'"{word}" is not a valid label selector operator')
        requirements.append(
            _requirement(expression.get("key", ""), operator, tuple(expression.get("values") or ()))
        )
    return Selector(requirements)


def go_text(selector: LabelSelector | None) -> str:
    """As Go prints a ``*LabelSelector``: upstream's messages have it."""
    if selector is None:
        return "nil"
    labels = "".join(f"{key}: {value}," for key, value in sorted((selector.get("matchLabels") or {}).items()))
    rules = "".join(
        f"LabelSelectorRequirement{{Key:{rule['key']},Operator:{rule['operator']},"
        f"Values:[{' '.join(rule.get('values') or ())}],}},"
        for rule in selector.get("matchExpressions") or ()
    )
    return (
        f"&LabelSelector{{MatchLabels:map[string]string{{{labels}}},"
        f"MatchExpressions:[]LabelSelectorRequirement{{{rules}}},}}"
    )


def check_label_selector(
    selector: LabelSelector | None, path: str, *, check_values: bool = True
) -> list[tuple[str, str, str]]:
    """What is wrong with a LabelSelector: ``(reason, message, field)`` for each error, as
    ``kubernel.errors.Cause`` takes them. ``path`` is where the selector stands (``spec.selector``).

    ``check_values`` False tolerates malformed label values, as updates of stored objects do.
    """
    if selector is None:
        return []
    problems: list[tuple[str, str, str]] = []

    def invalid(field: str, value: str, message: str) -> None:
        problems.append(("FieldValueInvalid", f"Invalid value: {_quote(value)}: {message}", field))

    for key, value in (selector.get("matchLabels") or {}).items():
        for message in check_qualified_name(key):
            invalid(f"{path}.matchLabels", key, message)
        for message in check_label_value(value):
            invalid(f"{path}.matchLabels", value, message)
    for index, expression in enumerate(selector.get("matchExpressions") or ()):
        at = f"{path}.matchExpressions[{index}]"
        values = expression.get("values") or ()
        operator = expression.get("operator", "")
        if operator in ("In", "NotIn"):
            if not values:
                told = "Required value: must be specified when `operator` is 'In' or 'NotIn'"
                problems.append(("FieldValueRequired", told, f"{at}.values"))
        elif operator in ("Exists", "DoesNotExist"):
            if values:
                told = "Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                problems.append(("FieldValueForbidden", told, f"{at}.values"))
        else:
            invalid(f"{at}.operator", operator, "not a valid selector operator")
        for message in check_qualified_name(expression.get("key", "")):
            invalid(f"{at}.key", expression.get("key", ""), message)
        if check_values:
            for place, value in enumerate(values):
                for message in check_label_value(value):
                    invalid(f"{at}.values[{place}]", value, message)
    return problems


def _quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    return f'"{escaped}"'


def _requirement(key: str, operator: Operator, values: Sequence[str]) -> Requirement:
    problems = []
    if told := check_qualified_name(key):
        problems.append(f"key: Invalid value: {_quote(key)}: {'; '.join(told)}")
    listed = "[" + ",".join(_quote(value) for value in values) + "]"
    if operator in ("in", "notin"):
        if not values:
            problems.append(
                f"values: Invalid value: {listed}: for 'in', 'notin' operators, values set can't be empty"
            )
    elif operator in ("exists", "!"):
        if values:
            problems.append(
                f"values: Invalid value: {listed}: values set must be empty for exists and does not exist"
            )
    elif operator in ("gt", "lt"):
        for index, value in enumerate(values):
            if _int64(value) is None:
                problems.append(
                    f"values[{index}]: Invalid value: {_quote(value)}: "
                    "for 'Gt', 'Lt' operators, the value must be an integer"
                )
    for index, value in enumerate(values):
        if told := check_label_value(value):
            problems.append(f"values[{index}][{key}]: Invalid value: {_quote(value)}: {'; '.join(told)}")
    if problems:
        unique = list(dict.fromkeys(problems))
        raise ValueError(unique[0] if len(unique) == 1 else f"[{', '.join(unique)}]")
    return Requirement(key, operator, tuple(sorted(set(values))))


# --- the query-string grammar ------------------------------------------------------------------

_TOKEN = re.compile(r"==|!=|[=!(),<>]|[^=!(),<> \t\r\n]+")
_SYMBOLS = frozenset(["==", "!=", "=", "!", "(", ")", ",", "<", ">"])
_MEANING: Mapping[str, Operator] = {
    "in": "in",
    "notin": "notin",
    "=": "=",
    "==": "==",
    "!=": "!=",
    ">": "gt",
    "<": "lt",
}


def parse_labels(text: str) -> Selector:
    """The selector of a query: ``a=b,c!=d,e in (x,y),!f,g notin (z),h>5``; empty selects everything.

    Raises ValueError with upstream's text.
    """
    if not text:
        return EVERYTHING
    return Selector(list(_Parser(text).requirements()))


class _Parser:
    """Recursive descent over the tokens; the empty one is the end of the text."""

    def __init__(self, text: str) -> None:
        self._tokens: list[str] = [*_TOKEN.findall(text), ""]
        self._at = 0

    def _peek(self) -> str:
        return self._tokens[self._at]

    def _next(self) -> str:
        word = self._tokens[self._at]
        if word:
            self._at += 1
        return word

    def requirements(self) -> Iterator[Requirement]:
        while True:
            word = self._peek()
            if not word:
                return
            if not _is_word(word) and word != "!":
                raise ValueError(f"found '{word}', expected: !, identifier, or 'end of string'")
            try:
                requirement = self._requirement()
            except ValueError as error:
                raise ValueError(f"unable to parse requirement: {error}") from None
            yield requirement
            word = self._next()
            if not word:
                return
            if word != ",":
                raise ValueError(f"found '{word}', expected: ',' or 'end of string'")
            word = self._peek()
            if not _is_word(word) and word != "!":
                raise ValueError(f"found '{word}', expected: identifier after ','")

    def _requirement(self) -> Requirement:
        word = self._next()
        absent = word == "!"
        if absent:
            word = self._next()
        if not _is_word(word):
            raise ValueError(f"found '{word}', expected: identifier")
        if told := check_qualified_name(word):
            raise ValueError(f"<nil>: Invalid value: {_quote(word)}: {'; '.join(told)}")
        if absent:
            return _requirement(word, "!", ())
        if self._peek() in ("", ","):
            return _requirement(word, "exists", ())
        sign = self._next()
        operator = _MEANING.get(sign)
        if operator is None:
            raise ValueError(f"found '{sign}', expected: {', '.join(_BINARY)}")
        values = self._values() if operator in ("in", "notin") else [self._value()]
        return _requirement(word, operator, values)

    def _value(self) -> str:
        if self._peek() in ("", ","):
            return ""
        word = self._next()
        if not _is_word(word):
            raise ValueError(f"found '{word}', expected: identifier")
        return word

    def _values(self) -> list[str]:
        word = self._next()
        if word != "(":
            raise ValueError(f"found '{word}' expected: '('")
        first = self._peek()
        if first == ")":
            self._next()
            return [""]
        if not _is_word(first) and first != ",":
            raise ValueError(f"found '{first}', expected: ',', ')' or identifier")
        values: list[str] = []
        while True:
            word = self._next()
            if _is_word(word):
                values.append(word)
                if self._peek() == ",":
                    continue
                if self._peek() == ")":
                    break
                raise ValueError(f"found '{self._peek()}', expected: ',' or ')'")
            if word != ",":
                raise ValueError(f"found '{word}', expected: ',', or identifier")
            if not values:
                values.append("")
            if self._peek() == ")":
                values.append("")
                break
            if self._peek() == ",":
                self._next()
                values.append("")
        self._next()
        return values


def _is_word(word: str) -> bool:
    return bool(word) and word not in _SYMBOLS


# --- field selectors ---------------------------------------------------------------------------

FieldOperator = Literal["=", "!="]


def parse_fields(text: str) -> list[tuple[str, FieldOperator, str]]:
    r"""The terms of a ``fieldSelector`` query: ``[(path, "=" or "!=", value)]``, sorted as upstream does.

    In values ``\\``, ``\,`` and ``\=`` stand for themselves. ValueError with upstream's text.
    """
    found: list[tuple[str, FieldOperator, str]] = []
    for term in sorted(_terms(text)):
        if not term:
            continue
        position = next((i for i, mark in enumerate(term) if mark == "=" or term.startswith("!=", i)), -1)
        if position < 0:
            raise ValueError(f"invalid selector: '{text}'; can't understand '{term}'")
        path, rest = term[:position], term[position:]
        if rest.startswith("!="):
            found.append((path, "!=", _unescape(rest[2:])))
        else:
            found.append((path, "=", _unescape(rest[2:] if rest.startswith("==") else rest[1:])))
    return found


def _terms(text: str) -> list[str]:
    terms, start, escaped = [], 0, False
    for index, character in enumerate(text):
        if escaped:
            escaped = False
        elif character == "\\":
            escaped = True
        elif character == ",":
            terms.append(text[start:index])
            start = index + 1
    terms.append(text[start:])
    return terms


def _unescape(value: str) -> str:
    if not any(mark in value for mark in "\\,="):
        return value
    plain, escaped = [], False
    for character in value:
        if escaped:
            if character not in "\\,=":
                raise ValueError(f"invalid field selector: invalid escape sequence: \\{character}")
            plain.append(character)
            escaped = False
        elif character == "\\":
            escaped = True
        elif character in ",=":
            raise ValueError(f"invalid field selector: unescaped character in value: {ord(character)}")
        else:
            plain.append(character)
    if escaped:
        raise ValueError("invalid field selector: invalid escape sequence: \\")
    return "".join(plain)

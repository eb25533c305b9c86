"""YAML with the limits a server needs; imported when the first YAML body arrives."""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import yaml

from .bodies import MAX_CONTAINERS, WHOLE, too_many_containers

__all__ = ["load", "problem"]

_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Base):  # type: ignore[misc]
    """Safe; plain scalars are what sigs.k8s.io/yaml takes them for; remembers repeated keys."""

    bool_values = {**_Base.bool_values, "y": True, "n": False}  # noqa: RUF012 - PyYAML's own attribute

    def __init__(self, stream: bytes) -> None:
        super().__init__(stream)
        self.duplicates: list[str] = []

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        if not isinstance(node, yaml.MappingNode):
            return super().construct_mapping(node, deep=deep)  # type: ignore[no-any-return]
        own = {id(key) for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"}
        self.flatten_mapping(node)
        seen: set[tuple[str, str]] = set()
        result = {}
        for key, value in node.value:
            # Keys become strings one by one: to Python, 1 and true are the same key.
            result[_key(self.construct_object(key, deep=True))] = self.construct_object(value, deep=True)
            if id(key) in own:
                if (key.tag, key.value) in seen:
                    # Told after what the value repeats itself.
                    self.duplicates.append(
                        f'line {key.start_mark.line + 1}: key "{key.value}" already set in map'
                    )
                seen.add((key.tag, key.value))
        return result


def _key(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else value


def _integer(loader: Any, node: Any) -> int:
    text = node.value.replace("_", "").lower()
    digits = text.lstrip("+-")
    octal = digits[0] == "0" and digits.isdigit()
    number = int(digits, 8 if octal else 0)
    return -number if text[0] == "-" else number


def _number(loader: Any, node: Any) -> float | int:
    """Go prints a float that is whole as an integer."""
    value: float = loader.construct_yaml_float(node)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"json: unsupported value: {'+' if value > 0 else '-'}Inf")
    if value != value:
        raise ValueError("json: unsupported value: NaN")
    return int(value) if value.is_integer() and abs(value) < WHOLE else value


def _binary(loader: Any, node: Any) -> str:
    data: bytes = loader.construct_yaml_binary(node)
    return data.decode(errors="replace")


def _unknown(loader: Any, suffix: str, node: Any) -> Any:
    """Tags of somebody's own mean nothing."""
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    return loader.construct_sequence(node, deep=True) if isinstance(node, yaml.SequenceNode) else node.value


_TAG = "tag:yaml.org,2002:"
_OTHER = (f"{_TAG}timestamp", f"{_TAG}value", f"{_TAG}int")
_INTEGER = re.compile("[-+]?(?:0[xX][0-9a-fA-F_]+|0[bB][01_]+|0[oO]?[0-7_]+|[1-9][0-9_]*|0)$")
_FLOAT = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9][0-9_]*(?:\.[0-9_]*)?)(?:[eE][-+]?[0-9]+)?$|[-+]?\.(?:inf|Inf|INF)$|\.(?:nan|NaN|NAN)$"
)


def _resolvers() -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    """PyYAML's, without what Go's goyaml.v2 does not have (timestamps, ``=``), with its numbers and with the
    booleans of one letter that it has."""
    found: dict[str, list[tuple[str, re.Pattern[str]]]] = {}
    for first, entries in _Base.yaml_implicit_resolvers.items():
        found[first] = [entry for entry in entries if entry[0] not in _OTHER and entry[0] != f"{_TAG}float"]
    for first in "+-.0123456789":
        found[first] = [*found.get(first, ()), (f"{_TAG}int", _INTEGER), (f"{_TAG}float", _FLOAT)]
    for letter in "yYnN":
        found[letter] = [*found.get(letter, ()), (f"{_TAG}bool", re.compile(f"{letter}$"))]
    return found


_Loader.yaml_implicit_resolvers = _resolvers()
_Loader.add_constructor(f"{_TAG}int", _integer)
_Loader.add_constructor(f"{_TAG}float", _number)
_Loader.add_constructor(f"{_TAG}binary", _binary)
_Loader.add_multi_constructor("!", _unknown)


def problem(error: yaml.YAMLError) -> str:
    """What Go's goyaml.v2 says of it. Its lines begin at 0, but those of its scanner."""
    wrong, context = getattr(error, "problem_mark", None), getattr(error, "context_mark", None)
    line = 0
    if wrong is not None and wrong.line:
        line = wrong.line + isinstance(error, yaml.scanner.ScannerError)
    elif context is not None:
        line = context.line
    told = getattr(error, "problem", None) or " ".join(str(error).split())
    return f"yaml: line {line}: {told}" if line else f"yaml: {told}"


def load(data: bytes, max_depth: int, max_expanded: int) -> tuple[Any, tuple[str, ...]]:
    """The first document in ``data`` and messages on repeated keys.

    ValueError when it is nested deeper than ``max_depth``, when its aliases expand to more than
    ``max_expanded`` values, or when JSON has no such number. yaml.YAMLError when it is not YAML.
    """
    aliases = _survey(data, max_depth)
    loader = _Loader(data)
    try:
        node = loader.get_node() if loader.check_node() else None
        if aliases and node is not None:
            _check_aliases(node, max_expanded)
        value = loader.construct_document(node) if node is not None else None
        return value, tuple(loader.duplicates)
    finally:
        loader.dispose()


def _survey(data: bytes, max_depth: int) -> bool:
    """Whether there are aliases. Composing recurses in C: the depth is checked on the flat event stream first."""
    depth = documents = containers = 0
    aliases = False
    try:
        for event in yaml.parse(data, Loader=_Base):
            if isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
                depth += 1
                containers += 1
                if depth > max_depth:
                    raise _too_deep(max_depth)
                if containers > MAX_CONTAINERS:
                    raise too_many_containers()
            elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
                depth -= 1
            elif isinstance(event, yaml.AliasEvent):
                aliases = True
            elif isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    break
    except yaml.scanner.ScannerError as wrong:
        # The scanner reads ahead of the events, and newer versions of libyaml limit what they have open.
        if "nesting depth" in (wrong.problem or ""):
            raise _too_deep(max_depth) from None
        raise
    return aliases


def _too_deep(max_depth: int) -> ValueError:
    return ValueError(f"the body is nested more than {max_depth} levels deep")


def _check_aliases(node: Any, max_expanded: int) -> None:
    """Values after expansion, counted without expanding: each node's count is computed once."""
    counts: dict[int, int] = {}

    def count(node: Any) -> int:
        known = counts.get(id(node))
        if known is not None:
            if known < 0:
                raise ValueError("yaml: an anchor contains itself")
            return known
        counts[id(node)] = -1
        total = 1
        if isinstance(node, yaml.MappingNode):
            total += sum(count(key) + count(value) for key, value in node.value)
        elif isinstance(node, yaml.SequenceNode):
            total += sum(count(item) for item in node.value)
        counts[id(node)] = total
        return total

    if count(node) > max_expanded:
        raise ValueError("yaml: document contains excessive aliasing")

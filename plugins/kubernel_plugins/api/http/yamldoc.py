"""YAML with the limits a server needs; imported when the first YAML body arrives."""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import yaml

__all__ = ["load"]

_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Base):  # type: ignore[misc]
    """Safe; plain scalars are what sigs.k8s.io/yaml takes them for; remembers repeated keys."""

    bool_values = {**_Base.bool_values, "y": True, "n": False}  # noqa: RUF012 - PyYAML's own attribute

    def __init__(self, stream: bytes) -> None:
        super().__init__(stream)
        self.duplicates: list[str] = []

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if isinstance(key, yaml.ScalarNode) and key.value != "<<":
                if (key.tag, key.value) in seen:
                    self.duplicates.append(
                        f'line {key.start_mark.line + 1}: key "{key.value}" already set in map'
                    )
                seen.add((key.tag, key.value))
        return super().construct_mapping(node, deep=deep)  # type: ignore[no-any-return]


_TAG = "tag:yaml.org,2002:"
_UNKNOWN = (f"{_TAG}timestamp", f"{_TAG}value")
_NUMBERS = (f"{_TAG}int", f"{_TAG}float")


def _resolvers() -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    """PyYAML's, without what Go's goyaml.v2 does not have (timestamps, ``=``, numbers to the base of 60) and
    with the booleans of one letter that it has."""
    found: dict[str, list[tuple[str, re.Pattern[str]]]] = {}
    for first, entries in _Base.yaml_implicit_resolvers.items():
        found[first] = [
            (tag, re.compile(f"(?!.*:){pattern.pattern}", pattern.flags) if tag in _NUMBERS else pattern)
            for tag, pattern in entries
            if tag not in _UNKNOWN
        ]
    for letter in "yYnN":
        found[letter] = [*found.get(letter, ()), (f"{_TAG}bool", re.compile(f"{letter}$"))]
    return found


_Loader.yaml_implicit_resolvers = _resolvers()


def load(data: bytes, max_depth: int, max_expanded: int) -> tuple[Any, tuple[str, ...]]:
    """The single document in ``data`` and messages on repeated keys.

    ValueError when it is nested deeper than ``max_depth``, when its aliases expand to more than
    ``max_expanded`` values, or when there is a second document. yaml.YAMLError when it is not YAML.
    """
    aliases = _survey(data, max_depth)
    loader = _Loader(data)
    try:
        node = loader.get_single_node()
        if aliases and node is not None:
            _check_aliases(node, max_expanded)
        value = loader.construct_document(node) if node is not None else None
        return value, tuple(loader.duplicates)
    finally:
        loader.dispose()


def _survey(data: bytes, max_depth: int) -> bool:
    """Whether there are aliases. Composing recurses in C: the depth is checked on the flat event stream first."""
    depth = documents = 0
    aliases = False
    try:
        for event in yaml.parse(data, Loader=_Base):
            if isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
                depth += 1
                if depth > max_depth:
                    raise _too_deep(max_depth)
            elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
                depth -= 1
            elif isinstance(event, yaml.AliasEvent):
                aliases = True
            elif isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise ValueError("yaml: a request body holds one document")
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

"""Request bodies: JSON and YAML to plain values, within limits on size, depth and aliases."""

from __future__ import annotations

import asyncio
import re
from typing import Any, NamedTuple

import orjson

from kubernel.errors import BadRequest
from kubernel.objects.go_json import syntax_problem
from kubernel.registry.duplicates import may_repeat
from kubernel.registry.schema import MAX_DEPTH

__all__ = ["MAX_BODY", "WHOLE", "Body", "YamlReader", "decode_json", "decode_yaml"]

MAX_BODY = 3 * 1024 * 1024
"""Bytes; upstream's limit for a resource request."""
_MAX_EXPANDED = 1_000_000
WHOLE = 1e21
"""From here on Go prints a number in its scientific form."""
_BESIDE = 32 * 1024
"""Bytes of YAML that are read in a few hundredths of a second; a whole body takes seconds."""


class Body(NamedTuple):
    """``value`` decoded, ``raw`` as JSON; ``duplicates`` are messages for keys that a YAML mapping repeats."""

    value: Any
    raw: bytes
    duplicates: tuple[str, ...] = ()


def decode_json(data: bytes) -> Body:
    """BadRequest with the position when ``data`` is not one JSON value."""
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as wrong:
        if "depth" in str(wrong) or "recursion" in str(wrong).lower():
            raise _too_deep() from None
        problem = syntax_problem(data.decode(errors="replace")) or str(wrong)
        raise BadRequest(f"json parse error: {problem}") from None
    if data.count(b"{") + data.count(b"[") > MAX_DEPTH:
        _check_depth(value)
    return Body(value, data)


def decode_yaml(data: bytes) -> Body:
    """The first YAML document, as sigs.k8s.io/yaml reads it: no timestamps, keys are strings."""
    if data[:1] == b"{":
        try:
            body = decode_json(data)
        except BadRequest:
            pass  # YAML flow mappings begin so too
        else:
            if not may_repeat(data, body.value):
                return Body(_whole(body.value), data) if _FRACTION.search(data) else body
    import yaml

    from .yamldoc import load, problem

    try:
        value, duplicates = load(data, MAX_DEPTH, _MAX_EXPANDED)
        raw = orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS)
    except RecursionError:
        raise _too_deep() from None
    except yaml.YAMLError as wrong:
        raise BadRequest(problem(wrong)) from None
    except (TypeError, ValueError) as wrong:
        raise BadRequest(str(wrong)) from None
    return Body(orjson.loads(raw), raw, duplicates)


_FRACTION = re.compile(rb"\d[.eE]")


def _whole(value: Any) -> Any:
    """Go's YAML reader gives a number that is whole as an integer, however it is written."""
    if isinstance(value, float) and value.is_integer() and abs(value) < WHOLE:
        return int(value)
    if isinstance(value, dict):
        for key, each in value.items():
            if isinstance(each, float | dict | list):
                value[key] = _whole(each)
    elif isinstance(value, list):
        value[:] = map(_whole, value)
    return value


class YamlReader:
    """``decode_yaml`` that holds nobody up: long bodies are read beside the loop, one after the other."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()

    async def read(self, data: bytes) -> Body:
        if len(data) <= _BESIDE:
            return decode_yaml(data)
        async with self._turn:
            return await asyncio.to_thread(decode_yaml, data)


def _check_depth(value: Any) -> None:
    level = [value]
    depth = 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise _too_deep()
        below: list[Any] = []
        for node in level:
            children = node.values() if isinstance(node, dict) else node
            below.extend(child for child in children if isinstance(child, (dict, list)))
        level = below if depth > 1 or isinstance(value, (dict, list)) else []


def _too_deep() -> BadRequest:
    return BadRequest(f"the body is nested more than {MAX_DEPTH} levels deep")

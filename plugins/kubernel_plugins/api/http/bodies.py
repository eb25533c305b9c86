"""Request bodies: JSON and YAML to plain values, within limits on size, depth and aliases."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from kubernel.errors import BadRequest, RequestEntityTooLarge
from kubernel.objects.go_json import syntax_problem
from kubernel.registry.beside import LARGE
from kubernel.registry.duplicates import may_repeat
from kubernel.registry.schema import MAX_DEPTH

if TYPE_CHECKING:
    from kubernel.registry.registry import Registry

__all__ = [
    "MAX_BODY",
    "MAX_CONTAINERS",
    "WHOLE",
    "Bodies",
    "Body",
    "decode_json",
    "decode_yaml",
    "too_many_containers",
]

MAX_BODY = 3 * 1024 * 1024
"""Bytes; upstream's limit for a resource request."""
MAX_CONTAINERS = 100_000
"""Objects and lists in a body. Upstream has no such limit, but does not come to the end of such bodies in time: a
Service of a million empty ports would have gigabytes of reasons for its refusal."""
_MAX_EXPANDED = 1_000_000
WHOLE = 1e21
"""From here on Go prints a number in its scientific form."""
_LONG = {"json": LARGE, "yaml": 16 * 1024, "protobuf": 16 * 1024}
"""Bytes that are read in about a hundredth of a second; a whole body of YAML takes seconds."""


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
        _check_shape(value)
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
    value = orjson.loads(raw)
    _check_shape(value)
    return Body(value, raw, duplicates)


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


class Bodies:
    """Decodes bodies and holds nobody up: long ones are read beside the loop."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def read(self, form: str, data: bytes) -> Body:
        """``form`` is ``json``, ``yaml`` or ``protobuf``. BadRequest for what is none."""
        decode = {"json": decode_json, "yaml": decode_yaml}.get(form, self._decode_protobuf)
        if len(data) <= _LONG[form]:
            return decode(data)
        return await self._registry.beside(decode, data)

    def _decode_protobuf(self, data: bytes) -> Body:
        assert self._registry.protobuf is not None  # noqa: S101 - who calls has looked
        value = self._registry.protobuf.decode(data)
        return Body(value, orjson.dumps(value))


def _check_shape(value: Any) -> None:
    level = [value] if isinstance(value, (dict, list)) else []
    depth = seen = 0
    while level:
        depth += 1
        seen += len(level)
        if depth > MAX_DEPTH:
            raise _too_deep()
        if seen > MAX_CONTAINERS:
            raise too_many_containers()
        below: list[Any] = []
        for node in level:
            children = node.values() if isinstance(node, dict) else node
            below.extend(child for child in children if isinstance(child, (dict, list)))
        level = below


def too_many_containers() -> RequestEntityTooLarge:
    return RequestEntityTooLarge(f"the body has more than {MAX_CONTAINERS} objects and lists")


def _too_deep() -> BadRequest:
    return BadRequest(f"the body is nested more than {MAX_DEPTH} levels deep")

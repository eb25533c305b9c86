"""Walking over the schemas of a definition."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["Schema", "below", "everything", "version_schemas"]

Schema = Mapping[str, Any]


def version_schemas(spec: Schema) -> Iterator[tuple[int, Schema]]:
    """(place of the version, its schema) for those that have one."""
    for index, version in enumerate(spec.get("versions") or ()):
        schema = (version.get("schema") or {}).get("openAPIV3Schema")
        if schema is not None:
            yield index, schema


def below(schema: Schema) -> Iterator[Schema]:
    """The schemas that one consists of."""
    for keyword in ("items", "additionalProperties", "not", "additionalItems"):
        one = schema.get(keyword)
        if isinstance(one, Mapping):
            yield one
    for keyword in ("allOf", "anyOf", "oneOf"):
        yield from schema.get(keyword) or ()
    for keyword in ("properties", "patternProperties", "definitions"):
        yield from (schema.get(keyword) or {}).values()


def everything(schema: Schema) -> Iterator[Schema]:
    """The schema and all below it."""
    waiting = [schema]
    while waiting:
        one = waiting.pop()
        yield one
        waiting.extend(each for each in below(one) if isinstance(each, Mapping))

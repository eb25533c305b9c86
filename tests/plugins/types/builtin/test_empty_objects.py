"""Objects with everything empty or null, of every type: answered, never an internal error."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from builtin_kit import OPTIONS, USER, Cluster, run

from kubernel.errors import ApiError, UnnamedError
from kubernel.registry.schema import Node

EMPTY: dict[str, Any] = {"string": "", "integer": 0, "number": 0, "boolean": False, "int-or-string": 0}


def skeleton(node: Node, depth: int, scalars: bool) -> Any:
    """A value of the type with every field there, lists and maps with one member, down to ``depth``."""
    if node.properties is not None:
        found = {}
        for name, child in node.properties.items() if depth else ():
            value = skeleton(child, depth - 1, scalars)
            if value is not None:
                found[name] = value
        return found
    if node.additional is not None:
        member = skeleton(node.additional, depth - 1, scalars) if depth else None
        return {} if member is None else {"": member}
    if node.items is not None:
        member = skeleton(node.items, depth - 1, scalars) if depth else None
        return [] if member is None else [member]
    return EMPTY.get(node.type) if scalars else None


@pytest.mark.parametrize("depth", range(6))
def test_every_type_answers_for_an_empty_object(depth: int) -> None:
    async def test(cluster: Cluster) -> None:
        for type, scalars, name in itertools.product(
            list(cluster.registry.types()), (False, True), ({}, {"name": "a"}, {"generateName": "a-"})
        ):
            if "create" not in type.verbs:
                continue
            obj = skeleton(type.schema(), depth, scalars)
            obj.pop("status", None)
            obj.update(apiVersion=type.api_version, kind=type.kind, metadata=dict(name))
            internal: Exception | None = None
            try:
                await cluster.registry.create(USER, type, "default" if type.namespaced else "", obj, OPTIONS)
            except ApiError as error:
                # An incomplete Binding is answered 500 by upstream, without a reason.
                internal = error if error.code >= 500 and not isinstance(error, UnnamedError) else None
            except Exception as error:
                internal = error
            if internal is not None:
                raise AssertionError(f"{type.kind}: {obj}") from internal

    run(test)

"""The quick look at built-in objects never takes what the walkers would change or refuse."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubernel.errors import ApiError
from kubernel.registry import pruning, validation
from kubernel.registry.defaulting import apply_defaults
from kubernel.registry.fastpath import HOT, conforms
from kubernel.registry.schema import MAX_DEPTH, Node
from kubernel_plugins.api.builtin.schemas import Schemas
from kubernel_plugins.api.builtin.tables.overlay import overlay

KINDS = (
    ("", "v1", "Pod"),
    ("", "v1", "Secret"),
    ("", "v1", "Service"),
    ("", "v1", "Node"),
    ("apps", "v1", "Deployment"),
    ("apps", "v1", "ControllerRevision"),
    ("batch", "v1", "Job"),
    ("coordination.k8s.io", "v1", "Lease"),
    ("discovery.k8s.io", "v1", "EndpointSlice"),
    ("rbac.authorization.k8s.io", "v1", "ClusterRole"),
    ("apiextensions.k8s.io", "v1", "CustomResourceDefinition"),
)


@pytest.fixture(scope="module")
def schemas() -> Schemas:
    schemas = Schemas()
    schemas.overlay(overlay())
    for kind in KINDS:
        node = schemas.for_kind(*kind)
        for _ in range(HOT + 1):
            conforms(node, {})
    return schemas


def closely(node: Node, obj: Any) -> list[str]:
    """What the walkers find, without the quick look."""
    with (
        patch.object(pruning, "conforms", lambda node, obj, **_: False),
        patch.object(validation, "conforms", lambda node, obj, **_: False),
    ):
        before = orjson.dumps(obj)
        try:
            found = pruning.decode_check(node, obj)
        except ApiError as error:
            return [error.message]
        found += [f"{cause.field}: {cause.message}" for cause in validation.validate(node, obj)]
        return found if orjson.dumps(obj) == before else [*found, "changed"]


ODD: dict[str, list[Any]] = {
    "string": ["", "x", None, 1],
    "integer": [0, -1, 8080, 2**31 - 1, 2**31, 2**63, 1.0, True, "1", None],
    "boolean": [True, False, 0, "true", None],
    "number": [1, 1.5, True, "1"],
    "quantity": [
        "0",
        "1",
        "100m",
        "1Gi",
        "1024Mi",
        "1000m",
        "999T",
        "0.5",
        "1e3",
        5,
        "",
        "x",
        "01",
        "1\n",
        None,
    ],
    "time": [
        "2024-02-28T00:00:00Z",
        "2024-02-29T00:00:00Z",
        "2023-02-29T00:00:00Z",
        "2024-04-31T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "2024-01-01T00:00:00Z\n",
        "2024-01-01T24:00:00Z",
        "2024-01-01T00:00:00.5Z",
        "２024-01-01T00:00:00Z",  # noqa: RUF001 - a wide digit is not a digit
        None,
    ],
    "microtime": ["2024-01-01T00:00:00.000000Z", "2024-01-01T00:00:00Z", "2024-01-01T00:00:00.0000001Z"],
    "int-or-string": [80, "http", 2**31, True, 1.5, None],
    "any": [None, 1, "x", {"a": 1}],
}
BYTES = ["YQ==", "YQ=", "", "YR==", "YQ==\n", 1]


def values_for(node: Node, depth: int) -> st.SearchStrategy[Any]:
    if node.type in ODD:
        good = list(node.enum) or (BYTES if node.format == "byte" else ODD[node.type][:2])
        odd = BYTES if node.format == "byte" else ODD[node.type]
        return st.sampled_from(good) if depth % 2 else st.sampled_from([*good, *good, *odd])
    if depth <= 0:
        return st.sampled_from([{}, [], None])
    if node.items is not None:
        return st.lists(values_for(node.items, depth - 1), max_size=2)
    if node.additional is not None:
        return st.dictionaries(st.text(max_size=2), values_for(node.additional, depth - 1), max_size=2)
    properties = node.properties or {}
    if not properties:
        return st.sampled_from([{}, {"a": {"b": [1]}}, []])
    must = [name for name in node.required if name in properties]
    chosen = st.lists(st.sampled_from(sorted(properties)), max_size=3, unique=True)
    return chosen.flatmap(
        lambda names: st.fixed_dictionaries(
            {name: values_for(properties[name], depth - 1) for name in dict.fromkeys([*must, *names])}
        )
    )


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_yes_is_always_right(schemas: Schemas, data: st.DataObject) -> None:
    node = schemas.for_kind(*data.draw(st.sampled_from(KINDS)))
    obj = data.draw(values_for(node, 7))
    if conforms(node, obj):
        assert closely(node, obj) == []


@pytest.mark.parametrize(
    "kind", ["quantity", "time", "microtime", "int-or-string", "integer", "boolean", "string"]
)
def test_scalars_one_by_one(schemas: Schemas, kind: str) -> None:
    homes: dict[str, tuple[tuple[str, str, str], Any]] = {
        "quantity": (KINDS[0], lambda x: {"spec": {"overhead": {"cpu": x}, "containers": [{"name": "a"}]}}),
        "time": (KINDS[0], lambda x: {"metadata": {"creationTimestamp": x}}),
        "microtime": (KINDS[7], lambda x: {"spec": {"renewTime": x}}),
        "int-or-string": (KINDS[2], lambda x: {"spec": {"ports": [{"port": 1, "targetPort": x}]}}),
        "integer": (KINDS[4], lambda x: {"spec": {"replicas": x, "selector": {}, "template": {}}}),
        "boolean": (KINDS[0], lambda x: {"spec": {"hostPID": x, "containers": [{"name": "a"}]}}),
        "string": (KINDS[0], lambda x: {"spec": {"containers": [{"name": x}]}}),
    }
    where, make = homes[kind]
    node = schemas.for_kind(*where)
    yes = 0
    for value in ODD[kind]:
        obj = make(value)
        if conforms(node, obj):
            yes += 1
            assert closely(node, obj) == []
    assert yes, "the common forms pass"


def test_an_ordinary_pod_passes_and_a_flaw_does_not(schemas: Schemas) -> None:
    node = schemas.for_kind("", "v1", "Pod")
    pod: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "a", "labels": {"x": "y"}},
        "spec": {"containers": [{"name": "a", "image": "b", "resources": {"limits": {"cpu": "100m"}}}]},
    }
    apply_defaults(node, pod)
    assert conforms(node, pod)
    assert closely(node, pod) == []
    pod["spec"]["containers"][0]["Image"] = "c"
    assert not conforms(node, pod)


def test_deep_free_fields_get_a_closer_look(schemas: Schemas) -> None:
    node = schemas.for_kind("apps", "v1", "ControllerRevision")
    deep: dict[str, Any] = {}
    for _ in range(MAX_DEPTH):
        deep = {"a": deep}
    obj = {"revision": 1, "data": deep}
    assert not conforms(node, obj)
    assert "exceeded max depth" in closely(node, obj)[0]

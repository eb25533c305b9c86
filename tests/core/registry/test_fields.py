"""Sets of fields: what an object's fields are, how two objects differ, the algebra of sets."""

from __future__ import annotations

from typing import Any

from frozen_objects import freeze
from hypothesis import given
from hypothesis import strategies as st
from node_trees import deployment

from kubernel.registry import fields
from kubernel.registry.schema import Node

NODE = deployment()


def test_the_fields_of_an_applied_configuration() -> None:
    tree = fields.owned(
        NODE,
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "x", "labels": {"a": "1"}, "finalizers": ["f"]},
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": {"a": "1"}},
                "template": {
                    "spec": {
                        "containers": [{"name": "c", "args": ["x"], "ports": [{"containerPort": 80}]}],
                        "securityContext": {},
                    }
                },
            },
        },
    )
    assert tree == {
        "f:metadata": {"f:labels": {"f:a": {}}, "f:finalizers": {'v:"f"': {}}},
        "f:spec": {
            "f:replicas": {},
            "f:selector": {},
            "f:template": {
                "f:spec": {
                    "f:containers": {
                        'k:{"name":"c"}': {
                            ".": {},
                            "f:name": {},
                            "f:args": {},
                            "f:ports": {
                                'k:{"containerPort":80,"protocol":"TCP"}': {".": {}, "f:containerPort": {}}
                            },
                        }
                    },
                    "f:securityContext": {},
                }
            },
        },
    }


def test_paths_are_written_as_in_messages() -> None:
    tree = {
        "f:spec": {
            "f:replicas": {},
            "f:ports": {'k:{"containerPort":80,"protocol":"TCP"}': {".": {}, "f:name": {}}},
            "f:set": {'v:"x"': {}},
        }
    }
    assert list(fields.paths(tree)) == [
        ".spec.replicas",
        '.spec.ports[containerPort=80,protocol="TCP"]',
        '.spec.ports[containerPort=80,protocol="TCP"].name',
        '.spec.set[="x"]',
    ]


def test_a_comparison_names_what_changed_and_what_is_gone() -> None:
    old = {"metadata": {"uid": "1", "labels": {"a": "1", "b": "1"}}, "spec": {"replicas": 1, "paused": True}}
    new = {"metadata": {"uid": "2", "labels": {"a": "2"}}, "spec": {"replicas": 1}, "status": {"x": 1}}
    changed, removed = fields.compare(NODE, old, new)
    assert changed == {"f:metadata": {"f:labels": {"f:a": {}}}, "f:status": {".": {}, "f:x": {}}}
    assert removed == {"f:metadata": {"f:labels": {"f:b": {}}}, "f:spec": {"f:paused": {}}}
    changed, _ = fields.compare(NODE, old, new, ("status", "metadata.labels"))
    assert changed == {}


def test_the_order_of_keyed_lists_is_no_difference() -> None:
    def of(*names: str) -> Any:
        return {"spec": {"template": {"spec": {"containers": [{"name": name} for name in names]}}}}

    assert fields.compare(NODE, of("a", "b"), of("b", "a")) == ({}, {})


keys = st.sampled_from(["f:a", "f:b", 'k:{"name":"x"}', 'v:"y"'])


def below(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.tuples(st.booleans(), st.dictionaries(keys, inner, min_size=1, max_size=3)).map(
        lambda pair: ({".": {}} if pair[0] else {}) | pair[1]
    )


nodes = st.recursive(st.just({}), below, max_leaves=6)
trees = st.dictionaries(keys, nodes, max_size=3)


def members(tree: Any, prefix: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    found = set()
    for key, inner in tree.items():
        if key == ".":
            continue
        if not inner or "." in inner:
            found.add((*prefix, key))
        found |= members(inner, (*prefix, key))
    return found


@given(trees, trees)
def test_trees_are_sets(a: Any, b: Any) -> None:
    a, b = freeze(a), freeze(b)
    assert members(fields.union(a, b)) == members(a) | members(b)
    assert members(fields.difference(a, b)) == members(a) - members(b)
    assert members(fields.intersection(a, b)) == members(a) & members(b)


places = st.dictionaries(
    keys,
    st.recursive(st.just({}), lambda inner: st.dictionaries(keys, inner, min_size=1, max_size=3)),
    max_size=3,
)


@given(trees, places)
def test_what_is_gone_takes_along_what_is_below(a: Any, gone: Any) -> None:
    ends = members(gone)
    left = {path for path in members(a) if not any(path[: len(end)] == end for end in ends)}
    assert members(fields.drop(freeze(a), freeze(gone))) == left


@given(trees, trees)
def test_operations_without_effect_return_their_argument(a: Any, b: Any) -> None:
    assert fields.union(a, a) is a
    left = fields.difference(a, b)
    assert fields.difference(left, b) is left
    joined = fields.union(a, b)
    if a:
        assert fields.union(joined, b) is joined


def open_spec() -> Node:
    """A type with a map of anything below ``spec``."""
    node, spec = Node("object"), Node("object")
    node.properties, spec.additional = {"spec": spec}, Node("any")
    return node


def test_the_same_names_with_other_types_are_other_fields() -> None:
    """What is remembered of one object's shape must not be told of another's."""
    node = open_spec()
    for _ in range(2):
        for value, below in (
            ({"b": 1}, {".": {}, "f:b": {}}),
            ("text", {}),
            (freeze({"b": 1}), {".": {}, "f:b": {}}),
            (["b"], {}),
        ):
            assert fields.created(node, {"spec": {"a": value}}) == {"f:spec": {".": {}, "f:a": below}}


def test_trees_of_objects_of_one_shape_are_told_apart_below() -> None:
    node = deployment()

    def containers(name: str, image: str) -> Any:
        spec = {"containers": [{"name": name, "image": image}]}
        return fields.created(node, {"spec": {"template": {"spec": spec}}})

    assert containers("web", "i") == containers("web", "j") != containers("log", "i")


def test_more_shapes_than_are_remembered() -> None:
    node = open_spec()
    for number in range(3 * fields._SHAPES):
        name = f"key-{number}"
        assert fields.created(node, {"spec": {name: "x"}}) == {"f:spec": {".": {}, f"f:{name}": {}}}

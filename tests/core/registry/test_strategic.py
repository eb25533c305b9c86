"""Strategic merge patches, as kubectl sends them."""

from __future__ import annotations

from typing import Any

import pytest
from frozen_objects import freeze
from hypothesis import given
from hypothesis import strategies as st

from kubernel.errors import BadRequest, Invalid, UnnamedError
from kubernel.registry.schema import Node
from kubernel.registry.strategic import strategic_patch


def struct(**fields: Node) -> Node:
    node = Node("object")
    node.properties = fields
    return node


def keyed(key: str, **fields: Node) -> Node:
    node = Node("array")
    node.patch_strategy, node.merge_key = ("merge",), key
    node.items = struct(**fields)
    return node


def scalars() -> Node:
    node = Node("array")
    node.patch_strategy = ("merge",)
    node.items = Node("string")
    return node


def labels() -> Node:
    node = Node("object")
    node.additional = Node("string")
    return node


def tree() -> Node:
    strategy = struct(type=Node("string"), rollingUpdate=struct(maxSurge=Node("int-or-string")))
    strategy.patch_strategy = ("retainKeys",)
    selector = struct(a=Node("string"), b=Node("string"))
    selector.patch_strategy = ("replace",)
    plain = Node("array")
    plain.items = Node("string")
    return struct(
        metadata=struct(labels=labels(), finalizers=scalars()),
        spec=struct(
            containers=keyed(
                "name", name=Node("string"), image=Node("string"), args=plain, env=keyed("name")
            ),
            strategy=strategy,
            selector=selector,
            args=plain,
        ),
    )


def containers(*names: str) -> list[dict[str, Any]]:
    return [{"name": name} for name in names]


CASES = [
    pytest.param(
        {"spec": {"containers": [{"name": "a", "image": "1", "args": ["x"]}, {"name": "b"}]}},
        {"spec": {"containers": [{"name": "a", "image": "2"}]}},
        {"spec": {"containers": [{"name": "a", "image": "2", "args": ["x"]}, {"name": "b"}]}},
        id="elements merge by key",
    ),
    pytest.param(
        {"spec": {"containers": containers("a", "b")}},
        {"spec": {"containers": [{"name": "b", "$patch": "delete"}]}},
        {"spec": {"containers": containers("a")}},
        id="an element is deleted",
    ),
    pytest.param(
        {"spec": {"containers": containers("a", "b")}},
        {"spec": {"containers": [{"name": "c"}, {"$patch": "replace"}]}},
        {"spec": {"containers": containers("c")}},
        id="a list is replaced",
    ),
    pytest.param(
        {"spec": {"args": ["a"], "selector": {"a": "1"}}},
        {"spec": {"args": ["b"], "selector": {"b": "1"}}},
        {"spec": {"args": ["b"], "selector": {"b": "1"}}},
        id="atomic lists and maps with strategy replace are replaced",
    ),
    pytest.param(
        {"metadata": {"labels": {"a": "1", "b": "2"}}},
        {"metadata": {"labels": {"a": None, "c": "3"}}},
        {"metadata": {"labels": {"b": "2", "c": "3"}}},
        id="maps merge and null removes",
    ),
    pytest.param(
        {"metadata": {"labels": {"a": "1"}}},
        {"metadata": {"labels": {"$patch": "replace", "c": "3"}}},
        {"metadata": {"labels": {"c": "3"}}},
        id="a map is replaced",
    ),
    pytest.param(
        {"metadata": {"labels": {"a": "1"}}},
        {"metadata": {"labels": {"$patch": "delete"}}},
        {"metadata": {"labels": {}}},
        id="a map is emptied",
    ),
    pytest.param(
        {"metadata": {"finalizers": ["a", "b"]}},
        {"metadata": {"finalizers": ["c", "a"]}},
        {"metadata": {"finalizers": ["c", "a", "b"]}},
        id="scalars merge as a set",
    ),
    pytest.param(
        {"metadata": {"finalizers": ["a", "b", "c"]}},
        {"metadata": {"$deleteFromPrimitiveList/finalizers": ["b", "z"]}},
        {"metadata": {"finalizers": ["a", "c"]}},
        id="scalars are deleted",
    ),
    pytest.param(
        {"metadata": {"finalizers": ["a", "b", "c"]}},
        {
            "metadata": {
                "$setElementOrder/finalizers": ["d", "a"],
                "$deleteFromPrimitiveList/finalizers": ["b"],
                "finalizers": ["d"],
            }
        },
        {"metadata": {"finalizers": ["d", "a", "c"]}},
        id="scalars are added, deleted and put in order",
    ),
    pytest.param(
        {"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}},
        {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}},
        {"spec": {"strategy": {"type": "Recreate"}}},
        id="retained keys drop all others",
    ),
    pytest.param(
        {"spec": {"containers": containers("a", "b", "c")}},
        {"spec": {"$setElementOrder/containers": containers("c", "a", "b")}},
        {"spec": {"containers": containers("c", "a", "b")}},
        id="elements are reordered",
    ),
    pytest.param(
        {"spec": {"containers": containers("a", "server", "b")}},
        {
            "spec": {
                "$setElementOrder/containers": containers("a", "b", "new"),
                "containers": [{"name": "new", "image": "1"}],
            }
        },
        {"spec": {"containers": [*containers("a", "server", "b"), {"name": "new", "image": "1"}]}},
        id="an element is appended in order, the server's own stays",
    ),
    pytest.param(
        {},
        {
            "spec": {
                "$setElementOrder/containers": containers("a"),
                "containers": [{"name": "a", "image": None}, {"name": "b", "$patch": "delete"}],
            }
        },
        {"spec": {"containers": containers("a")}},
        id="directives and nulls do not survive in new values",
    ),
    pytest.param(
        {"spec": {"containers": containers("a")}},
        {"spec": {"containers": None}},
        {"spec": {}},
        id="null removes a list",
    ),
    pytest.param(
        {"unknown": {"list": [1], "map": {"a": 1}}},
        {"unknown": {"list": [2], "map": {"b": 2}}},
        {"unknown": {"list": [2], "map": {"a": 1, "b": 2}}},
        id="without a schema it is a merge patch",
    ),
]


@pytest.mark.parametrize(("before", "patch", "after"), CASES)
def test_strategic_merge(before: Any, patch: Any, after: Any) -> None:
    assert strategic_patch(tree(), freeze(before), freeze(patch)) == after


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        ([], "invalid JSON document"),
        ({"spec": {"$patch": "grow"}}, "unknown patch type: grow in map"),
        ({"spec": {"containers": [{"image": "1"}]}}, "does not contain declared merge key: name"),
        ({"spec": {"containers": [{"$patch": "delete"}]}}, "does not contain declared merge key: name"),
        (
            {"spec": {"containers": [{"$patch": "merge", "name": "a"}]}},
            "merging lists cannot yet be specified in the patch",
        ),
        ({"spec": {"strategy": {"$retainKeys": "type"}}}, "invalid patch format of retainKeys"),
        ({"spec": {"strategy": {"$retainKeys": [], "type": "x"}}}, "invalid patch format of retainKeys"),
        (
            {"metadata": {"$deleteFromPrimitiveList/finalizers": "x"}},
            "invalid patch format of primitive list",
        ),
        ({"spec": {"$setElementOrder/containers": 1}}, "invalid patch format of setElementOrder list"),
        (
            {"spec": {"$setElementOrder/containers": [], "containers": [{"name": "b"}]}},
            "The order in patch list:",
        ),
        ({"spec": {"containers": ["x"]}}, "list element types are not identical"),
        ({"spec": {"containers": [{"name": {}}]}}, "merge keys are scalars"),
    ],
)
def test_malformed_strategic_patches(patch: Any, message: str) -> None:
    before = freeze({"spec": {"containers": containers("a"), "strategy": {}}, "metadata": {"finalizers": []}})
    with pytest.raises((BadRequest, UnnamedError)) as caught:
        strategic_patch(tree(), before, patch)
    assert message in caught.value.message


def test_lists_of_lists_are_refused() -> None:
    with pytest.raises(Invalid):
        strategic_patch(tree(), {"metadata": {"finalizers": []}}, {"metadata": {"finalizers": [[]]}})


def test_unchanged_parts_are_shared() -> None:
    before = freeze({"spec": {"containers": containers("a", "b")}, "status": {}})
    after = strategic_patch(tree(), before, {"spec": {"containers": [{"name": "a", "image": "2"}]}})
    assert after["status"] is before["status"]
    assert after["spec"]["containers"][1] is before["spec"]["containers"][1]


images = st.fixed_dictionaries({}, optional={"image": st.sampled_from(["1", "2"])})
pods = st.fixed_dictionaries(
    {
        "metadata": st.fixed_dictionaries(
            {
                "labels": st.dictionaries(st.sampled_from("abc"), st.sampled_from("xy"), min_size=1),
                "finalizers": st.lists(st.sampled_from("pqrs"), unique=True, min_size=1),
            }
        ),
        "spec": st.fixed_dictionaries(
            {
                "containers": st.lists(
                    st.tuples(st.sampled_from("kmn"), images), unique_by=lambda pair: pair[0], min_size=1
                ).map(lambda pairs: [{"name": name, **fields} for name, fields in pairs])
            }
        ),
    }
)


def difference(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """The two-way strategic patch from old to new, written the way kubectl writes it."""
    a, b = old["metadata"], new["metadata"]
    labels = {key: b["labels"].get(key) for key in {*a["labels"], *b["labels"]}}
    had = {element["name"]: element for element in old["spec"]["containers"]}
    elements: list[dict[str, Any]] = []
    for element in new["spec"]["containers"]:
        before = had.pop(element["name"], {})
        elements.append(element | {key: None for key in before if key not in element})
    elements += [{"name": name, "$patch": "delete"} for name in had]
    return {
        "metadata": {
            "labels": labels,
            "$setElementOrder/finalizers": b["finalizers"],
            "$deleteFromPrimitiveList/finalizers": [x for x in a["finalizers"] if x not in b["finalizers"]],
            "finalizers": [x for x in b["finalizers"] if x not in a["finalizers"]],
        },
        "spec": {
            "$setElementOrder/containers": [{"name": each["name"]} for each in new["spec"]["containers"]],
            "containers": elements,
        },
    }


@given(pods, pods)
def test_a_difference_applied_gives_the_new_object(old: Any, new: Any) -> None:
    patch = difference(old, new)
    after = strategic_patch(tree(), old, patch)
    assert after == new
    assert strategic_patch(tree(), after, difference(new, new)) == new


@pytest.mark.parametrize("directive", ["replace", "delete", "merge"])
def test_a_map_with_a_directive_is_dropped_where_there_is_none_to_merge_with(directive: str) -> None:
    before = {"metadata": {"finalizers": []}}
    patch = {"metadata": {"labels": {"$patch": directive, "a": "b"}}}
    assert strategic_patch(tree(), freeze(before), patch) == before
    containers = {"containers": [{"name": "a", "env": [{"$patch": directive, "name": "x"}, {"name": "y"}]}]}
    assert strategic_patch(tree(), {}, {"spec": containers}) == {
        "spec": {"containers": [{"name": "a", "env": [{"name": "y"}]}]}
    }

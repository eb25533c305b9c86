"""Decoding, defaulting and validation over small trees: one native (Go's rules), one structural (a CRD's)."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubernel.errors import ApiError, BadRequest
from kubernel.registry.defaulting import apply_defaults
from kubernel.registry.pruning import decode_check
from kubernel.registry.schema import MAX_DEPTH, Node
from kubernel.registry.validation import validate


def leaf(type: str, *, native: bool = True, **attributes: Any) -> Node:
    node = Node(type)
    node.native = native
    for name, value in attributes.items():
        setattr(node, name, value)
    return node


def struct(fields: dict[str, Node], *, native: bool = True, **attributes: Any) -> Node:
    return leaf("object", native=native, properties=fields, **attributes)


def listing(items: Node, *, native: bool = True, **attributes: Any) -> Node:
    return leaf("array", native=native, items=items, **attributes)


def mapping(values: Node, *, native: bool = True) -> Node:
    return leaf("object", native=native, additional=values)


def native_tree() -> Node:
    box = struct(
        {
            "name": leaf("string"),
            "size": leaf("quantity"),
            "color": leaf("string", enum=("red", "green")),
            "ready": leaf("boolean"),
            "weight": leaf("number"),
            "port": leaf("int-or-string", default=80),
            "level": leaf("integer", format="int32", extra={"minimum": 1, "maximum": 9}),
            "key": leaf("string", format="byte"),
        },
        ref="io.example.v1.Box",
        required=("name",),
    )
    node = struct({"value": leaf("string")}, ref="io.example.v1.Tree")
    node.properties = {"child": node, "value": leaf("string"), "children": listing(node)}
    spec = struct(
        {
            "boxes": listing(box, extra={"uniqueItems": True}, map_keys=("name",)),
            "count": leaf("integer", format="int32", default=1),
            "big": leaf("integer", format="int64"),
            "at": leaf("time"),
            "exactly": leaf("microtime"),
            "labels": mapping(leaf("string")),
            "limits": mapping(leaf("quantity")),
            "policy": struct(
                {"mode": leaf("string", default="Auto")}, ref="io.example.v1.Policy", default={}
            ),
            "optional": struct({"mode": leaf("string", default="Auto")}, ref="io.example.v1.Option"),
            "free": leaf("object", preserve_unknown=True),
            "tree": node,
        },
        ref="io.example.v1.ThingSpec",
    )
    return struct(
        {"apiVersion": leaf("string"), "kind": leaf("string"), "spec": spec, "status": box},
        ref="io.example.v1.Thing",
    )


def structural_tree() -> Node:
    def own(type: str, **attributes: Any) -> Node:
        return leaf(type, native=False, **attributes)

    item = struct({"name": own("string"), "n": own("integer", default=7)}, native=False, required=("name",))
    spec = struct(
        {
            "replicas": own("integer", extra={"minimum": 1, "maximum": 10}, format="int32"),
            "mode": own("string", enum=("A", "B"), default="A"),
            "name": own("string", extra={"pattern": "^[a-z]+$", "minLength": 2, "maxLength": 5}),
            "open": struct({"x": own("string")}, native=False, preserve_unknown=True),
            "items": listing(item, native=False, list_type="map", map_keys=("name",), extra={"maxItems": 3}),
            "tags": listing(own("string"), native=False, list_type="set"),
            "any": own("any", preserve_unknown=True),
            "nothing": own("string", nullable=True, default="x"),
            "when": own("string", format="date-time"),
            "ratio": own("number", extra={"multipleOf": 0.5, "minimum": 0, "exclusiveMinimum": True}),
            "either": own("int-or-string"),
            "template": own("object", properties={}, embedded=True, preserve_unknown=False),
        },
        native=False,
        required=("replicas",),
    )
    return struct({"apiVersion": own("string"), "kind": own("string"), "spec": spec}, native=False)


NATIVE, STRUCTURAL = native_tree(), structural_tree()


def decoded(spec: Any, tree: Node = NATIVE) -> tuple[Any, list[str]]:
    obj = {"apiVersion": "example.io/v1", "kind": "Thing", "spec": spec}
    unknown = decode_check(tree, obj)
    return obj.get("spec"), unknown


def told(spec: Any, tree: Node = STRUCTURAL) -> list[str]:
    obj = {"spec": spec}
    decode_check(tree, obj)
    return [f"{cause.field}: {cause.message}" for cause in validate(tree, obj)]


def test_unknown_fields_are_dropped_and_named_with_their_path() -> None:
    spec, unknown = decoded({"boxes": [{"name": "a", "colour": "red"}], "Count": 1, "labels": {"x": "y"}})
    assert spec == {"boxes": [{"name": "a"}], "labels": {"x": "y"}}
    assert unknown == ['unknown field "spec.boxes[0].colour"', 'unknown field "spec.Count"']


def test_null_is_absent_and_zero_inside_lists_and_maps() -> None:
    spec, unknown = decoded(
        {"count": None, "boxes": [None, {"name": None}], "labels": {"a": None}, "limits": {"cpu": None}}
    )
    assert spec == {"boxes": [{}, {}], "labels": {"a": ""}, "limits": {"cpu": "0"}}
    assert unknown == []
    assert decoded(None) == (None, [])


@pytest.mark.parametrize(
    ("field", "given", "kept"),
    [
        pytest.param("limits", {"memory": "1024Mi"}, {"memory": "1Gi"}, id="binary quantity"),
        pytest.param("limits", {"cpu": 0.5}, {"cpu": "500m"}, id="quantity as a number"),
        pytest.param("at", "2024-05-01T02:00:00.7+02:00", "2024-05-01T00:00:00Z", id="time zone"),
        pytest.param("at", "2024-05-01T00:00:00Z", "2024-05-01T00:00:00Z", id="time as it should be"),
        pytest.param(
            "exactly", "2024-05-01T02:00:00.500000+02:00", "2024-05-01T00:00:00.500000Z", id="microseconds"
        ),
        pytest.param("boxes", [{"name": "a", "key": "YQ==\n"}], [{"name": "a", "key": "YQ=="}], id="base64"),
    ],
)
def test_scalars_are_written_in_canonical_form(field: str, given: Any, kept: Any) -> None:
    assert decoded({field: given}) == ({field: kept}, [])


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        pytest.param(
            {"count": "3"},
            "json: cannot unmarshal string into Go struct field ThingSpec.spec.count of type int32",
            id="string for a number",
        ),
        pytest.param(
            {"count": 1.5},
            "json: cannot unmarshal number 1.5 into Go struct field ThingSpec.spec.count of type int32",
            id="fraction",
        ),
        pytest.param(
            {"count": 2**31},
            "json: cannot unmarshal number 2147483648 into Go struct field ThingSpec.spec.count"
            " of type int32",
            id="beyond int32",
        ),
        pytest.param(
            {"big": 2**63},
            "json: cannot unmarshal number 9223372036854775808 into Go struct field ThingSpec.spec.big"
            " of type int64",
            id="beyond int64",
        ),
        pytest.param(
            {"count": True},
            "json: cannot unmarshal bool into Go struct field ThingSpec.spec.count of type int32",
            id="bool for a number",
        ),
        pytest.param(
            {"boxes": [{"name": 1}]},
            "json: cannot unmarshal number into Go struct field Box.spec.boxes.name of type string",
            id="innermost struct, no index",
        ),
        pytest.param(
            {"labels": {"a": 1}},
            "json: cannot unmarshal number into Go struct field ThingSpec.spec.labels of type string",
            id="map value",
        ),
        pytest.param(
            {"boxes": {}},
            "json: cannot unmarshal object into Go struct field ThingSpec.spec.boxes of type []v1.Box",
            id="object for a list",
        ),
        pytest.param(
            [],
            "json: cannot unmarshal array into Go struct field Thing.spec of type v1.ThingSpec",
            id="list for a struct",
        ),
        pytest.param(
            {"boxes": [{"port": {}}]},
            "json: cannot unmarshal object into Go struct field Box.spec.boxes.port of type int32",
            id="int-or-string",
        ),
        pytest.param(
            {"limits": {"cpu": "lots"}},
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
            id="quantity",
        ),
        pytest.param(
            {"at": "yesterday"},
            'parsing time "yesterday" as "2006-01-02T15:04:05Z07:00": cannot parse "yesterday" as "2006"',
            id="time",
        ),
        pytest.param(
            {"at": "2024-13-01T00:00:00Z"},
            'parsing time "2024-13-01T00:00:00Z": month out of range',
            id="month",
        ),
        pytest.param(
            {"at": "2023-02-29T00:00:00Z"}, 'parsing time "2023-02-29T00:00:00Z": day out of range', id="day"
        ),
        pytest.param({"boxes": [{"key": "YQ="}]}, "illegal base64 data at input byte 3", id="short padding"),
        pytest.param({"boxes": [{"key": "Y!"}]}, "illegal base64 data at input byte 1", id="alphabet"),
        pytest.param(
            {"boxes": [{"key": "YQ==x"}]}, "illegal base64 data at input byte 4", id="after padding"
        ),
    ],
)
def test_what_go_cannot_decode_is_refused_in_its_words(spec: Any, why: str) -> None:
    with pytest.raises(BadRequest) as refused:
        decoded(spec)
    assert refused.value.message == f'Thing in version "v1" cannot be handled as a Thing: {why}'


def nested(levels: int) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for _ in range(levels):
        tree = {"child": tree}
    return tree


def test_nesting_has_a_limit_under_recursive_and_free_fields_alike() -> None:
    fits = MAX_DEPTH - 2
    spec, _ = decoded({"tree": nested(fits), "free": nested(fits)})
    assert orjson.loads(orjson.dumps(spec))["tree"] == nested(fits)
    for field in ("tree", "free"):
        with pytest.raises(BadRequest, match=f"exceeded max depth of {MAX_DEPTH}"):
            decoded({field: nested(MAX_DEPTH)})
        with pytest.raises(BadRequest, match="exceeded max depth"):
            decoded({field: nested(5000)})
    with pytest.raises(BadRequest, match="exceeded max depth"):
        decoded({"replicas": 1, "any": nested(5000)}, STRUCTURAL)


def test_defaults_fill_absent_fields_of_present_structs_only() -> None:
    spec: dict[str, Any] = {"boxes": [{"name": "a"}, {"name": "b", "port": "http"}]}
    apply_defaults(NATIVE, {"spec": spec})
    assert spec == {
        "boxes": [{"name": "a", "port": 80}, {"name": "b", "port": "http"}],
        "count": 1,
        "policy": {"mode": "Auto"},
    }
    other: dict[str, Any] = {"optional": {}}
    apply_defaults(NATIVE, {"spec": other})
    assert other["optional"] == {"mode": "Auto"}
    assert other["policy"] is not spec["policy"], "default values are copied"


def test_native_rules_are_told_as_field_errors() -> None:
    spec = {"boxes": [{"name": "a", "color": "blue", "level": 12}, {"name": "a"}, {}]}
    assert told(spec, NATIVE) == [
        'spec.boxes[0].color: Unsupported value: "blue": supported values: "red", "green"',
        "spec.boxes[0].level: Invalid value: 12: must be between 1 and 9, inclusive",
        "spec.boxes[2].name: Required value",
        'spec.boxes[1].name: Duplicate value: "a"',
    ]


def test_status_may_lack_required_fields() -> None:
    assert validate(NATIVE, {"status": {}}) == []


def test_structural_trees_are_pruned_but_for_what_they_preserve() -> None:
    spec, unknown = decoded(
        {
            "replicas": 1,
            "extra": 1,
            "open": {"x": "y", "more": {"deep": 1}},
            "items": [{"name": "a", "z": 1}],
            "any": {"a": [1]},
            "template": {"apiVersion": "v1", "kind": "X", "metadata": {"name": "n"}, "data": {}},
        },
        STRUCTURAL,
    )
    assert spec == {
        "replicas": 1,
        "open": {"x": "y", "more": {"deep": 1}},
        "items": [{"name": "a"}],
        "any": {"a": [1]},
        "template": {"apiVersion": "v1", "kind": "X", "metadata": {"name": "n"}},
    }
    assert unknown == [
        'unknown field "spec.extra"',
        'unknown field "spec.items[0].z"',
        'unknown field "spec.template.data"',
    ]


def test_null_gives_way_to_a_default_unless_nullable() -> None:
    obj: dict[str, Any] = {"spec": {"mode": None, "nothing": None, "replicas": 1}}
    decode_check(STRUCTURAL, obj)
    apply_defaults(STRUCTURAL, obj)
    assert obj["spec"] == {"mode": "A", "nothing": None, "replicas": 1}
    assert validate(STRUCTURAL, obj) == []


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        pytest.param(
            {"replicas": "x"},
            'spec.replicas: Invalid value: "string": spec.replicas in body must be of type integer: "string"',
            id="type",
        ),
        pytest.param(
            {"replicas": [None]},
            'spec.replicas: Invalid value: "array": spec.replicas in body must be of type integer: "array"',
            id="list",
        ),
        pytest.param(
            {"replicas": 0},
            "spec.replicas: Invalid value: 0: spec.replicas in body should be greater than or equal to 1",
            id="minimum",
        ),
        pytest.param(
            {"replicas": 11},
            "spec.replicas: Invalid value: 11: spec.replicas in body should be less than or equal to 10",
            id="maximum",
        ),
        pytest.param(
            {"ratio": 0},
            "spec.ratio: Invalid value: 0: spec.ratio in body should be greater than 0",
            id="exclusive",
        ),
        pytest.param(
            {"ratio": 0.7},
            "spec.ratio: Invalid value: 0.7: spec.ratio in body should be a multiple of 0.5",
            id="multiple",
        ),
        pytest.param(
            {"mode": "C"}, 'spec.mode: Unsupported value: "C": supported values: "A", "B"', id="enum"
        ),
        pytest.param(
            {"name": "ABC"},
            "spec.name: Invalid value: \"ABC\": spec.name in body should match '^[a-z]+$'",
            id="pattern",
        ),
        pytest.param(
            {"name": "a"},
            'spec.name: Invalid value: "a": spec.name in body should be at least 2 chars long',
            id="short",
        ),
        pytest.param({"name": "abcdef"}, "spec.name: Too long: may not be more than 5 bytes", id="long"),
        pytest.param(
            {"items": [{"name": "a"}, {"name": "a", "n": 2}]},
            'spec.items[1]: Duplicate value: {"name":"a"}',
            id="map list",
        ),
        pytest.param({"tags": ["a", "b", "a"]}, 'spec.tags[2]: Duplicate value: "a"', id="set"),
        pytest.param({"items": [{}]}, "spec.items[0].name: Required value", id="required"),
        pytest.param(
            {"items": [{"name": str(n)} for n in range(4)]},
            "spec.items: Too many: 4: must have at most 3 items",
            id="too many",
        ),
        pytest.param(
            {"when": "now"},
            'spec.when: Invalid value: "now": spec.when in body must be of type date-time: "now"',
            id="format",
        ),
        pytest.param(
            {"either": []},
            'spec.either: Invalid value: "array": spec.either in body must be of type integer,string: '
            '"array"',
            id="int-or-string",
        ),
    ],
)
def test_structural_rules_are_told_in_upstreams_words(fields: dict[str, Any], message: str) -> None:
    assert told({"replicas": 1, **fields}) == [message]


def test_required_fields_of_custom_resources_must_be_there_but_may_be_empty() -> None:
    assert told({}) == ["spec.replicas: Required value"]
    assert told({"replicas": 1, "items": [{"name": ""}]}) == []


scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=6)
)
names = st.sampled_from(
    ["spec", "status", "boxes", "name", "size", "count", "big", "at", "exactly", "labels", "limits", "tree",
     "child", "children", "free", "replicas", "items", "tags", "any", "open", "ratio", "either", "key", "x"]
)  # fmt: skip
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=5),
    max_leaves=25,
)


@settings(max_examples=300, deadline=None)
@given(values)
def test_any_json_is_either_taken_or_refused_as_a_request(value: Any) -> None:
    for tree in (NATIVE, STRUCTURAL):
        obj = {"spec": value}
        try:
            decode_check(tree, obj)
        except ApiError:
            continue
        apply_defaults(tree, obj)
        validate(tree, obj)
        settled = orjson.dumps(obj)
        assert decode_check(tree, obj) == [], "what was decoded once holds nothing unknown"
        apply_defaults(tree, obj)
        assert orjson.dumps(obj) == settled

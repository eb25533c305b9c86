"""Protobuf bodies become the objects that the same JSON would be, and objects the bytes that Go writes."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubernel.errors import BadRequest
from kubernel.registry.protobuf import ProtobufCodec
from kubernel.registry.protobuf_decoding import MAX_DEPTH
from kubernel.registry.protobuf_table import FieldTable

TIME = "io.k8s.apimachinery.pkg.apis.meta.v1"
TABLE = f"""\
example.v1.Widget metadata=1>.Meta spec=2>.Spec
example.v1.Meta name=1s labels=2%s created=3!>{TIME}.Time
example.v1.Spec replicas=1?i size=2i tags=3*s flag=4?b ratio=5?d data=6%y handler=7^>.Handler child=8?>.Spec \
port=9?>io.k8s.apimachinery.pkg.util.intstr.IntOrString names=10>.Names
example.v1.Handler command=1*s
example.v1.Names ~strings
{TIME}.Time seconds=1i nanos=2i
"""


def codec() -> ProtobufCodec:
    table = FieldTable(TABLE)
    return ProtobufCodec(
        lambda: table,
        lambda group, version, kind: f"{group}.{version}.{kind}" if group == "example" else None,
    )


def field(number: int, value: bytes | int) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value & 0xFFFFFFFFFFFFFFFF)
    return varint(number << 3 | 2) + varint(len(value)) + value


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def envelope(raw: bytes, api_version: str = "example/v1", kind: str = "Widget") -> bytes:
    meta = field(1, api_version.encode()) + field(2, kind.encode())
    return b"k8s\x00" + field(1, meta) + field(2, raw) + field(3, b"") + field(4, b"")


def spec(raw: bytes) -> object:
    return codec().decode(envelope(field(2, raw))).get("spec")


def test_an_object_is_decoded_field_by_field() -> None:
    meta = field(1, b"one") + field(2, field(1, b"a") + field(2, b"b")) + field(3, field(1, 1767225600))
    body = field(1, meta) + field(2, field(1, 3) + field(3, b"x") + field(3, b"y"))
    assert codec().decode(envelope(body)) == {
        "apiVersion": "example/v1",
        "kind": "Widget",
        "metadata": {"name": "one", "labels": {"a": "b"}, "created": "2026-01-01T00:00:00Z"},
        "spec": {"replicas": 3, "tags": ["x", "y"]},
    }


def test_zero_is_kept_where_it_is_a_value_and_left_out_where_it_means_absent() -> None:
    assert spec(field(1, 0) + field(2, 0) + field(4, 0)) == {"replicas": 0, "flag": False}


def test_negative_numbers_bytes_and_inlined_fields() -> None:
    raw = field(1, -5) + field(6, field(1, b"k") + field(2, b"\x00\xff")) + field(7, field(1, b"ls"))
    assert spec(raw) == {"replicas": -5, "data": {"k": "AP8="}, "command": ["ls"]}


def test_an_int_or_string_is_what_its_type_says() -> None:
    assert spec(field(9, field(1, 0) + field(2, 80))) == {"port": 80}
    assert spec(field(9, field(1, 1) + field(3, b"http"))) == {"port": "http"}


def test_a_message_of_strings_is_a_list() -> None:
    assert spec(field(10, field(1, b"a") + field(1, b"b"))) == {"names": ["a", "b"]}


def test_fields_that_the_table_does_not_know_are_passed_over() -> None:
    assert spec(field(1, 1) + field(99, b"new")) == {"replicas": 1}


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"{}", id="JSON"),
        pytest.param(b"k8s\x00\x0a\xff", id="truncated length"),
        pytest.param(b"k8s\x00\x0a\x05ab", id="truncated value"),
        pytest.param(b"k8s\x00" + b"\xff" * 12, id="endless integer"),
        pytest.param(b"k8s\x00\x0b", id="group wire type"),
        pytest.param(b"k8s\x00\x02\x00", id="field number 0"),
        pytest.param(envelope(b"", kind="Gadget"), id="unknown kind"),
        pytest.param(envelope(b"", api_version="other/v1"), id="unknown group"),
        pytest.param(envelope(field(2, 7)), id="integer for a message"),
        pytest.param(envelope(field(2, field(1, b"x"))), id="string for an integer"),
        pytest.param(envelope(field(2, field(3, b"\xff\xfe"))), id="no UTF-8"),
    ],
)
def test_what_is_no_such_message_is_a_bad_request(body: bytes) -> None:
    with pytest.raises(BadRequest):
        codec().decode(body)


def test_nesting_is_limited() -> None:
    raw = b""
    for _ in range(MAX_DEPTH + 5):
        raw = field(8, raw)
    with pytest.raises(BadRequest, match="nested more than"):
        spec(raw)


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_a_bad_request(data: bytes) -> None:
    for body in (data, b"k8s\x00" + data, envelope(data), envelope(field(2, data))):
        with contextlib.suppress(BadRequest):
            codec().decode(body)


def message(obj: dict[str, object]) -> bytes:
    return codec().message("example/v1", "Widget", obj)


EMPTY_META = field(1, field(1, b"") + field(3, b""))
EMPTY_SPEC = field(2, varint(2 << 3) + b"\0" + field(7, b""))


def test_what_is_no_pointer_in_go_is_written_though_it_is_zero_and_in_the_order_of_numbers() -> None:
    assert message({}) == EMPTY_META + EMPTY_SPEC


def test_a_pointer_is_written_when_it_is_there_and_left_out_when_it_is_nil() -> None:
    spec = field(1, 0) + varint(2 << 3) + b"\0" + field(4, 0) + field(7, b"")
    assert message({"spec": {"flag": False, "replicas": 0}}) == EMPTY_META + field(2, spec)


def test_negative_integers_are_ten_bytes_long() -> None:
    assert field(1, -5) in message({"spec": {"replicas": -5}})


def test_map_entries_are_sorted_by_key() -> None:
    entries = b"".join(field(2, field(1, key) + field(2, b"1")) for key in (b"a", b"b", b"c"))
    assert entries in message({"metadata": {"labels": {"b": "1", "c": "1", "a": "1"}}})


def test_times_are_seconds_and_the_zero_time_is_empty() -> None:
    assert field(3, field(1, 1767225600) + varint(2 << 3) + b"\0") in message(
        {"metadata": {"created": "2026-01-01T00:00:00Z"}}
    )
    assert message({"metadata": {"created": "0001-01-01T00:00:00Z"}}) == EMPTY_META + EMPTY_SPEC


def test_null_and_unknown_fields_are_passed_over() -> None:
    assert message({"spec": None, "metadata": {"name": None}, "extra": 1}) == EMPTY_META + EMPTY_SPEC


def test_a_list_is_put_together_from_the_messages_of_its_items() -> None:
    table = FieldTable(
        TABLE + "example.v1.WidgetList metadata=1>.ListMeta items=2!*>.Widget\n"
        "example.v1.ListMeta resourceVersion=2s\n"
    )
    lists = ProtobufCodec(lambda: table, lambda group, version, kind: f"{group}.{version}.{kind}")
    items = [lists.message("example/v1", "Widget", {"metadata": {"name": name}}) for name in ("a", "b")]
    body = b"".join(lists.collection("example/v1", "WidgetList", {"resourceVersion": "7"}, items))
    assert body == envelope(
        field(1, field(2, b"7")) + field(2, items[0]) + field(2, items[1]), kind="WidgetList"
    )
    assert [item["metadata"] for item in lists.decode(body)["items"]] == [{"name": "a"}, {"name": "b"}]


def test_a_kind_without_a_message_is_not_served() -> None:
    assert codec().serves("example/v1", "Widget")
    assert not codec().serves("example/v1", "Gadget")
    with pytest.raises(KeyError):
        codec().message("other/v1", "Widget", {})

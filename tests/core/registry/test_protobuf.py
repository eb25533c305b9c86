"""Protobuf bodies become the objects that the same JSON would be."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubernel.errors import BadRequest
from kubernel.registry.protobuf import MAX_DEPTH, FieldTable, ProtobufDecoder

TIME = "io.k8s.apimachinery.pkg.apis.meta.v1"
TABLE = f"""\
example.v1.Widget metadata=1>.Meta spec=2>.Spec
example.v1.Meta name=1s labels=2%s created=3!>{TIME}.Time
example.v1.Spec replicas=1!i size=2i tags=3*s flag=4!b ratio=5!d data=6%y handler=7^>.Handler child=8!>.Spec \
port=9!>io.k8s.apimachinery.pkg.util.intstr.IntOrString names=10>.Names
example.v1.Handler command=1*s
example.v1.Names ~strings
{TIME}.Time seconds=1i nanos=2i
"""


def decoder() -> ProtobufDecoder:
    table = FieldTable(TABLE)
    return ProtobufDecoder(
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
    return decoder().decode(envelope(field(2, raw))).get("spec")


def test_an_object_is_decoded_field_by_field() -> None:
    meta = field(1, b"one") + field(2, field(1, b"a") + field(2, b"b")) + field(3, field(1, 1767225600))
    body = field(1, meta) + field(2, field(1, 3) + field(3, b"x") + field(3, b"y"))
    assert decoder().decode(envelope(body)) == {
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
        decoder().decode(body)


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
            decoder().decode(body)

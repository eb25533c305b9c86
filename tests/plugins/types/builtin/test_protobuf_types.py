"""Every built-in type as protobuf: what is encoded is decoded again, and is what Go writes."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kubernel.registry.protobuf_table import EXTENSIONS, META, Field
from kubernel_plugins.api.builtin import protobuf_codec
from kubernel_plugins.api.builtin.schemas import Schemas
from kubernel_plugins.api.builtin.tables import REVIEWS, TABLES

PUBLISHED = Path(__file__).parent / "published"
KINDS = sorted(
    {
        (group, version, row.kind)
        for table in (TABLES, REVIEWS)
        for (group, version), rows in table.items()
        for row in rows
    }
)
DEPTH = 6

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6)
SECONDS = st.integers(1, 4_000_000_000)
SCHEMA = f"{EXTENSIONS}v1.JSONSchemaProps"


def stamp(seconds: int, fraction: str = "") -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S") + fraction + "Z"


SPECIAL: dict[str, st.SearchStrategy[Any]] = {
    f"{META}Time": SECONDS.map(stamp),
    f"{META}MicroTime": st.tuples(SECONDS, st.integers(0, 999_999)).map(
        lambda parts: stamp(parts[0], f".{parts[1]:06d}")
    ),
    f"{META}FieldsV1": st.dictionaries(TEXT, st.just({}), min_size=1, max_size=2),
    "io.k8s.apimachinery.pkg.api.resource.Quantity": st.sampled_from(["1", "100m", "2Gi", "0"]),
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": st.integers(-(2**31), 2**31 - 1) | TEXT,
    "io.k8s.apimachinery.pkg.runtime.RawExtension": st.dictionaries(TEXT, st.booleans(), max_size=2),
    f"{EXTENSIONS}v1.JSON": st.none() | st.integers(0, 9) | st.lists(TEXT, max_size=2),
    f"{EXTENSIONS}v1.JSONSchemaPropsOrArray": st.just({"type": "string"}) | st.just([{"type": "string"}]),
    f"{EXTENSIONS}v1.JSONSchemaPropsOrStringArray": st.just({"type": "string"}) | st.just(["a", "b"]),
    f"{EXTENSIONS}v1.JSONSchemaPropsOrBool": st.just({"type": "string"}) | st.booleans(),
}


def values(kind: str, depth: int) -> st.SearchStrategy[Any]:
    table = protobuf_codec().encoder.table
    if kind in SPECIAL:
        return SPECIAL[kind]
    if kind == "s":
        return TEXT
    if kind == "i":
        return st.integers(-(2**63), 2**63 - 1)
    if kind == "b":
        return st.booleans()
    if kind == "d":
        return st.floats(allow_nan=False, allow_infinity=False)
    if kind == "y":
        return st.binary(max_size=6).map(lambda data: base64.b64encode(data).decode())
    if table.is_strings(kind):
        return st.lists(TEXT, min_size=1, max_size=2)
    return st.deferred(lambda: objects(kind, depth + 1))


def one(field: Field, depth: int) -> st.SearchStrategy[Any]:
    single = values(field.kind, depth)
    if field.shape == "*":
        return st.lists(single, min_size=1, max_size=2)
    if field.shape == "%":
        return st.dictionaries(TEXT, single, min_size=1, max_size=2)
    if not field.mark:
        return single.filter(lambda value: value not in ("", 0, False, {}, []))
    return single


@st.composite
def objects(draw: st.DrawFn, kind: str, depth: int = 0) -> dict[str, Any]:
    """A message's JSON as Go would print it: what is zero and may be left out is not there."""
    found: dict[str, Any] = {}
    for field in protobuf_codec().encoder.table.message(kind).values():
        if field.shape == "^":
            found |= draw(objects(field.kind, depth + 1))
            continue
        demanded = (
            field.mark == "!" and not field.shape and field.kind != "y" and not field.kind.endswith(".JSON")
        )
        if demanded or (depth < DEPTH and draw(st.integers(0, depth + 1)) == 0):
            if not demanded and field.kind == SCHEMA and depth > 2:
                continue
            found[field.name] = draw(one(field, depth))
    return found


@pytest.mark.parametrize(("group", "version", "kind"), KINDS, ids=lambda part: part or "core")
def test_every_builtin_type_survives_a_round_trip(group: str, version: str, kind: str) -> None:
    api_version = f"{group}/{version}" if group else version
    codec = protobuf_codec()
    assert codec.serves(api_version, kind)

    @settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(objects(Schemas().definition_for(group, version, kind)))
    def check(obj: dict[str, Any]) -> None:
        body = codec.envelope(api_version, kind, codec.message(api_version, kind, obj))
        again = codec.decode(body)
        # Structs that are no pointers come back with the zeros that Go prints in them; nothing else is new.
        assert holds(again, {"apiVersion": api_version, "kind": kind, **obj})
        assert codec.envelope(api_version, kind, codec.message(api_version, kind, again)) == body
        assert codec.decode(body) == again

    check()


def holds(whole: Any, part: Any) -> bool:
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(
            name in whole and holds(whole[name], value) for name, value in part.items()
        )
    if isinstance(part, list):
        return len(whole) == len(part) and all(map(holds, whole, part))
    return bool(whole == part)


@pytest.mark.parametrize("path", sorted(PUBLISHED.glob("*.pb")), ids=lambda path: path.stem)
def test_published_examples_are_written_and_read_byte_for_byte(path: Path) -> None:
    obj = orjson.loads(path.with_suffix(".json").read_bytes())
    api_version, kind = obj["apiVersion"], obj["kind"]
    codec = protobuf_codec()
    assert codec.envelope(api_version, kind, codec.message(api_version, kind, obj)) == path.read_bytes()
    assert codec.decode(path.read_bytes()) == obj


def test_every_list_has_a_message() -> None:
    for (group, version), rows in TABLES.items():
        api_version = f"{group}/{version}" if group else version
        for row in rows:
            if "list" in row.verbs:
                assert protobuf_codec().serves(api_version, f"{row.kind}List"), row.kind

"""What upstream's own types make of an object, and whose its fields are then: recorded, and asked of ours.

``recorded_fields/created.json`` has objects as clients send them, made up field by field from the schema, with what
Kubernetes v1.37 prints after decoding, defaulting and converting them there and back, and the fields that their creator
manages. ``updated.json`` has what becomes of these when somebody else writes another object over it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from builtin_kit import Cluster

from kubernel.registry import metadata
from kubernel.registry.apply import track_update
from kubernel.registry.defaulting import complete_object
from kubernel.registry.pruning import decode_check
from kubernel.registry.types import ResourceType

RECORDED = Path(__file__).parent / "recorded_fields"
Obj = dict[str, Any]


def cases(file: str) -> Iterator[Any]:
    for index, case in enumerate(json.loads((RECORDED / file).read_text())):
        obj = case["object"]
        yield pytest.param(case, id=f"{obj['apiVersion']} {obj['kind']} {index}")


@pytest.fixture(scope="module")
def cluster() -> Cluster:
    return Cluster()


def taken(type: ResourceType, obj: Obj) -> Obj:
    metadata.check_kind(type, obj)
    decode_check(type.schema(), obj, kind=type.kind, version=type.version)
    complete_object(type, type.schema(), obj)
    return obj


def managed(type: ResourceType, old: Obj | None, obj: Obj, manager: str) -> dict[str, Any]:
    entries = track_update(
        type.schema(),
        old,
        obj,
        manager=manager,
        api_version=type.api_version,
        subresource="",
        now="2026-01-01T00:00:00Z",
    )
    return {entry["manager"]: entry["fieldsV1"] for entry in entries}


@pytest.mark.parametrize("case", list(cases("created.json")))
def test_a_new_object_is_printed_and_managed_as_upstream_does(cluster: Cluster, case: Obj) -> None:
    type = cluster.type_of(case["object"])
    obj = taken(type, case["object"])
    assert obj == case["printed"]
    assert managed(type, None, obj, "m") == ({"m": case["fields"]} if case["fields"] else {})


@pytest.mark.parametrize("case", list(cases("updated.json")))
def test_who_writes_over_an_object_manages_what_changed(cluster: Cluster, case: Obj) -> None:
    type = cluster.type_of(case["object"])
    old = taken(type, case["old"])
    assert managed(type, old, taken(type, case["object"]), "m") == case["managed"]

"""What kube-apiserver v1.37.0 answered to objects that break rules, and to those that do not.

``recorded/*.json`` has one case for each rule, or for rules that belong together: an object, for updates what
is changed in it (``change``) once it is stored, and upstream's answer. Upstream walks maps in random order, so
causes are compared as sets.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from builtin_kit import Cluster, thawed

from kubernel.errors import ApiError
from kubernel.registry.request import UserInfo, WriteOptions

ADMIN = UserInfo("admin", ("system:masters", "system:authenticated"), "1")
REAL = WriteOptions(field_manager="test")
DRY_RUN = WriteOptions(field_manager="test", dry_run=True)
UID = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
TIME = re.compile(r'"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"')
UNEQUAL = ("managedFields", "uid", "creationTimestamp", "resourceVersion")
"""Of the metadata: no two servers have the same."""
GENERATED = re.compile('"[^"]*-[bcdfghjklmnpqrstvwxz2456789]{5}"')


def cases() -> Iterator[Any]:
    for path in sorted((Path(__file__).parent / "recorded").glob("*.json")):
        for case in json.loads(path.read_text()):
            yield pytest.param(case, id=f"{path.stem}: {case['id']}")


def changed(obj: dict[str, Any], change: list[list[Any]]) -> dict[str, Any]:
    for verb, path, *value in change:
        place: Any = obj
        for step in path[:-1]:
            place = place[step]
        if verb == "remove":
            place.pop(path[-1], None)
        else:
            place[path[-1]] = value[0]
    return obj


Answer = tuple[int, list[tuple[str, str, str]], dict[str, Any] | None]


async def answer(cluster: Cluster, case: dict[str, Any]) -> Answer:
    obj = case["object"]
    type = cluster.type_of(obj)
    namespace = "default" if type.namespaced else ""
    try:
        if "change" not in case:
            raw = json.dumps(obj).encode()
            options = REAL if case.get("real") else DRY_RUN
            result = await cluster.registry.create(ADMIN, type, namespace, obj, options, raw=raw)
            return 201, [], thawed(result.record.obj)
        stored = await cluster.create(obj)
        if "status" in case:
            stored = await cluster.update(
                {**stored, "status": {**stored["status"], **case["status"]}}, "status"
            )
        wanted = changed(stored, case["change"])
        sub = case.get("subresource", "")
        name = obj["metadata"]["name"]
        await cluster.registry.update(ADMIN, type, namespace, name, wanted, DRY_RUN, subresource=sub)
    except ApiError as error:
        return error.code, [(cause.field, cause.reason, cause.message) for cause in error.causes], None
    return 200, [], None


def comparable(causes: list[Any]) -> list[tuple[str, ...]]:
    hidden = (tuple(GENERATED.sub('"NAME"', UID.sub("UID", text)) for text in cause) for cause in causes)
    return sorted(set(hidden))


def comparable_object(obj: dict[str, Any]) -> dict[str, Any]:
    metadata = {key: value for key, value in obj["metadata"].items() if key not in UNEQUAL}
    text = TIME.sub('"T"', UID.sub("UID", json.dumps({**obj, "metadata": metadata})))
    found: dict[str, Any] = json.loads(text)
    return found


@pytest.mark.parametrize("case", list(cases()))
def test_the_answer_is_that_of_upstream(case: dict[str, Any]) -> None:
    async def go() -> Answer:
        cluster = Cluster(serve=("scheduling.k8s.io/v1beta1",))
        await cluster.store.start()
        try:
            return await answer(cluster, case)
        finally:
            await cluster.store.stop()

    code, causes, returned = asyncio.run(go())
    assert comparable(causes) == comparable(case.get("causes", []))
    assert code == case["code"]
    if "returned" in case:
        assert returned is not None
        assert comparable_object(returned) == case["returned"]

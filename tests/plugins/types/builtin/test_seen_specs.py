"""A spec that was seen before is treated as if it never was."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any
from unittest.mock import patch

from builtin_kit import Cluster, pod, thawed, workload
from hypothesis import given, settings
from hypothesis import strategies as st

from kubernel.errors import ApiError
from kubernel.registry.request import Request, UserInfo, WriteOptions
from kubernel.registry.specs import MOST, Specs
from kubernel.registry.types import Strategy

ADMIN = UserInfo("admin", ("system:masters",))
UID = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
GENERATED = re.compile('"[^"]*-[bcdfghjklmnpqrstvwxz2456789]{5}"')
MODES = ("Strict", "Warn", "Ignore")

RECORDED = [
    case["object"]
    for path in sorted((Path(__file__).parent / "recorded").glob("*.json"))
    for case in json.loads(path.read_text())
    if "change" not in case and isinstance(case["object"].get("spec"), dict)
]
PODS = [obj for obj in RECORDED if obj["kind"] == "Pod"]
METADATA = [
    *(obj["metadata"] for obj in PODS[::7]),
    {"name": "a", "namespace": "default", "annotations": {"kubernetes.io/config.mirror": "x"}},
    {"name": "b", "namespace": "default", "labels": {"app": "x", "tier": "y"}},
    {"name": "c", "namespace": "default", "annotations": {"pod.kubernetes.io/x": "y", "a b": "c"}},
    {"name": "Not A Name", "namespace": "default"},
    {"generateName": "d-", "namespace": "default"},
]


def forgetful() -> Any:
    return patch.object(Specs, "of", lambda self, kind: None)


async def answer(cluster: Cluster, raw: bytes, mode: Any = "Strict", *, dry_run: bool = True) -> str:
    """All that a client could see of a creation, but for what is chosen at random."""
    obj = json.loads(raw)
    type = cluster.type_of(obj)
    options = WriteOptions(field_manager="test", field_validation=mode, dry_run=dry_run)
    namespace = "default" if type.namespaced else ""
    try:
        result = await cluster.registry.create(ADMIN, type, namespace, obj, options, raw=raw)
    except ApiError as error:
        told = json.dumps(error.to_status())
    else:
        told = json.dumps([json.loads(result.record.data), result.warnings])
    return UID.sub("UID", GENERATED.sub("GENERATED", told))


def served(cluster: Cluster, obj: dict[str, Any]) -> bool:
    group, _, version = obj["apiVersion"].rpartition("/")
    return cluster.registry.by_kind(group, version, obj["kind"]) is not None


def both(test: Any) -> tuple[Any, Any]:
    """What ``test`` gives with specs remembered, and without."""

    async def go() -> Any:
        cluster = Cluster()
        await cluster.store.start()
        try:
            return await test(cluster)
        finally:
            await cluster.store.stop()

    remembering = asyncio.run(go())
    with forgetful():
        return remembering, asyncio.run(go())


def test_what_upstream_was_asked_gets_the_same_answer_every_time() -> None:
    async def ask(cluster: Cluster) -> list[list[str]]:
        raws = [json.dumps(obj).encode() for obj in RECORDED if served(cluster, obj)]
        assert len(raws) > 500
        return [[await answer(cluster, raw) for raw in raws] for _ in range(4)]

    remembering, without = both(ask)
    assert remembering == without


requests = st.tuples(
    st.sampled_from(PODS[::5]),
    st.sampled_from(METADATA),
    st.sampled_from(MODES),
    st.sampled_from(["", "x", "{", " "]),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(requests, min_size=1, max_size=4), st.data())
def test_any_metadata_goes_with_any_spec(pool: list[Any], data: st.DataObject) -> None:
    """Few specs, with the metadata of others, repeated and unknown fields, and white space."""
    chosen = data.draw(
        st.lists(st.tuples(st.sampled_from(pool), st.sampled_from(METADATA)), min_size=4, max_size=12)
    )
    raws = []
    for (obj, own, mode, odd), other in chosen:
        text = json.dumps({**obj, "metadata": data.draw(st.sampled_from([own, other]))})
        if odd == "x":
            text = text.replace('"spec": {', '"spec": {"unheardOf": 1, ', 1)
        elif odd == "{":
            text = text.replace('"spec": {', '"spec": {"hostNetwork": false, "hostNetwork": false, ', 1)
        elif odd == " ":
            text = text.replace('"spec": {', '"spec": {}, "spec": {', 1)
        raws.append((text.encode(), mode))

    async def ask(cluster: Cluster) -> list[str]:
        return [await answer(cluster, raw, mode) for raw, mode in raws]

    remembering, without = both(ask)
    assert remembering == without


def test_what_admission_adds_to_a_seen_spec_is_completed_each_time() -> None:
    class Adding:
        async def admit(self, request: Request) -> None:
            spec = (request.obj or {}).get("spec")
            labels = request.obj["metadata"].get("labels") if request.obj else None
            if spec is not None and labels:
                spec["containers"].append({"name": labels["add"], "image": "busybox"})
                spec["containers"][0]["env"] = [{"name": "ADDED", "value": labels["add"]}]

        async def validate(self, request: Request) -> None:
            return

    def bodies() -> list[bytes]:
        found = []
        for number in range(12):
            obj = pod(f"web-{number}")
            if number % 2:
                obj["metadata"]["labels"] = {"add": f"side-{number % 3}"}
            found.append(json.dumps(obj).encode())
        return found

    async def ask(cluster: Cluster) -> list[str]:
        cluster.registry._writer.admission = Adding()
        return [await answer(cluster, raw, dry_run=False) for raw in bodies()]

    remembering, without = both(ask)
    assert remembering == without
    assert remembering[1].count("IfNotPresent") + remembering[1].count("Always") >= 2


def test_a_strategy_that_makes_the_spec_from_the_name_does_so_for_each_object() -> None:
    class Named(Strategy):
        def default(self, obj: dict[str, Any]) -> None:
            obj["spec"]["revisionHistoryLimit"] = len(obj["metadata"]["name"])

    async def ask(cluster: Cluster) -> list[int]:
        cluster.type("deployments", "apps").strategy = Named()
        made = [await cluster.create(workload("Deployment", "x" * number)) for number in (1, 2, 3, 4)]
        return [obj["spec"]["revisionHistoryLimit"] for obj in made]

    remembering, without = both(ask)
    assert remembering == without == [1, 2, 3, 4]


def test_only_what_comes_again_is_kept_and_never_too_much() -> None:
    async def ask(cluster: Cluster) -> None:
        table = cluster.registry._writer._specs.of(cluster.type("pods"))
        assert table is not None
        for number in range(3 * MOST):
            spec = {"containers": [{"name": "main", "image": f"image:{number}"}]}
            for again in range(2 if number >= MOST else 1):
                raw = json.dumps({**pod(f"p-{number}-{again}"), "spec": spec}).encode()
                await answer(cluster, raw, dry_run=False)
            if number < MOST:
                assert not table._bodies
        assert len(table._bodies) == len(table._completed) == len(table._valid) == MOST
        assert len(table._once) <= MOST

    both_ran = Cluster()

    async def go() -> None:
        await both_ran.store.start()
        await ask(both_ran)
        await both_ran.store.stop()

    asyncio.run(go())


def test_pods_of_one_template_share_nothing_that_could_be_changed() -> None:
    async def ask(cluster: Cluster) -> list[Any]:
        raw = [json.dumps(pod(f"web-{number}")).encode() for number in range(4)]
        for one in raw:
            await answer(cluster, one, dry_run=False)
        last = cluster.get("pods", "web-3")
        changed = thawed(last)
        changed["spec"]["containers"][0]["image"] = "other"
        await cluster.update(changed)
        return [cluster.get("pods", f"web-{number}")["spec"]["containers"][0]["image"] for number in range(4)]

    remembering, without = both(ask)
    assert remembering == without == ["nginx", "nginx", "nginx", "other"]


def test_unknown_and_repeated_fields_are_told_each_time() -> None:
    plain = json.dumps(pod("web"))
    odd = [
        plain.replace('"spec": {', '"spec": {"unheardOf": 1, '),
        plain.replace('"spec": {', '"spec": {"hostNetwork": false, "hostNetwork": false, '),
        plain.replace('"spec": {', '"spec": {}, "spec": {'),
        plain.replace('"metadata": {', '"metadata": {"unheardOf": 1, '),
        plain,
    ]

    async def ask(cluster: Cluster) -> list[str]:
        return [
            await answer(cluster, text.encode(), mode)
            for mode in ("Strict", "Warn")
            for _ in range(4)
            for text in odd
        ]

    remembering, without = both(ask)
    assert remembering == without
    assert [("unknown field" in told, "duplicate field" in told) for told in remembering[-5:]] == [
        (True, False),
        (False, True),
        (False, True),
        (True, False),
        (False, False),
    ]


def test_what_depends_on_the_pods_name_and_annotations_is_looked_at_each_time() -> None:
    template = {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}
    claimed = {"resourceClaims": [{"name": "gpu", "resourceClaimName": "gpu"}], "nodeName": "n"}
    specs: list[dict[str, Any]] = [
        {"volumes": [{"name": "data", "ephemeral": {"volumeClaimTemplate": template}}]},
        claimed,
        {"nodeName": "n"},
    ]
    mirror = {"annotations": {"kubernetes.io/config.mirror": "x"}}
    longest = "x" * 253
    raws = []
    for spec in specs:
        for name, more in (("a", {}), ("b", {}), ("c", {}), (longest, {}), ("d", mirror)):
            obj = pod(name, **spec)
            obj["metadata"].update(more)
            raws.append(json.dumps(obj).encode())

    async def ask(cluster: Cluster) -> list[str]:
        return [await answer(cluster, raw) for raw in raws]

    remembering, without = both(ask)
    assert remembering == without
    refused = ['"Failure"' in told for told in remembering]
    assert refused == [False] * 3 + [True] * 2 + [False] * 4 + [True] + [False] * 5

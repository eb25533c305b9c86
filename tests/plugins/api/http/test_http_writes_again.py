"""Writes whose header lines came before are not parsed and planned anew: nobody can tell."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Mapping
from typing import Any

import pytest
from http_harness import FLOW, PODS, RBAC, Raw, World, check, hookimpl, pod, run, serving

from kubernel.registry.attributes import Attributes, Decision
from kubernel.registry.request import Request
from kubernel_plugins.api.http.aio_server import HttpServer
from kubernel_plugins.api.http.heads import Heads

MERGE = {"Content-Type": "application/merge-patch+json"}


def server(world: World) -> HttpServer:
    found: HttpServer = world.plugin("api/http")._server
    return found


async def known(raw: Raw) -> None:
    """A write of each kind has come in the manner in which the test goes on."""
    for number in range(2):
        assert (await raw.request("POST", PODS, pod(f"known-{number}"))).status == 201
        assert (await raw.request("PATCH", f"{PODS}/known-{number}", label(number), MERGE)).status == 200
        assert (await raw.request("DELETE", f"{PODS}/known-{number}?gracePeriodSeconds=0")).status == 200


def label(value: int) -> dict[str, Any]:
    return {"metadata": {"labels": {"v": str(value)}}}


def written(name: str) -> bytes:
    body = json.dumps(pod(name)).encode()
    head = f"POST {PODS} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
    return f"{head}Content-Type: application/json\r\n\r\n".encode() + body


def test_a_write_in_a_known_manner_is_not_parsed(tmp_path: Any) -> None:
    async def main(world: World, raw: Raw) -> None:
        await known(raw)
        heads, heard = server(world).heads, []

        class Listening(Heads):
            def hear(self, data: bytes) -> Any:
                heard.append(heads.hear(data))
                return heard[-1]

        server(world).heads = Listening()
        assert (await raw.request("POST", PODS, pod("a"))).status == 201
        assert (await raw.request("POST", PODS, pod("a-longer-name"))).status == 201
        assert (await raw.request("PATCH", f"{PODS}/a", label(7), MERGE)).status == 200
        assert [(one.method, one.path) for one in heard] == [
            ("POST", PODS),
            ("POST", PODS),
            ("PATCH", f"{PODS}/a"),
        ]

    check(main, tmp_path)


def test_the_answers_are_the_same_but_for_their_audit_ids(tmp_path: Any) -> None:
    async def main(world: World, raw: Raw) -> None:
        first = await raw.request("POST", PODS, pod("a"))
        again = await raw.request("POST", PODS, pod("b"))
        third = await raw.request("POST", PODS, pod("c"))
        assert first.headers.keys() == again.headers.keys() == third.headers.keys()
        own = {"audit-id": "", "date": "", "content-length": ""}
        assert {**third.headers, **own} == {**first.headers, **own}
        assert len({one.headers["audit-id"] for one in (first, again, third)}) == 3
        assert [one.json["metadata"]["name"] for one in (first, again, third)] == ["a", "b", "c"]
        for _ in range(3):
            taken = await raw.request("POST", PODS, pod("a"))
            assert (taken.status, taken.json["reason"]) == (409, "AlreadyExists")

    check(main, tmp_path)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param({"Impersonate-User": "nobody-special"}, 403, id="impersonated"),
        pytest.param({"Impersonate-Group": "g"}, 400, id="half-impersonated"),
        pytest.param({"Accept": "text/html"}, 406, id="not-acceptable"),
        pytest.param({"Content-Type": "text/plain"}, 415, id="unknown-format"),
        pytest.param({"Content-Length": "3"}, 400, id="two-lengths"),
        pytest.param({"content-length": "3"}, 400, id="two-lengths-lower-case"),
        pytest.param({"CONTENT-LENGTH": "3"}, 400, id="two-lengths-upper-case"),
        pytest.param({"Transfer-Encoding": "chunked"}, 400, id="length-and-chunked"),
        pytest.param({"Accept": "application/json;as=Table;g=meta.k8s.io;v=v1"}, 201, id="table"),
        pytest.param({"Accept": "application/yaml"}, 201, id="yaml"),
    ],
)
def test_headers_count_each_time(tmp_path: Any, headers: dict[str, str], status: int) -> None:
    async def main(world: World, raw: Raw) -> None:
        await known(raw)
        for number in range(3):
            fresh = await Raw.open(world)
            assert (await fresh.request("POST", PODS, pod(f"f{number}"))).status == 201
            answer = await fresh.request("POST", PODS, pod(f"p{number}"), headers)
            assert answer.status == status, answer.body
            if status == 400 and "Impersonate-Group" not in headers:
                assert await fresh.closed() == b""
            await fresh.close()
        assert (await raw.request("POST", PODS, pod("last"))).status == 201

    check(main, tmp_path)


@pytest.mark.parametrize(
    "cuts",
    [
        pytest.param([], id="pipelined"),
        pytest.param([20], id="in-the-line"),
        pytest.param([80], id="in-the-headers"),
        pytest.param([-10], id="in-the-body"),
        pytest.param([len(written("p1")) + 5], id="with-the-next"),
        pytest.param([len(written("p1"))], id="one-by-one"),
    ],
)
def test_requests_are_answered_in_their_order_however_they_come(tmp_path: Any, cuts: list[int]) -> None:
    async def main(world: World, raw: Raw) -> None:
        for number in range(2):
            await raw.send(written(f"k{number}"))
            assert (await raw.answer()).status == 201
        sent = written("p1") + written("p2") + f"GET {PODS}/p1 HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        other = await Raw.open(world)
        at = 0
        for cut in [*(cut % len(sent) for cut in cuts), len(sent)]:
            await raw.send(sent[at:cut])
            # By the time of this answer the server has read what was sent before.
            assert (await other.request("GET", f"{PODS}/k0")).status == 200
            at = cut
        answers = [await raw.answer() for _ in range(3)]
        assert [(one.status, one.json["metadata"]["name"]) for one in answers] == [
            (201, "p1"),
            (201, "p2"),
            (200, "p1"),
        ]
        await raw.send(written("p3"))
        assert (await raw.answer()).status == 201

    check(main, tmp_path)


def test_close_is_honoured(tmp_path: Any) -> None:
    async def main(world: World, raw: Raw) -> None:
        await known(raw)
        assert (await raw.request("POST", PODS, pod("a"), {"Connection": "close"})).status == 201
        assert await raw.closed() == b""

    check(main, tmp_path)


def test_a_body_beyond_the_limit_is_refused(tmp_path: Any) -> None:
    async def main(world: World, raw: Raw) -> None:
        await known(raw)
        answer = await raw.request("POST", PODS, pod("a", padding="x" * (3 << 20)))
        assert (answer.status, answer.json["reason"]) == (413, "RequestEntityTooLarge")

    check(main, tmp_path)


class Doorman:
    """Lets a creation wait until the test says so."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.asked = asyncio.Event()

    @hookimpl
    def kubernel_admit(self, request: Request) -> Awaitable[None] | None:
        if request.name != "slow":
            return None
        self.asked.set()
        return self._wait()

    async def _wait(self) -> None:
        await self.open.wait()


@contextlib.asynccontextmanager
async def held_up(tmp_path: Any) -> AsyncIterator[tuple[Doorman, Raw, Raw]]:
    """Two connections, on the first of which a known write waits at the doorman's."""
    doorman = Doorman()
    async with serving(tmp_path, extra=[("admission/doorman", doorman)]) as world:
        raw, other = await Raw.open(world), await Raw.open(world)
        await known(raw)
        await raw.send(written("a"))
        assert (await raw.answer()).status == 201
        await raw.send(written("slow"))
        await doorman.asked.wait()
        yield doorman, raw, other


def test_what_comes_while_a_write_waits_is_answered_after_it(tmp_path: Any) -> None:
    async def main() -> None:
        async with held_up(tmp_path) as (doorman, raw, other):
            await raw.send(written("b") + written("c"))
            assert (await other.request("GET", f"{PODS}/a")).status == 200
            doorman.open.set()
            assert [(await raw.answer()).json["metadata"]["name"] for _ in range(3)] == ["slow", "b", "c"]

    run(main())


def test_what_is_being_written_is_written_though_its_client_has_gone(tmp_path: Any) -> None:
    async def main() -> None:
        async with held_up(tmp_path) as (doorman, raw, other):
            await raw.close()
            doorman.open.set()
            async with asyncio.timeout(10):
                while (await other.request("GET", f"{PODS}/slow")).status != 200:
                    await asyncio.sleep(0)

    run(main())


def test_a_server_that_stops_answers_the_write_it_is_at(tmp_path: Any) -> None:
    async def main() -> None:
        doorman = Doorman()
        async with serving(tmp_path, extra=[("admission/doorman", doorman)]) as world:
            raw = await Raw.open(world)
            await known(raw)
            await raw.send(written("a"))
            assert (await raw.answer()).status == 201
            await raw.send(written("slow"))
            await doorman.asked.wait()
            stopping = asyncio.ensure_future(server(world).close(10))
            await asyncio.sleep(0)
            doorman.open.set()
            assert (await raw.answer()).status == 201
            assert await raw.closed() == b""
            await stopping

    run(main())


RBAC_V1 = f"/apis/{RBAC}/v1"


async def allow(admin: Raw, rule: Mapping[str, Any]) -> None:
    """User ``dev`` may what ``rule`` says in the namespace ``default``."""
    where = f"{RBAC_V1}/namespaces/default"
    role = {"apiVersion": f"{RBAC}/v1", "kind": "Role", "metadata": {"name": "r"}, "rules": [rule]}
    binding = {
        "apiVersion": f"{RBAC}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "r"},
        "roleRef": {"apiGroup": RBAC, "kind": "Role", "name": "r"},
        "subjects": [{"apiGroup": RBAC, "kind": "User", "name": "dev"}],
    }
    assert (await admin.request("POST", f"{where}/roles", role)).status == 201
    assert (await admin.request("POST", f"{where}/rolebindings", binding)).status == 201


async def until(raw: Raw, path: str, status: int) -> None:
    async with asyncio.timeout(10):
        while (await raw.request("PATCH", path, label(0), MERGE)).status != status:
            await asyncio.sleep(0)


async def patched(raw: Raw, name: str) -> list[int]:
    return [(await raw.request("PATCH", f"{PODS}/{name}", label(value), MERGE)).status for value in (1, 2, 3)]


WRITE = {"apiGroups": [""], "resources": ["pods"], "verbs": ["patch"]}


def test_who_may_no_longer_write_is_refused_from_then_on(tmp_path: Any) -> None:
    async def main(world: World, raw: Raw) -> None:
        assert (await raw.request("POST", PODS, pod("a"))).status == 201
        await allow(raw, WRITE)
        dev = await Raw.open(world, world.context(user=("dev", ())))
        await until(dev, f"{PODS}/a", 200)
        assert await patched(dev, "a") == [200] * 3
        gone = await raw.request("DELETE", f"{RBAC_V1}/namespaces/default/rolebindings/r")
        assert gone.status == 200
        await until(dev, f"{PODS}/a", 403)
        assert await patched(dev, "a") == [403] * 3
        assert await patched(raw, "a") == [200] * 3

    check(main, tmp_path)


def test_a_right_to_write_one_name_is_none_to_another(tmp_path: Any) -> None:
    async def main(world: World, raw: Raw) -> None:
        for name in ("a", "b"):
            assert (await raw.request("POST", PODS, pod(name))).status == 201
        await allow(raw, {**WRITE, "resourceNames": ["a"]})
        dev = await Raw.open(world, world.context(user=("dev", ())))
        await until(dev, f"{PODS}/a", 200)
        assert await patched(dev, "a") + await patched(dev, "b") == [200] * 3 + [403] * 3

    check(main, tmp_path)


def test_an_authorizer_that_does_not_say_how_long_its_answer_holds_is_asked_each_time(tmp_path: Any) -> None:
    class Moody:
        allows = True

        @hookimpl
        def kubernel_authorize(self, attributes: Attributes) -> Decision | None:
            return Decision(self.allows) if attributes.user.name == "dev" else None

    moody = Moody()

    async def main(world: World, raw: Raw) -> None:
        assert (await raw.request("POST", PODS, pod("a"))).status == 201
        dev = await Raw.open(world, world.context(user=("dev", ())))
        assert await patched(dev, "a") == [200] * 3
        moody.allows = False
        assert await patched(dev, "a") == [403] * 3
        moody.allows = True
        assert await patched(dev, "a") == [200] * 3

    check(main, tmp_path, extra=[("auth/moody", moody)])


def test_a_type_that_is_served_no_more_is_not_found(tmp_path: Any) -> None:
    async def main(world: World, raw: Raw) -> None:
        await known(raw)
        type = world.registry.lookup("", "v1", "pods")
        assert type is not None
        world.registry.unregister(type)
        assert [(await raw.request("POST", PODS, pod("a"))).status for _ in range(3)] == [404] * 3

    check(main, tmp_path)


def test_each_answer_tells_the_flow_schema_of_its_time(tmp_path: Any) -> None:
    subject = {"kind": "User", "user": {"name": "dev"}}
    rule = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"]}
    schema = {
        "apiVersion": f"{FLOW}/v1",
        "kind": "FlowSchema",
        "metadata": {"name": "mine"},
        "spec": {
            "matchingPrecedence": 1,
            "priorityLevelConfiguration": {"name": "catch-all"},
            "rules": [{"subjects": [subject], "resourceRules": [rule]}],
        },
    }

    async def main(world: World, raw: Raw) -> None:
        assert (await raw.request("POST", PODS, pod("a"))).status == 201
        await allow(raw, WRITE)
        dev = await Raw.open(world, world.context(user=("dev", ())))
        await until(dev, f"{PODS}/a", 200)

        async def uid() -> str:
            answer = await dev.request("PATCH", f"{PODS}/a", label(1), MERGE)
            return answer.headers["x-kubernetes-pf-flowschema-uid"]

        before = [await uid() for _ in range(3)]
        assert len(set(before)) == 1
        made = await raw.request("POST", f"/apis/{FLOW}/v1/flowschemas", schema)
        assert made.status == 201
        async with asyncio.timeout(10):
            while await uid() == before[0]:
                await asyncio.sleep(0)
        assert [await uid() for _ in range(3)] == [made.json["metadata"]["uid"]] * 3

    check(main, tmp_path)


def test_each_write_is_audited_alike(tmp_path: Any) -> None:
    class Book:
        def __init__(self) -> None:
            self.events: list[Mapping[str, Any]] = []

        @hookimpl
        def kubernel_audit(self, event: Mapping[str, Any]) -> None:
            self.events.append(event)

    book = Book()

    async def main(world: World, raw: Raw) -> None:
        for name in ("a", "b", "c"):
            assert (await raw.request("POST", PODS, pod(name))).status == 201
            assert (await raw.request("PATCH", f"{PODS}/{name}", label(1), MERGE)).status == 200
        for verb in ("create", "patch"):
            told = [event for event in book.events if event["verb"] == verb]
            assert [event["objectRef"]["name"] for event in told] == ["a", "b", "c"]
            assert len({event["auditID"] for event in told}) == 3
            assert len({tuple(sorted(event)) for event in told}) == 1
            assert len({json.dumps(event["annotations"], sort_keys=True) for event in told}) == 1
            for event in told:
                assert event["responseStatus"]["code"] == (201 if verb == "create" else 200)
                assert event["sourceIPs"] == ["127.0.0.1"]

    check(main, tmp_path, extra=[("audit/book", book)])

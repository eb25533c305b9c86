"""Objects asked for again and again on one connection are answered without a task each: nobody can tell."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from http_harness import FLOW, PODS, RBAC, Raw, World, check, hookimpl, pod

from kubernel.registry.attributes import Attributes, Decision

GET = f"GET {PODS}/a HTTP/1.1\r\nHost: localhost\r\n"


async def prepared(raw: Raw) -> None:
    """The pod is there, and the connection has had its first requests."""
    assert (await raw.request("POST", PODS, pod("a"))).status == 201
    assert (await raw.request("GET", f"{PODS}/a")).status == 200


def test_the_answer_is_the_same_but_for_its_audit_id(tmp_path: Any) -> None:
    async def main(world: World, raw: Raw) -> None:
        await prepared(raw)
        fresh = await Raw.open(world)
        first, again = await fresh.request("GET", f"{PODS}/a"), await raw.request("GET", f"{PODS}/a")
        assert again.body == first.body
        assert {**again.headers, "audit-id": "", "date": ""} == {**first.headers, "audit-id": "", "date": ""}
        assert again.headers["audit-id"] != first.headers["audit-id"]
        await fresh.close()

    check(main, tmp_path)


def test_every_change_is_seen_and_counted(tmp_path: Any) -> None:
    async def main(world: World, raw: Raw) -> None:
        await prepared(raw)
        other = await Raw.open(world)
        for value in ("1", "2"):
            patch = {"metadata": {"labels": {"v": value}}}
            kind = {"Content-Type": "application/merge-patch+json"}
            assert (await other.request("PATCH", f"{PODS}/a", patch, kind)).status == 200
            assert (await raw.request("GET", f"{PODS}/a")).json["metadata"]["labels"]["v"] == value
        assert (await other.request("DELETE", f"{PODS}/a?gracePeriodSeconds=0")).status == 200
        assert (await raw.request("GET", f"{PODS}/a")).json["reason"] == "NotFound"
        metrics = (await raw.request("GET", "/metrics")).body.decode()
        counted = 'apiserver_request_total{verb="get",group="",version="v1",resource="pods",code="200"} 3'
        assert counted in metrics
        await other.close()

    check(main, tmp_path)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param({"Authorization": "Bearer nonsense"}, 200, id="token-beside-a-certificate"),
        pytest.param({"Impersonate-User": "nobody-special"}, 403, id="impersonated"),
        pytest.param({"impersonate-user": "nobody-special"}, 403, id="impersonated-lower-case"),
        pytest.param({"Impersonate-Group": "g"}, 400, id="half-impersonated"),
        pytest.param({"Accept": "text/html"}, 406, id="not-acceptable"),
    ],
)
def test_headers_count_on_a_known_connection(tmp_path: Any, headers: dict[str, str], status: int) -> None:
    async def main(world: World, raw: Raw) -> None:
        await prepared(raw)
        fresh = await Raw.open(world)
        first = await fresh.request("GET", f"{PODS}/a", headers=headers)
        again = await raw.request("GET", f"{PODS}/a", headers=headers)
        assert (again.status, again.body) == (status, first.body)
        await fresh.close()
        assert (await raw.request("GET", f"{PODS}/a")).status == 200

    check(main, tmp_path)


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param([GET + "\r\n" + GET + "\r\n"], id="pipelined"),
        pytest.param([GET[:20], GET[20:] + "\r\n", GET + "\r", "\n"], id="cut"),
        pytest.param([GET + "Content-Length: 2\r\n\r\nhi", GET + "\r\n"], id="with-body"),
        pytest.param([GET + "Content-Length: 2\r\n\r\n", "hi" + GET + "\r\n"], id="body-later"),
        pytest.param([GET + "\r\n", f"GET {PODS} HTTP/1.1\r\nHost: localhost\r\n\r\n"], id="then-a-list"),
        pytest.param([f"GET {PODS} HTTP/1.1\r\nHost: localhost\r\n\r\n" + GET + "\r\n"], id="after-a-list"),
    ],
)
def test_requests_are_answered_in_their_order_however_they_come(tmp_path: Any, pieces: list[str]) -> None:
    async def main(world: World, raw: Raw) -> None:
        await prepared(raw)
        for piece in pieces:
            await raw.send(piece.encode())
        kinds = [(await raw.answer()).json["kind"] for _ in range(2)]
        text = "".join(pieces)
        lists = text.find(f"GET {PODS} ")
        assert kinds == (["Pod", "Pod"] if lists < 0 else ["Pod", "PodList"] if lists else ["PodList", "Pod"])
        assert (await raw.request("GET", f"{PODS}/a")).status == 200

    check(main, tmp_path)


def test_a_malformed_request_on_a_known_connection_ends_it(tmp_path: Any) -> None:
    async def main(world: World, raw: Raw) -> None:
        await prepared(raw)
        await raw.send(GET.encode() + b"bad header\r\n\r\n")
        assert (await raw.answer()).status == 400
        assert await raw.closed() == b""

    check(main, tmp_path)


def test_close_is_honoured_on_a_known_connection(tmp_path: Any) -> None:
    async def main(world: World, raw: Raw) -> None:
        await prepared(raw)
        await raw.send(GET.encode() + b"Connection: close\r\n\r\n")
        assert (await raw.answer()).status == 200
        assert await raw.closed() == b""

    check(main, tmp_path)


RBAC_V1 = f"/apis/{RBAC}/v1"


async def allow(admin: Raw, rule: dict[str, Any], name: str = "reading") -> None:
    """User ``dev`` may what ``rule`` says in the namespace ``default``."""
    where = f"{RBAC_V1}/namespaces/default"
    role = {"apiVersion": f"{RBAC}/v1", "kind": "Role", "metadata": {"name": name}, "rules": [rule]}
    binding = {
        "apiVersion": f"{RBAC}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": RBAC, "kind": "Role", "name": name},
        "subjects": [{"apiGroup": RBAC, "kind": "User", "name": "dev"}],
    }
    assert (await admin.request("POST", f"{where}/roles", role)).status == 201
    assert (await admin.request("POST", f"{where}/rolebindings", binding)).status == 201


async def statuses(raw: Raw, *paths: str) -> list[int]:
    """Of a GET of each path, three times: parsed, answered at once, and heard again."""
    return [(await raw.request("GET", path)).status for path in paths for _ in range(3)]


async def until(raw: Raw, path: str, status: int) -> None:
    """The roles are heard of by a watch."""
    async with asyncio.timeout(10):
        while (await raw.request("GET", path)).status != status:
            await asyncio.sleep(0)


READ = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}


def test_who_may_no_longer_read_is_refused_from_then_on(tmp_path: Any) -> None:
    async def main(world: World, raw: Raw) -> None:
        await prepared(raw)
        await allow(raw, READ)
        dev = await Raw.open(world, world.context(user=("dev", ())))
        await until(dev, f"{PODS}/a", 200)
        assert await statuses(dev, f"{PODS}/a") == [200] * 3
        gone = await raw.request("DELETE", f"{RBAC_V1}/namespaces/default/rolebindings/reading")
        assert gone.status == 200
        await until(dev, f"{PODS}/a", 403)
        assert await statuses(dev, f"{PODS}/a") == [403] * 3
        assert await statuses(raw, f"{PODS}/a") == [200] * 3
        await allow(raw, READ, "again")
        await until(dev, f"{PODS}/a", 200)

    check(main, tmp_path)


def test_a_right_to_one_name_is_none_to_another(tmp_path: Any) -> None:
    async def main(world: World, raw: Raw) -> None:
        await prepared(raw)
        assert (await raw.request("POST", PODS, pod("b"))).status == 201
        await allow(raw, {**READ, "resourceNames": ["a"]})
        dev = await Raw.open(world, world.context(user=("dev", ())))
        await until(dev, f"{PODS}/a", 200)
        assert await statuses(dev, f"{PODS}/a", f"{PODS}/b") == [200] * 3 + [403] * 3
        assert await statuses(raw, f"{PODS}/a", f"{PODS}/b") == [200] * 6

    check(main, tmp_path)


def test_an_authorizer_that_does_not_say_how_long_its_answer_holds_is_asked_each_time(tmp_path: Any) -> None:
    class Moody:
        allows = True

        @hookimpl
        def kubernel_authorize(self, attributes: Attributes) -> Decision | None:
            return Decision(self.allows) if attributes.user.name == "dev" else None

    moody = Moody()

    async def main(world: World, raw: Raw) -> None:
        await prepared(raw)
        dev = await Raw.open(world, world.context(user=("dev", ())))
        assert await statuses(dev, f"{PODS}/a") == [200] * 3
        moody.allows = False
        assert await statuses(dev, f"{PODS}/a") == [403] * 3
        moody.allows = True
        assert await statuses(dev, f"{PODS}/a") == [200] * 3

    check(main, tmp_path, extra=[("auth/moody", moody)])


def test_a_type_that_is_served_no_more_is_not_found(tmp_path: Any) -> None:
    async def main(world: World, raw: Raw) -> None:
        await prepared(raw)
        assert await statuses(raw, f"{PODS}/a") == [200] * 3
        type = world.registry.lookup("", "v1", "pods")
        assert type is not None
        world.registry.unregister(type)
        assert await statuses(raw, f"{PODS}/a") == [404] * 3

    check(main, tmp_path)


def test_each_answer_tells_the_flow_schema_of_its_time(tmp_path: Any) -> None:
    schema = {
        "apiVersion": f"{FLOW}/v1",
        "kind": "FlowSchema",
        "metadata": {"name": "mine"},
        "spec": {
            "matchingPrecedence": 1,
            "priorityLevelConfiguration": {"name": "catch-all"},
            "rules": [
                {
                    "subjects": [{"kind": "User", "user": {"name": "dev"}}],
                    "resourceRules": [
                        {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"]}
                    ],
                }
            ],
        },
    }

    async def main(world: World, raw: Raw) -> None:
        await prepared(raw)
        await allow(raw, READ)
        dev = await Raw.open(world, world.context(user=("dev", ())))
        await until(dev, f"{PODS}/a", 200)

        async def uid() -> str:
            answer = await dev.request("GET", f"{PODS}/a")
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


def test_a_known_request_inside_another_is_not_taken_for_one(tmp_path: Any) -> None:
    known = (GET + "\r\n").encode()

    async def main(world: World, raw: Raw) -> None:
        await prepared(raw)
        for _ in range(3):
            await raw.send(known)
            assert (await raw.answer()).status == 200
        other = await Raw.open(world)
        for begun, status in (
            (f"PUT {PODS}/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(known)}\r\n\r\n", 400),
            (f"GET {PODS}/a HTTP/1.1\r\nX-Rest: ", 200),
            (f"GET {PODS}/b HTTP/1.1\r\nX-Rest: ", 404),
        ):
            await raw.send(begun.encode())
            # By the time of this answer the server has read what was sent before.
            assert (await other.request("GET", f"{PODS}/a")).status == 200
            await raw.send(known)
            assert (await raw.answer()).status == status
            await raw.send(known)
            assert (await raw.answer()).json["metadata"]["name"] == "a"

    check(main, tmp_path)

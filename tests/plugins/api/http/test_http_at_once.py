"""Objects asked for again and again on one connection are answered without a task each: nobody can tell."""

from __future__ import annotations

from typing import Any

import pytest
from http_harness import PODS, Raw, World, check, pod

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

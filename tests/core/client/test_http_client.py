"""The HTTP client against a server that says exactly what a test wants, on a real socket."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from aiohttp import web
from fake_api import run, settle

from kubernel.client.http import HttpClient
from kubernel.client.kubeconfig import Access, load_kubeconfig
from kubernel.clock import VirtualClock
from kubernel.errors import (
    ConfigError,
    Conflict,
    Expired,
    Invalid,
    NotFound,
    ServiceUnavailable,
    TooManyRequests,
)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """Answers with ``answers`` in turn; keeps what was asked in ``asked``."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, str, Any, Any]] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.asked.append(
            (
                request.method,
                request.path_qs,
                orjson.loads(body) if body else None,
                request.headers,
            )
        )
        answer = self.answers.pop(0)
        if callable(answer):
            return await answer(request)  # type: ignore[no-any-return]
        code, document, headers = (*answer, {})[:3]
        return web.Response(
            status=code, body=orjson.dumps(document), headers=headers, content_type="application/json"
        )


def served(server: Server, check: Callable[[HttpClient], Awaitable[None]], **access: Any) -> None:
    async def body() -> None:
        runner = web.ServerRunner(web.Server(server.handle), shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        clock = access.pop("clock", None)
        client = HttpClient(Access(f"http://{host}:{port}", **access), clock, field_manager="tester")
        try:
            await check(client)
        finally:
            await client.close()
            await runner.cleanup()

    run(body())


def status(code: int, reason: str, **more: Any) -> tuple[int, dict[str, Any]]:
    return code, {
        "kind": "Status",
        "status": "Failure",
        "code": code,
        "reason": reason,
        "message": reason,
        **more,
    }


def test_paths_queries_and_bodies_are_those_of_the_api() -> None:
    server = Server(*[(200, {"kind": "X", "items": []})] * 10)

    async def check(client: HttpClient) -> None:
        await client.get("pods", "a", "shop")
        await client.get("nodes.v1", "n 1")
        await client.list("deployments.v1.apps", labels="app=web,tier!=x", fields="metadata.name=a", limit=5)
        await client.create("pods", {"metadata": {"name": "a", "namespace": "shop"}})
        await client.create("pods", {"kind": "Binding"}, "shop", name="a", subresource="binding")
        metadata = {"name": "d", "namespace": "shop", "resourceVersion": "4"}
        await client.update("deployments.v1.apps", {"metadata": metadata}, subresource="status")
        await client.patch("pods", "a", [{"op": "remove"}], "shop", type="json")
        await client.patch("pods", "a", {}, "shop", type="apply", field_manager="me", force=True)
        await client.delete("pods", "a", "shop", grace_period=0, propagation="Orphan", uid="u")
        await client.delete_collection("pods", "shop", labels="a=b")

    served(server, check, token="secret")
    asked = [(method, path) for method, path, _, _ in server.asked]
    assert asked == [
        ("GET", "/api/v1/namespaces/shop/pods/a"),
        ("GET", "/api/v1/nodes/n%201"),
        (
            "GET",
            "/apis/apps/v1/deployments?labelSelector=app%3Dweb,tier!%3Dx&fieldSelector=metadata.name%3Da&limit=5",
        ),
        ("POST", "/api/v1/namespaces/shop/pods?fieldManager=tester"),
        ("POST", "/api/v1/namespaces/shop/pods/a/binding?fieldManager=tester"),
        ("PUT", "/apis/apps/v1/namespaces/shop/deployments/d/status?fieldManager=tester"),
        ("PATCH", "/api/v1/namespaces/shop/pods/a?fieldManager=tester"),
        ("PATCH", "/api/v1/namespaces/shop/pods/a?fieldManager=me&force=true"),
        ("DELETE", "/api/v1/namespaces/shop/pods/a"),
        ("DELETE", "/api/v1/namespaces/shop/pods?labelSelector=a%3Db"),
    ]
    types = [headers.get("Content-Type") for _, _, _, headers in server.asked]
    assert types[6:8] == ["application/json-patch+json", "application/apply-patch+yaml"]
    assert server.asked[8][2] == {
        "kind": "DeleteOptions",
        "apiVersion": "v1",
        "gracePeriodSeconds": 0,
        "propagationPolicy": "Orphan",
        "preconditions": {"uid": "u"},
    }
    assert {headers["Authorization"] for _, _, _, headers in server.asked} == {"Bearer secret"}


def test_items_of_a_list_say_what_they_are() -> None:
    page = {
        "kind": "PodList",
        "apiVersion": "v1",
        "metadata": {"resourceVersion": "7", "continue": "more"},
        "items": [{"metadata": {"name": "a"}}],
    }

    async def check(client: HttpClient) -> None:
        found = await client.list("pods")
        assert found.items == [{"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "a"}}]
        assert (found.resource_version, found.continue_token) == ("7", "more")

    served(Server((200, page)), check)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param(status(404, "NotFound"), NotFound, id="not-found"),
        pytest.param(status(409, "Conflict"), Conflict, id="conflict"),
        pytest.param(status(422, "Invalid"), Invalid, id="invalid"),
        pytest.param((503, "a proxy's page"), ServiceUnavailable, id="no-status"),
    ],
)
def test_refusals_come_as_their_errors(answer: Any, expected: type[Exception]) -> None:
    async def check(client: HttpClient) -> None:
        with pytest.raises(expected):
            await client.get("pods", "a", "shop")

    served(Server(answer), check)


def test_a_busy_server_is_asked_again_when_it_says() -> None:
    clock = VirtualClock()
    busy = (*status(429, "TooManyRequests"), {"Retry-After": "7"})
    server = Server(busy, busy, (200, {"kind": "Pod"}))

    async def check(client: HttpClient) -> None:
        task = asyncio.create_task(client.get("pods", "a", "shop"))
        while len(server.asked) < 3 and not task.done():
            await asyncio.sleep(0.005)
            await clock.advance(1, settle)
        assert await task == {"kind": "Pod"}
        assert clock.monotonic() >= 12

    served(server, check, clock=clock)


def test_a_refusal_without_a_time_to_retry_is_final() -> None:
    async def check(client: HttpClient) -> None:
        with pytest.raises(TooManyRequests):
            await client.create("pods", {}, "shop", name="a", subresource="eviction")

    served(Server(status(429, "TooManyRequests")), check)


def test_a_server_that_is_not_there_is_unavailable() -> None:
    async def check() -> None:
        client = HttpClient(Access("http://127.0.0.1:1"))
        with pytest.raises(ServiceUnavailable):
            await client.get("pods", "a", "shop")
        await client.close()

    run(check())


def watch_of(*events: Any, cut: int = 0) -> Handler:
    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        data = b"".join(orjson.dumps(event) + b"\n" for event in events)
        for start in range(0, len(data), cut or len(data) or 1):
            await response.write(data[start : start + (cut or len(data))])
            await asyncio.sleep(0)
        return response

    return stream


def pod(name: str, version: str, **more: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "shop", "uid": name, "resourceVersion": version}, **more}


def test_watch_events_of_any_size_arrive_whole_and_bookmarks_are_left_out() -> None:
    big = pod("big", "3", data="x" * 300_000)
    server = Server(
        watch_of(
            {"type": "ADDED", "object": pod("a", "2")},
            {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "9"}}},
            {"type": "MODIFIED", "object": big},
            cut=10_007,
        )
    )

    async def check(client: HttpClient) -> None:
        got = [item async for item in client.watch("pods", "shop", resource_version="1")]
        assert got == [("ADDED", pod("a", "2")), ("MODIFIED", big)]

    served(server, check)
    assert (
        server.asked[0][1] == "/api/v1/namespaces/shop/pods?watch=true&timeoutSeconds=300&resourceVersion=1"
    )


def test_an_expired_watch_says_so() -> None:
    gone = {"type": "ERROR", "object": status(410, "Expired")[1]}

    async def check(client: HttpClient) -> None:
        with pytest.raises(Expired):
            async for _ in client.watch("pods", resource_version="1"):
                pass
        with pytest.raises(Expired):
            async for _ in client.watch("pods", resource_version="1"):
                pass

    served(Server(watch_of(gone), status(410, "Expired")), check)


def test_an_informer_over_http_resumes_and_lists_again() -> None:
    def page(version: str, *items: Any) -> tuple[int, Any]:
        return 200, {
            "kind": "PodList",
            "apiVersion": "v1",
            "metadata": {"resourceVersion": version},
            "items": list(items),
        }

    forever = asyncio.Event

    async def hang(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await forever().wait()
        return response

    server = Server(
        page("1", pod("a", "1")),
        watch_of({"type": "ADDED", "object": pod("b", "2")}),
        status(410, "Expired"),
        page("5", pod("b", "2"), pod("c", "4")),
        hang,
    )

    async def check(client: HttpClient) -> None:
        informer = client.informer("pods")
        await informer.synced()
        while len(server.asked) < 5:
            await asyncio.sleep(0.01)
        assert [obj["metadata"]["name"] for obj in informer.list()] == ["b", "c"]
        assert [path.partition("?")[2] for _, path, _, _ in server.asked] == [
            "",
            "watch=true&timeoutSeconds=300&resourceVersion=1",
            "watch=true&timeoutSeconds=300&resourceVersion=2",
            "",
            "watch=true&timeoutSeconds=300&resourceVersion=5",
        ]

    served(server, check)


def kubeconfig(tmp_path: Path, **changes: Any) -> Path:
    user = {"token": "t", **changes.pop("user", {})}
    cluster = {
        "server": "https://127.0.0.1:6443/",
        "certificate-authority-data": base64.b64encode(b"CA").decode(),
        **changes.pop("cluster", {}),
    }
    document = {
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u", "namespace": "shop"}}],
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": user}],
        **changes,
    }
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(document))
    return path


def test_a_kubeconfig_gives_server_and_credentials(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_bytes(b"KEY")
    access = load_kubeconfig(kubeconfig(tmp_path, user={"client-key": "key.pem"}))
    assert access.url == "https://127.0.0.1:6443"
    assert (access.ca, access.key, access.token) == (b"CA", b"KEY", "t")
    assert access.namespace == "shop"
    assert "KEY" not in repr(access)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        pytest.param({"current-context": "there"}, 'no context named "there"; there is: here', id="context"),
        pytest.param({"users": []}, 'no user named "u"; there is: none', id="user"),
        pytest.param({"user": {"exec": {"command": "x"}}}, "exec is not supported", id="exec"),
        pytest.param({"cluster": {"server": ""}}, "names no server", id="server"),
        pytest.param(
            {"cluster": {"certificate-authority-data": "%"}}, "certificate-authority-data is not", id="base64"
        ),
        pytest.param({"user": {"client-key": "missing.pem"}}, "No such file", id="file"),
    ],
)
def test_a_kubeconfig_that_is_wrong_says_where(tmp_path: Path, changes: Any, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as caught:
        load_kubeconfig(kubeconfig(tmp_path, **changes))
    assert str(tmp_path) in str(caught.value)

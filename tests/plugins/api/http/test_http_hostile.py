"""What clients must not get away with: the server answers clearly, keeps serving, and loses nothing."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import socket
import ssl
import warnings
from typing import Any

import pytest
from http_harness import PODS, Raw, World, check, pod, run, serving
from test_http_streams import NodePlugin, Socket, placed

from kubernel.clock import VirtualClock
from kubernel.errors import PluginError
from kubernel_plugins.api import http
from kubernel_plugins.api.http.aio_server import HttpServer
from kubernel_plugins.api.http.aio_streams import Turns
from kubernel_plugins.api.http.limits import Limits

HEAD = f"POST {PODS} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


async def still_serves(world: World) -> None:
    raw = await Raw.open(world)
    assert (await raw.request("GET", "/version")).status == 200
    await raw.close()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        pytest.param(b"{", "json parse error", id="cut-short"),
        pytest.param(b'{"kind":"Pod"} x', "json parse error", id="trailing"),
        pytest.param(b'{"kind":"\xff"}', "json parse error", id="not-utf8"),
        pytest.param(b"[]", "json: cannot unmarshal array into Go value of type struct {", id="array"),
        pytest.param(b'"x"', "json: cannot unmarshal string into Go value of type struct {", id="string"),
        pytest.param(
            b'{"kind":3}', "json: cannot unmarshal number into Go struct field .kind of type", id="kind"
        ),
        pytest.param(b"", "json parse error", id="empty"),
        pytest.param(
            b'{"kind":"Pod","apiVersion":"v2"}', 'no kind "Pod" is registered for version "v2"', id="version"
        ),
        pytest.param(b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "levels deep", id="deep"),
        pytest.param(b"[" * 250 + b"]" * 250, "levels deep", id="deep-enough"),
    ],
)
def test_bad_json_is_refused(tmp_path: Any, body: bytes, words: str) -> None:
    async def main(world: World, raw: Raw) -> None:
        answer = await raw.request("POST", PODS, body)
        assert (answer.status, answer.json["reason"]) == (400, "BadRequest"), answer.body
        assert words in answer.json["message"]
        await still_serves(world)

    check(main, tmp_path)


BOMB = b"a: &a [x,x,x,x,x,x,x,x,x,x]\n" + b"".join(
    b"%c: &%c [%b]\n" % (98 + n, 98 + n, b",".join([b"*%c" % (97 + n)] * 10)) for n in range(9)
)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        pytest.param(BOMB, "excessive aliasing", id="alias-bomb"),
        pytest.param(b"a: &a [*a]", "anchor", id="cyclic-alias"),
        pytest.param(b"[" * 100_000, "levels deep", id="deep-flow"),
        pytest.param(b"- " * 100_000 + b"x", "levels deep", id="deep-block"),
        pytest.param(
            b"a: !!python/object/apply:os.system [ls]", "could not determine a constructor", id="python-tag"
        ),
        pytest.param(b"a: [", "yaml", id="cut-short"),
    ],
)
def test_bad_yaml_is_refused(tmp_path: Any, body: bytes, words: str) -> None:
    async def main(world: World, raw: Raw) -> None:
        answer = await raw.request("POST", PODS, body, {"Content-Type": "application/yaml"})
        assert answer.status == 400, answer.body
        assert words in answer.json["message"]
        await still_serves(world)

    check(main, tmp_path)


def test_repeated_yaml_keys_are_told(tmp_path: Any) -> None:
    async def main(world: World, raw: Raw) -> None:
        text = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  x: '1'\n  x: '2'\n"
        where = "/api/v1/namespaces/default/configmaps"
        headers = {"Content-Type": "application/yaml"}
        strict = await raw.request("POST", f"{where}?fieldValidation=Strict", text, headers)
        assert strict.status == 400
        assert 'line 6: key "x" already set in map' in strict.json["message"]
        warned = await raw.request("POST", where, text, headers)
        assert warned.status == 201
        assert warned.headers["warning"] == '299 - "line 6: key \\"x\\" already set in map"'

    check(main, tmp_path)


def test_oversized_body_is_refused_before_it_is_read(tmp_path: Any) -> None:
    async def main(world: World, raw: Raw) -> None:
        await raw.send(f"{HEAD}Content-Length: 4000000\r\n\r\n".encode())
        answer = await raw.answer()
        assert (answer.status, answer.json["reason"]) == (413, "RequestEntityTooLarge")
        assert answer.headers["connection"] == "close"
        await still_serves(world)

    check(main, tmp_path)


def test_oversized_chunked_body_is_refused(tmp_path: Any) -> None:
    async def main(world: World, raw: Raw) -> None:
        await raw.send(f"{HEAD}Transfer-Encoding: chunked\r\n\r\n".encode())
        chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
        for _ in range(4):
            await raw.send(chunk)
        assert (await raw.answer()).status == 413
        await still_serves(world)

    check(main, tmp_path)


def test_nothing_waits_for_the_body_of_a_client_that_was_refused_and_has_gone(tmp_path: Any) -> None:
    def reading() -> int:
        return sum("RequestHandler.start" in repr(task.get_coro()) for task in asyncio.all_tasks())

    async def main(world: World, raw: Raw) -> None:
        assert (await raw.request("GET", "/version")).status == 200
        before = reading()
        other = await Raw.open(world)
        await other.send(f"{HEAD}Content-Length: 4000000\r\n\r\n".encode())
        assert (await other.answer()).status == 413
        assert reading() == before + 1
        await other.close()
        for _ in range(3):
            assert (await raw.request("GET", "/version")).status == 200
        assert reading() == before

    check(main, tmp_path)


def test_a_body_that_nobody_wants_is_not_read_for_long(tmp_path: Any) -> None:
    async def main(world: World, raw: Raw) -> None:
        size = 1 << 30
        await raw.send(f"{HEAD}Content-Length: {size}\r\n\r\n".encode())
        assert (await raw.answer()).status == 413
        sent = 0
        while not raw.writer.is_closing():
            raw.writer.write(b" " * 65536)
            with contextlib.suppress(ConnectionError):
                await raw.writer.drain()
                sent += 65536
        # What was read, and what the systems of both sides keep.
        assert sent < 16 * 1024 * 1024
        await still_serves(world)

    check(main, tmp_path)


def test_many_streams_send_so_much_in_one_turn_and_others_have_theirs_between() -> None:
    async def main() -> None:
        turns = Turns()
        sent, most, last = 0, 0, 0

        async def stream() -> None:
            nonlocal sent
            for _ in range(3):
                if not turns.take(50_000):
                    await turns.wait(50_000)
                sent += 50_000

        running = [asyncio.create_task(stream()) for _ in range(200)]
        gone = asyncio.create_task(turns.wait(50_000))
        await asyncio.sleep(0)
        gone.cancel()
        while sent < 200 * 3 * 50_000:
            await asyncio.sleep(0)
            most, last = max(most, sent - last), sent
        assert most <= 2 * Turns.STEP
        await asyncio.gather(*running)

    asyncio.run(main())


def test_a_long_yaml_body_is_read_while_others_are_answered(tmp_path: Any) -> None:
    async def main(world: World, raw: Raw) -> None:
        body = "".join(f"- {number}\n" for number in range(50_000)).encode()
        told = HEAD.replace("/json", "/yaml")
        await raw.send(f"{told}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        answered = asyncio.create_task(raw.answer())
        other = await Raw.open(world)
        before = 0
        while not answered.done():
            assert (await other.request("GET", "/version")).status == 200
            before += 1
        assert answered.result().status == 400
        assert before > 2

    check(main, tmp_path)


WRONG = {"name": "a", "finalizers": [f"no name {number}" for number in range(30_000)]}


@pytest.mark.parametrize(
    ("resource", "kind", "rest", "status"),
    [
        pytest.param(
            "configmaps", "ConfigMap", {"data": {f"k{n}": "v" for n in range(40_000)}}, 201, id="stored"
        ),
        pytest.param("configmaps", "ConfigMap", {"metadata": WRONG}, 422, id="refused"),
        pytest.param(
            "configmaps", "ConfigMap", {f"u{n}": n for n in range(40_000)}, 201, id="unknown-fields"
        ),
    ],
)
def test_a_large_object_goes_its_way_while_others_are_answered(
    tmp_path: Any, resource: str, kind: str, rest: Any, status: int
) -> None:
    async def main(world: World, raw: Raw) -> None:
        body = json.dumps({"apiVersion": "v1", "kind": kind, "metadata": {"name": "a"}, **rest}).encode()
        told = HEAD.replace("/pods", f"/{resource}")
        await raw.send(f"{told}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        answered = asyncio.create_task(raw.answer())
        other = await Raw.open(world)
        before = 0
        while not answered.done():
            assert (await other.request("GET", "/version")).status == 200
            before += 1
        assert answered.result().status == status
        assert before > 2

    check(main, tmp_path)


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_a_large_object_is_changed_while_others_are_answered(tmp_path: Any, method: str) -> None:
    async def main(world: World, raw: Raw) -> None:
        path = "/api/v1/namespaces/default/configmaps"
        made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"first": "x"}}
        assert (await raw.request("POST", path, made)).status == 201
        data = {f"k{n}": "v" for n in range(40_000)}
        body = json.dumps({**made, "data": data} if method == "PUT" else {"data": data}).encode()
        media = "application/json" if method == "PUT" else "application/merge-patch+json"
        told = f"{method} {path}/a HTTP/1.1\r\nHost: a\r\nContent-Type: {media}\r\n"
        await raw.send(f"{told}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        answered = asyncio.create_task(raw.answer())
        other = await Raw.open(world)
        before = 0
        while not answered.done():
            assert (await other.request("GET", "/version")).status == 200
            before += 1
        answer = answered.result()
        assert answer.status == 200
        assert answer.json["data"] == (data if method == "PUT" else {"first": "x", **data})
        assert before > 2

    check(main, tmp_path)


def test_a_refusal_with_endless_reasons_tells_as_many_as_upstream_comes_to(tmp_path: Any) -> None:
    async def main(world: World, raw: Raw) -> None:
        body = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": WRONG,
        }
        answer = await raw.request("POST", "/api/v1/namespaces/default/configmaps", body)
        assert answer.status == 422
        assert len(answer.json["details"]["causes"]) == 25_000

    check(main, tmp_path)


@pytest.mark.parametrize(
    ("media", "body"),
    [
        pytest.param("application/json", b"[" + b"{}," * 100_000 + b"{}]", id="json"),
        pytest.param("application/yaml", b"- {}\n" * 100_001, id="yaml"),
    ],
)
def test_a_body_of_too_many_objects_and_lists_is_refused(tmp_path: Any, media: str, body: bytes) -> None:
    async def main(world: World, raw: Raw) -> None:
        told = HEAD.replace("application/json", media)
        await raw.send(f"{told}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        answer = await raw.answer()
        assert (answer.status, answer.json["reason"]) == (413, "RequestEntityTooLarge")
        assert answer.json["message"] == "the body has more than 100000 objects and lists"

    check(main, tmp_path)


def test_a_text_with_many_braces_is_no_body_of_many_objects(tmp_path: Any) -> None:
    async def main(world: World, raw: Raw) -> None:
        made = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "a"},
            "data": {"a": "{[" * 100_000},
        }
        assert (await raw.request("POST", "/api/v1/namespaces/default/configmaps", made)).status == 201

    check(main, tmp_path)


def test_body_in_many_pieces_is_put_together(tmp_path: Any) -> None:
    async def main(world: World, raw: Raw) -> None:
        data = json.dumps(pod("a")).encode()
        await raw.send(f"{HEAD}Content-Length: {len(data)}\r\n\r\n".encode())
        for position in range(0, len(data), 10):
            await raw.send(data[position : position + 10])
            await asyncio.sleep(0)
        assert (await raw.answer()).status == 201

    check(main, tmp_path)


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(
            f"{HEAD}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", id="length-and-chunked"
        ),
        pytest.param(f"{HEAD}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", id="two-lengths"),
        pytest.param(f"{HEAD}Content-Length: -1\r\n\r\n", id="negative-length"),
        pytest.param(f"{HEAD}Content-Length: 0x10\r\n\r\n", id="hex-length"),
        pytest.param(f"{HEAD}Transfer-Encoding: chunked, identity\r\n\r\n", id="odd-encoding"),
        pytest.param("GET /version HTTP/1.1\r\nHost : localhost\r\n\r\n", id="space-before-colon"),
        pytest.param("GET /version HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", id="folded-header"),
        pytest.param("GET /version HTTP/1.1\r\nX: " + "x" * 40_000 + "\r\n\r\n", id="huge-header"),
        pytest.param("GET /" + "x" * 40_000 + " HTTP/1.1\r\nHost: a\r\n\r\n", id="huge-path"),
        pytest.param("GET /version HTTP/1.1\r\n" + "X: y\r\n" * 200 + "\r\n", id="many-headers"),
        pytest.param("GET\x00 / HTTP/1.1\r\n\r\n", id="zero-byte"),
        pytest.param("hello\r\n\r\n", id="no-http"),
    ],
)
def test_malformed_requests_get_400_and_the_connection_ends(tmp_path: Any, request_: str) -> None:
    async def main(world: World, raw: Raw) -> None:
        await raw.send(request_.encode())
        answer = await raw.answer()
        assert answer.status == 400
        assert answer.json["kind"] == "Status"
        await raw.closed()
        await still_serves(world)

    check(main, tmp_path)


def test_header_values_cannot_be_injected_into_answers(tmp_path: Any) -> None:
    async def main(world: World, raw: Raw) -> None:
        answer = await raw.request("GET", "/api/v1/namespaces/a%0d%0aX-Evil:%201/pods")
        assert "x-evil" not in answer.headers
        answer = await raw.request("GET", "/apis%0d%0aX-Evil:%201")
        assert "x-evil" not in answer.headers

    check(main, tmp_path)


def test_a_crowd_comes_in_a_few_in_each_step(tmp_path: Any) -> None:
    async def main() -> None:
        async def never(exchange: Any) -> None:
            raise AssertionError("nobody asked")

        server = HttpServer(never, VirtualClock())
        port = server.listen("127.0.0.1", 0, None)
        crowd = []
        for _ in range(10 * Limits.ENTERING):
            crowd.append(socket.create_connection(("127.0.0.1", port)))
        try:
            grown, before = [], 0
            while before < len(crowd):
                await asyncio.sleep(0)
                now = len(server._manager.connections if server._manager else ())
                grown.append(now - before)
                before = now
            assert max(grown) <= Limits.ENTERING
        finally:
            for one in crowd:
                one.close()
            await server.close(0.1)

    run(main())


def test_half_open_connections_are_closed(tmp_path: Any) -> None:
    async def main() -> None:
        clock = VirtualClock()

        async def never(exchange: Any) -> None:
            raise AssertionError("no request was complete")

        server = HttpServer(never, clock)
        port = server.listen("127.0.0.1", 0, None)
        sweeper = asyncio.ensure_future(server.sweep())
        writers = []
        try:
            silent, silent_writer = await asyncio.open_connection("127.0.0.1", port)
            writers.append(silent_writer)
            slow, slow_writer = await asyncio.open_connection("127.0.0.1", port)
            writers.append(slow_writer)
            slow_writer.write(b"GET /version HTTP/1.1\r\nHost: loc")
            while len(server._manager.connections if server._manager else ()) < 2:
                await asyncio.sleep(0)

            async def settle() -> None:
                for _ in range(20):
                    await asyncio.sleep(0)

            await clock.advance(Limits.HEADER_TIME + 10, settle)
            assert await asyncio.wait_for(silent.read(), 5) == b""
            assert await asyncio.wait_for(slow.read(), 5) == b""
        finally:
            sweeper.cancel()
            await asyncio.gather(sweeper, return_exceptions=True)
            for writer in writers:
                writer.close()
            await server.close(0.1)

    run(main())


def test_slow_reader_is_cut_off_and_others_are_not_held_up(tmp_path: Any) -> None:
    async def main() -> None:
        async with serving(tmp_path, settings=http.Settings(drain_timeout=0.3, shutdown_grace=0.1)) as world:
            raw = await Raw.open(world)
            for number in range(150):
                await raw.request("POST", PODS, pod(f"p{number:03}", note="x" * 100_000))
            small = socket.socket()
            small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            small.connect(("127.0.0.1", world.port))
            reader, writer = await world.connect(sock=small, ssl=world.context(), limit=1024)
            writer.write(b"GET /api/v1/pods HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await writer.drain()
            got = await reader.read(100)
            assert got.startswith(b"HTTP/1.1 200")
            async with asyncio.timeout(20):
                while world.plugin("api/http")._server.streams:
                    assert (await raw.request("GET", "/version")).status == 200
            received = len(got)
            try:
                async with asyncio.timeout(5):
                    while data := await reader.read(65536):
                        received += len(data)
            except ConnectionError:
                pass
            assert received < 15_000_000

    run(main())


def test_too_many_requests_are_told_to_come_back(tmp_path: Any) -> None:
    async def main(world: World, raw: Raw) -> None:
        world.plugin("api/http")._api.metrics.inflight["readOnly"] = 5
        answer = await raw.request("GET", PODS)
        assert (answer.status, answer.headers["retry-after"]) == (429, "1")
        assert answer.json["details"]["retryAfterSeconds"] == 1
        world.plugin("api/http")._api.metrics.inflight["readOnly"] = 0
        assert (await raw.request("GET", PODS)).status == 200

    settings = http.Settings(max_inflight=5, shutdown_grace=0.1, priority_and_fairness=False)
    check(main, tmp_path, settings=settings)


def test_taken_port_is_a_clear_error(tmp_path: Any) -> None:
    async def main() -> None:
        async with serving(tmp_path / "one") as first:
            second = World(tmp_path / "two", port=first.port)
            try:
                with pytest.raises(
                    PluginError, match=rf"cannot listen on 127\.0\.0\.1:{first.port}.*cluster\.port"
                ):
                    await second.start(http.Settings(), (), {})
            finally:
                await second.stop()

    run(main())


def test_plain_http_on_the_tls_port_does_no_harm(tmp_path: Any) -> None:
    async def main(world: World, raw: Raw) -> None:
        reader, writer = await world.connect()
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await asyncio.wait_for(reader.read(), 5)
        await still_serves(world)

    check(main, tmp_path)


def test_a_user_has_only_so_many_watches_and_others_are_not_held_up(tmp_path: Any) -> None:
    async def main(world: World, raw: Raw) -> None:
        watch = f"GET {PODS}?watch=1 HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        open_: list[Raw] = []
        for _ in range(3):
            one = await Raw.open(world)
            await one.send(watch)
            assert (await one.head())[0] == 200
            open_.append(one)
        refused = await raw.request("GET", f"{PODS}?watch=1")
        assert refused.status == 429
        assert refused.headers["retry-after"] == "1"
        assert refused.json["message"] == (
            'user "kubernetes-admin" has 3 watches, which is as many as a user may have'
        )
        assert (await raw.request("GET", PODS)).status == 200
        other = await Raw.open(world, world.context(user=("root", ("system:masters",))))
        await other.send(watch)
        assert (await other.head())[0] == 200
        await open_.pop().close()
        for _ in range(1000):
            again = await raw.request("GET", f"{PODS}?watch=1&timeoutSeconds=1")
            if again.status == 200:
                break
        assert again.status == 200

    check(main, tmp_path, settings=http.Settings(max_watches_per_user=3, shutdown_grace=0.5))


def test_hundreds_of_watches_get_each_event_and_nobody_is_forgotten(tmp_path: Any) -> None:
    async def main(world: World, raw: Raw) -> None:
        watch = f"GET {PODS}?watch=1 HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        watchers = [await Raw.open(world) for _ in range(200)]
        for one in watchers:
            await one.send(watch)
            assert (await one.head())[0] == 200
        assert (await raw.request("POST", PODS, pod("a"))).status == 201
        for one in watchers:
            size = int(await one.reader.readline(), 16)
            event = json.loads(await one.reader.readexactly(size))
            assert (event["type"], event["object"]["metadata"]["name"]) == ("ADDED", "a")
        await still_serves(world)

    check(main, tmp_path)


def test_old_tls_is_refused(tmp_path: Any) -> None:
    async def main(world: World, raw: Raw) -> None:
        old = world.context()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            old.minimum_version = ssl.TLSVersion.TLSv1
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        old.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await world.connect(ssl=old)
        await still_serves(world)

    check(main, tmp_path)


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(b"\x82\xff" + (1 << 62).to_bytes(8, "big") + b"mask", id="enormous"),
        pytest.param(b"\x8f\x80mask", id="unknown-opcode"),
        pytest.param(b"\xf2\x80mask", id="reserved-bits"),
        pytest.param(b"\x89\xfe\x01\x00mask" + b"x" * 256, id="long-ping"),
    ],
)
def test_websocket_frames_that_are_none_end_the_connection(tmp_path: Any, frame: bytes) -> None:
    async def main(world: World, raw: Raw) -> None:
        await placed(raw)
        client = Socket(await Raw.open(world))
        status, _ = await client.open(f"{PODS}/a/exec?command=cat&stdin=1&container=c", "v5.channel.k8s.io")
        assert status == 101
        await client.raw.send(frame)
        await client.raw.closed()
        await still_serves(world)

    check(main, tmp_path, extra=[("node/fake", NodePlugin())])


def test_a_stolen_token_is_worth_nothing_once_its_pod_is_gone_and_is_in_no_log(tmp_path: Any) -> None:
    async def main(world: World, raw: Raw) -> None:
        said = io.StringIO()
        sink = world.logs.loguru().add(said, level="TRACE")
        accounts = "/api/v1/namespaces/default/serviceaccounts"
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "robot"}}
        assert (await raw.request("POST", accounts, account)).status == 201
        made = pod("a")
        made["spec"]["serviceAccountName"] = "robot"
        uid = (await raw.request("POST", PODS, made)).json["metadata"]["uid"]
        bound = {"apiVersion": "v1", "kind": "Pod", "name": "a", "uid": uid}
        ask = {
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "metadata": {},
            "spec": {"expirationSeconds": 3600, "boundObjectRef": bound},
        }  # fmt: skip
        token = (await raw.request("POST", f"{accounts}/robot/token", ask)).json["status"]["token"]
        shown = {"Authorization": f"Bearer {token}"}
        nobody = await Raw.open(world, world.context(admin=False))
        assert (await nobody.request("GET", PODS, headers=shown)).status == 403
        await raw.request("DELETE", f"{PODS}/a?gracePeriodSeconds=0")
        assert (await nobody.request("GET", PODS, headers=shown)).status == 401
        made["metadata"].pop("uid", None)
        await raw.request("POST", PODS, made)
        # Another pod of that name is another pod.
        assert (await nobody.request("GET", PODS, headers=shown)).status == 401
        world.logs.loguru().remove(sink)
        assert token not in said.getvalue()

    check(main, tmp_path)

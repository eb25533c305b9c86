"""An API server on a free port of 127.0.0.1: real store, registry, TLS and auth plugins, a few simple types."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

from kubernel.client.local import LocalClient
from kubernel.clock import RealClock
from kubernel.config import ClusterSettings
from kubernel.objects.names import check_path_segment
from kubernel.plugin import Plugin, hookimpl
from kubernel.plugin.lifecycle import PluginState
from kubernel.plugin.logs import Logs
from kubernel.plugin.manager import Hooks
from kubernel.registry.registry import Registry
from kubernel.registry.request import UserInfo
from kubernel.registry.schema import Node
from kubernel.registry.types import Column, GroupVersionKind, ResourceType, Strategy, Subresource
from kubernel.store import ObjectStore
from kubernel.watch import WatchBus
from kubernel_plugins.api import http
from kubernel_plugins.auth import anonymous, rbac, serviceaccount, token, x509
from kubernel_plugins.store.memory import MemoryBackend

RBAC = "rbac.authorization.k8s.io"
FLOW = "flowcontrol.apiserver.k8s.io"


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(work)


def free_node(*properties: str) -> Node:
    node = Node("object")
    node.preserve_unknown = True
    return node


class PodStrategy(Strategy):
    delete_returns_object = True


def simple_types() -> list[ResourceType]:
    def simple(group: str, kind: str, plural: str, **more: Any) -> ResourceType:
        return ResourceType(group, "v1", kind, plural, free_node, **more)

    streaming = ("create", "get")
    pod = GroupVersionKind("", "v1", "Pod")
    token_request = GroupVersionKind("authentication.k8s.io", "v1", "TokenRequest")
    return [
        simple(
            "", "Pod", "pods",
            strategy=PodStrategy(),
            columns=(
                Column("Name", lambda obj, now: obj["metadata"]["name"], format="name"),
                Column("Phase", lambda obj, now: (obj.get("status") or {}).get("phase")),
            ),
            field_selectors={"spec.nodeName": lambda obj: (obj.get("spec") or {}).get("nodeName", "")},
            subresources={
                "status": Subresource("status", pod),
                "log": Subresource("log", pod, ("get",), connect=True),
                "exec": Subresource("exec", pod, streaming, connect=True),
                "attach": Subresource("attach", pod, streaming, connect=True),
                "portforward": Subresource("portforward", pod, streaming, connect=True),
                "proxy": Subresource("proxy", GroupVersionKind("", "v1", "PodProxyOptions"), streaming, connect=True),
            },
        ),
        simple("", "ConfigMap", "configmaps"),
        simple("", "Namespace", "namespaces", namespaced=False),
        simple("", "Node", "nodes", namespaced=False),
        simple("", "Secret", "secrets"),
        simple(
            "", "ServiceAccount", "serviceaccounts",
            subresources={"token": Subresource("token", token_request, ("create",))},
        ),
        simple("apps", "Deployment", "deployments"),
        simple(FLOW, "FlowSchema", "flowschemas", namespaced=False),
        simple(FLOW, "PriorityLevelConfiguration", "prioritylevelconfigurations", namespaced=False),
        simple(RBAC, "ClusterRole", "clusterroles", namespaced=False, check_name=check_path_segment),
        simple(RBAC, "ClusterRoleBinding", "clusterrolebindings", namespaced=False, check_name=check_path_segment),
        simple(RBAC, "Role", "roles", check_name=check_path_segment),
        simple(RBAC, "RoleBinding", "rolebindings", check_name=check_path_segment),
        *(
            simple(group, kind, kind.lower() + "s", namespaced=kind.startswith("Local"), verbs=("create",))
            for group, kind in (
                ("authorization.k8s.io", "SelfSubjectAccessReview"),
                ("authorization.k8s.io", "SubjectAccessReview"),
                ("authorization.k8s.io", "LocalSubjectAccessReview"),
                ("authorization.k8s.io", "SelfSubjectRulesReview"),
                ("authentication.k8s.io", "SelfSubjectReview"),
                ("authentication.k8s.io", "TokenReview"),
            )
        ),
    ]  # fmt: skip


class TestHandle:
    """What plugins are given, without a kernel."""

    __test__ = False

    def __init__(self, world: World, role: str, name: str) -> None:
        self.world = world
        self.role = role
        self.name = name
        self.log = world.logs.bind(plugin=f"{role}/{name}")
        self.clock = world.clock
        self.rng = world.rng
        self.hooks = world.hooks
        self.registry = world.registry
        self.data_dir = world.data_dir
        self.cluster = world.cluster

    def client(self, user: str, groups: Sequence[str] = ()) -> LocalClient:
        return LocalClient(self.registry, UserInfo(user, tuple(groups)), self.clock, self.hooks.authorize)

    def plugins(self) -> list[PluginState]:
        return self.world.states

    def driver(self, role: str) -> Any:
        raise AssertionError(role)

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        self.world.tasks.append(task)
        return task


class World:
    """The parts of a cluster that an API server needs."""

    def __init__(self, data_dir: Path, *, port: int = 0, clock: Any = None, freeze: bool = True) -> None:
        self.data_dir = data_dir
        self.clock = clock or RealClock()
        self.rng = random.Random(7)
        self.logs = Logs()
        self.hooks = Hooks()
        self.cluster = ClusterSettings(data_dir=data_dir, port=port, node_name="node-1")
        self.states: list[PluginState] = []
        self.tasks: list[asyncio.Task[Any]] = []
        self.plugins: list[tuple[str, Plugin]] = []
        self.connections = contextlib.AsyncExitStack()
        self.store = ObjectStore(MemoryBackend(), self.clock, freeze=freeze)
        self.bus = WatchBus(self.store)
        self.registry = Registry(self.store, self.bus, self.clock, self.rng, self.hooks)
        for type in simple_types():
            self.registry.register(type)

    async def start(
        self, http_settings: http.Settings, extra: Sequence[tuple[str, object]], tokens: Mapping[str, str]
    ) -> None:
        await self.store.start()
        chosen: list[tuple[str, str, Any, Any]] = [
            ("auth", "x509", x509.Plugin, x509.Plugin.Settings()),
            ("auth", "token", token.Plugin, token.Settings(tokens=dict(tokens))),
            ("auth", "serviceaccount", serviceaccount.Plugin, serviceaccount.Settings()),
            ("auth", "anonymous", anonymous.Plugin, anonymous.Settings()),
            ("auth", "rbac", rbac.Plugin, rbac.Plugin.Settings()),
            ("api", "http", http.Plugin, http_settings),
        ]
        for role, name, cls, settings in chosen:
            self.plugins.append((f"{role}/{name}", cls(settings, TestHandle(self, role, name))))
        self.hooks.register([*self.plugins, *extra])
        for label, plugin in self.plugins:
            await plugin.start()
            role, _, name = label.partition("/")
            self.states.append(PluginState(role, name, phase="running"))

    async def stop(self) -> None:
        await self.connections.aclose()
        for _, plugin in reversed(self.plugins):
            await plugin.stop()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self.bus.close()
        await self.store.stop()

    def plugin(self, label: str) -> Any:
        return dict(self.plugins)[label]

    async def connect(
        self, *, ssl: ssl.SSLContext | None = None, sock: socket.socket | None = None, limit: int = 2**16
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection, in plain text without ``ssl``; whatever becomes of the test, it is closed with the world."""
        name = {} if ssl is None else {"server_hostname": "localhost"}
        place = {"sock": sock} if sock is not None else {"host": "127.0.0.1", "port": self.port}
        reader, writer = await asyncio.open_connection(ssl=ssl, limit=limit, **place, **name)  # type: ignore[arg-type]
        self.connections.push_async_callback(hang_up, writer)
        return reader, writer

    @property
    def port(self) -> int:
        return int(self.plugin("api/http").url.rsplit(":", 1)[1])

    def context(
        self, *, admin: bool = True, user: tuple[str, tuple[str, ...]] | None = None
    ) -> ssl.SSLContext:
        """TLS of a client: the administrator's certificate, another user's, or none."""
        pki = self.data_dir / "pki"
        context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        if user is not None:
            authority = self.hooks.certificate_authority()
            assert authority is not None
            pair = authority.issue(user[0], organizations=user[1])
            path = self.data_dir / f"client-{user[0].replace(':', '-')}.pem"
            path.write_bytes(pair.certificate + pair.key)
            context.load_cert_chain(path)
        elif admin:
            context.load_cert_chain(pki / "admin.crt", pki / "admin.key")
        return context


@contextlib.asynccontextmanager
async def serving(
    data_dir: Path,
    *,
    settings: http.Settings | None = None,
    extra: Sequence[tuple[str, object]] = (),
    tokens: Mapping[str, str] | None = None,
    clock: Any = None,
) -> AsyncIterator[World]:
    world = World(data_dir, clock=clock)
    try:
        await world.start(settings or http.Settings(shutdown_grace=0.5), extra, tokens or {})
        yield world
    finally:
        await world.stop()


class Answer:
    def __init__(self, status: int, headers: dict[str, str], body: bytes, raw: list[tuple[str, str]]) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.raw = raw

    @property
    def json(self) -> Any:
        return json.loads(self.body)


async def hang_up(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError, ssl.SSLError):
        await writer.wait_closed()


class Raw:
    """One keep-alive connection that speaks HTTP/1.1 byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, world: World, context: ssl.SSLContext | None = None) -> Raw:
        return cls(*await world.connect(ssl=context or world.context(), limit=2**24))

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def request(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        lines = [f"{method} {path} HTTP/1.1", "Host: localhost"]
        data = b""
        told = dict(headers or {})
        if body is not None:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            told.setdefault("Content-Type", "application/json")
            lines.append(f"Content-Length: {len(data)}")
        lines += [f"{name}: {value}" for name, value in told.items()]
        await self.send("\r\n".join(lines).encode() + b"\r\n\r\n" + data)
        return await self.answer(head=method == "HEAD")

    async def head(self) -> tuple[int, dict[str, str], list[tuple[str, str]]]:
        text = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        first, *rest = text[:-4].split("\r\n")
        raw = [(line.partition(":")[0].lower(), line.partition(":")[2].strip()) for line in rest]
        return int(first.split(" ")[1]), dict(raw), raw

    async def answer(self, head: bool = False) -> Answer:
        status, headers, raw = await self.head()
        body = b""
        if not head and status not in (204, 304):
            if headers.get("transfer-encoding") == "chunked":
                body = b"".join([chunk async for chunk in self.chunks()])
            else:
                body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        return Answer(status, headers, body, raw)

    async def chunks(self) -> AsyncIterator[bytes]:
        while True:
            size = int((await self.reader.readline()).strip() or b"0", 16)
            data = await self.reader.readexactly(size)
            await self.reader.readexactly(2)
            if not size:
                return
            yield data

    async def closed(self) -> bytes:
        """What is left until the server closes."""
        return await asyncio.wait_for(self.reader.read(), 20)

    async def close(self) -> None:
        await hang_up(self.writer)


def check(body: Callable[[World, Raw], Coroutine[Any, Any, None]], data_dir: Path, **options: Any) -> None:
    """Run ``body`` with a server and an administrator's connection."""

    async def main() -> None:
        async with serving(data_dir, **options) as world:
            await body(world, await Raw.open(world))

    run(main())


def pod(name: str, **more: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"containers": [{"name": "c"}]},
        **more,
    }


PODS = "/api/v1/namespaces/default/pods"

__all__ = ["PODS", "Answer", "Raw", "World", "check", "hookimpl", "pod", "run", "serving"]

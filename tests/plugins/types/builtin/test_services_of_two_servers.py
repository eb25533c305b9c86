"""Two servers over one store, each of which hears of the other's writes a moment later."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from builtin_kit import Cluster, service

from kubernel.errors import InternalError, Invalid, KubernelError
from kubernel.store.backend import Change, Feed, Snapshot, Write
from kubernel_plugins.nodeports import NODE_PORTS, RESOURCE, key_of, owner
from kubernel_plugins.store.memory import MemoryBackend


class Shared:
    """What a server has of a store that it shares: its own writes at once, those of others when they are told."""

    def __init__(self, inner: MemoryBackend, all: list[Shared]) -> None:
        self._inner = inner
        self._all = all
        self._feed: Feed | None = None
        self.untold: list[Change] = []
        all.append(self)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def open(self, feed: Feed) -> Snapshot:
        self._feed = feed
        if self is self._all[0]:
            return await self._inner.open(self._committed)
        return Snapshot(0, 0, [])

    async def close(self) -> None:
        if self is self._all[0]:
            await self._inner.close()

    def _committed(self, changes: Any) -> None:
        for change in changes:
            for server in self._all:
                mine = change.origin is not None and change.origin is server.writing
                server.untold.append(change if mine else change._replace(origin=None))

    writing: Write | None = None

    async def commit(self, write: Write) -> int:
        self.writing = write
        try:
            revision = await self._inner.commit(write)
        finally:
            self.writing = None
        self.tell()
        return revision

    def tell(self) -> None:
        told, self.untold = self.untold, []
        assert self._feed is not None
        if told:
            self._feed(told)


def two(test: Callable[[Cluster, Cluster], Coroutine[Any, Any, None]]) -> None:
    async def go() -> None:
        all: list[Shared] = []
        inner = MemoryBackend(retention=300.0)
        # The same seed: both choose the same.
        servers = [Cluster(backend=Shared(inner, all)) for _ in range(2)]
        for server in servers:
            await server.store.start()
        try:
            await test(*servers)
        finally:
            for server in reversed(servers):
                await server.store.stop()

    asyncio.run(go())


def node_port(name: str, **spec: Any) -> dict[str, Any]:
    return service(name, type="NodePort", **spec)


def numbers(service: dict[str, Any]) -> list[int]:
    return [port["nodePort"] for port in service["spec"]["ports"]]


def records(server: Cluster) -> dict[int, str]:
    return {int(record.key.name): owner(record.obj)[1] for record in server.store.list(RESOURCE).records}


def test_two_servers_never_choose_the_same_port_or_address() -> None:
    async def test(one: Cluster, other: Cluster) -> None:
        made = []
        for number in range(10):
            ports = [{"port": 80, "name": "a"}, {"port": 81, "name": "b"}]
            made += await asyncio.gather(
                one.create(node_port(f"one-{number}", ports=ports)),
                other.create(node_port(f"other-{number}", ports=ports)),
            )
        taken = [port for service in made for port in numbers(service)]
        assert len(set(taken)) == len(taken) == 40
        assert len({service["spec"]["clusterIP"] for service in made}) == 20
        assert set(records(one)) <= set(taken)

    two(test)


def test_a_port_that_another_server_has_given_is_refused_before_it_is_heard_of() -> None:
    async def test(one: Cluster, other: Cluster) -> None:
        wanted = [{"port": 80, "nodePort": 30100}]
        await one.create(node_port("web", ports=wanted))
        with pytest.raises(Invalid) as refused:
            await other.create(node_port("late", ports=wanted))
        assert refused.value.message == (
            'Service "late" is invalid: spec.ports[0].nodePort: Invalid value: 30100: '
            "provided port is already allocated"
        )
        await other.create(node_port("free", ports=[{"port": 80, "nodePort": 30101}]))

    two(test)


def test_what_is_refused_leaves_no_port_behind() -> None:
    async def test(one: Cluster, other: Cluster) -> None:
        await one.create(node_port("web", ports=[{"port": 80, "nodePort": 30100}]))
        both = [{"port": 81, "name": "a", "nodePort": 30200}, {"port": 80, "name": "b", "nodePort": 30100}]
        with pytest.raises(Invalid):
            await other.create(node_port("late", ports=both))
        await other.create(node_port("next", ports=[{"port": 80, "nodePort": 30200}]))

    two(test)


def test_a_health_check_port_that_another_server_has_given_is_refused() -> None:
    async def test(one: Cluster, other: Cluster) -> None:
        spec = {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": 30300}
        await one.create(service("web", **spec))
        told = "failed to allocate requested HealthCheck NodePort 30300: provided port is already allocated"
        with pytest.raises(InternalError, match=told):
            await other.create(service("late", **spec))

    two(test)


def test_a_port_is_free_again_everywhere_once_its_service_lets_it_go() -> None:
    async def test(one: Cluster, other: Cluster) -> None:
        wanted = [{"port": 80, "nodePort": 30100}]
        web = await one.create(node_port("web", ports=wanted))
        web["spec"]["ports"][0]["nodePort"] = 30101
        await one.update(web)
        await other.create(node_port("second", ports=wanted))
        await one.delete("services", "web")
        await other.create(service("hears"))  # of what came before
        await other.create(node_port("third", ports=[{"port": 80, "nodePort": 30101}]))
        assert records(other) == {30100: "second", 30101: "third"}

    two(test)


def test_a_full_range_is_told_by_either() -> None:
    async def test(one: Cluster, other: Cluster) -> None:
        for port in NODE_PORTS[:-1]:
            await one.store.create(key_of(port), {"metadata": {"name": str(port)}, "spec": {}})
        await one.create(node_port("last"))
        with pytest.raises(KubernelError, match="range is full"):
            await other.create(node_port("late"))

    two(test)

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from fake_api import FakeApi, FakeHandle, run, settle

from kubernel.client.naming import groups_of
from kubernel.client.reconciler import Reconciler
from kubernel.errors import Conflict


class OwnerCard(Reconciler):
    resource = "namespaces"
    owns = ("configmaps",)

    async def reconcile(self, namespace: str, name: str) -> None:
        owner = self.primary.get(name)
        if owner is None or self.informer("configmaps").get("owner-card", name):
            return
        reference = {"name": name, "uid": owner["metadata"]["uid"], "controller": True}
        card = {"metadata": {"name": "owner-card", "namespace": name, "ownerReferences": [reference]}}
        await self.client.create("configmaps", card, name)


def controlled(
    kind: type[Reconciler],
    check: Callable[[FakeApi, Any], Awaitable[None]],
    prepare: Callable[[FakeApi], None] = lambda api: None,
    **cluster: Any,
) -> None:
    async def body() -> None:
        api = FakeApi()
        prepare(api)
        handle = FakeHandle(api, **cluster)
        plugin = kind(None, handle)  # type: ignore[arg-type]
        await plugin.start()
        await settle()
        try:
            await check(api, plugin)
        finally:
            await plugin.stop()
            await handle.finish()

    run(body())


def test_a_controller_of_fifteen_lines_makes_and_restores_what_it_owns() -> None:
    async def check(api: FakeApi, plugin: Any) -> None:
        api.put("namespaces", "shop")
        await settle()
        assert ("configmaps", "shop", "owner-card") in api.objects
        api.drop("configmaps", "owner-card", "shop")
        await settle()
        assert ("configmaps", "shop", "owner-card") in api.objects

    controlled(OwnerCard, check)


def test_objects_of_a_namesake_that_is_gone_queue_nothing() -> None:
    async def check(api: FakeApi, plugin: Any) -> None:
        seen: list[tuple[str, str]] = []
        api.put("namespaces", "shop")
        await settle()
        plugin.queue.add = seen.append
        other = [{"name": "shop", "uid": "another", "controller": True}]
        api.put("configmaps", "x", "shop", metadata={"ownerReferences": other})
        await settle()
        assert seen == []

    controlled(OwnerCard, check)


class Busy(Reconciler):
    resource = "pods"
    workers = 3

    def __init__(self, settings: Any, handle: Any) -> None:
        super().__init__(settings, handle)
        self.running: list[str] = []
        self.most = 0
        self.rounds = 0

    async def reconcile(self, namespace: str, name: str) -> None:
        assert name not in self.running
        self.running.append(name)
        self.most = max(self.most, len(self.running))
        await self.clock.sleep(1)
        self.rounds += 1
        self.running.remove(name)


def test_keys_run_side_by_side_up_to_the_number_of_workers() -> None:
    async def check(api: FakeApi, plugin: Any) -> None:
        for number in range(7):
            api.put("pods", f"p{number}")
        await settle()
        assert plugin.most == 3
        await api.clock.advance(10, settle)
        assert plugin.rounds == 7

    controlled(Busy, check)


class Failing(Reconciler):
    resource = "pods"

    def __init__(self, settings: Any, handle: Any) -> None:
        super().__init__(settings, handle)
        self.errors: list[Exception] = []
        self.attempts: list[float] = []

    async def reconcile(self, namespace: str, name: str) -> None:
        self.attempts.append(self.clock.monotonic())
        if self.errors:
            raise self.errors.pop(0)


def test_failures_are_retried_with_growing_pauses_and_told_once() -> None:
    async def check(api: FakeApi, plugin: Any) -> None:
        plugin.errors = [RuntimeError("boom")] * 5
        api.put("pods", "a")
        await api.clock.advance(1, settle)
        pauses = [b - a for a, b in zip(plugin.attempts, plugin.attempts[1:], strict=False)]
        assert [round(pause, 3) for pause in pauses] == [0.005, 0.01, 0.02, 0.04, 0.08]
        assert plugin.log.lines == ["pods a: RuntimeError: boom"]

    controlled(Failing, check)


def test_conflicts_are_retried_quietly() -> None:
    async def check(api: FakeApi, plugin: Any) -> None:
        plugin.errors = [Conflict.for_object("pods", "", "a")]
        api.put("pods", "a")
        await api.clock.advance(1, settle)
        assert len(plugin.attempts) == 2
        assert plugin.log.lines == []

    controlled(Failing, check)


class Again(Reconciler):
    resource = "pods"
    reads = ("nodes",)
    ready = False
    times: list[float]

    async def setup(self) -> None:
        self.times = []

    async def reconcile(self, namespace: str, name: str) -> float | None:
        self.times.append(self.clock.monotonic())
        return 10.0 if len(self.times) < 3 else None


def test_reconcile_may_ask_to_be_called_again_later() -> None:
    async def check(api: FakeApi, plugin: Any) -> None:
        api.put("pods", "a")
        await api.clock.advance(100, settle)
        assert plugin.times == [0.0, 10.0, 20.0]

    controlled(Again, check)


class Resyncing(Failing):
    resync = 60.0


def test_resync_looks_at_everything_in_its_interval() -> None:
    async def check(api: FakeApi, plugin: Any) -> None:
        api.put("pods", "a")
        await api.clock.advance(121, settle)
        assert plugin.attempts == [0.0, 60.0, 120.0]

    controlled(Resyncing, check)


class Mapped(Failing):
    def by_label(self, type: str, obj: Any, old: Any) -> list[tuple[str, str]]:
        return [("", obj["pod"])]

    watches = {"services": by_label}  # noqa: RUF012


def test_other_resources_can_be_mapped_to_keys() -> None:
    async def check(api: FakeApi, plugin: Any) -> None:
        api.put("services", "s", pod="a")
        await settle()
        assert len(plugin.attempts) == 1

    controlled(Mapped, check)


def test_with_leader_election_only_one_of_two_masters_works_and_the_other_takes_over() -> None:
    async def body() -> None:
        api = FakeApi()
        handles = [FakeHandle(api, leader_election=True) for _ in range(2)]
        handles[1].rng.seed(2)
        plugins = [Failing(None, handle) for handle in handles]  # type: ignore[arg-type]
        for plugin in plugins:
            await plugin.start()
        api.put("pods", "a")
        await settle()
        assert [len(plugin.attempts) for plugin in plugins] == [1, 0]
        await plugins[0].stop()
        for task in handles[0].tasks:
            task.cancel()
        await asyncio.gather(*handles[0].tasks, return_exceptions=True)
        await api.clock.advance(60, settle)
        assert [len(plugin.attempts) for plugin in plugins] == [1, 1]
        await plugins[1].stop()
        await handles[1].finish()
        await api.close()

    run(body())


def test_service_accounts_and_nodes_get_their_groups() -> None:
    assert groups_of("system:serviceaccount:kube-system:x") == (
        "system:serviceaccounts",
        "system:serviceaccounts:kube-system",
        "system:authenticated",
    )
    assert groups_of("system:node:n1") == ("system:nodes", "system:authenticated")
    assert groups_of("system:kube-scheduler") == ("system:authenticated",)

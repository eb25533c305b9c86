"""Addresses for pods out of the host's own."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from kubernel.client import ObjectList
from kubernel.errors import ServiceUnavailable
from kubernel_plugins.network.host import Plugin, Settings


class Client:
    def __init__(self, pods: list[dict[str, Any]]) -> None:
        self.pods = pods

    async def list(self, resource: str, *, fields: str) -> ObjectList:
        assert fields == "spec.nodeName=node-1"
        return ObjectList(self.pods, "1")


def network(cidr: str = "127.64.0.0/12", pods: list[dict[str, Any]] | None = None) -> Plugin:
    cluster = SimpleNamespace(pod_cidr=cidr, node_name="node-1", bind_address="127.0.0.1")
    handle = SimpleNamespace(cluster=cluster, client=lambda user, groups: Client(pods or []), log=None)
    plugin = Plugin(Settings(), handle)
    asyncio.run(plugin.start())
    return plugin


def pod(uid: str, address: str = "", **spec: Any) -> dict[str, Any]:
    return {"metadata": {"uid": uid}, "spec": spec, "status": {"podIP": address} if address else {}}


def attach(plugin: Plugin, obj: dict[str, Any]) -> str:
    return asyncio.run(plugin.attach(obj))[0]


def test_each_pod_has_its_own_address_and_keeps_it() -> None:
    plugin = network()
    first, second = attach(plugin, pod("a")), attach(plugin, pod("b"))
    assert first != second
    assert attach(plugin, pod("a")) == first
    assert first.startswith("127.")


def test_pod_that_had_an_address_before_a_restart_keeps_it() -> None:
    plugin = network(pods=[pod("old", "127.64.0.1")])
    assert attach(plugin, pod("new")) == "127.64.0.2"
    assert attach(plugin, pod("old", "127.64.0.1")) == "127.64.0.1"


def test_freed_addresses_are_used_again_as_late_as_possible() -> None:
    plugin = network("127.64.0.0/29")
    given = [attach(plugin, pod(f"p{n}")) for n in range(3)]
    asyncio.run(plugin.detach("p0"))
    asyncio.run(plugin.detach("unknown"))
    later = [attach(plugin, pod(f"q{n}")) for n in range(4)]
    assert later[-1] == given[0]
    with pytest.raises(ServiceUnavailable, match="no address is left in 127"):
        attach(plugin, pod("more"))


def test_the_hosts_own_address_is_not_given_away() -> None:
    plugin = network("127.0.0.0/29")
    assert "127.0.0.1" not in {attach(plugin, pod(f"p{n}")) for n in range(5)}


def test_host_network_pods_have_the_nodes_address() -> None:
    plugin = network()
    assert attach(plugin, pod("h", hostNetwork=True)) == "127.0.0.1"
    assert tuple(plugin.host_addresses()) == ("127.0.0.1",)

"""The client in the server's process, on a real registry."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kubernel.client.local import LocalClient
from kubernel.errors import Expired, Forbidden, NotFound
from kubernel.registry.attributes import ALLOW, Attributes, Decision
from kubernel.registry.request import UserInfo
from kubernel.testing import Cluster


def config_map(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}


def client_of(cluster: Cluster, authorize: Callable[[Attributes], Decision], **options: Any) -> LocalClient:
    kernel = cluster.kernel
    return LocalClient(kernel.registry, UserInfo("eve"), kernel.clock, authorize, **options)


def test_refusals_are_in_upstreams_words(tiny: Callable[..., Cluster]) -> None:
    cluster = tiny()
    asked: list[Attributes] = []

    def deny(attributes: Attributes) -> Decision:
        asked.append(attributes)
        return Decision(False, "no rule" if attributes.verb == "list" else "")

    client = client_of(cluster, deny)
    with pytest.raises(Forbidden) as get:
        cluster.run(client.get("configmaps", "a", "shop"))
    assert str(get.value) == (
        'configmaps "a" is forbidden: User "eve" cannot get resource "configmaps" in API group "" '
        'in the namespace "shop"'
    )
    with pytest.raises(Forbidden) as listed:
        cluster.run(client.list("widgets.v1.example.com"))
    assert str(listed.value) == (
        'widgets.example.com is forbidden: User "eve" cannot list resource "widgets" in API group '
        '"example.com" at the cluster scope: no rule'
    )
    with pytest.raises(Forbidden, match='resource "configmaps/status"'):
        cluster.run(client.patch("configmaps", "a", {}, "shop", subresource="status"))
    assert [attributes.verb for attributes in asked] == ["get", "list", "patch"]
    assert cluster.list("configmaps") == []


def test_an_informer_waits_for_its_rights(tiny: Callable[..., Cluster]) -> None:
    cluster = tiny()
    allowed = False

    def authorize(attributes: Attributes) -> Decision:
        return ALLOW if allowed else Decision(False)

    client = client_of(cluster, authorize, informers=cluster.kernel._informers)
    cluster.create(config_map("a"))

    async def informer() -> Any:
        return client.informer("configmaps")

    view = cluster.run(informer())
    cluster.clock.advance(10)
    assert not view.has_synced
    allowed = True
    cluster.clock.advance(60)
    assert [obj["metadata"]["name"] for obj in view.list()] == ["a"]
    cluster.run(client.close())


def test_a_watch_starts_with_what_is_there_or_after_a_version(tiny: Callable[..., Cluster]) -> None:
    cluster = tiny()
    client = cluster.client()
    made = cluster.create(config_map("a"))

    async def first(count: int, **options: Any) -> list[Any]:
        got = []
        async for type, obj in client.watch("configmaps", **options):
            got.append((type, obj["metadata"]["name"]))
            if len(got) == count:
                break
        return got

    assert cluster.run(first(1)) == [("ADDED", "a")]
    cluster.create(config_map("b"))
    cluster.delete("configmaps", "a")
    version = made["metadata"]["resourceVersion"]
    assert cluster.run(first(2, resource_version=version)) == [("ADDED", "b"), ("DELETED", "a")]
    cluster.faults.drop_watches(forget=True)
    with pytest.raises(Expired):
        cluster.run(first(1, resource_version=version))


def test_unknown_resources_are_not_found_and_known_ones_discovered(tiny: Callable[..., Cluster]) -> None:
    cluster = tiny()
    client = cluster.client()
    with pytest.raises(NotFound, match="could not find the requested resource"):
        cluster.run(client.get("nothings.v1.example.com", "a"))
    types = {(type["group"], type["resource"], type["namespaced"]) for type in cluster.run(client.discover())}
    assert ("", "namespaces", False) in types
    assert ("example.com", "widgets", True) in types


def test_writes_are_recorded_under_the_components_name(tiny: Callable[..., Cluster]) -> None:
    cluster = tiny()
    client = cluster.client("system:serviceaccount:kube-system:deployment-controller")
    made = cluster.run(client.create("configmaps", config_map("a"), "default"))
    managers = {entry["manager"] for entry in made["metadata"].get("managedFields", ())}
    assert managers <= {"deployment-controller"}


def test_a_collection_is_deleted_by_selector(tiny: Callable[..., Cluster]) -> None:
    cluster = tiny()
    for name in ("a", "b"):
        labelled = config_map(name)
        labelled["metadata"]["labels"] = {"name": name}
        cluster.create(labelled)
    cluster.run(cluster.client().delete_collection("configmaps", "default", labels="name=a"))
    assert [obj["metadata"]["name"] for obj in cluster.list("configmaps")] == ["b"]

from __future__ import annotations

from typing import Any

from kubernel.objects import meta
from kubernel.testing import Cluster

SLICES = "endpointslices.v1.discovery.k8s.io"


def service(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "db"},
        "spec": {"ports": [{"port": 80}], **spec},
    }


def endpoints(
    *addresses: str, broken: tuple[str, ...] = (), port: int = 5432, **metadata: Any
) -> dict[str, Any]:
    subset: dict[str, Any] = {"ports": [{"name": "sql", "port": port, "protocol": "TCP"}]}
    if addresses:
        subset["addresses"] = [{"ip": address} for address in addresses]
    if broken:
        subset["notReadyAddresses"] = [{"ip": address} for address in broken]
    return {
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {"name": "db", **metadata},
        "subsets": [subset],
    }


def slices(cluster: Cluster) -> list[Any]:
    return list(cluster.list(SLICES, "default", labels="kubernetes.io/service-name=db"))


def content(entry: Any) -> dict[str, bool]:
    return {one["addresses"][0]: one["conditions"]["ready"] for one in entry.get("endpoints") or ()}


def test_endpoints_without_a_selector_are_copied_and_followed(cluster: Cluster, always: Any) -> None:
    always(
        cluster,
        SLICES,
        lambda found: sum(meta.labels(one).get("kubernetes.io/service-name") == "db" for one in found) > 1,
    )
    cluster.apply(service())
    cluster.apply(endpoints("10.1.1.1", broken=("10.1.1.2",), labels={"a": "b"}))
    cluster.clock.advance(1)
    (entry,) = slices(cluster)
    assert content(entry) == {"10.1.1.1": True, "10.1.1.2": False}
    assert entry["ports"] == [{"name": "sql", "port": 5432, "protocol": "TCP"}]
    assert entry["addressType"] == "IPv4"
    assert meta.labels(entry) == {
        "a": "b",
        "kubernetes.io/service-name": "db",
        "endpointslice.kubernetes.io/managed-by": "endpointslicemirroring-controller.k8s.io",
    }
    owner = meta.controller_of(entry)
    assert owner is not None
    assert owner["kind"] == "Endpoints"
    for number in range(5):
        cluster.apply(endpoints(f"10.1.1.{number}"))
    cluster.clock.advance(1)
    (after,) = slices(cluster)
    assert content(after) == {"10.1.1.4": True}
    assert meta.uid(after) == meta.uid(entry)


def test_each_address_family_and_set_of_ports_has_its_slice(cluster: Cluster) -> None:
    cluster.apply(service())
    wanted = endpoints("10.1.1.1", "fd00::1")
    wanted["subsets"] += endpoints("10.1.1.2", port=9)["subsets"]
    cluster.apply(wanted)
    cluster.clock.advance(1)
    found = sorted((one["addressType"], one["ports"][0]["port"], *content(one)) for one in slices(cluster))
    assert found == [("IPv4", 9, "10.1.1.2"), ("IPv4", 5432, "10.1.1.1"), ("IPv6", 5432, "fd00::1")]


def test_slices_go_with_what_they_were_copied_for(cluster: Cluster) -> None:
    cluster.apply(service())
    cluster.apply(endpoints("10.1.1.1"))
    cluster.clock.advance(1)
    assert len(slices(cluster)) == 1
    cluster.apply(endpoints("10.1.1.1", labels={"endpointslice.kubernetes.io/skip-mirror": "true"}))
    cluster.clock.advance(1)
    assert slices(cluster) == []
    cluster.apply(endpoints("10.1.1.1"))
    cluster.clock.advance(1)
    assert len(slices(cluster)) == 1
    cluster.delete("endpoints", "db")
    cluster.clock.advance(5)
    assert slices(cluster) == []


def test_a_service_with_a_selector_has_nothing_copied(cluster: Cluster) -> None:
    cluster.apply(service(selector={"app": "db"}))
    cluster.clock.advance(2)
    managers = {meta.labels(one)["endpointslice.kubernetes.io/managed-by"] for one in slices(cluster)}
    assert managers == {"endpointslice-controller.k8s.io"}

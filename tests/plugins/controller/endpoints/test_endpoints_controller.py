from __future__ import annotations

from typing import Any

import pytest
from workload_kit import deployment, pod, rolled_out, view, watch

from kubernel.objects import meta
from kubernel.testing import Cluster
from kubernel_plugins.controller.endpoints import truncate

WEB = {"app": "web"}


def service(name: str = "web", selector: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    chosen = {"app": name} if selector is None else selector
    spec.setdefault("ports", [{"port": 80, "targetPort": 8080}])
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {**({"selector": chosen} if chosen else {}), **spec},
    }


def subsets(cluster: Cluster, name: str = "web") -> list[dict[str, Any]]:
    cluster.settle()
    return cluster.get("endpoints", name).get("subsets") or []


def names(cluster: Cluster, key: str = "addresses") -> list[str]:
    return [address["targetRef"]["name"] for subset in subsets(cluster) for address in subset.get(key) or ()]


def test_ready_pods_are_addresses_and_the_others_are_not_ready(cluster: Cluster) -> None:
    cluster.apply(service())
    assert subsets(cluster) == []
    cluster.create(pod("good", WEB))
    cluster.create(pod("bad", WEB, {"ready": "false"}))
    cluster.create(pod("other", {"app": "other"}))
    (subset,) = subsets(cluster)
    found = cluster.get("pods", "good")
    assert subset["addresses"] == [
        {
            "ip": found["status"]["podIP"],
            "nodeName": "node-1",
            "targetRef": {"kind": "Pod", "namespace": "default", "name": "good", "uid": meta.uid(found)},
        }
    ]
    assert subset["ports"] == [{"port": 8080, "protocol": "TCP"}]
    assert names(cluster, "notReadyAddresses") == ["bad"]
    labels = meta.labels(cluster.get("endpoints", "web"))
    assert labels == {"endpoints.kubernetes.io/managed-by": "endpoint-controller"}


def test_pods_that_leave_or_have_ended_are_no_addresses(cluster: Cluster) -> None:
    cluster.apply(service())
    cluster.create(pod("leaving", WEB, {"stop-delay": "10s"}))
    cluster.create(pod("done", WEB, {"run-for": "1s"}, restartPolicy="Never"))
    assert sorted(names(cluster)) == ["done", "leaving"]
    cluster.clock.advance(2)
    cluster.delete("pods", "leaving")
    assert subsets(cluster) == []


def test_pods_that_change_their_labels_come_and_go(cluster: Cluster) -> None:
    cluster.apply(service())
    cluster.create(pod("a", {"app": "x"}))
    assert names(cluster) == []
    cluster.patch("pods", "a", {"metadata": {"labels": WEB}})
    assert names(cluster) == ["a"]
    cluster.patch("services", "web", {"spec": {"selector": {"app": "y"}}})
    assert names(cluster) == []


def named(name: str, port: int, **more: Any) -> dict[str, Any]:
    ports = [{"name": "http", "containerPort": port}]
    return pod(name, WEB, containers=[{"name": "main", "image": "x", "ports": ports}], **more)


def test_a_named_port_is_each_pods_own_number(cluster: Cluster) -> None:
    ports = [{"name": "web", "port": 80, "targetPort": "http"}, {"name": "admin", "port": 90}]
    cluster.apply(service(ports=ports))
    cluster.create(named("one", 8081))
    cluster.create(named("two", 8082))
    cluster.create(pod("none", WEB))
    found = {
        tuple((port["name"], port["port"]) for port in subset["ports"]): [
            address["targetRef"]["name"] for address in subset["addresses"]
        ]
        for subset in subsets(cluster)
    }
    assert {ports: sorted(held) for ports, held in found.items()} == {
        (("admin", 90),): ["none", "one", "two"],
        (("web", 8081),): ["one"],
        (("web", 8082),): ["two"],
    }


def test_a_headless_service_has_a_label_and_host_names(cluster: Cluster) -> None:
    cluster.apply(service(clusterIP="None", ports=[]))
    cluster.create(pod("a", WEB, hostname="first", subdomain="web"))
    cluster.create(pod("b", WEB, hostname="second", subdomain="elsewhere"))
    (subset,) = subsets(cluster)
    assert [address.get("hostname") for address in subset["addresses"]] == ["first", None]
    assert "ports" not in subset
    assert "service.kubernetes.io/headless" in meta.labels(cluster.get("endpoints", "web"))


def test_unready_addresses_may_be_published(cluster: Cluster) -> None:
    cluster.apply(service(publishNotReadyAddresses=True))
    cluster.create(pod("bad", WEB, {"ready": "false", "stop-delay": "10s"}))
    assert names(cluster) == ["bad"]
    cluster.delete("pods", "bad")
    assert names(cluster) == ["bad"]


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({}, id="no-selector"),
        pytest.param(
            {"type": "ExternalName", "externalName": "example.com", "selector": WEB}, id="external-name"
        ),
    ],
)
def test_services_without_pods_of_their_own_are_left_alone(cluster: Cluster, spec: dict[str, Any]) -> None:
    selector = spec.pop("selector", {})
    mine = {
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {"name": "web"},
        "subsets": [{"addresses": [{"ip": "192.0.2.1"}], "ports": [{"port": 1}]}],
    }
    cluster.apply(mine)
    before = meta.resource_version(cluster.get("endpoints", "web"))
    cluster.apply(service(selector=selector, **spec))
    cluster.create(pod("a", WEB))
    cluster.clock.advance("10m")
    assert meta.resource_version(cluster.get("endpoints", "web")) == before


def test_deleted_endpoints_come_back_changed_ones_when_a_pod_changes_and_all_go_with_the_service(
    cluster: Cluster,
) -> None:
    cluster.apply(service())
    cluster.create(pod("a", WEB))
    cluster.delete("endpoints", "web")
    cluster.clock.advance(1)
    assert names(cluster) == ["a"]
    cluster.patch("endpoints", "web", {"subsets": None})
    cluster.clock.advance(1)
    assert names(cluster) == []
    cluster.create(pod("b", WEB))
    assert sorted(names(cluster)) == ["a", "b"]
    cluster.delete("services", "web")
    assert cluster.find("endpoints", "web") is None


def test_more_than_a_thousand_addresses_are_cut_off_and_it_is_told(cluster: Cluster) -> None:
    cluster.apply(service())
    cluster.apply(deployment(replicas=1010))
    cluster.wait(lambda: rolled_out(cluster))
    assert len(names(cluster)) == 1000
    note = "endpoints.kubernetes.io/over-capacity"
    assert meta.annotations(cluster.get("endpoints", "web"))[note] == "truncated"
    cluster.patch("deployments.v1.apps", "web", {"spec": {"replicas": 2}})
    cluster.clock.advance(1)
    assert note not in meta.annotations(cluster.get("endpoints", "web"))


def test_nothing_is_written_when_nothing_of_the_endpoints_changes(cluster: Cluster) -> None:
    cluster.apply(service())
    cluster.create(pod("a", WEB))
    cluster.settle()
    writes: list[int] = []
    endpoints = view(cluster, "endpoints")
    watch(cluster, "endpoints", lambda: writes.append(len(endpoints())))
    writes.clear()
    cluster.patch("pods", "a", {"metadata": {"annotations": {"note": "x"}}})
    cluster.patch("services", "web", {"metadata": {"annotations": {"note": "x"}}})
    cluster.clock.advance("10m")
    assert writes == []


def subset_of(ready: int, unready: int = 0) -> dict[str, Any]:
    subset: dict[str, Any] = {}
    if ready:
        subset["addresses"] = [{"ip": f"10.0.0.{number}"} for number in range(ready)]
    if unready:
        subset["notReadyAddresses"] = [{"ip": f"10.1.0.{number}"} for number in range(unready)]
    return subset


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param([(600, 400)], [(600, 400)], id="none is too many"),
        pytest.param([(600, 500)], [(600, 400)], id="the unready are cut first"),
        pytest.param([(0, 900), (400, 300)], [(0, 450), (400, 150)], id="in proportion"),
        pytest.param([(900, 10), (600, 10)], [(600, 0), (400, 0)], id="no unready one beside too many ready"),
        pytest.param([(1, 0), (2999, 0)], [(1, 0), (999, 0)], id="rounded up, the last bears it"),
    ],
)
def test_too_many_addresses_are_cut_in_proportion(
    before: list[tuple[int, int]], after: list[tuple[int, int]]
) -> None:
    held = [subset_of(*numbers) for numbers in before]
    assert truncate(held) is (before != after)
    assert held == [subset_of(*numbers) for numbers in after]

from __future__ import annotations

from typing import Any

import pytest
from workload_kit import DEPLOYMENTS, deployment, pod, rolled_out, template, view, watch

from kubernel.objects import meta
from kubernel.testing import Cluster

SLICES = "endpointslices.v1.discovery.k8s.io"
WEB = {"app": "web"}


def service(name: str = "web", selector: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    chosen = {"app": name} if selector is None else selector
    spec.setdefault("ports", [{"port": 80, "targetPort": 8080}])
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "labels": {"team": "red"}},
        "spec": {**({"selector": chosen} if chosen else {}), **spec},
    }


def slices(cluster: Cluster, name: str = "web") -> list[dict[str, Any]]:
    cluster.settle()
    return list(cluster.list(SLICES, "default", labels=f"kubernetes.io/service-name={name}"))


def endpoints(cluster: Cluster) -> dict[str, dict[str, Any]]:
    return {
        endpoint["targetRef"]["name"]: endpoint
        for entry in slices(cluster)
        for endpoint in entry.get("endpoints") or ()
    }


def conditions_of(cluster: Cluster, name: str) -> tuple[bool, bool, bool]:
    """(ready, serving, terminating)."""
    found = endpoints(cluster)[name]["conditions"]
    return found["ready"], found["serving"], found["terminating"]


def test_a_slice_says_where_a_services_pods_are(cluster: Cluster) -> None:
    cluster.apply(service())
    cluster.create(pod("a", WEB))
    (entry,) = slices(cluster)
    found = cluster.get("pods", "a")
    assert entry["addressType"] == "IPv4"
    assert entry["ports"] == [{"name": "", "port": 8080, "protocol": "TCP"}]
    assert entry["endpoints"] == [
        {
            "addresses": [found["status"]["podIP"]],
            "conditions": {"ready": True, "serving": True, "terminating": False},
            "nodeName": "node-1",
            "targetRef": {"kind": "Pod", "namespace": "default", "name": "a", "uid": meta.uid(found)},
        }
    ]
    assert meta.labels(entry) == {
        "team": "red",
        "kubernetes.io/service-name": "web",
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
    }
    owner = meta.controller_of(entry)
    assert owner is not None
    assert (owner["kind"], owner["name"]) == ("Service", "web")
    assert meta.name(entry).startswith("web-")


def test_pods_are_ready_serving_and_terminating(cluster: Cluster) -> None:
    cluster.apply(service())
    cluster.create(pod("good", WEB, {"stop-delay": "10s"}))
    cluster.create(pod("bad", WEB, {"ready": "false"}))
    cluster.create(pod("done", WEB, {"run-for": "1s"}, restartPolicy="Never"))
    cluster.clock.advance(2)
    assert set(endpoints(cluster)) == {"good", "bad"}
    assert conditions_of(cluster, "good") == (True, True, False)
    assert conditions_of(cluster, "bad") == (False, False, False)
    cluster.delete("pods", "good")
    assert conditions_of(cluster, "good") == (False, True, True)
    cluster.clock.advance(11)
    assert set(endpoints(cluster)) == {"bad"}


def test_publishing_the_unready_makes_all_ready(cluster: Cluster) -> None:
    cluster.apply(service(publishNotReadyAddresses=True))
    cluster.create(pod("bad", WEB, {"ready": "false", "stop-delay": "10s"}))
    assert conditions_of(cluster, "bad") == (True, False, False)
    cluster.delete("pods", "bad")
    assert conditions_of(cluster, "bad") == (True, False, True)


def test_pods_with_other_numbers_for_a_named_port_have_a_slice_of_their_own(cluster: Cluster) -> None:
    cluster.apply(service(ports=[{"name": "http", "port": 80, "targetPort": "http"}]))
    for number, name in ((8081, "a"), (8082, "b"), (8082, "c")):
        ports = [{"name": "http", "containerPort": number}]
        cluster.create(pod(name, WEB, containers=[{"name": "m", "image": "x", "ports": ports}]))
    found = {
        entry["ports"][0]["port"]: {one["targetRef"]["name"] for one in entry["endpoints"]}
        for entry in slices(cluster)
    }
    assert found == {8081: {"a"}, 8082: {"b", "c"}}


def test_a_headless_service_has_host_names_and_a_label(cluster: Cluster) -> None:
    cluster.apply(service(clusterIP="None", ports=[]))
    cluster.create(pod("a", WEB, hostname="first", subdomain="web"))
    (entry,) = slices(cluster)
    assert entry["endpoints"][0]["hostname"] == "first"
    assert not entry.get("ports")
    assert meta.labels(entry)["service.kubernetes.io/headless"] == ""


def test_the_zone_is_the_nodes(cluster: Cluster) -> None:
    label = {"topology.kubernetes.io/zone": "west"}
    cluster.patch("nodes", "node-1", {"metadata": {"labels": label}})
    cluster.apply(service())
    cluster.create(pod("a", WEB))
    assert endpoints(cluster)["a"]["zone"] == "west"


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({"selector": {}}, id="no-selector"),
        pytest.param({"type": "ExternalName", "externalName": "example.com"}, id="external-name"),
    ],
)
def test_services_without_pods_of_their_own_get_none(cluster: Cluster, spec: dict[str, Any]) -> None:
    cluster.apply(service(**spec))
    cluster.create(pod("a", WEB))
    cluster.clock.advance("1m")
    assert slices(cluster) == []


def test_slices_of_others_are_not_touched(cluster: Cluster) -> None:
    cluster.apply(service())
    other = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "mine", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["192.0.2.1"]}],
        "ports": [],
    }
    cluster.create(other)
    cluster.create(pod("a", WEB))
    cluster.clock.advance("1m")
    assert cluster.get(SLICES, "mine")["endpoints"][0]["addresses"] == ["192.0.2.1"]
    assert len(slices(cluster)) == 2


def test_more_than_a_hundred_endpoints_are_split_and_slices_that_empty_go(cluster: Cluster) -> None:
    cluster.apply(service())
    cluster.apply(deployment(replicas=250))
    cluster.wait(lambda: rolled_out(cluster))
    counts = [len(entry["endpoints"]) for entry in slices(cluster)]
    assert sum(counts) == 250
    assert max(counts) == 100
    assert len(endpoints(cluster)) == 250
    cluster.patch(DEPLOYMENTS, "web", {"spec": {"replicas": 80}})
    cluster.wait(lambda: rolled_out(cluster))
    cluster.clock.advance("1m")
    # Those that stay, stay where they are: slices are not brought together.
    assert sum(len(entry["endpoints"]) for entry in slices(cluster)) == 80
    cluster.patch(DEPLOYMENTS, "web", {"spec": {"replicas": 0}})
    cluster.clock.advance("1m")
    assert [entry.get("endpoints") or [] for entry in slices(cluster)] == [[]]


def test_one_changed_pod_is_one_write_of_one_slice(cluster: Cluster) -> None:
    cluster.apply(service())
    cluster.apply(deployment(replicas=220, pod_template=template(WEB, {"stop-delay": "5s"})))
    cluster.wait(lambda: rolled_out(cluster))
    cluster.clock.advance("1m")
    versions = {meta.name(entry): meta.resource_version(entry) for entry in slices(cluster)}
    writes: list[int] = []
    held = view(cluster, SLICES)
    watch(cluster, SLICES, lambda: writes.append(len(held())))
    writes.clear()
    name = next(iter(endpoints(cluster)))
    cluster.patch("pods", name, {"metadata": {"annotations": {"note": "x"}}})
    assert writes == []
    unready = {"status": {"conditions": [{"type": "Ready", "status": "False"}]}}
    cluster.patch("pods", name, unready, type="strategic", subresource="status")
    assert len(writes) == 1
    changed = [
        meta.name(one) for one in slices(cluster) if versions[meta.name(one)] != meta.resource_version(one)
    ]
    assert len(changed) == 1


def test_deleted_and_changed_slices_come_back(cluster: Cluster) -> None:
    cluster.apply(service())
    cluster.create(pod("a", WEB))
    cluster.delete(SLICES, meta.name(slices(cluster)[0]))
    cluster.clock.advance(1)
    assert set(endpoints(cluster)) == {"a"}
    cluster.patch(SLICES, meta.name(slices(cluster)[0]), {"endpoints": []})
    cluster.clock.advance(1)
    assert set(endpoints(cluster)) == {"a"}
    cluster.delete("services", "web")
    cluster.clock.advance("1m")
    assert slices(cluster) == []


def test_there_is_never_more_than_one_slice_for_few_pods(cluster: Cluster) -> None:
    held = view(cluster, SLICES)
    seen: list[int] = []
    watch(
        cluster,
        SLICES,
        lambda: seen.append(
            sum(meta.labels(one).get("kubernetes.io/service-name") == "web" for one in held())
        ),
    )
    cluster.faults.slow_store(0.3)
    cluster.apply([service(), deployment(replicas=10, pod_template=template(WEB, {"ready-after": "1s"}))])
    for _ in range(6):
        cluster.faults.drop_watches(forget=True)
        cluster.clock.advance(1)
    cluster.faults.clear()
    cluster.clock.advance("10m")
    assert max(seen) == 1
    assert len(endpoints(cluster)) == 10

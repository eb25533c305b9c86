from __future__ import annotations

import ipaddress

import pytest

from kubernel.testing import Cluster

CLASSES = "priorityclasses.v1.scheduling.k8s.io"
SLICES = "endpointslices.v1.discovery.k8s.io"


@pytest.mark.parametrize("name", ["default", "kube-system", "kube-public", "kube-node-lease"])
def test_the_system_namespaces_are_there(cluster: Cluster, name: str) -> None:
    assert cluster.get("namespaces", name)["status"]["phase"] == "Active"


def test_the_system_priority_classes_are_there(cluster: Cluster) -> None:
    assert {one["metadata"]["name"]: one["value"] for one in cluster.list(CLASSES)} == {
        "system-cluster-critical": 2_000_000_000,
        "system-node-critical": 2_000_001_000,
    }


def test_the_api_is_a_service_with_endpoints(cluster: Cluster) -> None:
    service = cluster.get("services", "kubernetes")
    network = ipaddress.ip_network(cluster.kernel.config.cluster.service_cidr)
    assert service["spec"]["clusterIP"] == str(network[1])
    assert [(port["name"], port["port"]) for port in service["spec"]["ports"]] == [("https", 443)]
    (subset,) = cluster.get("endpoints", "kubernetes")["subsets"]
    assert subset["addresses"] == [{"ip": "127.0.0.1"}]
    assert cluster.get(SLICES, "kubernetes")["endpoints"][0]["addresses"] == ["127.0.0.1"]


@pytest.mark.parametrize("resource", ["services", "endpoints", SLICES])
def test_what_is_deleted_comes_back(cluster: Cluster, resource: str) -> None:
    cluster.delete(resource, "kubernetes")
    cluster.clock.advance(1)
    assert cluster.find(resource, "kubernetes") is not None


def test_changed_endpoints_of_the_api_are_put_right(cluster: Cluster) -> None:
    wrong = [{"addresses": [{"ip": "192.0.2.1"}], "ports": [{"port": 1}]}]
    cluster.patch("endpoints", "kubernetes", {"subsets": wrong})
    cluster.clock.advance(1)
    assert cluster.get("endpoints", "kubernetes")["subsets"][0]["addresses"] == [{"ip": "127.0.0.1"}]


def test_a_deleted_system_namespace_comes_back(cluster: Cluster) -> None:
    cluster.delete("namespaces", "kube-node-lease")
    cluster.clock.advance("1m")
    assert cluster.get("namespaces", "kube-node-lease")["status"]["phase"] == "Active"
    assert cluster.find("leases.v1.coordination.k8s.io", "node-1", "kube-node-lease") is not None


@pytest.mark.parametrize(("bound", "told"), [("0.0.0.0", "127.0.0.1"), ("127.0.0.2", "127.0.0.2")])
def test_endpoints_tell_where_the_api_can_be_reached(bound: str, told: str) -> None:
    with Cluster({"cluster": {"bindAddress": bound}}) as cluster:
        (subset,) = cluster.get("endpoints", "kubernetes")["subsets"]
        assert subset["addresses"] == [{"ip": told}]


def test_a_server_without_a_port_has_no_endpoints() -> None:
    with Cluster({"cluster": {"port": 0}}) as cluster:
        assert cluster.get("services", "kubernetes")["spec"]["type"] == "ClusterIP"
        assert cluster.find("endpoints", "kubernetes") is None

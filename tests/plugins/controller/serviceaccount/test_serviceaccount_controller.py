from __future__ import annotations

from kubernel.testing import Cluster


def test_every_namespace_gets_a_default_service_account(cluster: Cluster) -> None:
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})
    assert cluster.get("serviceaccounts", "default", "shop")
    assert cluster.get("serviceaccounts", "default", "kube-system")


def test_a_deleted_default_service_account_comes_back(cluster: Cluster) -> None:
    before = cluster.get("serviceaccounts", "default")
    cluster.delete("serviceaccounts", "default")
    assert cluster.get("serviceaccounts", "default")["metadata"]["uid"] != before["metadata"]["uid"]


def test_a_refused_creation_is_tried_again(cluster: Cluster) -> None:
    cluster.faults.fail_writes("serviceaccounts", times=3, verbs=["create"])
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})
    assert cluster.find("serviceaccounts", "default", "shop") is None
    cluster.clock.advance(1)
    assert cluster.get("serviceaccounts", "default", "shop")

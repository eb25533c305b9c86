"""Nodes reach what their pods need and write about themselves, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from workload_kit import pod

from kubernel.client import Client
from kubernel.errors import Forbidden
from kubernel.testing import Cluster

AUTH = {"auth": ["node", "rbac"], "node": None, "scheduler": None}
LEASES = "leases.v1.coordination.k8s.io"


@pytest.fixture
def authorized() -> Iterator[Cluster]:
    with Cluster(config={"plugins": AUTH}) as cluster:
        for name in ("one", "two"):
            cluster.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})
        yield cluster


def node(cluster: Cluster, name: str = "one") -> Client:
    return cluster.client(f"system:node:{name}")


def secret(name: str, kind: str = "Secret") -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}}


def using(name: str, on: str = "one", **spec: Any) -> dict[str, Any]:
    return pod(name, nodeName=on, **spec)


def refused(cluster: Cluster, work: Any) -> str:
    with pytest.raises(Forbidden) as refusal:
        cluster.run(work)
    return refusal.value.message


def from_secret(name: str) -> dict[str, Any]:
    return {"volumes": [{"name": "s", "secret": {"secretName": name}}]}


def test_a_secret_is_read_by_the_node_of_a_pod_that_uses_it_and_no_longer(authorized: Cluster) -> None:
    cluster = authorized
    cluster.create(secret("mine"))
    cluster.create(using("a", **from_secret("mine")))
    one, two = node(cluster), node(cluster, "two")
    cluster.run(one.get("secrets", "mine", "default"))
    assert refused(cluster, two.get("secrets", "mine", "default")) == (
        'secrets "mine" is forbidden: User "system:node:two" cannot get resource "secrets" in API group "" in the '
        "namespace \"default\": node: no relationship found between node 'two' and this object"
    )
    assert "can only read resources of this type" in refused(
        cluster, one.delete("secrets", "mine", "default")
    )
    assert "can only read namespaced object of this type" in refused(cluster, one.list("secrets"))
    cluster.delete("pods", "a", grace_period=0)
    assert "no relationship found" in refused(cluster, one.get("secrets", "mine", "default"))


@pytest.mark.parametrize(
    ("plural", "kind", "spec"),
    [
        pytest.param("configmaps", "ConfigMap", {"volumes": [{"name": "v", "configMap": {"name": "x"}}]}, id="volume"),
        pytest.param("secrets", "Secret", {"imagePullSecrets": [{"name": "x"}]}, id="pull-secret"),
        pytest.param(
            "secrets", "Secret",
            {"containers": [{"name": "c", "image": "i", "envFrom": [{"secretRef": {"name": "x"}}]}]}, id="envFrom",
        ),
        pytest.param(
            "configmaps", "ConfigMap",
            {"containers": [{"name": "c", "image": "i", "env": [
                {"name": "E", "valueFrom": {"configMapKeyRef": {"name": "x", "key": "k"}}}]}]}, id="env",
        ),
        pytest.param(
            "secrets", "Secret",
            {"volumes": [{"name": "v", "projected": {"sources": [{"secret": {"name": "x"}}]}}]}, id="projected",
        ),
    ],
)  # fmt: skip
def test_all_that_a_pod_refers_to_leads_to_its_node(
    authorized: Cluster, plural: str, kind: str, spec: dict[str, Any]
) -> None:
    authorized.create(secret("x", kind))
    one = node(authorized)
    refused(authorized, one.get(plural, "x", "default"))
    authorized.create(using("a", **spec))
    authorized.run(one.get(plural, "x", "default"))
    refused(authorized, node(authorized, "two").get(plural, "x", "default"))


def test_a_volume_leads_through_its_claim(authorized: Cluster) -> None:
    volume = {
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "disk"},
        "spec": {
            "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
            "csi": {
                "driver": "d", "volumeHandle": "h",
                "nodeStageSecretRef": {"name": "stage", "namespace": "default"},
            },
            "claimRef": {"namespace": "default", "name": "data"},
        },
    }  # fmt: skip
    claim = {
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }  # fmt: skip
    for obj in (volume, claim, secret("stage")):
        authorized.create(obj)
    one = node(authorized)
    asked = (
        ("persistentvolumes", "disk", ""), ("persistentvolumeclaims", "data", "default"),
        ("secrets", "stage", "default"),
    )  # fmt: skip
    for plural, name, namespace in asked:
        refused(authorized, one.get(plural, name, namespace))
    authorized.create(using("a", volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]))
    for plural, name, namespace in asked:
        authorized.run(one.get(plural, name, namespace))
        refused(authorized, node(authorized, "two").get(plural, name, namespace))


def test_nodes_and_pods_are_read_by_those_they_concern(authorized: Cluster) -> None:
    authorized.create(using("a"))
    one, two = node(authorized), node(authorized, "two")
    authorized.run(one.get("nodes", "one"))
    assert "node 'one' cannot read 'two', only its own Node object" in refused(
        authorized, one.get("nodes", "two")
    )
    assert "cannot read all nodes" in refused(authorized, one.list("nodes"))
    authorized.run(one.get("pods", "a", "default"))
    assert len(authorized.run(one.list("pods", fields="spec.nodeName=one")).items) == 1
    assert "can only list/watch pods with spec.nodeName field selector" in refused(
        authorized, two.list("pods")
    )
    refused(authorized, two.list("pods", fields="spec.nodeName=one"))
    refused(authorized, two.get("pods", "a", "default"))


def test_a_node_writes_its_own_node_lease_and_pods(authorized: Cluster) -> None:
    authorized.create(using("a"))
    one, two = node(authorized), node(authorized, "two")
    patch = {"status": {"phase": "Running"}}
    authorized.run(one.patch("pods", "a", patch, "default", subresource="status"))
    assert 'node "two" can only update pod status for pods with spec.nodeName set to itself' in refused(
        authorized, two.patch("pods", "a", patch, "default", subresource="status")
    )
    assert 'node "two" can only delete pods with spec.nodeName set to itself' in refused(
        authorized, two.delete("pods", "a", "default")
    )
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "one"}, "spec": {}}
    authorized.run(one.create(LEASES, lease, "kube-node-lease"))
    assert "can only access node lease with the same name" in refused(
        authorized, two.create(LEASES, {**lease, "metadata": {"name": "three"}}, "kube-node-lease")
    )
    assert "can only access leases in the" in refused(authorized, one.create(LEASES, lease, "default"))


@pytest.mark.parametrize(
    ("patch", "told"),
    [
        pytest.param({"spec": {"taints": []}}, 'node "one" is not allowed to modify taints', id="taints"),
        pytest.param(
            {"metadata": {"labels": {"node-restriction.kubernetes.io/x": "y"}}},
            "is not allowed to modify labels: node-restriction.kubernetes.io/x", id="restricted-label",
        ),
        pytest.param(
            {"metadata": {"labels": {"node-role.kubernetes.io/x": ""}}},
            "is not allowed to modify labels: node-role.kubernetes.io/x", id="role-label",
        ),
        pytest.param(
            {"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}]}},
            'node "one" is not allowed to modify ownerReferences', id="owners",
        ),
    ],
)  # fmt: skip
def test_a_node_cannot_make_itself_another(authorized: Cluster, patch: dict[str, Any], told: str) -> None:
    authorized.patch("nodes", "one", {"spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}})
    assert told in refused(authorized, node(authorized).patch("nodes", "one", patch))
    labels = {"metadata": {"labels": {"kubernetes.io/hostname": "h", "example.com/x": "y"}}}
    authorized.run(node(authorized).patch("nodes", "one", labels))
    assert 'node "two" is not allowed to modify node "one"' in refused(
        authorized, node(authorized, "two").patch("nodes", "one", labels)
    )


def test_a_node_creates_mirror_pods_that_refer_to_nothing(authorized: Cluster) -> None:
    one = node(authorized)
    made = using("m")
    assert 'pod does not have "kubernetes.io/config.mirror" annotation' in refused(
        authorized, one.create("pods", made, "default")
    )
    made["metadata"]["annotations"] = {"kubernetes.io/config.mirror": "hash"}
    assert "an owner reference set to itself" in refused(authorized, one.create("pods", made, "default"))
    uid = authorized.get("nodes", "one")["metadata"]["uid"]
    made["metadata"]["ownerReferences"] = [
        {"apiVersion": "v1", "kind": "Node", "name": "one", "uid": uid, "controller": True}
    ]
    with_secret = {**made, "spec": {**made["spec"], **from_secret("s")}}
    assert "a mirror pod may not reference secrets" in refused(
        authorized, one.create("pods", with_secret, "default")
    )
    volumes = [{"name": "m", "configMap": {"name": "m"}}]
    with_map = {**made, "spec": {**made["spec"], "volumes": volumes}}
    assert 'node "one" can not create pods that reference configmaps' in refused(
        authorized, one.create("pods", with_map, "default")
    )
    authorized.run(one.create("pods", made, "default"))


def token(pod_name: str, uid: str, *audiences: str) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "expirationSeconds": 3600,
        "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": pod_name, "uid": uid},
    }
    if audiences:
        spec["audiences"] = list(audiences)
    return {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "metadata": {}, "spec": spec}


def test_a_node_gets_tokens_for_its_pods_only() -> None:
    plugins = {**AUTH, "auth": ["serviceaccount", "node", "rbac"]}
    with Cluster(config={"plugins": plugins}) as cluster:
        cluster.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "one"}})
        for name, on in (("a", "one"), ("b", "two")):
            cluster.create(using(name, on))
        uids = {name: cluster.get("pods", name)["metadata"]["uid"] for name in "ab"}

        def ask(body: dict[str, Any], by: str = "one") -> Any:
            client = node(cluster, by)
            return client.create("serviceaccounts", body, "default", subresource="token", name="default")

        assert cluster.run(ask(token("a", uids["a"])))["status"]["token"]
        assert "node requested token bound to a pod scheduled on a different node" in refused(
            cluster, ask(token("b", uids["b"]))
        )
        unbound = token("a", uids["a"])
        del unbound["spec"]["boundObjectRef"]
        assert "node requested token not bound to a pod" in refused(cluster, ask(unbound))
        assert 'audience "vault" not found in pod spec volume' in refused(
            cluster, ask(token("a", uids["a"], "vault"))
        )
        assert "no relationship found" in refused(cluster, ask(token("a", uids["a"]), "three"))


def test_others_are_none_of_the_node_authorizers_business(authorized: Cluster) -> None:
    stranger = authorized.client("jane", ("system:nodes",))
    message = refused(authorized, stranger.get("nodes", "one"))
    assert message.endswith('in API group "" at the cluster scope')

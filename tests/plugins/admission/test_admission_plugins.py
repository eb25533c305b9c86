"""What admission adds to writes, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
from workload_kit import pod

from kubernel.errors import Forbidden, NotFound
from kubernel.objects import meta
from kubernel.testing import Cluster

CLASSES = "priorityclasses.v1.scheduling.k8s.io"
MOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"


def config_map(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}


def namespace(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


# --- namespace_lifecycle


def test_nothing_is_created_in_a_namespace_that_is_not_there(cluster: Cluster) -> None:
    with pytest.raises(NotFound, match='namespaces "nowhere" not found'):
        cluster.create(config_map("a"), namespace="nowhere")
    cluster.create(namespace("nowhere"))
    cluster.create(config_map("a"), namespace="nowhere")


def test_nothing_is_created_in_a_namespace_that_goes_away_but_things_can_change_and_go(
    cluster: Cluster,
) -> None:
    cluster.create(namespace("shop"))
    kept = config_map("kept")
    kept["metadata"]["finalizers"] = ["example.com/hold"]
    cluster.create(kept, namespace="shop")
    cluster.delete("namespaces", "shop")
    with pytest.raises(Forbidden) as refusal:
        cluster.create(config_map("late"), namespace="shop")
    assert refusal.value.message == (
        'configmaps "late" is forbidden: unable to create new content in namespace shop because it is '
        "being terminated"
    )
    (cause,) = refusal.value.causes
    assert (cause.reason, cause.field) == ("NamespaceTerminating", "metadata.namespace")
    cluster.patch("configmaps", "kept", {"data": {"a": "b"}}, "shop")
    cluster.patch("configmaps", "kept", {"metadata": {"finalizers": None}}, "shop")
    cluster.wait(lambda: cluster.find("namespaces", "shop") is None)


@pytest.mark.parametrize("name", ["default", "kube-system", "kube-public"])
def test_system_namespaces_cannot_be_deleted(cluster: Cluster, name: str) -> None:
    with pytest.raises(
        Forbidden, match=f'namespaces "{name}" is forbidden: this namespace may not be deleted'
    ):
        cluster.delete("namespaces", name)


def test_cluster_scoped_objects_need_no_namespace(cluster: Cluster) -> None:
    cluster.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}})


# --- serviceaccount


def volumes(found: dict[str, Any]) -> list[str]:
    return [volume["name"] for volume in found["spec"].get("volumes") or ()]


def test_a_pod_gets_the_default_account_and_its_token(cluster: Cluster) -> None:
    found = cluster.create(pod("a", initContainers=[{"name": "i", "image": "x"}]))
    assert found["spec"]["serviceAccountName"] == found["spec"]["serviceAccount"] == "default"
    (volume,) = found["spec"]["volumes"]
    assert volume["name"].startswith("kube-api-access-")
    token, authority, here = volume["projected"]["sources"]
    assert token["serviceAccountToken"] == {"expirationSeconds": 3607, "path": "token"}
    assert authority["configMap"] == {
        "name": "kube-root-ca.crt",
        "items": [{"key": "ca.crt", "path": "ca.crt"}],
    }
    assert here["downwardAPI"]["items"][0]["path"] == "namespace"
    for container in (*found["spec"]["containers"], *found["spec"]["initContainers"]):
        (mount,) = container["volumeMounts"]
        assert mount == {"name": volume["name"], "readOnly": True, "mountPath": MOUNT}


def account(name: str, **more: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}, **more}


@pytest.mark.parametrize(
    ("of_pod", "of_account", "mounted"),
    [
        pytest.param(None, None, True, id="nobody-says"),
        pytest.param(False, True, False, id="the-pod-says-no"),
        pytest.param(True, False, True, id="the-pod-says-yes"),
        pytest.param(None, False, False, id="the-account-says-no"),
    ],
)
def test_the_pod_decides_about_its_token_and_then_the_account(
    cluster: Cluster, of_pod: bool | None, of_account: bool | None, mounted: bool
) -> None:
    said = {} if of_account is None else {"automountServiceAccountToken": of_account}
    cluster.create(account("mine", **said))
    spec = {} if of_pod is None else {"automountServiceAccountToken": of_pod}
    found = cluster.create(pod("a", serviceAccountName="mine", **spec))
    assert bool(volumes(found)) is mounted


def test_what_is_mounted_there_already_stays(cluster: Cluster) -> None:
    mounts = [{"name": "own", "mountPath": MOUNT}]
    containers = [
        {"name": "own", "image": "x", "volumeMounts": mounts},
        {"name": "usual", "image": "x"},
    ]
    found = cluster.create(pod("a", containers=containers, volumes=[{"name": "own", "emptyDir": {}}]))
    assert found["spec"]["containers"][0]["volumeMounts"] == mounts
    assert len(volumes(found)) == 2


def test_the_accounts_pull_secrets_are_used_unless_the_pod_has_some(cluster: Cluster) -> None:
    cluster.create(account("mine", imagePullSecrets=[{"name": "registry"}]))
    found = cluster.create(pod("a", serviceAccountName="mine"))
    assert found["spec"]["imagePullSecrets"] == [{"name": "registry"}]
    found = cluster.create(pod("b", serviceAccountName="mine", imagePullSecrets=[{"name": "own"}]))
    assert found["spec"]["imagePullSecrets"] == [{"name": "own"}]


def test_an_unknown_account_is_refused(cluster: Cluster) -> None:
    with pytest.raises(Forbidden) as refusal:
        cluster.create(pod("a", serviceAccountName="nobody"))
    assert refusal.value.message == (
        'pods "a" is forbidden: error looking up service account default/nobody: '
        'serviceaccount "nobody" not found'
    )


def test_the_default_account_of_a_new_namespace_is_waited_for(cluster: Cluster) -> None:
    cluster.faults.fail_writes("serviceaccounts", times=5)

    async def both() -> Any:
        client = cluster.client()
        await client.create("namespaces", namespace("shop"))
        return await client.create("pods", pod("a"), "shop")

    assert cluster.run(both())["spec"]["serviceAccountName"] == "default"
    with cluster.faults.outage("controller", "serviceaccount"):
        cluster.create(namespace("poor"))
        with pytest.raises(Forbidden, match='serviceaccount "default" not found'):
            cluster.create(pod("a"), namespace="poor")


# --- default_tolerations


def tolerations(found: dict[str, Any]) -> dict[str, Any]:
    return {entry["key"]: entry.get("tolerationSeconds") for entry in found["spec"]["tolerations"]}


def test_pods_tolerate_a_dead_node_for_five_minutes(cluster: Cluster) -> None:
    found = cluster.create(pod("a"))
    assert tolerations(found) == {"node.kubernetes.io/not-ready": 300, "node.kubernetes.io/unreachable": 300}
    assert {(entry["operator"], entry["effect"]) for entry in found["spec"]["tolerations"]} == {
        ("Exists", "NoExecute")
    }


def test_tolerations_of_ones_own_count(cluster: Cluster) -> None:
    own = {
        "key": "node.kubernetes.io/not-ready",
        "operator": "Exists",
        "effect": "NoExecute",
        "tolerationSeconds": 7,
    }
    found = cluster.create(pod("a", tolerations=[own]))
    assert tolerations(found) == {"node.kubernetes.io/not-ready": 7, "node.kubernetes.io/unreachable": 300}
    found = cluster.create(pod("b", tolerations=[{"operator": "Exists"}]))
    assert len(found["spec"]["tolerations"]) == 1


def test_the_seconds_are_a_setting(cluster_factory: Any) -> None:
    chosen = ["*", {"default_tolerations": {"notReadySeconds": 10, "unreachableSeconds": 20}}]
    cluster = cluster_factory(config={"plugins": {"admission": chosen}})
    assert tolerations(cluster.create(pod("a"))) == {
        "node.kubernetes.io/not-ready": 10,
        "node.kubernetes.io/unreachable": 20,
    }


# --- priority


def priority_class(name: str, value: int, **more: Any) -> dict[str, Any]:
    metadata = {"name": name}
    return {
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": metadata,
        "value": value,
        **more,
    }


def test_the_class_becomes_the_priority(cluster: Cluster) -> None:
    cluster.create(priority_class("high", 1000, preemptionPolicy="Never"))
    spec = cluster.create(pod("a", priorityClassName="high"))["spec"]
    assert (spec["priority"], spec["preemptionPolicy"]) == (1000, "Never")
    spec = cluster.create(pod("b"))["spec"]
    assert (spec["priority"], spec["preemptionPolicy"]) == (0, "PreemptLowerPriority")
    assert "priorityClassName" not in spec
    spec = cluster.create(pod("c", priorityClassName="system-node-critical"))["spec"]
    assert spec["priority"] == 2000001000


def test_one_class_may_be_the_default(cluster: Cluster) -> None:
    cluster.create(priority_class("usual", 7, globalDefault=True))
    spec = cluster.create(pod("a"))["spec"]
    assert (spec["priorityClassName"], spec["priority"]) == ("usual", 7)
    with pytest.raises(Forbidden, match="PriorityClass usual is already marked as default"):
        cluster.create(priority_class("second", 8, globalDefault=True))
    cluster.create(priority_class("second", 8))
    with pytest.raises(Forbidden, match="already marked as default"):
        cluster.patch(CLASSES, "second", {"globalDefault": True})
    cluster.patch(CLASSES, "usual", {"description": "still the default"})
    cluster.delete(CLASSES, "usual")
    cluster.patch(CLASSES, "second", {"globalDefault": True})
    assert cluster.create(pod("b"))["spec"]["priority"] == 8


def test_an_unknown_class_is_refused(cluster: Cluster) -> None:
    with pytest.raises(Forbidden, match='pods "a" is forbidden: no PriorityClass with name none was found'):
        cluster.create(pod("a", priorityClassName="none"))


def test_a_priority_of_ones_own_must_be_the_classes(cluster: Cluster) -> None:
    with pytest.raises(
        Forbidden, match=r"the integer value of priority \(5\) must not be provided in pod spec"
    ):
        cluster.create(pod("a", priority=5))
    cluster.create(priority_class("five", 5))
    assert cluster.create(pod("a", priority=5, priorityClassName="five"))["spec"]["priority"] == 5
    with pytest.raises(
        Forbidden, match=r"the string value of PreemptionPolicy \(Never\) must not be provided"
    ):
        cluster.create(pod("b", preemptionPolicy="Never"))


def test_an_update_that_leaves_the_priority_out_keeps_it(cluster: Cluster) -> None:
    cluster.create(priority_class("high", 1000))
    cluster.create(pod("a", priorityClassName="high"))
    made = dict(cluster.get("pods", "a"))
    made["spec"] = {
        key: value for key, value in made["spec"].items() if key not in ("priority", "preemptionPolicy")
    }
    made["metadata"] = {**made["metadata"], "labels": {"a": "b"}}
    updated = cluster.update(made)
    assert updated["spec"]["priority"] == 1000
    assert meta.labels(updated) == {"a": "b"}

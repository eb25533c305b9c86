from __future__ import annotations

from typing import Any

import pytest
from workload_kit import events

from kubernel.objects import meta
from kubernel.testing import Cluster


def config_map(name: str, *owners: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    if owners:
        metadata["ownerReferences"] = [dict(owner) for owner in owners]
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **metadata}}


def reference(obj: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {**meta.owner_reference(obj, controller=False), **more}


def make(cluster: Cluster, name: str, *owners: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    namespace = metadata.get("namespace", "default")
    return cluster.create(config_map(name, *owners, **metadata), namespace=namespace)


def names(cluster: Cluster) -> list[str]:
    """The test's own ConfigMaps in namespace default."""
    return [
        meta.name(obj)
        for obj in cluster.list("configmaps", "default")
        if meta.name(obj) != "kube-root-ca.crt"
    ]


def test_dependents_go_when_their_owner_has_gone_down_to_the_last(cluster: Cluster) -> None:
    top = make(cluster, "top")
    middle = make(cluster, "middle", reference(top))
    make(cluster, "bottom", reference(middle))
    make(cluster, "other")
    cluster.delete("configmaps", "top")
    cluster.clock.advance(1)
    assert names(cluster) == ["other"]


def test_an_object_with_another_live_owner_stays_and_loses_the_reference(cluster: Cluster) -> None:
    one, two = make(cluster, "one"), make(cluster, "two")
    make(cluster, "child", reference(one), reference(two))
    cluster.delete("configmaps", "one")
    cluster.clock.advance(1)
    assert names(cluster) == ["child", "two"]
    assert [owner["name"] for owner in meta.owners(cluster.get("configmaps", "child"))] == ["two"]


def test_an_owner_of_the_same_name_but_another_uid_is_no_owner(cluster: Cluster) -> None:
    owner = make(cluster, "owner")
    make(cluster, "child", reference(owner, uid="00000000-dead"))
    cluster.clock.advance(1)
    assert names(cluster) == ["owner"]


def test_an_owner_in_another_namespace_counts_as_absent(cluster: Cluster) -> None:
    owner = make(cluster, "owner", namespace="kube-public")
    make(cluster, "child", reference(owner))
    cluster.clock.advance(1)
    assert names(cluster) == []


def test_a_cluster_scoped_owner_owns_across_namespaces(cluster: Cluster) -> None:
    node = cluster.list("nodes")[0]
    make(cluster, "child", reference(node))
    cluster.clock.advance(5)
    assert names(cluster) == ["child"]
    cluster.faults.crash("node", "simulated")
    cluster.delete("nodes", meta.name(node))
    cluster.clock.advance(1)
    assert names(cluster) == []


def test_a_cluster_scoped_object_with_a_namespaced_owner_is_left_alone(cluster: Cluster) -> None:
    owner = make(cluster, "owner")
    cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": "shop", "ownerReferences": [reference(owner)]},
        }
    )
    cluster.delete("configmaps", "owner")
    cluster.clock.advance("1m")
    assert cluster.find("namespaces", "shop") is not None


def test_orphaning_strips_the_references_and_keeps_the_dependents(cluster: Cluster) -> None:
    owner = make(cluster, "owner")
    make(cluster, "child", reference(owner))
    cluster.delete("configmaps", "owner", propagation="Orphan")
    cluster.clock.advance("1m")
    assert names(cluster) == ["child"]
    assert meta.owners(cluster.get("configmaps", "child")) == []


def test_foreground_deletion_waits_for_the_dependents_that_block_it(cluster: Cluster) -> None:
    owner = make(cluster, "owner")
    make(cluster, "blocking", reference(owner, blockOwnerDeletion=True), finalizers=["example.com/hold"])
    make(cluster, "free", reference(owner))
    cluster.delete("configmaps", "owner", propagation="Foreground")
    cluster.clock.advance(5)
    assert names(cluster) == ["blocking", "owner"]
    assert meta.is_deleting(cluster.get("configmaps", "blocking"))
    cluster.patch("configmaps", "blocking", {"metadata": {"finalizers": None}})
    cluster.clock.advance(5)
    assert names(cluster) == []


def test_foreground_deletion_does_not_wait_for_others(cluster: Cluster) -> None:
    owner = make(cluster, "owner")
    make(cluster, "held", reference(owner), finalizers=["example.com/hold"])
    cluster.delete("configmaps", "owner", propagation="Foreground")
    cluster.clock.advance(5)
    assert names(cluster) == ["held"]


@pytest.mark.parametrize("propagation", ["Background", "Foreground"])
def test_circles_of_owners_are_no_trap(cluster: Cluster, propagation: Any) -> None:
    first = make(cluster, "first")
    second = make(cluster, "second", reference(first, blockOwnerDeletion=True))
    back = [reference(second, blockOwnerDeletion=True)]
    cluster.patch("configmaps", "first", {"metadata": {"ownerReferences": back}})
    cluster.clock.advance(5)
    assert names(cluster) == ["first", "second"]
    cluster.delete("configmaps", "first", propagation=propagation)
    cluster.clock.advance("1m")
    assert names(cluster) == []


def test_an_owner_of_unknown_kind_keeps_its_dependents(cluster: Cluster) -> None:
    unknown = {"apiVersion": "example.com/v1", "kind": "Mystery", "name": "m", "uid": "u-1"}
    make(cluster, "child", unknown)
    cluster.clock.advance("10m")
    assert names(cluster) == ["child"]


def test_what_went_while_the_collector_was_away_is_collected_when_it_is_back(cluster: Cluster) -> None:
    owner = make(cluster, "owner")
    make(cluster, "child", reference(owner))
    with cluster.faults.outage("controller", "garbage"):
        cluster.delete("configmaps", "owner")
        cluster.clock.advance("5m")
        assert names(cluster) == ["child"]
    cluster.clock.advance(1)
    assert names(cluster) == []


def test_lost_watches_and_failing_writes_only_delay(cluster: Cluster) -> None:
    owner = make(cluster, "owner")
    for number in range(5):
        make(cluster, f"child-{number}", reference(owner))
    cluster.faults.fail_writes("configmaps", times=4, verbs=["delete"])
    cluster.faults.drop_watches(forget=True)
    cluster.wait(lambda: cluster.find("configmaps", "owner") and True)
    try:
        cluster.delete("configmaps", "owner")
    except Exception:
        cluster.faults.clear()
        cluster.delete("configmaps", "owner")
    cluster.clock.advance("1m")
    assert names(cluster) == []


@pytest.mark.parametrize("owner_first", [True, False], ids=["owner-seen-first", "owner-seen-later"])
def test_a_reference_to_an_owner_in_another_namespace_is_told(cluster: Cluster, owner_first: bool) -> None:
    cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "other"}})
    owner = make(cluster, "owner", namespace="other")
    uid = meta.uid(owner)
    if not owner_first:
        cluster.faults.crash("controller", "garbage")
    child = make(cluster, "child", reference(owner), finalizers=["example.com/hold"])
    if not owner_first:
        cluster.faults.restart("controller", "garbage")
    cluster.clock.advance(1)
    (event,) = events(cluster, "OwnerRefInvalidNamespace")
    assert event["type"] == "Warning"
    assert event["message"] == (
        f"ownerRef [v1/ConfigMap, namespace: default, name: owner, uid: {uid}] does not exist in namespace "
        '"default"'
    )
    assert event["source"] == {"component": "garbage-collector-controller"}
    about = {
        "kind": "ConfigMap",
        "namespace": "default",
        "name": "child",
        "uid": meta.uid(child),
        "apiVersion": "v1",
    }
    assert event["involvedObject"] == about
    assert meta.is_deleting(cluster.get("configmaps", "child"))

"""Claims that pods ask for by a template, who has them reserved, and what is left of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from workload_kit import events, pod

from kubernel.objects import meta
from kubernel.testing import Cluster

CLAIMS = "resourceclaims.v1.resource.k8s.io"
FINALIZER = "resource.kubernetes.io/delete-protection"
SPEC = {"devices": {"requests": [{"name": "gpu", "exactly": {"deviceClassName": "gpu.acme.dev"}}]}}
ALLOCATION = {"devices": {"results": [{"request": "gpu", "driver": "acme.dev", "pool": "p", "device": "d"}]}}


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster({"plugins": {"scheduler": None, "auth": ["rbac"]}}) as made:
        yield made


def template(name: str = "gpu", **metadata: Any) -> Any:
    frame = {"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaimTemplate", "metadata": {"name": name}}
    return {**frame, "spec": {"metadata": metadata, "spec": SPEC}}


def using(name: str = "web", *, claim: str = "", of: str = "gpu", entry: str = "card", **spec: Any) -> Any:
    source = {"resourceClaimName": claim} if claim else {"resourceClaimTemplateName": of}
    spec["containers"] = [{"name": "main", "image": "x", "resources": {"claims": [{"name": entry}]}}]
    return pod(name, resourceClaims=[{"name": entry, **source}], **spec)


def shared(name: str = "shared", **metadata: Any) -> Any:
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaim",
        "metadata": {"name": name, **metadata},
        "spec": SPEC,
    }


def claims(cluster: Cluster) -> list[Any]:
    return list(cluster.list(CLAIMS))


def allocate(cluster: Cluster, name: str, *pods: str) -> None:
    """As the scheduler: the finalizer, the allocation, and who has it."""
    cluster.patch(CLAIMS, name, {"metadata": {"finalizers": [FINALIZER]}})
    consumers = [{"resource": "pods", "name": one, "uid": meta.uid(cluster.get("pods", one))} for one in pods]
    status = {"allocation": ALLOCATION, **({"reservedFor": consumers} if consumers else {})}
    cluster.patch(CLAIMS, name, {"status": status}, subresource="status")


def reserved(cluster: Cluster, name: str) -> list[str]:
    status = cluster.get(CLAIMS, name).get("status") or {}
    return [one["name"] for one in status.get("reservedFor") or ()]


def finish(cluster: Cluster, name: str) -> None:
    cluster.patch("pods", name, {"status": {"phase": "Succeeded"}}, subresource="status")


def test_a_pod_gets_a_claim_of_its_template_and_is_told_its_name(cluster: Cluster) -> None:
    cluster.apply([template(labels={"team": "a"}, annotations={"note": "b"}), using()])
    (claim,) = claims(cluster)
    assert meta.name(claim).startswith("web-card-")
    assert meta.labels(claim) == {"team": "a"}
    assert meta.annotations(claim) == {"note": "b", "resource.kubernetes.io/pod-claim-name": "card"}
    assert claim["spec"]["devices"]["requests"][0]["name"] == "gpu"
    web = cluster.get("pods", "web")
    assert meta.owners(claim) == [
        {"apiVersion": "v1", "kind": "Pod", "name": "web", "uid": meta.uid(web), "controller": True,
         "blockOwnerDeletion": True}
    ]  # fmt: skip
    assert web["status"]["resourceClaimStatuses"] == [{"name": "card", "resourceClaimName": meta.name(claim)}]
    cluster.clock.advance("10m")
    assert len(claims(cluster)) == 1


def test_long_names_are_both_cut(cluster: Cluster) -> None:
    cluster.apply([template(), using("p" * 60, entry="c" * 60)])
    (claim,) = claims(cluster)
    assert meta.name(claim).startswith(f"{'p' * 28}-{'c' * 28}")


def test_a_template_that_is_missing_is_told_and_waited_for(cluster: Cluster) -> None:
    cluster.apply(using())
    (event, *_) = events(cluster, "FailedResourceClaimCreation")
    assert event["message"] == (
        'PodResourceClaim card: resource claim template "gpu": '
        'resourceclaimtemplate.resource.k8s.io "gpu" not found'
    )
    assert event["source"]["component"] == "resource_claim"
    cluster.apply(template())
    cluster.clock.advance("1m")
    assert len(claims(cluster)) == 1


def test_a_claim_that_was_deleted_by_accident_is_made_again(cluster: Cluster) -> None:
    cluster.apply([template(), using()])
    (claim,) = claims(cluster)
    cluster.delete(CLAIMS, meta.name(claim))
    (again,) = claims(cluster)
    assert meta.uid(again) != meta.uid(claim)
    status = cluster.get("pods", "web")["status"]["resourceClaimStatuses"]
    assert status == [{"name": "card", "resourceClaimName": meta.name(again)}]


def test_a_claim_whose_name_could_not_be_told_is_found_again(cluster: Cluster) -> None:
    cluster.apply(template())
    cluster.faults.fail_writes("pods", times=1, verbs=["patch"])
    cluster.create(using())
    cluster.clock.advance(5)
    (claim,) = claims(cluster)
    (status,) = cluster.get("pods", "web")["status"]["resourceClaimStatuses"]
    assert status["resourceClaimName"] == meta.name(claim)


def test_a_claim_that_is_the_users_own_is_left_as_it_is(cluster: Cluster) -> None:
    cluster.apply([shared(), using(claim="shared")])
    assert [meta.name(one) for one in claims(cluster)] == ["shared"]
    finish(cluster, "web")
    assert [meta.name(one) for one in claims(cluster)] == ["shared"]


def test_an_allocated_claim_is_reserved_for_a_pod_that_was_bound_by_hand(cluster: Cluster) -> None:
    cluster.apply(shared())
    allocate(cluster, "shared")
    cluster.apply(using(claim="shared", nodeName="node-1"))
    assert reserved(cluster, "shared") == ["web"]


def test_a_pod_that_waits_for_the_scheduler_is_left_to_it(cluster: Cluster) -> None:
    cluster.apply(shared())
    allocate(cluster, "shared")
    cluster.apply(using(claim="shared"))
    assert reserved(cluster, "shared") == []


def gone(cluster: Cluster) -> None:
    cluster.delete("pods", "web", grace_period=0)


def replaced(cluster: Cluster) -> None:
    with cluster.faults.outage("controller", "resourceclaim"):
        cluster.delete("pods", "web", grace_period=0)
        cluster.create(using(claim="shared"))
    cluster.settle()


@pytest.mark.parametrize("how", [finish, gone, replaced], ids=["ended", "deleted", "replaced"])
def test_the_last_consumer_gives_the_claim_back(cluster: Cluster, how: Callable[..., None]) -> None:
    cluster.apply([shared(), using(claim="shared"), using("other", claim="shared")])
    allocate(cluster, "shared", "web", "other")
    if how is finish:
        finish(cluster, "web")
    else:
        how(cluster)
    assert reserved(cluster, "shared") == ["other"]
    assert cluster.get(CLAIMS, "shared")["status"]["allocation"]
    finish(cluster, "other")
    claim = cluster.get(CLAIMS, "shared")
    assert "allocation" not in (claim.get("status") or {})
    assert not claim["metadata"].get("finalizers")


def test_a_claim_made_for_a_pod_goes_when_the_pod_has_ended(cluster: Cluster) -> None:
    cluster.apply([template(), using()])
    (claim,) = claims(cluster)
    allocate(cluster, meta.name(claim), "web")
    finish(cluster, "web")
    assert claims(cluster) == []
    assert cluster.find("pods", "web") is not None


def test_a_claim_that_is_deleted_unused_loses_its_allocation_and_goes(cluster: Cluster) -> None:
    cluster.apply(shared())
    allocate(cluster, "shared")
    cluster.delete(CLAIMS, "shared")
    assert claims(cluster) == []


def test_a_claim_in_use_is_not_deleted_under_its_pod(cluster: Cluster) -> None:
    cluster.apply([shared(), using(claim="shared")])
    allocate(cluster, "shared", "web")
    cluster.delete(CLAIMS, "shared")
    cluster.clock.advance("10m")
    assert meta.is_deleting(cluster.get(CLAIMS, "shared"))
    finish(cluster, "web")
    assert claims(cluster) == []


def test_a_job_gets_a_device_by_a_template_and_gives_it_to_the_next() -> None:
    """With the scheduler: one device, and two pods that want it one after the other."""
    device_class = {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "DeviceClass",
        "metadata": {"name": "gpu.acme.dev"},
        "spec": {"selectors": [{"cel": {"expression": "device.driver == 'acme.dev'"}}]},
    }
    pool = {"name": "node-1", "generation": 1, "resourceSliceCount": 1}
    offered = {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceSlice",
        "metadata": {"name": "one"},
        "spec": {"driver": "acme.dev", "pool": pool, "nodeName": "node-1", "devices": [{"name": "d"}]},
    }
    with Cluster({"plugins": {"auth": ["rbac"]}}) as cluster:
        cluster.apply([device_class, offered, template()])
        for name in ("first", "second"):
            made = using(name, restartPolicy="Never")
            made["metadata"]["annotations"] = {"simulated.kubernel.dev/run-for": "30s"}
            cluster.create(made)
            cluster.settle()
        assert cluster.get("pods", "first")["spec"]["nodeName"] == "node-1"
        assert not cluster.get("pods", "second")["spec"].get("nodeName")
        assert [len(one.get("status", {}).get("reservedFor", ())) for one in claims(cluster)] == [1, 0]
        cluster.clock.advance("40s")
        assert cluster.get("pods", "first")["status"]["phase"] == "Succeeded"
        assert cluster.get("pods", "second")["spec"]["nodeName"] == "node-1"
        cluster.clock.advance("40s")
        assert cluster.get("pods", "second")["status"]["phase"] == "Succeeded"
        assert claims(cluster) == []

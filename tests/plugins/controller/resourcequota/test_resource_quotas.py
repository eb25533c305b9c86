"""Quotas as a user meets them: the admission plugin and the controller together."""

from __future__ import annotations

from typing import Any

import pytest

from kubernel.errors import Forbidden
from kubernel.objects import conditions, quantity
from kubernel.testing import Cluster
from kubernel_plugins.usage import applies, pod_totals, usage


def quota(name: str = "q", scopes: list[str] | None = None, **spec: Any) -> dict[str, Any]:
    """Hard limits, with the names' dots and slashes given as a mapping ``hard``."""
    if scopes:
        spec["scopes"] = scopes
    return {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": name}, "spec": spec}


def pod(name: str, cpu: str = "", memory: str = "", **spec: Any) -> dict[str, Any]:
    requests = {key: value for key, value in (("cpu", cpu), ("memory", memory)) if value}
    container = {"name": "c", "image": "x", "resources": {"requests": requests, "limits": requests}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"containers": [container], **spec},
    }


def used(cluster: Cluster, name: str = "q") -> dict[str, str]:
    return dict(cluster.get("resourcequotas", name)["status"]["used"])


def refusal(cluster: Cluster, obj: dict[str, Any]) -> str:
    with pytest.raises(Forbidden) as error:
        cluster.create(obj)
    return str(error.value)


def test_a_new_quota_tells_what_is_used_already(cluster: Cluster) -> None:
    cluster.apply(pod("p", "100m", "64Mi"))
    hard = {"pods": "5", "requests.cpu": "1", "limits.memory": "1Gi", "count/deployments.apps": "3"}
    cluster.apply(quota(hard=hard))
    cluster.clock.advance(1)
    assert cluster.get("resourcequotas", "q")["status"] == {
        "hard": hard,
        "used": {
            "pods": "1",
            "requests.cpu": "100m",
            "limits.memory": "64Mi",
            "count/deployments.apps": "0",
        },
    }


def test_what_exceeds_a_quota_is_refused_in_upstreams_words(cluster: Cluster) -> None:
    cluster.apply(quota(hard={"pods": "2", "requests.cpu": "500m"}))
    cluster.clock.advance(1)
    cluster.create(pod("a", "200m"))
    assert used(cluster) == {"pods": "1", "requests.cpu": "200m"}
    assert refusal(cluster, pod("b", "400m")) == (
        'pods "b" is forbidden: exceeded quota: q, requested: requests.cpu=400m, used: requests.cpu=200m, '
        "limited: requests.cpu=500m"
    )
    cluster.create(pod("c", "100m"))
    assert "requested: pods=1, used: pods=2, limited: pods=2" in refusal(cluster, pod("d", "10m"))


def test_what_a_quota_limits_has_to_be_stated(cluster: Cluster) -> None:
    cluster.apply(quota(hard={"limits.cpu": "1", "requests.memory": "1Gi"}))
    cluster.clock.advance(1)
    assert refusal(cluster, pod("p")) == (
        'pods "p" is forbidden: failed quota: q: must specify limits.cpu for: c; requests.memory for: c'
    )


def test_what_is_deleted_or_has_ended_is_given_back(cluster: Cluster) -> None:
    cluster.apply(quota(hard={"pods": "2"}))
    cluster.clock.advance(1)
    ending = pod("ending", restartPolicy="Never")
    ending["metadata"]["annotations"] = {"simulated.kubernel.dev/run-for": "10s"}
    cluster.create(ending)
    cluster.create(pod("other"))
    cluster.clock.advance(5)
    assert used(cluster) == {"pods": "2"}
    cluster.clock.advance(10)
    assert used(cluster) == {"pods": "1"}
    cluster.delete("pods", "other")
    cluster.clock.advance(2)
    assert used(cluster) == {"pods": "0"}


def test_scopes_choose_pods(cluster: Cluster) -> None:
    cluster.apply(quota("best", ["BestEffort"], hard={"pods": "1"}))
    cluster.apply(quota("rest", ["NotBestEffort"], hard={"pods": "1"}))
    cluster.clock.advance(1)
    cluster.create(pod("a"))
    cluster.create(pod("b", "10m"))
    assert (used(cluster, "best"), used(cluster, "rest")) == ({"pods": "1"}, {"pods": "1"})
    assert "exceeded quota: best" in refusal(cluster, pod("c"))
    assert "exceeded quota: rest" in refusal(cluster, pod("d", "10m"))


def test_objects_of_any_kind_are_counted(cluster: Cluster) -> None:
    cluster.clock.advance(1)
    maps = len(cluster.list("configmaps", "default"))
    hard = {"configmaps": str(maps + 1), "count/leases.coordination.k8s.io": "1", "services.nodeports": "1"}
    cluster.apply(quota(hard=hard))
    cluster.clock.advance(1)
    cluster.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}})
    assert "exceeded quota" in refusal(
        cluster, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "b"}}
    )
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "spec": {}}
    cluster.create({**lease, "metadata": {"name": "a"}})
    assert "count/leases.coordination.k8s.io=1" in refusal(cluster, {**lease, "metadata": {"name": "b"}})
    ports = [{"name": "a", "port": 1}, {"name": "b", "port": 2}]
    service = {"apiVersion": "v1", "kind": "Service", "spec": {"type": "NodePort", "ports": ports}}
    assert "requested: services.nodeports=2" in refusal(cluster, {**service, "metadata": {"name": "s"}})


def test_a_service_that_changes_into_more_is_refused(cluster: Cluster) -> None:
    cluster.apply(quota(hard={"services.loadbalancers": "0"}))
    cluster.clock.advance(1)
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "s"},
        "spec": {"ports": [{"port": 80}]},
    }
    cluster.create(service)
    with pytest.raises(Forbidden, match=r"services\.loadbalancers=1"):
        cluster.patch("services", "s", {"spec": {"type": "LoadBalancer"}})


def test_a_hundred_creations_at_once_never_exceed_it(cluster: Cluster, always: Any) -> None:
    cluster.apply(quota(hard={"pods": "7"}))
    cluster.clock.advance(1)
    always(cluster, "pods", lambda found: len(found) > 7)
    client = cluster.client()

    async def all_at_once() -> int:
        import asyncio

        work = (client.create("pods", pod(f"p{number}"), "default") for number in range(100))
        results = await asyncio.gather(*work, return_exceptions=True)
        assert all(isinstance(one, dict | Forbidden) for one in results)
        return sum(isinstance(one, Forbidden) for one in results)

    assert cluster.run(all_at_once()) == 93
    cluster.clock.advance(10)
    assert used(cluster) == {"pods": "7"}


def test_a_refused_replica_is_made_when_there_is_room(cluster: Cluster) -> None:
    cluster.apply(quota(hard={"pods": "1"}))
    cluster.clock.advance(1)
    labels = {"app": "web"}
    spec = {
        "replicas": 2,
        "selector": {"matchLabels": labels},
        "template": {
            "metadata": {"labels": labels},
            "spec": {"containers": [{"name": "c", "image": "x"}]},
        },
    }
    cluster.apply({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "web"}, "spec": spec})
    cluster.clock.advance(5)
    refused = conditions.find(cluster.get("replicasets.v1.apps", "web"), "ReplicaFailure")
    assert refused is not None
    assert "exceeded quota" in refused["message"]
    cluster.apply(quota(hard={"pods": "5"}))
    cluster.clock.advance("5m")
    assert cluster.get("replicasets.v1.apps", "web")["status"]["readyReplicas"] == 2
    assert conditions.find(cluster.get("replicasets.v1.apps", "web"), "ReplicaFailure") is None


def test_a_dry_run_takes_nothing(cluster: Cluster) -> None:
    cluster.apply(quota(hard={"pods": "1"}))
    cluster.clock.advance(1)
    registry = cluster.kernel.registry
    from kubernel.registry.request import UserInfo, WriteOptions

    type = registry.lookup("", "v1", "pods")
    assert type is not None
    cluster.run(
        registry.create(
            UserInfo("a", ("system:masters",)), type, "default", pod("p"), WriteOptions(dry_run=True)
        )
    )
    assert used(cluster) == {"pods": "0"}


def test_init_containers_count_where_they_need_more() -> None:
    def container(cpu: str, **extra: Any) -> dict[str, Any]:
        return {"name": "c", "resources": {"requests": {"cpu": cpu}}, **extra}

    spec = {
        "containers": [container("100m"), container("200m")],
        "initContainers": [container("50m", restartPolicy="Always"), container("400m")],
        "overhead": {"cpu": "10m"},
    }
    assert pod_totals(spec, "requests") == {"cpu": "460m"}
    assert pod_totals({**spec, "resources": {"requests": {"cpu": "1"}}}, "requests") == {"cpu": "1010m"}


@pytest.mark.parametrize(
    ("scope", "spec", "expected"),
    [
        ({"scopeName": "Terminating"}, {"activeDeadlineSeconds": 5}, True),
        ({"scopeName": "NotTerminating"}, {"activeDeadlineSeconds": 5}, False),
        ({"scopeName": "PriorityClass", "operator": "In", "values": ["a"]}, {"priorityClassName": "a"}, True),
        (
            {"scopeName": "PriorityClass", "operator": "NotIn", "values": ["a"]},
            {"priorityClassName": "a"},
            False,
        ),
        ({"scopeName": "PriorityClass", "operator": "DoesNotExist"}, {}, True),
        (
            {"scopeName": "CrossNamespacePodAffinity", "operator": "Exists"},
            {
                "affinity": {
                    "podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"namespaces": ["x"]}]}
                }
            },
            True,
        ),
    ],
)
def test_scopes(scope: dict[str, Any], spec: dict[str, Any], expected: bool) -> None:
    wanted = {"spec": {"scopeSelector": {"matchExpressions": [scope]}}}
    assert applies(wanted, "pods", "", {"spec": spec}) is expected
    assert not applies(wanted, "services", "", {"spec": {}})


def test_claims_count_for_their_class() -> None:
    claim = {
        "metadata": {"name": "c"},
        "spec": {"storageClassName": "gold", "resources": {"requests": {"storage": "2Gi"}}},
    }
    found = usage("persistentvolumeclaims", "", claim, 0.0)
    assert found["gold.storageclass.storage.k8s.io/requests.storage"] == "2Gi"
    assert found["gold.storageclass.storage.k8s.io/persistentvolumeclaims"] == "1"
    assert quantity.parse(found["requests.storage"]) == 2 * 2**30

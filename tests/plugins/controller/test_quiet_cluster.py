"""A cluster in which nothing happens writes nothing but signs of life."""

from __future__ import annotations

from collections import Counter
from typing import Any

from workload_kit import deployment, pod, replica_set, rolled_out, template

from kubernel.testing import Cluster

JOB = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": {"name": "sum"},
    "spec": {"completions": 3, "template": template(None, {"run-for": "2s"}, restartPolicy="Never")},
}
SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "web"},
    "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]},
}


def writes(cluster: Cluster) -> Counter[str]:
    """Count the store's writes by resource from now on."""
    counts: Counter[str] = Counter()
    store: Any = cluster.kernel.registry.store
    for operation in ("create", "update", "delete"):
        inner = getattr(store, operation)

        def counted(*args: Any, inner: Any = inner, **options: Any) -> Any:
            counts[args[0].resource] += 1
            return inner(*args, **options)

        setattr(store, operation, counted)
    return counts


def test_ten_quiet_minutes_cost_nothing_but_leases(cluster: Cluster) -> None:
    cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})
    for namespace in ("default", "shop"):
        cluster.apply([SERVICE, deployment(), replica_set("alone", 2), JOB, pod("bare")], namespace)
    cluster.apply(deployment("paused", paused=True))
    cluster.apply(deployment("unready", pod_template=template({"app": "unready"}, {"ready": "false"})))
    cluster.apply({**JOB, "metadata": {"name": "held"}, "spec": {**JOB["spec"], "suspend": True}})
    cluster.wait(lambda: rolled_out(cluster))
    cluster.clock.advance("11m")
    before = cluster.kernel.registry.store.revision
    counts = writes(cluster)
    cluster.clock.advance("10m")
    assert set(counts) == {"leases.coordination.k8s.io"}, counts
    # One node and one server, every ten seconds.
    assert 100 <= cluster.kernel.registry.store.revision - before <= 130


def test_controllers_do_not_turn_in_circles(cluster: Cluster) -> None:
    """Not even without writing."""
    cluster.apply([SERVICE, deployment(), deployment("paused", paused=True), JOB])
    cluster.apply(deployment("unready", pod_template=template({"app": "unready"}, {"ready": "false"})))
    cluster.clock.advance("11m")
    calls: Counter[str] = Counter()
    for name in ("deployment", "replicaset", "job", "endpoints", "endpointslice"):
        plugin: Any = cluster.kernel.plugin("controller", name)
        inner = plugin.reconcile

        def counted(*key: str, inner: Any = inner, name: str = name) -> Any:
            calls[name] += 1
            return inner(*key)

        plugin.reconcile = counted
    cluster.clock.advance("1h")
    assert not calls

"""A cluster in which nothing happens writes nothing but signs of life."""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any

import pytest
from workload_kit import deployment, pod, replica_set, rolled_out, template

from kubernel.client.informer import Informer
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


def listeners(cluster: Cluster) -> int:
    informers: Any = cluster.kernel._informers
    return sum(len(informer._listeners) for informer in informers._informers.values())


def test_hours_add_no_listener(cluster: Cluster) -> None:
    """Types are discovered anew every half minute; what is followed already is not followed twice."""
    before = listeners(cluster)
    assert before > 20
    cluster.clock.advance("1h")
    assert listeners(cluster) == before


def test_an_event_makes_nobody_look_at_all_pods(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster.apply([replica_set("many", 200), pod("bare"), SERVICE])
    cluster.wait(lambda: len(cluster.list("pods")) == 201)
    cluster.clock.advance("1m")
    looked: Counter[str] = Counter()
    for name in ("by", "list"):
        inner = getattr(Informer, name)

        def counted(self: Informer, *args: Any, inner: Any = inner) -> Any:
            found = inner(self, *args)
            if self.resource == "pods":
                looked[f"{sys._getframe(1).f_code.co_qualname}"] += len(found)
            return found

        monkeypatch.setattr(Informer, name, counted)
    for number in range(5):
        cluster.patch("pods", "bare", {"metadata": {"annotations": {"n": str(number)}}})
        cluster.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"c-{number}"}})
    cluster.delete("pods", "bare")
    cluster.clock.advance("5s")
    assert looked.total() < 200, looked

"""Manifests of workloads whose pods are simulated, and what tests ask of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kubernel.objects import conditions, meta
from kubernel.objects.names import pod_hash
from kubernel.testing import Cluster

Obj = dict[str, Any]

PREFIX = "simulated.kubernel.dev/"
SETS = "replicasets.v1.apps"
DEPLOYMENTS = "deployments.v1.apps"
REVISION = "deployment.kubernetes.io/revision"


def template(labels: dict[str, str] | None = None, script: dict[str, str] | None = None, **spec: Any) -> Obj:
    """A pod template; ``script`` is what the simulated containers do (``{"run-for": "5s"}``)."""
    metadata: Obj = {"labels": labels} if labels else {}
    if script:
        metadata["annotations"] = {PREFIX + key: value for key, value in script.items()}
    spec.setdefault("containers", [{"name": "main", "image": "app:1"}])
    return {"metadata": metadata, "spec": spec}


def pod(
    name: str, labels: dict[str, str] | None = None, script: dict[str, str] | None = None, **spec: Any
) -> Obj:
    made = template(labels, script, **spec)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, **made["metadata"]},
        "spec": made["spec"],
    }


def workload(kind: str, name: str, replicas: int, *, pod_template: Obj | None = None, **spec: Any) -> Obj:
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": pod_template or template(labels),
            **spec,
        },
    }


def deployment(name: str = "web", replicas: int = 3, **more: Any) -> Obj:
    return workload("Deployment", name, replicas, **more)


def replica_set(name: str = "web", replicas: int = 3, **more: Any) -> Obj:
    return workload("ReplicaSet", name, replicas, **more)


def rolling(surge: Any = "25%", unavailable: Any = "25%") -> Obj:
    return {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}


def set_image(cluster: Cluster, image: str, name: str = "web") -> None:
    containers = [{"name": "main", "image": image}]
    patch = {"spec": {"template": {"spec": {"containers": containers}}}}
    cluster.patch(DEPLOYMENTS, name, patch, type="strategic")


def pods_of(cluster: Cluster, app: str = "web", *, leaving: bool = False) -> list[Obj]:
    """Its pods, by default without those that are being deleted."""
    found = cluster.list("pods", "default", labels=f"app={app}")
    return [each for each in found if leaving or not meta.is_deleting(each)]


def ready(cluster: Cluster, app: str = "web") -> list[Obj]:
    return [each for each in pods_of(cluster, app) if conditions.is_true(each, "Ready")]


def status(cluster: Cluster, resource: str, name: str = "web") -> Obj:
    return cluster.get(resource, name).get("status") or {}


def condition(cluster: Cluster, resource: str, type: str, name: str = "web") -> tuple[str, str] | None:
    """(status, reason)."""
    found = conditions.find(cluster.get(resource, name), type)
    return (found["status"], found.get("reason", "")) if found else None


def rolled_out(cluster: Cluster, name: str = "web") -> bool:
    """As ``kubectl rollout status`` sees it."""
    found = cluster.get(DEPLOYMENTS, name)
    now, wanted = found.get("status") or {}, found["spec"]["replicas"]
    return now.get("observedGeneration") == found["metadata"]["generation"] and all(
        now.get(field, 0) == wanted for field in ("replicas", "updatedReplicas", "availableReplicas")
    )


def sets_of(cluster: Cluster, app: str = "web") -> list[Obj]:
    """ReplicaSets by revision."""
    found = cluster.list(SETS, "default", labels=f"app={app}")
    return sorted(found, key=lambda rs: int(meta.annotations(rs).get(REVISION, "0")))


def events(cluster: Cluster, reason: str) -> list[Obj]:
    cluster.settle()
    return [event for event in cluster.list("events") if event["reason"] == reason]


def watch(cluster: Cluster, resource: str, look: Callable[[], None]) -> None:
    """Call ``look`` at each change of a resource from now on."""

    async def begin() -> None:
        informer = cluster.client().informer(resource)
        await informer.synced()
        informer.add_listener(lambda kind, obj, old: look())

    cluster.run(begin())


def view(cluster: Cluster, resource: str) -> Callable[[], list[Obj]]:
    """The stored objects of a resource, to be read inside of ``look``: no time passes."""

    async def find() -> Any:
        informer = cluster.client().informer(resource)
        await informer.synced()
        return informer

    informer = cluster.run(find())
    return lambda: informer.list()


def autoscaled_web(cluster: Cluster, most: int, **spec: Any) -> None:
    """Two pods of ``web`` that may become ``most``, by half of the 0.1 CPU that they ask for."""
    containers = [{"name": "main", "image": "x", "resources": {"requests": {"cpu": "100m"}}}]
    made = template({"app": "web"}, {"cpu": "1m"}, containers=containers)
    cluster.apply(deployment(replicas=2, pod_template=made))
    cluster.clock.advance("6m")
    target = {"type": "Utilization", "averageUtilization": 50}
    cluster.apply(
        {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "web"},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
                "minReplicas": 2,
                "maxReplicas": most,
                "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
                **spec,
            },
        }
    )


def take_revision(cluster: Cluster, resource: str, name: str, image: str) -> tuple[str, Obj]:
    """Put somebody's ControllerRevision where that of the set's template with ``image`` belongs; its name and that
    template."""
    found = cluster.get(resource, name)["spec"]["template"]
    container = {**found["spec"]["containers"][0], "image": image}
    wanted = meta.replace(found, ("spec", "containers"), [container])
    taken = f"{name}-{pod_hash(wanted)}"
    cluster.create(
        {
            "apiVersion": "apps/v1",
            "kind": "ControllerRevision",
            "metadata": {"name": taken},
            "revision": 1,
            "data": {"other": True},
        }
    )
    return taken, wanted

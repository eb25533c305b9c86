"""Faults drawn from a seed, and rules of workloads that must hold after every single change."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from kubernel.errors import ApiError, Conflict, ServiceUnavailable
from kubernel.objects import conditions, meta
from kubernel.testing import Cluster

Obj = dict[str, Any]
LEASES = "leases.v1.coordination.k8s.io"


def live(pods: list[Any]) -> list[Any]:
    """Pods that have not ended and are not on their way out."""
    return [
        pod
        for pod in pods
        if not meta.is_deleting(pod) and (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")
    ]


def of(pods: list[Any], app: str) -> list[Any]:
    return [pod for pod in pods if meta.labels(pod).get("app") == app]


def is_up(pod: Any) -> bool:
    return conditions.is_true(pod, "Ready") and not meta.is_deleting(pod)


class Mischief:
    """What goes wrong, one thing at a step: a lost watch, refused writes, a slow store, a controller that
    crashes and comes back, a lease that somebody takes."""

    def __init__(self, cluster: Cluster, seed: int, controllers: list[str], resources: list[str]) -> None:
        self.cluster = cluster
        self.rng = random.Random(seed)
        self.controllers = controllers
        self.resources = resources
        self.done: list[str] = []

    def step(self) -> None:
        ways: list[Callable[[], str]] = [self.watch, self.writes, self.slow, self.crash]
        if self.cluster.kernel.cluster.leader_election:
            ways.append(self.lease)
        self.done.append(self.rng.choice(ways)())
        self.cluster.clock.advance(self.rng.uniform(0.0, 3.0))

    def end(self) -> None:
        self.cluster.faults.clear()

    def watch(self) -> str:
        forget = self.rng.random() < 0.5
        self.cluster.faults.drop_watches(forget=forget)
        return f"watches lost, forgotten: {forget}"

    def writes(self) -> str:
        resource = self.rng.choice(self.resources)
        times = self.rng.randrange(1, 5)
        error: ApiError = self.rng.choice((Conflict("injected"), ServiceUnavailable("injected")))
        verbs = self.rng.choice((["create"], ["update", "patch"], ["delete"]))
        self.cluster.faults.fail_writes(resource, error, times, verbs=verbs)
        return f"{times} writes of {resource} refused"

    def slow(self) -> str:
        seconds = self.rng.choice((0.0, 0.1, 0.5))
        self.cluster.faults.slow_store(seconds)
        return f"writes take {seconds} s"

    def crash(self) -> str:
        name = self.rng.choice(self.controllers)
        seconds = self.rng.uniform(0.0, 5.0)
        with self.cluster.faults.outage("controller", name):
            self.cluster.clock.advance(seconds)
        return f"{name} away for {seconds:.1f} s"

    def lease(self) -> str:
        name = f"kubernel-controller-{self.rng.choice(self.controllers)}"
        if self.cluster.find(LEASES, name, "kube-system") is not None:
            taken = {"holderIdentity": "somebody", "leaseTransitions": 99}
            self.cluster.patch(LEASES, name, {"spec": taken}, "kube-system")
        return f"{name} taken"

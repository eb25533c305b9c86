"""Node tables for tests of scheduling policies: real tables, without a cluster around them."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping, Sequence
from typing import Any

from kubernel.clock import VirtualClock
from kubernel.plugin.scheduling import PodState, Policy
from kubernel_plugins.scheduler.default.cycle import Evaluation, Weighed
from kubernel_plugins.scheduler.default.pods import pod_state
from kubernel_plugins.scheduler.default.table import NodeTable

GI = 1024**3
_uids = itertools.count()


class Objects:
    """An informer of objects that never change."""

    def __init__(self, *objects: dict[str, Any]) -> None:
        self._objects = objects

    async def synced(self) -> None: ...

    def list(self, namespace: str = "") -> list[dict[str, Any]]:
        return [
            each for each in self._objects if not namespace or each["metadata"].get("namespace") == namespace
        ]

    def get(self, name: str, namespace: str = "") -> dict[str, Any] | None:
        return next((each for each in self.list(namespace) if each["metadata"]["name"] == name), None)


class Context:
    """What policies reach: a table, and objects by resource."""

    scheduler_name = "default-scheduler"

    def __init__(self, table: NodeTable, objects: Mapping[str, Objects] | None = None) -> None:
        self.nodes = table
        self.clock, self.rng = VirtualClock(), random.Random(1)
        self.client = self
        self._objects = objects or {}

    def informer(self, resource: str) -> Objects:
        return self._objects.get(resource, Objects())


def node(
    name: str = "n",
    *,
    labels: Mapping[str, str] | None = None,
    taints: Sequence[Any] = (),
    unschedulable: bool = False,
    images: Sequence[Any] = (),
    **allocatable: Any,
) -> dict[str, Any]:
    offered = {"cpu": "4", "memory": "8Gi", "pods": "10", **allocatable}
    return {
        "metadata": {"name": name, "labels": dict(labels or {})},
        "spec": {"taints": list(taints), "unschedulable": unschedulable},
        "status": {"allocatable": offered, "images": list(images)},
    }


def pod(
    requests: Mapping[str, str] | None = None, labels: Mapping[str, str] | None = None, **spec: Any
) -> PodState:
    uid = f"u{next(_uids)}"
    spec.setdefault(
        "containers", [{"name": "m", "image": "app:1", "resources": {"requests": dict(requests or {})}}]
    )
    return pod_state(
        {
            "metadata": {"name": uid, "namespace": "default", "uid": uid, "labels": dict(labels or {})},
            "spec": spec,
        }
    )


def table(*nodes: dict[str, Any], placed: Mapping[str, Sequence[PodState]] | None = None) -> NodeTable:
    made = NodeTable()
    for each in nodes:
        made.set_node(each)
    for name, pods in (placed or {}).items():
        for each in pods:
            made.place(each, name)
    return made


def policy(
    cls: type[Policy], made: NodeTable, args: Mapping[str, Any] | None = None, **objects: Objects
) -> Policy:
    context: Any = Context(made, objects)
    return cls(args or {}, context)


def refused(cls: type[Policy], wanted: PodState, made: NodeTable, **args: Any) -> dict[str, list[str]]:
    """What the policy says against each node."""
    found = Evaluation([policy(cls, made, args)], [], made).explain(wanted)
    return {name: entry["refusals"].get(cls.name, []) for name, entry in found.items()}


def scores(cls: type[Policy], wanted: PodState, made: NodeTable, **args: Any) -> dict[str, int]:
    found = Evaluation([], [Weighed(policy(cls, made, args), 1)], made).explain(wanted)
    return {name: entry["scores"].get(cls.name, 0) for name, entry in found.items()}

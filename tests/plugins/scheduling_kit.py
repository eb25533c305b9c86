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
    """An informer of objects that change when a test says so; indexes are looked up, not kept."""

    def __init__(self, *objects: dict[str, Any]) -> None:
        self._objects = list(objects)
        self._listeners: list[Any] = []
        self._indexes: dict[str, Any] = {}

    async def synced(self) -> None: ...

    def list(self, namespace: str = "") -> list[dict[str, Any]]:
        return [
            each for each in self._objects if not namespace or each["metadata"].get("namespace") == namespace
        ]

    def get(self, name: str, namespace: str = "") -> dict[str, Any] | None:
        return next((each for each in self.list(namespace) if each["metadata"]["name"] == name), None)

    def add_index(self, name: str, index: Any) -> None:
        self._indexes[name] = index

    def by(self, index: str, value: str) -> list[dict[str, Any]]:
        return [each for each in self._objects if value in self._indexes[index](each)]

    def add_listener(self, listener: Any) -> Any:
        self._listeners.append(listener)
        for each in self._objects:
            listener("ADDED", each, None)
        return lambda: self._listeners.remove(listener)

    def set(self, obj: dict[str, Any]) -> None:
        """In place of the one with its name."""
        metadata = obj["metadata"]
        old = self.get(metadata["name"], metadata.get("namespace", ""))
        if old is not None:
            self._objects.remove(old)
        self._objects.append(obj)
        for listener in self._listeners:
            listener("ADDED" if old is None else "MODIFIED", obj, old)

    def remove(self, name: str, namespace: str = "") -> None:
        old = self.get(name, namespace)
        if old is not None:
            self._objects.remove(old)
            for listener in self._listeners:
                listener("DELETED", old, old)


class Context:
    """What policies reach: a table, and objects by resource."""

    scheduler_name = "default-scheduler"

    def __init__(self, table: NodeTable, objects: Mapping[str, Objects] | None = None) -> None:
        self.nodes = table
        self.clock, self.rng = VirtualClock(), random.Random(1)
        self.client = self
        self._objects = dict(objects or {})

    def informer(self, resource: str) -> Objects:
        return self._objects.setdefault(resource, Objects())

    async def follow(self, resource: str) -> Objects:
        return self.informer(resource)

    def nominated(self, node: str) -> Sequence[PodState]:
        return ()

    def gang(self, pod: PodState) -> None:
        return None


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
    requests: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    namespace: str = "default",
    **spec: Any,
) -> PodState:
    uid = f"u{next(_uids)}"
    spec.setdefault(
        "containers", [{"name": "m", "image": "app:1", "resources": {"requests": dict(requests or {})}}]
    )
    return pod_state(
        {
            "metadata": {"name": uid, "namespace": namespace, "uid": uid, "labels": dict(labels or {})},
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


def started(
    cls: type[Policy],
    made: NodeTable,
    args: Mapping[str, Any] | None = None,
    objects: Mapping[str, Objects] | None = None,
) -> Policy:
    """A policy that has begun to look at ``objects``, which by resource are what an API would hold."""
    context: Any = Context(made, objects)
    made_policy = cls(args or {}, context)
    starting = made_policy.start()
    try:
        # Nothing here is waited for.
        starting.send(None)
    except StopIteration:
        return made_policy
    raise AssertionError("start waits for something")


def refused(cls: type[Policy], wanted: PodState, made: NodeTable, **args: Any) -> dict[str, list[str]]:
    """What the policy says against each node."""
    found = Evaluation([policy(cls, made, args)], [], made).explain(wanted)
    return {name: entry["refusals"].get(cls.name, []) for name, entry in found.items()}


def scores(cls: type[Policy], wanted: PodState, made: NodeTable, **args: Any) -> dict[str, int]:
    found = Evaluation([], [Weighed(policy(cls, made, args), 1)], made).explain(wanted)
    return {name: entry["scores"].get(cls.name, 0) for name, entry in found.items()}

"""NodeResourcesFit.

Source: k8s.io/kubernetes/pkg/scheduler/framework/plugins/noderesources (v1.37).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy

from kubernel.plugin.scheduling import Change, Policy, Refusal
from kubernel_plugins.scheduler_policy.arguments import Problems
from kubernel_plugins.scheduler_policy.device_classes import CLASSES, DeviceClasses
from kubernel_plugins.scheduler_policy.node_resources_fit.strategies import strategy

if TYPE_CHECKING:
    from collections.abc import Callable

    from kubernel.plugin.scheduling import Amounts, Context, Mask, Nodes, PodState, Rows
    from kubernel.store.records import EventType, Obj

__all__ = ["NodeResourcesFit"]


class NodeResourcesFit(Policy):
    """Arguments: ``scoringStrategy``, ``ignoredResources``, ``ignoredResourceGroups`` (extended resources that
    are not looked at)."""

    name = "NodeResourcesFit"
    scope = "node"
    arguments = frozenset(("scoringStrategy", "ignoredResources", "ignoredResourceGroups"))
    judges_late = True

    def __init__(self, args: Mapping[str, Any], context: Context) -> None:
        super().__init__(args, context)
        wrong = Problems()
        for position, name in enumerate(args.get("ignoredResources") or ()):
            wrong.label_name(f"ignoredResources[{position}]", name)
        for position, group in enumerate(args.get("ignoredResourceGroups") or ()):
            path = f"ignoredResourceGroups[{position}]"
            if "/" in group:
                wrong.invalid(path, group, "resource group name can't contain '/'")
            wrong.label_name(path, group)
        self._strategy = strategy(args.get("scoringStrategy") or {}, wrong)
        wrong.check()
        self._ignored = frozenset(args.get("ignoredResources") or ())
        self._ignored_groups = frozenset(args.get("ignoredResourceGroups") or ())
        self._classes: DeviceClasses | None = None
        self._unlisten: Callable[[], None] = lambda: None

    async def start(self) -> None:
        informer = await self.context.follow(CLASSES)
        self._classes = DeviceClasses(informer)
        self._unlisten = informer.add_listener(self._on_class)

    async def stop(self) -> None:
        self._unlisten()

    def _on_class(self, type: EventType, obj: Obj, old: Obj | None) -> None:
        if DeviceClasses.renamed(Change(CLASSES, type, obj, old)):
            self.context.forget_answers()

    def _by_devices(self, resource: str) -> bool:
        """Whether devices are had for it where a node has none of it: ``DynamicResources`` decides there."""
        return self._classes is not None and self._classes.of(resource) is not None

    def sign(self, pod: PodState) -> Any:
        return sorted(pod.requests.items()), pod.nonzero

    def pre_filter(self, pod: PodState, nodes: Nodes) -> Any:
        return tuple(
            (resource, amount)
            for resource, amount in pod.requests.items()
            if resource not in self._ignored and resource.partition("/")[0] not in self._ignored_groups
        )

    def filter(self, pod: PodState, state: tuple[tuple[str, int], ...], nodes: Nodes, rows: Rows) -> Mask:
        fits: Mask = nodes.pods[rows] < nodes.allocatable("pods")[rows]
        for resource, amount in state:
            allocatable = nodes.allocatable(resource)[rows]
            enough = nodes.requested(resource)[rows] + amount <= allocatable
            fits = fits & (enough | (allocatable == 0) if self._by_devices(resource) else enough)
        return fits

    def reasons(
        self, pod: PodState, state: tuple[tuple[str, int], ...], nodes: Nodes, rows: Rows
    ) -> Iterable[tuple[Mask, Refusal]]:
        yield nodes.pods[rows] >= nodes.allocatable("pods")[rows], Refusal("Too many pods")
        for resource, amount in state:
            allocatable = nodes.allocatable(resource)[rows]
            short = nodes.requested(resource)[rows] + amount > allocatable
            if self._by_devices(resource):
                short &= allocatable > 0
            never = amount > allocatable
            yield short & never, Refusal(f"Insufficient {resource}", lasting=True)
            yield short & ~never, Refusal(f"Insufficient {resource}")

    def score(self, pod: PodState, state: None, nodes: Nodes, rows: Rows) -> Amounts:
        return self._strategy(pod, nodes, rows)

    def helps(self, pod: PodState, change: Change) -> bool:
        if change.resource == CLASSES:
            return DeviceClasses.help(pod, change)
        if change.resource == "pods":
            # A pod that went, or one that was made smaller.
            return change.type == "DELETED" or (
                change.old is not None and change.old["spec"] != change.obj["spec"]
            )
        if change.resource != "nodes" or change.type == "DELETED":
            return False
        nodes = self.context.nodes
        row = nodes.row(change.obj["metadata"]["name"])
        if row is None:
            return True
        rows = slice(row, row + 1)
        return bool(numpy.all(self.filter(pod, self.pre_filter(pod, nodes), nodes, rows)))

"""NodeMetrics and PodMetrics: their names, their shape, their columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from kubernel.objects import quantity
from kubernel.registry.schema import Node
from kubernel.registry.types import Column, ResourceType

if TYPE_CHECKING:
    from kubernel.store.records import Obj

__all__ = ["GROUP", "VERSION", "metrics_types"]

GROUP, VERSION = "metrics.k8s.io", "v1beta1"

Source = Callable[[str, str], Iterable["Obj"]]


def _text(type: str, description: str) -> Node:
    node = Node(type)
    node.extra = {"description": description}
    return node


def _usage() -> Node:
    node = _text("object", "What it consumes, by the resource's name.")
    node.additional = Node("quantity")
    return node


def _root(description: str, **properties: Node) -> Node:
    root = _text("object", description)
    root.properties = {
        "apiVersion": Node("string"),
        "kind": Node("string"),
        "metadata": Node("object"),
        "timestamp": _text("time", "When the interval ended in which the metrics were collected."),
        "window": _text("string", "The length of that interval, as a duration."),
        **properties,
    }
    root.properties["metadata"].preserve_unknown = True
    root.native = True
    return root


def _containers() -> Node:
    container = Node("object")
    container.properties = {"name": _text("string", "The container's name."), "usage": _usage()}
    node = _text("array", "What each container consumes.")
    node.items = container
    return node


def _total(resource: str) -> Callable[[Obj, float], Any]:
    """The cell of a resource: of a node, or of all of a pod's containers."""

    def value(obj: Obj, now: float) -> str:
        found = [one["usage"] for one in obj.get("containers") or (obj,)]
        total = "0"
        for usage in found:
            total = quantity.add(total, usage.get(resource, "0"))
        return total

    return value


_COLUMNS = (
    Column(
        "Name", lambda obj, now: obj["metadata"]["name"], format="name", description="Name of the resource"
    ),
    Column("cpu", _total("cpu")),
    Column("memory", _total("memory")),
    Column("Window", lambda obj, now: obj["window"]),
)


def metrics_types(nodes: Source, pods: Source) -> tuple[ResourceType, ResourceType]:
    """``nodes`` and ``pods`` give the objects there are now."""
    of_node = _root("What a node consumes.", usage=_usage())
    of_pod = _root("What a pod consumes.", containers=_containers())
    shared: dict[str, Any] = {"verbs": ("get", "list"), "columns": _COLUMNS}
    return (
        ResourceType(
            GROUP, VERSION, "NodeMetrics", "nodes", lambda: of_node, namespaced=False, source=nodes, **shared
        ),
        ResourceType(GROUP, VERSION, "PodMetrics", "pods", lambda: of_pod, source=pods, **shared),
    )

"""A registry over a minimal backend, with two hand-made types: what the registry's tests need."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import orjson

from kubernel.clock import VirtualClock
from kubernel.registry.registry import Registry
from kubernel.registry.request import Request, UserInfo, WriteOptions
from kubernel.registry.schema import Node
from kubernel.registry.types import GroupVersionKind, ResourceType, Strategy, Subresource
from kubernel.store import Change, Compacted, Feed, Key, ObjectStore, Snapshot, Write
from kubernel.store.ledger import Ledger
from kubernel.watch import WatchBus

USER = UserInfo("tester", ("system:masters",))


class LogBackend:
    """Keeps a list of changes; ``compacted`` may be set to make the past unavailable."""

    retention = 0.0

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.log: list[Change] = []
        self.compacted = 0

    async def open(self, feed: Feed) -> Snapshot:
        self.feed = feed
        return Snapshot(self.ledger.revision, self.ledger.compacted, list(self.log))

    async def close(self) -> None:
        return

    async def commit(self, write: Write) -> int:
        change = self.ledger.stage(write)
        self.ledger.keep()
        self.log.append(change)
        self.feed((change,))
        await asyncio.sleep(0)
        return change.revision

    def _past(self, revision: int) -> list[Change]:
        if revision < self.compacted:
            raise Compacted(revision, self.compacted)
        return [change for change in self.log if change.revision <= revision]

    async def get_at(self, key: Key, revision: int) -> Change | None:
        found = [change for change in self._past(revision) if change.key == key]
        return found[-1] if found and not found[-1].deleted else None

    async def list_at(self, resource: str, namespace: str | None, revision: int) -> Sequence[Change]:
        found = {
            change.key: change
            for change in self._past(revision)
            if change.key.resource == resource and namespace in (None, change.key.namespace)
        }
        return [found[key] for key in sorted(found) if not found[key].deleted]

    async def compact(self, revision: int) -> None:
        self.compacted = revision

    async def backup(self, path: Any) -> None:
        raise NotImplementedError


class Hooks:
    """Admission that tests can plug into."""

    def __init__(self) -> None:
        self.on_admit: Callable[[Request], None] | None = None
        self.on_validate: Callable[[Request], None] | None = None

    async def admit(self, request: Request) -> None:
        if self.on_admit:
            self.on_admit(request)

    async def validate(self, request: Request) -> None:
        if self.on_validate:
            self.on_validate(request)


def struct(**properties: Node) -> Node:
    node = Node("object")
    node.properties = properties
    return node


def map_of(values: Node) -> Node:
    node = Node("object")
    node.additional = values
    return node


def list_of(items: Node) -> Node:
    node = Node("array")
    node.items = items
    return node


def text(default: Any = Node.UNSET) -> Node:
    node = Node("string")
    node.default = default
    return node


def metadata_node() -> Node:
    finalizers = list_of(text())
    finalizers.list_type = "set"
    finalizers.patch_strategy = ("merge",)
    owner = struct(
        apiVersion=text(), kind=text(), name=text(), uid=text(), controller=Node("boolean"),
        blockOwnerDeletion=Node("boolean"),
    )  # fmt: skip
    owners = list_of(owner)
    owners.list_type, owners.map_keys = "map", ("uid",)
    managed = list_of(Node("any"))
    return struct(
        name=text(), generateName=text(), namespace=text(), uid=text(), resourceVersion=text(),
        creationTimestamp=Node("time"), deletionTimestamp=Node("time"),
        deletionGracePeriodSeconds=Node("integer"), generation=Node("integer"), labels=map_of(text()),
        annotations=map_of(text()), finalizers=finalizers, ownerReferences=owners, managedFields=managed,
        selfLink=text(),
    )  # fmt: skip


def widget_node() -> Node:
    size = Node("integer")
    size.default = 1
    size.format = "int32"
    color = text()
    color.enum = ("red", "blue")
    spec = struct(size=size, color=color, replicas=Node("integer"), site=text(), tags=list_of(text()))
    status = struct(phase=text(), seen=Node("integer"))
    return struct(apiVersion=text(), kind=text(), metadata=metadata_node(), spec=spec, status=status)


class WidgetStrategy(Strategy):
    """``spec.site`` is immutable; ``spec.grace`` seconds pass before removal."""

    grace = 0

    def grace_period(self, request: Request, obj: dict[str, Any], wanted: int | None) -> int:
        return self.grace if wanted is None else min(wanted, self.grace) if self.grace else 0


def read_scale(obj: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "autoscaling/v1",
        "kind": "Scale",
        "metadata": {key: obj["metadata"][key] for key in ("name", "namespace", "uid", "resourceVersion")},
        "spec": {"replicas": obj["spec"].get("replicas", 0)},
    }


def write_scale(obj: dict[str, Any], view: dict[str, Any]) -> dict[str, Any]:
    return {**obj, "spec": {**obj["spec"], "replicas": view["spec"]["replicas"]}}


def widgets() -> ResourceType:
    node = widget_node()
    gvk = GroupVersionKind("example.com", "v1", "Widget")
    scale = GroupVersionKind("autoscaling", "v1", "Scale")
    return ResourceType(
        "example.com",
        "v1",
        "Widget",
        "widgets",
        lambda: node,
        strategy=WidgetStrategy(),
        subresources={
            "status": Subresource("status", gvk),
            "scale": Subresource("scale", scale, read=read_scale, write=write_scale),
        },
        field_selectors={"spec.site": lambda obj: (obj.get("spec") or {}).get("site", "")},
        indexed_field="spec.site",
    )


class Kit:
    """Store, bus, registry and clock of one test."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.backend = LogBackend()
        self.store = ObjectStore(self.backend, self.clock, freeze=True)
        self.bus = WatchBus(self.store)
        self.hooks = Hooks()
        self.registry = Registry(self.store, self.bus, self.clock, random.Random(7), self.hooks)
        self.type = widgets()
        self.registry.register(self.type)

    async def create(self, name: str, namespace: str = "shop", **parts: Any) -> dict[str, Any]:
        result = await self.registry.create(
            USER, self.type, namespace, widget(name, **parts), WriteOptions(field_manager="test")
        )
        return result.record.obj

    async def update(self, obj: dict[str, Any], subresource: str = "", **options: Any) -> dict[str, Any]:
        meta = obj["metadata"]
        result = await self.registry.update(
            USER, self.type, meta.get("namespace", "shop"), meta["name"], obj,
            WriteOptions(field_manager="test", **options), subresource=subresource,
        )  # fmt: skip
        return result.record.obj

    async def post(self, body: dict[str, Any], **options: Any) -> Any:
        raw = orjson.dumps(body)
        return await self.registry.create(
            USER, self.type, "shop", body, WriteOptions(field_manager="test", **options), raw=raw
        )


def widget(name: str, **parts: Any) -> dict[str, Any]:
    metadata = {"name": name, **parts.pop("metadata", {})}
    if not name:
        del metadata["name"]
    spec = parts.pop("spec", {"color": "red"})
    return {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": metadata, "spec": spec, **parts}


def with_kit(test: Callable[[Kit], Coroutine[Any, Any, None]]) -> None:
    async def go() -> None:
        kit = Kit()
        await kit.store.start()
        try:
            await test(kit)
        finally:
            await kit.store.stop()

    asyncio.run(go())

"""Custom resources: what CustomResourceDefinitions say is served, by the registry that serves all else."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kubernel.errors import Expired, PluginError
from kubernel.plugin import Plugin as Base
from kubernel.plugin import hookimpl
from kubernel.registry.operations import ListOptions, WatchOptions
from kubernel.store.records import DELETED
from kubernel.watch import Closed
from kubernel_plugins.api.custom.conversion import none
from kubernel_plugins.api.custom.definition import DefinitionStrategy
from kubernel_plugins.api.custom.serving import resource_types, served

if TYPE_CHECKING:
    from kubernel.registry.registry import Registry
    from kubernel.registry.schema import Node
    from kubernel.registry.types import ResourceType
    from kubernel.store.records import Record
    from kubernel_plugins.api.custom.conversion import Strategy
    from kubernel_plugins.webhooks import Caller

__all__ = ["Plugin"]

Obj = dict[str, Any]

_DEFINITIONS = ("apiextensions.k8s.io", "v1", "customresourcedefinitions")
_SCALABLE = ("apps", "v1", "deployments")


class Plugin(Base):
    """Keeps the registry's types what the established definitions say; every server does so for itself.

    Whether a definition is established is the business of the controller ``customresources``.
    """

    definitions: ResourceType
    metadata: Node

    def __init__(self, settings: Any, handle: Any) -> None:
        super().__init__(settings, handle)
        self._served: dict[str, tuple[Any, list[ResourceType]]] = {}
        self._caller: Caller | None = None

    @hookimpl(trylast=True)
    def kubernel_register_types(self, registry: Registry) -> None:
        found = registry.lookup(*_DEFINITIONS)
        properties = found.schema().properties if found is not None else None
        if found is None or properties is None:
            raise PluginError(
                "types/custom needs the type CustomResourceDefinition, which types/builtin registers"
            )
        self.definitions = found
        found.strategy = DefinitionStrategy(self.handle.clock, properties["metadata"])
        self.metadata = properties["metadata"]

    async def start(self) -> None:
        revision = await self._catch_up()
        self.handle.spawn(self._follow(revision), "custom resources")

    async def stop(self) -> None:
        for name in list(self._served):
            self._withdraw(name)
        if self._caller is not None:
            caller, self._caller = self._caller, None
            await caller.close()

    async def _catch_up(self) -> int:
        """Serve what there is; the revision to go on from."""
        page = await self.handle.registry.list(self.definitions, "", ListOptions())
        gone = set(self._served) - {record.key.name for record in page.records}
        for name in gone:
            self._withdraw(name)
        for record in page.records:
            self._serve(record)
        return page.revision

    async def _follow(self, revision: int) -> None:
        while True:
            options = WatchOptions(resource_version=str(revision))
            try:
                watch = await self.handle.registry.watch(self.definitions, "", options)
                try:
                    while True:
                        for item in await watch.next():
                            if item.type == DELETED:
                                self._withdraw(item.record.key.name)
                            else:
                                self._serve(item.record)
                finally:
                    watch.close()
            except Expired:
                revision = await self._catch_up()
            except Closed:
                return

    def _serve(self, record: Record) -> None:
        definition = record.obj
        name = record.key.name
        if not served(definition):
            self._withdraw(name)
            return
        status = definition.get("status") or {}
        about = (
            definition["spec"],
            status.get("acceptedNames"),
            "deletionTimestamp" in definition["metadata"],
        )
        known = self._served.get(name)
        if known is not None and known[0] == about:
            return
        strategy = self._strategy(definition)
        types = list(
            resource_types(
                definition, self.metadata, strategy, since=record.revision, scale=self._scale_schema()
            )
        )
        registry = self.handle.registry
        registry.replace(known[1] if known is not None else (), types)
        self._served[name] = (about, types)

    def _scale_schema(self) -> Callable[[], Node] | None:
        """The schema of Scale, which is that of every type's."""
        scalable = self.handle.registry.lookup(*_SCALABLE)
        scale = scalable.subresources.get("scale") if scalable is not None else None
        return scale.schema if scale is not None else None

    def _strategy(self, definition: Obj) -> Strategy:
        conversion = definition["spec"].get("conversion") or {}
        if conversion.get("strategy") != "Webhook":
            return none
        from kubernel_plugins.api.custom.webhook import WebhookConversion
        from kubernel_plugins.webhooks import Caller

        if self._caller is None:
            self._caller = Caller(self.handle)
        return WebhookConversion(conversion.get("webhook") or {}, self._caller, self.handle.rng)

    def _withdraw(self, name: str) -> None:
        known = self._served.pop(name, None)
        if known is not None:
            self.handle.registry.replace(known[1], ())

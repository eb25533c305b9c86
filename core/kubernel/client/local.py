"""The client inside the server's process: calls the registry and reads the index, no copy made.

Objects are the stored ones themselves. Each call is authorized as the client's user, as it would be over
HTTPS.
"""

from __future__ import annotations

import builtins
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import orjson

from kubernel.client.informer import Informer, InformerFactory
from kubernel.client.interface import ObjectList, PatchType, Propagation
from kubernel.client.naming import component_name, parse_resource
from kubernel.errors import ApiError, BadRequest, Forbidden, InternalError, NotFound, StoreError
from kubernel.registry.attributes import Attributes, Decision, demanded
from kubernel.registry.conversion import is_storage
from kubernel.registry.operations import ListOptions, WatchOptions
from kubernel.registry.request import DeleteOptions, WriteOptions
from kubernel.store.records import ADDED, EventType, Obj, Record
from kubernel.watch import Closed

if TYPE_CHECKING:
    from kubernel.clock import Clock
    from kubernel.registry.operations import Result
    from kubernel.registry.registry import Registry
    from kubernel.registry.request import UserInfo
    from kubernel.registry.types import ResourceType

__all__ = ["LocalClient", "forbidden"]

_T = TypeVar("_T")


def forbidden(attributes: Attributes, decision: Decision | None = None) -> Forbidden:
    """The refusal of ``attributes`` in upstream's words (k8s.io/apiserver responsewriters/errors.go)."""
    user = attributes.user.name
    if attributes.path:
        return Forbidden(
            f'forbidden: User "{user}" cannot {attributes.verb} path "{attributes.path}"'
            + (f": {decision.reason}" if decision and decision.reason else "")
        )
    what = (
        f"{attributes.resource}/{attributes.subresource}" if attributes.subresource else attributes.resource
    )
    where = f'in the namespace "{attributes.namespace}"' if attributes.namespace else "at the cluster scope"
    why = (
        f'User "{user}" cannot {attributes.verb} resource "{what}" in API group "{attributes.group}" {where}'
    )
    if decision is not None and decision.reason:
        why = f"{why}: {decision.reason}"
    return Forbidden.for_object(attributes.resource, attributes.group, attributes.name, why)


class LocalClient:
    """``kubernel.client.Client`` on a registry of the same process.

    ``authorize`` answers whether the user may; None allows everything. ``informers`` are the ones all
    clients of a cluster share: used where the user may list and watch, else the client has its own,
    which keep asking until they may. ``field_manager`` defaults to the component's name.
    """

    def __init__(
        self,
        registry: Registry,
        user: UserInfo,
        clock: Clock,
        authorize: Callable[[Attributes], Decision] | None = None,
        *,
        informers: InformerFactory | None = None,
        field_manager: str = "",
        log: Any = None,
    ) -> None:
        self.user = user
        self._registry = registry
        self._authorize = authorize
        self._shared = informers
        self._own = InformerFactory(self, clock, log)
        self._manager = field_manager or component_name(user.name)
        self._options = WriteOptions(field_manager=self._manager)
        self._types: dict[str, ResourceType] = {}
        self._generation = -1

    # --- reading

    async def get(
        self, resource: str, name: str, namespace: str = "", *, at: str = "", subresource: str = ""
    ) -> Obj:
        type = self._resolve(resource)
        self._check("get", type, namespace, name, subresource)
        if subresource:
            record, view = await self._registry.get_subresource(type, namespace, name, subresource)
            return self._view(record, type) if view is None else view
        if at:
            return self._view(await self._registry.get_at(type, namespace, name, at), type)
        return self._view(await self._registry.read(type, namespace, name), type)

    async def list(
        self,
        resource: str,
        namespace: str = "",
        *,
        labels: str = "",
        fields: str = "",
        limit: int = 0,
        continue_token: str = "",
        at: str = "",
    ) -> ObjectList:
        type = self._resolve(resource)
        self._check("list", type, namespace, labels=labels, fields=fields)
        options = ListOptions(labels, fields, limit, continue_token, at, "Exact" if at else "")
        page = await self._registry.list(type, namespace, options)
        if self._stored(type):
            items = [record.obj for record in page.records]
        else:
            items = [self._view(record, type) for record in page.records]
        return ObjectList(items, str(page.revision), page.continue_token)

    async def watch(
        self,
        resource: str,
        namespace: str = "",
        *,
        labels: str = "",
        fields: str = "",
        resource_version: str = "",
    ) -> AsyncIterator[tuple[EventType, Obj]]:
        type = self._resolve(resource)
        self._check("watch", type, namespace, labels=labels, fields=fields)
        watch = await self._registry.watch(type, namespace, WatchOptions(labels, fields, resource_version))
        stored = self._stored(type)
        try:
            for record in watch.initial:
                yield ADDED, self._view(record, type)
            while True:
                try:
                    items = await watch.next()
                except Closed:
                    return
                for item in items:
                    yield item.type, item.record.obj if stored else self._view(item.record, type)
        finally:
            watch.close()

    def informer(self, resource: str, namespace: str = "", *, labels: str = "", fields: str = "") -> Informer:
        factory = self._own
        if self._shared is not None:
            try:
                type = self._resolve(resource)
                self._check("list", type, namespace, labels=labels, fields=fields)
                self._check("watch", type, namespace, labels=labels, fields=fields)
                factory = self._shared
            except ApiError:
                pass
        return factory.get(resource, namespace, labels=labels, fields=fields)

    async def discover(self) -> builtins.list[dict[str, Any]]:
        return [
            {
                "group": type.group,
                "version": type.version,
                "kind": type.kind,
                "resource": type.plural,
                "singular": type.singular,
                "short_names": list(type.short_names),
                "namespaced": type.namespaced,
                "verbs": sorted(type.verbs),
            }
            for type in sorted(self._registry.types(), key=self._is_secondary)
        ]

    def _is_secondary(self, type: ResourceType) -> bool:
        return self._registry.preferred(type.group, type.plural) is not type

    # --- writing

    async def create(
        self, resource: str, obj: Obj, namespace: str = "", *, subresource: str = "", name: str = ""
    ) -> Obj:
        type = self._resolve(resource)
        metadata = obj.get("metadata") or {}
        if type.namespaced:
            namespace = namespace or metadata.get("namespace", "")
        self._check("create", type, namespace, name, subresource)
        result = await self._done(
            self._registry.create(
                self.user, type, namespace, obj, self._options, name=name, subresource=subresource
            )
        )
        return self._answer(result, type)

    async def update(self, resource: str, obj: Obj, *, subresource: str = "") -> Obj:
        type = self._resolve(resource)
        metadata = obj.get("metadata") or {}
        name, namespace = metadata.get("name", ""), metadata.get("namespace", "")
        if not name:
            raise BadRequest("name must be provided")
        self._check("update", type, namespace, name, subresource)
        result = await self._done(
            self._registry.update(
                self.user, type, namespace, name, obj, self._options, subresource=subresource
            )
        )
        return self._answer(result, type)

    async def patch(
        self,
        resource: str,
        name: str,
        patch: Any,
        namespace: str = "",
        *,
        type: PatchType = "merge",
        subresource: str = "",
        field_manager: str = "",
        force: bool = False,
    ) -> Obj:
        kind = self._resolve(resource)
        self._check("patch", kind, namespace, name, subresource)
        options = self._options
        if force or field_manager:
            options = WriteOptions(field_manager=field_manager or self._manager, force=force)
        result = await self._done(
            self._registry.patch(
                self.user, kind, namespace, name, type, patch, options, subresource=subresource
            )
        )
        return self._answer(result, kind)

    async def delete(
        self,
        resource: str,
        name: str,
        namespace: str = "",
        *,
        grace_period: int | None = None,
        propagation: Propagation | None = None,
        uid: str = "",
        resource_version: str = "",
    ) -> Obj:
        type = self._resolve(resource)
        self._check("delete", type, namespace, name)
        options = DeleteOptions(
            grace_period=grace_period,
            propagation=propagation,
            uid=uid or None,
            resource_version=resource_version or None,
        )
        result = await self._done(self._registry.delete(self.user, type, namespace, name, options))
        if result.status is not None:
            return result.status
        return self._answer(result, type)

    async def delete_collection(
        self,
        resource: str,
        namespace: str = "",
        *,
        labels: str = "",
        fields: str = "",
        grace_period: int | None = None,
        propagation: Propagation | None = None,
    ) -> None:
        type = self._resolve(resource)
        self._check("deletecollection", type, namespace, labels=labels, fields=fields)
        options = DeleteOptions(grace_period=grace_period, propagation=propagation)
        selection = ListOptions(labels, fields)
        await self._done(self._registry.delete_collection(self.user, type, namespace, selection, options))

    async def close(self) -> None:
        """Stop the informers that are this client's alone."""
        await self._own.close()

    # --- helpers

    @staticmethod
    async def _done(write: Awaitable[_T]) -> _T:
        """A store that cannot write is a refused request to whoever asked, as it is over HTTPS."""
        try:
            return await write
        except StoreError as error:
            raise InternalError(f"Internal error occurred: {error}") from error

    def _resolve(self, resource: str) -> ResourceType:
        registry = self._registry
        if registry.generation != self._generation:
            self._types.clear()
            self._generation = registry.generation
        type = self._types.get(resource)
        if type is None:
            plural, version, group = parse_resource(resource)
            found = registry.lookup(group, version, plural)
            if found is None:
                raise NotFound.for_path()
            type = self._types[resource] = found
        return type

    def _check(
        self,
        verb: str,
        type: ResourceType,
        namespace: str,
        name: str = "",
        subresource: str = "",
        labels: str = "",
        fields: str = "",
    ) -> None:
        if self._authorize is None:
            return
        attributes = Attributes(
            self.user,
            verb,
            type.group,
            type.version,
            type.plural,
            subresource,
            namespace,
            name or demanded(fields, "metadata.name"),
            label_selector=labels,
            field_selector=fields,
        )
        decision = self._authorize(attributes)
        if not decision.allowed:
            raise forbidden(attributes, decision)

    def _stored(self, type: ResourceType) -> bool:
        """Whether the stored objects are already in this type's group and version."""
        return is_storage(type) or (
            type.version == type.storage_version and type.storage_group in (None, type.group)
        )

    def _view(self, record: Record, type: ResourceType) -> Obj:
        if self._stored(type):
            return record.obj
        decoded: Obj = orjson.loads(self._registry.encode(record, type))
        return decoded

    def _answer(self, result: Result, type: ResourceType) -> Obj:
        return result.obj if result.obj is not None else self._view(result.record, type)

"""The registry: the table of types and every operation on objects, behind one door."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from kubernel.registry.beside import Beside
from kubernel.registry.conversion import encode, from_storage, read_one
from kubernel.registry.deletion import Deleter
from kubernel.registry.operations import (
    Admission,
    ListOptions,
    Page,
    PatchType,
    Result,
    WatchItem,
    WatchOptions,
)
from kubernel.registry.protobuf import Codec
from kubernel.registry.reading import Reader, Watch
from kubernel.registry.request import DeleteOptions, Request, UserInfo, WriteOptions
from kubernel.registry.typetable import TypeTable
from kubernel.registry.writing import Writer

if TYPE_CHECKING:
    import random

    from kubernel.clock import Clock
    from kubernel.registry.types import ResourceType
    from kubernel.store import ObjectStore
    from kubernel.store.records import Obj, Record
    from kubernel.watch import WatchBus

__all__ = ["Admission", "ListOptions", "Page", "Registry", "Result", "Watch", "WatchItem", "WatchOptions"]


class _Admitted:
    """Admission for what has passed it as part of another request."""

    async def admit(self, request: Request) -> None:
        return

    async def validate(self, request: Request) -> None:
        return


class Registry(TypeTable):
    """See the package docstring. Every operation raises ApiError and nothing else for what a
    client can cause; who calls has authorized the user for what it asks."""

    def __init__(
        self,
        store: ObjectStore,
        bus: WatchBus,
        clock: Clock,
        rng: random.Random,
        admission: Admission,
    ) -> None:
        super().__init__()
        self.store = store
        self.clock = clock
        self.rng = rng
        self._bus = bus
        self.protobuf: Codec | None = None
        """Protobuf bodies of the built-in types; set by the plugin that registers them."""
        self._admission = admission
        self.beside = Beside()
        """Where large bodies are dealt with."""
        self._reader = Reader(store, bus)
        self._writer = Writer(store, clock, rng, admission, self.api_versions, self.beside)
        self._deleter = Deleter(store, clock, admission)
        past = _Admitted()
        self._inner_writer = Writer(store, clock, rng, past, self.api_versions, self.beside)
        self._inner_deleter = Deleter(store, clock, past)

    def register(self, type: ResourceType) -> None:
        super().register(type)
        if type.indexed_field:
            self._bus.index(type.resource, type.indexed_field, type.field_selectors[type.indexed_field])

    def get(self, type: ResourceType, namespace: str, name: str) -> Record:
        """The record as it is stored: of a type with a converter it may be of another version."""
        return self._reader.get(type, namespace, name)

    async def read(self, type: ResourceType, namespace: str, name: str) -> Record:
        """``get`` in the type's version."""
        return await read_one(type, self._reader.get(type, namespace, name))

    async def get_at(
        self, type: ResourceType, namespace: str, name: str, revision: str, *, exact: bool = True
    ) -> Record:
        """The object as it was at ``revision``, within the store's retention; not ``exact``: as it was then
        or later."""
        return await self._reader.get_at(type, namespace, name, revision, exact=exact)

    async def list(self, type: ResourceType, namespace: str, options: ListOptions) -> Page:
        return await self._reader.list(type, namespace, options)

    async def watch(self, type: ResourceType, namespace: str, options: WatchOptions) -> Watch:
        return await self._reader.watch(type, namespace, options)

    def create(
        self,
        user: UserInfo,
        type: ResourceType,
        namespace: str,
        obj: Obj,
        options: WriteOptions,
        *,
        name: str = "",
        subresource: str = "",
        raw: bytes | None = None,
    ) -> Coroutine[Any, Any, Result]:
        """``raw`` is the JSON body that ``obj`` was decoded from: then ``obj`` is taken over, and
        duplicate fields are found in it. Without it ``obj`` may be shared and is copied."""
        return self._writer.create(
            user, type, namespace, obj, options, name=name, subresource=subresource, raw=raw
        )

    def update(
        self,
        user: UserInfo,
        type: ResourceType,
        namespace: str,
        name: str,
        obj: Obj,
        options: WriteOptions,
        *,
        subresource: str = "",
        raw: bytes | None = None,
        admitted: bool = False,
    ) -> Coroutine[Any, Any, Result]:
        """``admitted`` is for the handlers of subresources: the request that this write is a part of has passed
        admission, which is not asked about the parts."""
        writer = self._inner_writer if admitted else self._writer
        return writer.update(user, type, namespace, name, obj, options, subresource=subresource, raw=raw)

    def patch(
        self,
        user: UserInfo,
        type: ResourceType,
        namespace: str,
        name: str,
        patch_type: PatchType,
        body: Any,
        options: WriteOptions,
        *,
        subresource: str = "",
        raw: bytes | None = None,
    ) -> Coroutine[Any, Any, Result]:
        """``body`` is the decoded patch: a list for ``json``, else an object."""
        return self._writer.patch(
            user, type, namespace, name, patch_type, body, options, subresource=subresource, raw=raw
        )

    async def delete(
        self,
        user: UserInfo,
        type: ResourceType,
        namespace: str,
        name: str,
        options: DeleteOptions,
        *,
        admitted: bool = False,
    ) -> Result:
        """``admitted`` as in ``update``."""
        deleter = self._inner_deleter if admitted else self._deleter
        return await deleter.delete(user, type, namespace, name, options)

    async def delete_collection(
        self,
        user: UserInfo,
        type: ResourceType,
        namespace: str,
        selection: ListOptions,
        options: DeleteOptions,
    ) -> Sequence[Record]:
        """Delete what ``selection`` lists, each as ``delete`` would; gives what was listed."""
        page = await self._reader.list(type, namespace, selection)
        await self._deleter.delete_collection(user, type, page.records, options)
        return page.records

    async def get_subresource(
        self, type: ResourceType, namespace: str, name: str, subresource: str
    ) -> tuple[Record, Obj | None]:
        """For GET: the object's record, and the view of it where the subresource has one (a scale)."""
        sub = type.subresource(subresource, "get")
        record = await self.read(type, namespace, name)
        if sub.read is None:
            return record, None
        return record, sub.read(from_storage(type, record.obj))

    async def connect(
        self,
        user: UserInfo,
        type: ResourceType,
        namespace: str,
        name: str,
        subresource: str,
        options: Obj,
    ) -> Record:
        """Admission for exec, attach, portforward and proxy; gives the object to connect to."""
        request = Request(user, "connect", type, namespace, name, subresource, obj=options)
        with request:
            await self._admission.admit(request)
            await self._admission.validate(request)
            return await self.read(type, namespace, name)

    def message(self, record: Record, type: ResourceType) -> bytes:
        """The object as a protobuf message of ``type``'s version, made once for a record. KeyError for a type
        without messages."""
        assert self.protobuf is not None  # noqa: S101 - who calls has looked
        forms = record.forms
        if forms is None:
            forms = record.forms = {}
        message = forms.get(type.api_version)
        if message is None:
            obj = from_storage(type, record.read())
            message = forms[type.api_version] = self.protobuf.message(type.api_version, type.kind, obj)
        return message

    def encode(self, record: Record, type: ResourceType) -> bytes:
        """The object's JSON in ``type``'s version: the stored bytes where that is the stored one."""
        return encode(record, type)

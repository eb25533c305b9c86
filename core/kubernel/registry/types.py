"""What a kind of object is: its names, its schema, its strategy, its columns.

A plugin describes each type once with a ``ResourceType`` and gives it to
``Registry.register``. The registry knows no kind: what is peculiar to one is its ``Strategy``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Protocol

from kubernel.errors import MethodNotSupported, NotFound
from kubernel.objects.names import check_dns1123_subdomain
from kubernel.registry.structural import UNKNOWN
from kubernel.registry.validation import validate

if TYPE_CHECKING:
    from kubernel.errors import Cause
    from kubernel.registry.request import Request
    from kubernel.registry.schema import Node
    from kubernel.store.records import Obj, Record

__all__ = [
    "ALL_VERBS",
    "Column",
    "Converter",
    "GroupVersionKind",
    "ResourceType",
    "Strategy",
    "Subresource",
]

ALL_VERBS = (
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
)


@dataclass(frozen=True, slots=True, order=True)
class GroupVersionKind:
    group: str
    version: str
    kind: str

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the Table that ``kubectl get`` prints.

    ``value(obj, now)`` gives the cell: a JSON scalar; ``now`` is epoch seconds, for ages.
    ``priority`` 0 is always shown, greater only with ``-o wide``.
    """

    name: str
    value: Callable[[Obj, float], Any]
    type: Literal["string", "integer", "number", "boolean", "date"] = "string"
    format: str = ""
    description: str = ""
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Subresource:
    """``status``, ``scale``, ``binding``, ``eviction``, ``token``, ``log``, ``exec`` ….

    ``kind`` is what it takes and gives (``Scale`` of autoscaling/v1 for every scale). ``status``
    and others that write to the object itself name no handler: the registry's write pipeline serves them
    through the type's ``Strategy``. ``handler(request) -> Obj`` answers the rest (awaitable), and
    ``connect`` marks those that the API server streams. POST goes through admission like any creation, with
    ``kind`` as its kind: mutating hooks, ``check(request)``, validating hooks, then the handler.
    """

    name: str
    kind: GroupVersionKind
    verbs: tuple[str, ...] = ("get", "patch", "update")
    handler: Callable[[Request], Any] | None = None
    check: Callable[[Request], None] | None = None
    """Raises ApiError for a body that the handler would refuse whatever there is."""
    schema: Callable[[], Node] | None = None
    """Of ``kind``, where that is not the type's own."""
    read: Callable[[Obj], Obj] | None = None
    """The view of an object that GET answers (a Scale); None is the object itself."""
    begin: Callable[[Obj], Obj] | None = None
    """The view that a write begins from, where that is not ``read``'s."""
    write: Callable[[Obj, Obj], Obj] | None = None
    """``write(obj, view)``: a new object with the view's wishes in it; raises ApiError."""
    field: tuple[str, str] = ("", "")
    """The one field that is written: where the view has it, and where the object (``spec.replicas``)."""
    complete: bool = False
    """What ``write`` puts into the stored object leaves nothing to be defaulted."""
    connect: bool = False
    options: Callable[[], Mapping[str, tuple[str, str]]] | None = None
    """Query parameters of what is streamed, as published: name -> (type, text)."""
    columns: Sequence[Column] = ()
    """Of a Table of views; a subresource without views has the type's own."""


class Strategy:
    """What is peculiar to a type. The defaults suit a type with spec and status.

    All methods get fresh, mutable ``obj`` (except in ``validate*``, which must not change it) and the
    stored, immutable ``old``. They are synchronous and quick: they run in the request. Those around the store's
    write may give something to wait for.
    ``request.subresource`` tells which part of the object is being written.
    """

    create_on_update: bool = False
    """PUT on a missing name creates (Events, Leases, Endpoints, …)."""
    unconditional_update: bool = True
    """PUT without a resourceVersion is taken as is; otherwise it is a 422."""
    delete_returns_object: bool = False
    """Immediate deletion answers with the object instead of a Status."""
    deletion_published_as_status: bool = False
    """What is published says that deletion answers with a Status, although ``delete_returns_object``."""
    default_propagation: Literal["Background", "Orphan"] = "Background"
    propagation_warning: str = ""
    """Told to who deletes without saying what becomes of the dependents."""
    graceful: bool = False
    """What is removed at once has the marks of a deletion, too."""
    resets: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    """Subresource (empty: the object itself) -> fields (``spec``, ``metadata``, ``metadata.labels``) that no write
    through it makes anybody own, where that is not the status through the object and the spec through the status."""
    field_label_refusal: str = "field label not supported: {}"
    """What is said of a field that objects cannot be selected by."""
    selects_namespace: bool = True
    """Whether ``metadata.namespace`` is a field that objects in namespaces can be selected by."""
    generates_names: bool = True
    """Whether something is added to ``generateName``."""
    any_finalizer: bool = False
    """A finalizer needs no domain. So it is with custom resources."""
    names_again: bool = False
    """The name that a new object would have is looked at in updates, too."""
    thorough: bool = False
    """``validate_create`` and ``validate_update`` say all there is to say: the schema is not asked."""

    def prepare_for_create(self, request: Request, obj: Obj) -> None:
        """Before validation: set what the server sets, drop what the client may not."""
        obj.pop("status", None) if self.has_status(request) else None
        if self.has_status(request) or "spec" in obj:
            obj["metadata"]["generation"] = 1

    def prepare_for_update(self, request: Request, obj: Obj, old: Obj) -> None:
        """Before validation: carry over what this endpoint may not change, bump generation."""
        if request.subresource == "status":
            for key in [key for key in obj if key not in ("status", "metadata", "kind", "apiVersion")]:
                del obj[key]
            for key, value in old.items():
                if key not in ("status", "metadata", "kind", "apiVersion"):
                    obj[key] = value
            return
        if self.has_status(request):
            if "status" in old:
                obj["status"] = old["status"]
            else:
                obj.pop("status", None)
        if self.changed_generation(obj, old):
            generation = old["metadata"].get("generation", 0) + 1
            obj["metadata"]["generation"] = generation

    def has_status(self, request: Request) -> bool:
        return "status" in request.type.subresources

    def changed_generation(self, obj: Obj, old: Obj) -> bool:
        """Whether this update is a change of the desired state."""
        return "generation" in old["metadata"] and obj.get("spec") != old.get("spec")

    def default(self, obj: Obj) -> None:
        """Defaults that depend on other fields; constant ones stand in the schema."""

    def spec_apart(self) -> bool:
        """Whether ``default`` leaves ``spec`` alone: all that it needs stands in the schema and in ``default_spec``."""
        return type(self).default is Strategy.default

    def default_spec(self, spec: Obj) -> None:
        """Those of the spec that depend on nothing but the spec, before ``default``: they are remembered by what the
        spec says. Only for native types, and done twice they do no more than once."""

    def spec_valid_alone(self, obj: Obj) -> bool:
        """Whether what ``validate_create`` says about this spec, which it found valid, depends on nothing but the
        spec: then it is told so the next time, by ``request.spec_valid``."""
        return False

    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        """Rules beyond the schema."""
        return []

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        """Rules beyond the schema, immutable fields among them."""
        return []

    def validate_schema(
        self, request: Request, obj: Obj, old: Obj | None, said: Sequence[Cause]
    ) -> list[Cause]:
        """What the schema has against an object, that is not ``said`` already."""
        if self.thorough:
            return []
        return validate(request.type.schema(), obj, UNKNOWN if old is None else old, said)

    def validate_last(
        self, request: Request, obj: Obj, old: Obj | None, found: Sequence[Cause]
    ) -> list[Cause]:
        """Rules that can only be looked at when others hold; ``found`` is all that is wrong by then."""
        return []

    def warnings(self, request: Request, obj: Obj) -> list[str]:
        """Texts for ``Warning:`` headers."""
        return []

    def grace_period(self, request: Request, obj: Obj, wanted: int | None) -> int:
        """Seconds between deletionTimestamp and removal; 0 removes at once (if no finalizer)."""
        return 0

    def pending_finalizers(self, obj: Obj) -> bool:
        """Whether something other than metadata.finalizers holds the object (a namespace's spec)."""
        return False

    def prepare_for_delete(self, request: Request, obj: Obj) -> None:
        """``obj`` begins to terminate: its deletionTimestamp is set. May change its own top level
        (copy what lies below)."""

    def reserve(self, request: Request, obj: Obj) -> Awaitable[None] | None:
        """The last before ``obj`` is stored, and never for a dry run: write what has to be there with it. May change
        what the server chose; raises ApiError. Called again when a generated name was taken."""
        return None

    def after_delete(self, request: Request, obj: Obj) -> Awaitable[None] | None:
        """The object is gone: release what it held."""
        return None

    def finish(self, request: Request, obj: Obj, *, committed: bool) -> Awaitable[None] | None:
        """The write of ``obj`` ended; release what was reserved when it was not committed."""
        return None


class Converter(Protocol):
    """Between what is stored and one version of a type, where that may take a call to somebody else or depends
    on when the object was stored. Both raise ApiError when they cannot."""

    async def read(self, records: Sequence[Record]) -> Sequence[Record]:
        """Stored objects in the type's version, in their order; the very records where they are so already. Raises
        Unreadable."""
        ...

    async def store(self, obj: Obj) -> Obj:
        """An object of the type's version as it is to be stored."""
        ...


@dataclass(slots=True)
class ResourceType:
    """One served version of one kind of object.

    ``storage_version`` is the version objects are kept in; ``to_storage`` and ``from_storage``
    convert from and to it (None: only apiVersion is rewritten). ``resource`` keys the store and is the same
    for all versions and, through ``storage_group``, for the groups that share their objects
    (Events). ``schema`` is a function so that a type costs nothing until it is used.
    """

    group: str
    version: str
    kind: str
    plural: str
    schema: Callable[[], Node]
    singular: str = ""
    list_kind: str = ""
    namespaced: bool = True
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ALL_VERBS
    subresources: dict[str, Subresource] = field(default_factory=dict)
    columns: Sequence[Column] = ()
    strategy: Strategy = field(default_factory=Strategy)
    field_selectors: Mapping[str, Callable[[Obj], str]] = field(default_factory=dict)
    """Selectable fields beside metadata.name and metadata.namespace."""
    indexed_field: str = ""
    """A selectable field by which watches are indexed (``spec.nodeName``)."""
    storage_group: str | None = None
    storage_version: str = ""
    to_storage: Callable[[Obj], Obj] | None = None
    from_storage: Callable[[Obj], Obj] | None = None
    converter: Converter | None = None
    """Takes the place of both where converting is more than a function; then readers hand out records that are
    in this version already."""
    hashed_version: str = ""
    """The version by which discovery tells how objects are stored, where that is not ``storage_version``."""
    deprecation: str = ""
    """Text of the Warning sent with every use of this version."""
    create: Callable[[Request], Any] | None = None
    """For virtual types (reviews): answers POST, nothing is stored. ``(request) -> Obj``, awaitable."""
    source: Callable[[str, str], Iterable[Obj]] | None = None
    """For virtual types that are read (metrics): ``source(namespace, name)`` gives the objects that there are now,
    an empty namespace or name those of all; nothing is stored and nothing can be watched."""
    check_name: Callable[[str], list[str]] = check_dns1123_subdomain
    """What is wrong with a name, in upstream's words; empty for a good one."""
    custom: bool = False
    """Defined at run time by a CRD: no strategic merge, no protobuf."""
    api_version: str = field(init=False)

    def __post_init__(self) -> None:
        self.api_version = f"{self.group}/{self.version}" if self.group else self.version
        self.singular = self.singular or self.kind.lower()
        self.list_kind = self.list_kind or f"{self.kind}List"
        self.storage_version = self.storage_version or self.version

    def subresource(self, name: str, verb: str) -> Subresource:
        """The subresource, which takes the verb. Raises NotFound, MethodNotSupported."""
        found = self.subresources.get(name)
        if found is None:
            raise NotFound.for_path()
        if verb not in found.verbs:
            raise MethodNotSupported.for_verb(self.plural, self.group, verb)
        return found

    @property
    def gvk(self) -> GroupVersionKind:
        return GroupVersionKind(self.group, self.version, self.kind)

    @property
    def resource(self) -> str:
        """The store's name for this type: ``deployments.apps``."""
        group = self.group if self.storage_group is None else self.storage_group
        return f"{self.plural}.{group}" if group else self.plural

    @property
    def qualified(self) -> str:
        """``deployments.apps``: how messages name it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

"""The node tree: one compact schema that drives everything the registry does with fields.

A tree is compiled from the Kubernetes OpenAPI definitions (``api/builtin``) or from a CRD's
structural schema. Trees share nodes and may be recursive (JSONSchemaProps): a reference is the node itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Protocol

from kubernel.objects.equality import same

__all__ = ["MAX_DEPTH", "DefinitionSource", "LazyNode", "Node", "equal", "must_have"]

MAX_DEPTH = 200
"""How deep objects and arrays may nest in an object. orjson writes no more than 254 levels, and an object
stands a few levels deep in lists, tables and watch events."""


_NO_ZEROS: Mapping[str, Any] = MappingProxyType({})
_NONE: frozenset[str] = frozenset()


class DefinitionSource(Protocol):
    """Where named definitions come from, for publishing and for explain."""

    @property
    def fingerprint(self) -> str:
        """Differs when anything that this source says differs."""
        ...

    def node(self, name: str) -> Node:
        """The definition's node. KeyError when there is none."""
        ...

    def describe(self, name: str) -> tuple[str, Mapping[str, str]]:
        """The definition's description and those of its fields; empty when unknown."""
        ...

    def published(self, name: str) -> Mapping[str, Mapping[str, Any]]:
        """What documents have for the definition's fields (``name[]``: for a list's items or a map's values): ``enum``,
        ``default``, and ``values``, what the description says of the enum."""
        ...

    def order(self, name: str) -> Iterable[str]:
        """The definition's fields as Go writes them; empty when unknown."""
        ...

    def inlined(self, name: str, field: str) -> Iterable[str]:
        """The structs within the definition's that Go has such a field in, from the outermost."""
        ...

    def go_type(self, name: str, field: str) -> str:
        """The name that a field's scalar type (``name[]``: its items') has in Go; empty for a plain one."""
        ...

    def kinds_of(self, name: str) -> Iterable[tuple[str, str, str]]:
        """The definition's (group, version, kind)s: many for DeleteOptions, none for a PodSpec."""
        ...

    def definition_for(self, group: str, version: str, kind: str) -> str:
        """The name of the definition of a kind. KeyError when there is none."""
        ...


class Node:
    """One field's type.

    ``type`` is one of ``object``, ``array``, ``string``, ``integer``, ``number``, ``boolean``,
    ``int-or-string``, ``quantity``, ``time``, ``microtime``, ``any``.
    ``properties`` is set for a struct, ``additional`` for a map (its values), ``items`` for an array.
    ``list_type`` is ``atomic`` (default), ``set`` or ``map`` (with ``map_keys``); ``map_type``
    ``granular`` or ``atomic``.
    ``patch_strategy`` holds any of ``merge``, ``replace``, ``retainKeys``, with ``merge_key``.
    ``default`` is the JSON value for an absent field (``Node.UNSET`` is none); it is copied when used.
    ``ref`` names the definition (``io.k8s.api.core.v1.PodSpec``) for OpenAPI and explain, ``source`` has its
    description. ``extra`` holds rarer OpenAPI keywords (minimum, maxLength, pattern,
    x-kubernetes-validations, description where there is no source, …).

    ``required`` is what is published; ``enforced``, where not None, the fields whose absence is an error
    (Go's zero values make many a required field optional).

    ``native`` nodes are decoded as Go decodes into a typed struct: null is absent, unknown fields are
    reported and dropped, a wrong type is a 400. Others follow the rules of structural schemas (CRDs).
    ``preserve_unknown`` keeps fields that are not in ``properties``.

    ``zeros`` has, for the fields of a native struct that are always there, what an absent one is (``{}`` for a struct
    of such fields in its turn, None for a list, a map or a pointer); ``omits`` the fields that are not there when they
    are empty.

    ``shared`` is the node that stands for the same struct wherever it is used, when this one only adds a
    field's own attributes (``patch_strategy``, ``default``) to it; compiled walkers are kept there, in
    ``plans``. A tree must not change once a walker has used it.
    """

    UNSET: Any = object()

    __slots__ = (
        "additional",
        "default",
        "embedded",
        "enforced",
        "enum",
        "extra",
        "format",
        "items",
        "list_type",
        "map_keys",
        "map_type",
        "merge_key",
        "native",
        "nullable",
        "omits",
        "patch_strategy",
        "plans",
        "preserve_unknown",
        "properties",
        "ref",
        "required",
        "shared",
        "source",
        "type",
        "union_discriminator",
        "zeros",
    )

    def __init__(self, type: str = "any") -> None:
        self.type = type
        self.properties: dict[str, Node] | None = None
        self.additional: Node | None = None
        self.items: Node | None = None
        self.required: tuple[str, ...] = ()
        self.enforced: tuple[str, ...] | None = None
        self.list_type = ""
        self.map_keys: tuple[str, ...] = ()
        self.map_type = ""
        self.patch_strategy: tuple[str, ...] = ()
        self.merge_key = ""
        self.enum: tuple[Any, ...] = ()
        self.format = ""
        self.default: Any = Node.UNSET
        self.nullable = False
        self.preserve_unknown = False
        self.embedded = False
        self.union_discriminator = ""
        self.ref = ""
        self.extra: dict[str, Any] | None = None
        self.native = False
        self.zeros: Mapping[str, Any] = _NO_ZEROS
        self.omits: frozenset[str] = _NONE
        self.source: DefinitionSource | None = None
        self.shared: Node | None = None
        self.plans: dict[str, Any] | None = None

    def __repr__(self) -> str:
        return f"<Node {self.ref or self.type}>"


class LazyNode(Node):
    """A node of a named definition that is filled in when first looked at.

    ``load()`` gives the attributes that were not set before: a field's own ones (``patch_strategy``,
    ``default``) may be set at once, the definition's (``type``, ``properties``, ``required``, …) come later.
    """

    __slots__ = ("_load",)

    def __init__(self, ref: str, source: DefinitionSource, load: Callable[[], Mapping[str, Any]]) -> None:
        self.ref = ref
        self.source = source
        self.native = True
        self.list_type = ""
        self.map_keys = ()
        self.patch_strategy = ()
        self.merge_key = ""
        self.default = Node.UNSET
        self.nullable = False
        self.shared = None
        self.plans = None
        self._load: Callable[[], Mapping[str, Any]] | None = load

    @property
    def loaded(self) -> bool:
        return self._load is None

    # Slots that were never set are looked up here, so a loaded node costs nothing more than a plain one.
    def __getattr__(self, name: str) -> Any:
        load = self._load
        if load is None or name not in Node.__slots__:
            raise AttributeError(name)
        attributes = load()
        for attribute, value in attributes.items():
            try:
                object.__getattribute__(self, attribute)
            except AttributeError:
                setattr(self, attribute, value)
        # Last, since clusters in several threads may share a node: each of them would load the same.
        self._load = None
        return getattr(self, name)


def must_have(node: Node) -> tuple[str, ...]:
    """The fields of a native struct whose absence is an error."""
    if node.enforced is not None or not node.required:
        return node.enforced or ()
    properties = node.properties or {}
    return tuple(name for name in node.required if name in properties and _needed(properties[name]))


def _needed(node: Node) -> bool:
    if node.type in ("integer", "number"):
        return bool(node.extra and node.extra.get("minimum", 0) > 0)
    # An absent list is an empty one, and false is what an absent boolean means.
    return node.type in ("string", "object", "quantity", "time") and node.default is Node.UNSET


def equal(node: Node | None, old: Any, new: Any) -> bool:
    """Whether two values of a field are the same. A native struct's fields have types: equal ones are."""
    return bool(old == new) if node is not None and node.native else same(old, new)

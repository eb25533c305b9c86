"""The built-in types' schemas, from the data that ``build_schema`` compiles when kubernel is built.

One table for each Kubernetes version (format: ``build_schema/compiler.py``). A table loads in about 3 ms;
nodes are made when they are first looked at, descriptions are loaded when somebody asks for them.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from kubernel.errors import PluginError
from kubernel.registry.schema import LazyNode, Node
from kubernel_plugins.api.builtin.published import go_type, published
from kubernel_plugins.api.builtin.zeros import zeros

if TYPE_CHECKING:
    from kubernel.registry.protobuf_table import FieldTable

__all__ = ["DEFAULT_VERSION", "VERSIONS", "Overlay", "Schemas"]

DEFAULT_VERSION = "1.37"
VERSIONS = tuple(f"1.{minor}" for minor in range(25, 38))

Overlay = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""definition -> field -> OpenAPI keyword -> value; see ``Schemas.overlay``."""

_DATA = Path(__file__).parent / "data"
_FORMAT = 1
# Free-form objects whose content is an object of its own kind.
_EMBEDDED = "io.k8s.apimachinery.pkg.runtime.RawExtension"
_WRITTEN_HERE = {
    "io.k8s.apimachinery.pkg.api.resource.Quantity": (
        "Quantity is a fixed-point number with a suffix: a power of ten (n, u, m, k, M, G, T, P, E, or an "
        "exponent such as 3e6) or of 1024 (Ki, Mi, Gi, Ti, Pi, Ei). It is written back in its shortest exact "
        "form: 1024Mi becomes 1Gi, 0.5 becomes 500m."
    ),
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": (
        "IntOrString is an integer or a string, such as a port's number or name, or a percentage."
    ),
}


class Schemas:
    """The definitions of one Kubernetes version.

    Implements ``kubernel.registry.schema.DefinitionSource``. Raises ``PluginError`` when the version is
    unknown or its data is missing. ``table`` tells what Go's structs do with empty fields; without it nothing is known
    of that.
    """

    def __init__(
        self,
        version: str = DEFAULT_VERSION,
        *,
        data: Path = _DATA,
        table: Callable[[], FieldTable] | None = None,
    ) -> None:
        if version not in VERSIONS:
            raise PluginError(
                f"no schemas of Kubernetes {version}: there are {VERSIONS[0]} to {VERSIONS[-1]}"
            )
        self.version = version
        self._data = data
        self._table = table
        structure, self._checksum = _read(data / f"v{version}.structure")
        self._types: list[dict[str, Any]] = structure["types"]
        self._definitions: dict[str, dict[str, Any]] = structure["definitions"]
        self._nodes: dict[str, LazyNode] = {}
        self._overlay: dict[str, dict[str, dict[str, Any]]] = {}
        self._kinds: dict[tuple[str, str, str], str] = {}
        # A kind's own definition names its version; DeleteOptions and WatchEvent serve every group.
        for name, definition in self._definitions.items():
            for group, api_version, kind in definition.get("g", ()):
                self._kinds.setdefault((group, api_version, kind), name)
        self._descriptions: dict[str, list[Any]] | None = None
        self._texts: list[str] = []

    @property
    def fingerprint(self) -> str:
        overlay = orjson.dumps(self._overlay, option=orjson.OPT_SORT_KEYS)
        return f"{self.version}-{self._checksum:08x}-{zlib.crc32(overlay):08x}"

    def __contains__(self, name: str) -> bool:
        return name in self._definitions

    def names(self) -> Iterable[str]:
        """All definitions' names, sorted."""
        return self._definitions.keys()

    def gvks(self) -> Iterable[tuple[str, str, str]]:
        """(group, version, kind) of every definition that has any, lists and options included."""
        return self._kinds.keys()

    def definition_for(self, group: str, version: str, kind: str) -> str:
        return self._kinds[group, version, kind]

    def kinds_of(self, name: str) -> list[tuple[str, str, str]]:
        return [(group, version, kind) for group, version, kind in self._definitions[name].get("g", ())]

    def node(self, name: str) -> Node:
        """The node of a definition: always the same one. KeyError when there is no such definition."""
        node = self._nodes.get(name)
        if node is None:
            if name not in self._definitions:
                raise KeyError(name)
            node = self._nodes[name] = LazyNode(name, self, partial(self._load, name))
        return node

    def for_kind(self, group: str, version: str, kind: str) -> Node:
        return self.node(self.definition_for(group, version, kind))

    def describe(self, name: str) -> tuple[str, Mapping[str, str]]:
        if self._descriptions is None:
            table, _ = _read(self._data / f"v{self.version}.descriptions")
            self._texts = table["texts"]
            self._descriptions = table["definitions"]
        entry = self._descriptions.get(name)
        if entry is None:
            return "", {}
        own, fields = entry
        text = self._texts[own] if own >= 0 else _WRITTEN_HERE.get(name, "")
        return text, {field: self._texts[index] for field, index in fields.items()}

    def published(self, name: str) -> Mapping[str, Mapping[str, Any]]:
        return published(name, self.node(name))

    def order(self, name: str) -> list[str]:
        if self._table is None or name not in self._table():
            return []
        found: list[str] = []
        for field in self._table().message(name).values():
            found += self.order(field.kind) if field.shape == "^" else [field.name]
        return found

    def inlined(self, name: str, field: str) -> list[str]:
        if self._table is None or name not in self._table():
            return []
        for entry in self._table().message(name).values():
            if entry.shape == "^" and field in self.order(entry.kind):
                return [entry.kind.rpartition(".")[2], *self.inlined(entry.kind, field)]
        return []

    def go_type(self, name: str, field: str) -> str:
        return go_type(name, field)

    def descriptions(self, name: str) -> Mapping[str, str]:
        """The descriptions of a definition's fields; its own is under the empty name."""
        own, fields = self.describe(name)
        return {"": own, **fields}

    def overlay(self, table: Overlay, *, strict: bool = True) -> None:
        """Add what the OpenAPI definitions leave out: defaults, enums, limits.

        ::

            schemas.overlay({
                "io.k8s.api.core.v1.Container": {
                    "terminationMessagePath": {"default": "/dev/termination-log"},
                    "imagePullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]},
                    "args[]": {"maxLength": 1024},
                    "": {"required": ["name", "image"]},
                },
            })

        A field's keywords are ``default``, ``enum``, ``nullable``, ``required`` or any of OpenAPI's
        (``minimum``, ``maximum``, ``pattern``, ``minLength``, ``maxLength``, ``minItems``, ``maxItems``),
        which go to ``Node.extra``. ``name[]`` means a list's items or a map's values, the empty field the
        definition itself: there ``required`` replaces the fields whose absence is an error (the default is:
        required strings, numbers and structs; a list that is absent counts as empty).

        Must be called before the definitions concerned are looked at. ValueError for a definition or
        field that does not exist, unless ``strict`` is false (an older version lacks some).
        """
        for name, fields in table.items():
            definition = self._definitions.get(name)
            if definition is None:
                if strict:
                    raise ValueError(f"overlay: no definition {name} in Kubernetes {self.version}")
                continue
            node = self._nodes.get(name)
            if node is not None and node.loaded:
                raise ValueError(f"overlay: {name} is in use already")
            known = definition.get("p", {})
            for field, keywords in fields.items():
                if field and field.removesuffix("[]") not in known:
                    if strict:
                        raise ValueError(f"overlay: {name} has no field {field}")
                    continue
                self._overlay.setdefault(name, {}).setdefault(field, {}).update(keywords)

    def _load(self, name: str) -> dict[str, Any]:
        definition = self._definitions[name]
        type = definition.get("t", "object")
        attributes: dict[str, Any] = {
            "type": type,
            "properties": None,
            "additional": None,
            "items": None,
            "required": tuple(definition.get("q", ())),
            "enforced": None,
            "map_type": definition.get("m", ""),
            "enum": (),
            "format": definition.get("f", ""),
            "preserve_unknown": "x" in definition or type == "any",
            "embedded": name == _EMBEDDED,
            "union_discriminator": "",
            "extra": None,
        }
        if self._table is not None:
            attributes["zeros"], attributes["omits"] = zeros(self._table(), name)
        else:
            attributes["zeros"], attributes["omits"] = {}, frozenset()
        unions = definition.get("u")
        if unions:
            attributes["extra"] = {"x-kubernetes-unions": unions}
            attributes["union_discriminator"] = unions[0].get("discriminator", "")
        fields: dict[str, int] | None = definition.get("p")
        overlay = self._overlay.get(name, {})
        for keyword, value in overlay.get("", {}).items():
            if keyword == "required":
                attributes["enforced"] = tuple(value)
            else:
                attributes["extra"] = {**(attributes["extra"] or {}), keyword: value}
        if fields is not None:
            properties = {field: self._field(index) for field, index in fields.items()}
            attributes["properties"] = properties
            for field, keywords in overlay.items():
                if field:
                    _overlay_field(properties, field, keywords)
        return attributes

    def _field(self, index: int) -> Node:
        spec = self._types[index]
        node: Node
        if "r" in spec:
            shared = self.node(spec["r"])
            if len(spec) == 1:
                return shared
            node = _own(shared)
        else:
            node = Node(spec["t"])
            node.native = True
            node.format = spec.get("f", "")
            if "i" in spec:
                node.items = self._field(spec["i"])
            if "a" in spec:
                node.additional = self._field(spec["a"])
            else:
                node.preserve_unknown = node.type in ("object", "any")
        if "m" in spec:
            node.map_type = spec["m"]
        node.list_type = spec.get("l", "")
        node.map_keys = tuple(spec.get("k", ()))
        node.patch_strategy = tuple(spec["s"].split(",")) if "s" in spec else ()
        node.merge_key = spec.get("g", "")
        return node


_SHARED = (
    "type", "properties", "additional", "items", "required", "enforced", "map_type", "enum", "format",
    "preserve_unknown", "embedded", "union_discriminator", "extra", "zeros", "omits",
)  # fmt: skip


def _own(node: Node) -> Node:
    """A node for one field, which may get attributes of its own."""
    if not isinstance(node, LazyNode) or node.shared is not None or node.source is None:
        return node  # made for this field: nobody shares it
    copy = LazyNode(node.ref, node.source, lambda: {name: getattr(node, name) for name in _SHARED})
    copy.shared = node
    return copy


def _overlay_field(properties: dict[str, Node], field: str, keywords: Mapping[str, Any]) -> None:
    owner = field.removesuffix("[]")
    node = properties[owner] = _own(properties[owner])
    if owner != field:
        if node.items is not None:
            node.items = node = _own(node.items)
        elif node.additional is not None:
            node.additional = node = _own(node.additional)
        else:
            raise ValueError(f"overlay: {owner} is neither a list nor a map")
    extra = {}
    for keyword, value in keywords.items():
        if keyword == "enum":
            node.enum = tuple(value)
        elif keyword in ("default", "nullable", "format"):
            setattr(node, keyword, value)
        else:
            extra[keyword] = value
    if extra:
        node.extra = extra


def _read(path: Path) -> tuple[dict[str, Any], int]:
    try:
        packed = path.read_bytes()
    except FileNotFoundError:
        raise PluginError(
            f"the schema data {path} is missing; in a source tree run: python -m build_schema.build"
        ) from None
    table: dict[str, Any] = orjson.loads(zlib.decompress(packed))
    if table.get("format") != _FORMAT:
        raise PluginError(f"the schema data {path} is of another release; run: python -m build_schema.build")
    return table, zlib.crc32(packed)

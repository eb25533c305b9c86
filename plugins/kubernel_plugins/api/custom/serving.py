"""From a definition to the resource types that it stands for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from kubernel.objects import conditions
from kubernel.registry.jsonschema import compile_resource, compile_schema
from kubernel.registry.types import ResourceType, Subresource
from kubernel.registry.typetable import version_rank
from kubernel_plugins.api.custom.columns import printer_columns
from kubernel_plugins.api.custom.conversion import Conversion
from kubernel_plugins.api.custom.scale import Scale
from kubernel_plugins.api.custom.strategy import CustomStrategy

if TYPE_CHECKING:
    from kubernel.registry.schema import Node
    from kubernel_plugins.api.custom.conversion import Strategy

__all__ = ["resource_types", "served"]

Obj = dict[str, Any]


def served(definition: Obj) -> bool:
    """Whether its resources are served: they are as soon as, and as long as, the definition is established."""
    return conditions.is_true(definition, "Established")


def storage_version(definition: Obj) -> str:
    return next((one["name"] for one in definition["spec"]["versions"] if one.get("storage")), "")


def resource_types(
    definition: Obj,
    metadata: Node,
    strategy: Strategy,
    *,
    since: int,
    scale: Callable[[], Node] | None = None,
) -> Iterator[ResourceType]:
    """A type for each served version. ``metadata`` is ObjectMeta's node, ``strategy`` how objects get from version
    to version, ``since`` the revision of the definition, ``scale`` the schema of the kind Scale."""
    spec = definition["spec"]
    going = "deletionTimestamp" in definition["metadata"]
    nodes = {
        version["name"]: compile_resource(version_schema(version), metadata) for version in spec["versions"]
    }
    conversion = Conversion(spec["group"], nodes, storage_version(definition), strategy, since=since)
    for version in spec["versions"]:
        # When the definition goes its objects must be reachable, for whoever deletes them.
        if version.get("served") or (going and version.get("storage")):
            type = _type(definition, version, nodes[version["name"]], scale)
            type.converter = conversion.converter(type.api_version)
            yield type


def version_schema(version: Mapping[str, Any]) -> Mapping[str, Any]:
    schema: Mapping[str, Any] = (version.get("schema") or {}).get("openAPIV3Schema") or {
        "type": "object",
        "x-kubernetes-preserve-unknown-fields": True,
    }
    return schema


def _type(
    definition: Obj, version: Mapping[str, Any], node: Node, scale_schema: Callable[[], Node] | None
) -> ResourceType:
    spec = definition["spec"]
    # Until a change of names is accepted the accepted ones are served.
    names = (definition.get("status") or {}).get("acceptedNames") or spec["names"]
    schema = version_schema(version)
    subresources = version.get("subresources") or {}
    columns = printer_columns(version.get("additionalPrinterColumns") or ())
    scale = None
    if subresources.get("scale") is not None:
        scale = Scale(subresources["scale"], _SCALE_COLUMNS, scale_schema)
    type = ResourceType(
        spec["group"],
        version["name"],
        names["kind"],
        spec["names"]["plural"],
        lambda: node,
        singular=names.get("singular") or "",
        list_kind=names.get("listKind") or "",
        namespaced=spec.get("scope") == "Namespaced",
        short_names=tuple(names.get("shortNames") or ()),
        categories=tuple(names.get("categories") or ()),
        columns=columns,
        strategy=CustomStrategy(
            node,
            scale=scale,
            names=_names(schema),
            terminating="deletionTimestamp" in definition["metadata"],
        ),
        field_selectors={
            one["jsonPath"].removeprefix("."): _field(one["jsonPath"])
            for one in version.get("selectableFields") or ()
        },
        storage_version=storage_version(definition),
        deprecation=_deprecation(spec, version),
        custom=True,
    )
    if subresources.get("status") is not None:
        type.subresources["status"] = Subresource("status", type.gvk)
    if scale is not None:
        type.subresources["scale"] = scale.subresource()
    return type


_SCALE_COLUMNS = printer_columns(
    (
        {
            "name": "Desired",
            "type": "integer",
            "jsonPath": ".spec.replicas",
            "description": "How many are wanted.",
        },
        {
            "name": "Available",
            "type": "integer",
            "jsonPath": ".status.replicas",
            "description": "How many there are.",
        },
        {
            "name": "Age",
            "type": "date",
            "jsonPath": ".metadata.creationTimestamp",
            "description": "When it was made.",
        },
    )
)


def _names(schema: Mapping[str, Any]) -> Node | None:
    """What a schema says about the object's own name: nothing else of metadata can be restricted."""
    said = ((schema.get("properties") or {}).get("metadata") or {}).get("properties")
    if not said:
        return None
    return compile_schema({"properties": {"metadata": {"type": "object", "properties": said}}})


def _field(path: str) -> Callable[[Obj], str]:
    parts = path.removeprefix(".").split(".")

    def read(obj: Obj) -> str:
        value: Any = obj
        for part in parts:
            if not isinstance(value, dict) or part not in value:
                return ""
            value = value[part]
        if isinstance(value, bool):
            return "true" if value else "false"
        return "" if value is None else str(value)

    return read


def _deprecation(spec: Mapping[str, Any], version: Mapping[str, Any]) -> str:
    if not version.get("deprecated"):
        return ""
    told: str | None = version.get("deprecationWarning")
    if told:
        return told
    group, kind, rank = spec["group"], spec["names"]["kind"], version_rank(version["name"])
    newer = [
        one["name"]
        for one in spec["versions"]
        if one.get("served") and not one.get("deprecated") and version_rank(one["name"]) > rank
    ]
    use = f"; use {group}/{max(newer, key=version_rank)} {kind}" if newer else ""
    return f"{group}/{version['name']} {kind} is deprecated{use}"

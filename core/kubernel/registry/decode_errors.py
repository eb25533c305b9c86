"""What a decoder says is wrong, in the words of Go's encoding/json, and where."""

from __future__ import annotations

from typing import Any

import orjson

from kubernel.errors import BadRequest
from kubernel.registry.schema import Node

__all__ = [
    "Path",
    "TooDeepError",
    "Undecodable",
    "WrongTypeError",
    "depth",
    "embedded",
    "explain",
    "explain_conversion",
    "render",
    "unconvertible",
]

Path = tuple[Any, str | int] | None
"""(path of the parent, last part): cheap to extend, since almost no path is ever printed."""


class WrongTypeError(Exception):
    """A JSON value that the field's Go type does not take. ``got`` is Go's name for the value."""

    def __init__(self, path: Path, got: str) -> None:
        super().__init__(path, got)
        self.path = path
        self.got = got


class Undecodable(BadRequest):
    """A body that cannot be what the path says. ``why`` alone is what is said of a patch's result;
    ``converted`` is that for a patch that is never written as JSON."""

    def __init__(self, told: str, version: str, kind: str, why: str, converted: str = "") -> None:
        super().__init__(f'{told} in version "{version}" cannot be handled as a {kind}: {why}')
        self.why = why
        self.converted = converted or why


class TooDeepError(Exception):
    """More than MAX_DEPTH levels."""


def _parts(path: Path) -> list[str | int]:
    parts: list[str | int] = []
    while path is not None:
        path, part = path
        parts.append(part)
    parts.reverse()
    return parts


def depth(path: Path) -> int:
    levels = 0
    while path is not None:
        path = path[0]
        levels += 1
    return levels


def render(path: Path) -> str:
    """``spec.containers[0].name``"""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in _parts(path))
    return text.removeprefix(".")


def explain(root: Node, error: WrongTypeError) -> str:
    """``json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32``"""
    node, struct = root, ""
    owner, place = root, ""
    fields: list[str] = []
    for part in _parts(error.path):
        inner: Node | None
        if isinstance(part, int):
            inner, place = node.items, f"{place}[]"
        elif node.properties is not None and part in node.properties:
            owner, place = node, part
            if node.native:
                # Of a custom resource metadata alone is decoded into a struct.
                struct = node.ref.rpartition(".")[2]
                if node.source is not None:
                    fields += node.source.inlined(node.ref, part)
                fields.append(part)
            inner = node.properties[part]
        else:
            inner, place = node.additional, ""
        node = inner if inner is not None else node
    said = f"json: cannot unmarshal {error.got} into Go"
    if not fields:
        return f"{said} value of type {_go_type(node)}"
    return f"{said} struct field {struct}.{'.'.join(fields)} of type {_named(owner, place, node)}"


def _named(owner: Node, place: str, node: Node) -> str:
    """The type of ``owner``'s field, which may be a string with a name of its own."""
    source = owner.source
    if source is None or not place:
        return _go_type(node)
    if node.type == "array" and (told := source.go_type(owner.ref, f"{place}[]")):
        return f"[]{told}"
    return source.go_type(owner.ref, place) or _go_type(node)


def embedded(root: Node, obj: Any, error: WrongTypeError) -> str:
    """What a custom resource's decoder says before ``explain`` of metadata within the object."""
    node, value = root, obj
    path: Path = None
    for part in _parts(error.path):
        if node.native:
            break
        inner = node.items if isinstance(part, int) else (node.properties or {}).get(part, node.additional)
        if inner is None:
            return ""
        node, value, path = inner, value[part], (path, part)
    where = render(path)
    if where == "metadata":
        return ""
    return f"{where}: Invalid value: {orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()}: "


_WRITTEN_AS = {"time": "string", "microtime": "string", "int-or-string": "int32"}
"""What types read themselves from."""
_NAMED_MAPS = {"io.k8s.apimachinery.pkg.api.resource.Quantity": "v1.ResourceList"}
"""Maps that have a name in Go, by what they hold."""


def _go_type(node: Node) -> str:
    simple = {"boolean": "bool", "number": "float64", "any": "interface {}"}
    if node.type in _WRITTEN_AS:
        return _WRITTEN_AS[node.type]
    if node.additional is not None and node.additional.ref in _NAMED_MAPS:
        return _NAMED_MAPS[node.additional.ref]
    if node.ref:
        return ".".join(node.ref.rsplit(".", 2)[-2:])
    if node.type == "array":
        return f"[]{_go_type(node.items)}" if node.items is not None else "[]interface {}"
    if node.type == "object":
        return f"map[string]{_go_type(node.additional) if node.additional is not None else 'interface {}'}"
    if node.type == "string":
        return "[]uint8" if node.format == "byte" else "string"
    if node.type == "integer":
        return node.format or "int64"
    return simple.get(node.type, node.type)


def unconvertible(value: Any) -> str:
    """What is said of a value that was to be a string."""
    got = _KINDS[type(value)]
    return f"cannot convert {got} to string" if got == "int64" else "unrecognized type: string"


def explain_conversion(root: Node, obj: Any, error: WrongTypeError) -> str:
    """The same in the words with which a map is made a Go struct, which is where strategic patches fail
    (apimachinery/pkg/runtime/converter.go)."""
    node, value = root, obj
    owner, place = root, ""
    for part in _parts(error.path):
        inner = node.items if isinstance(part, int) else (node.properties or {}).get(part, node.additional)
        owner, place = (owner, f"{place}[]") if isinstance(part, int) else (node, str(part))
        node, value = inner if inner is not None else node, value[part]
    if node.type in _WRITTEN_AS:
        return f"json: cannot unmarshal {error.got} into Go value of type {_WRITTEN_AS[node.type]}"
    got = _KINDS[type(value)]
    if node.type == "array" or node.format == "byte":
        return f"cannot restore slice from {got}"
    if node.type == "object":
        return f"cannot restore {'struct from:' if node.ref else 'map from'} {got}"
    convertible = {"int64": ("string", "integer", "number"), "float64": ("integer",)}
    if node.type in convertible.get(got, ()):
        return f"cannot convert {got} to {_named(owner, place, node)}"
    return f"unrecognized type: {_go_type(node)}"


_KINDS = {str: "string", bool: "bool", int: "int64", float: "float64", dict: "map", list: "slice"}

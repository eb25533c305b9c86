"""Objects within objects: ``x-kubernetes-embedded-resource`` has a kind, and metadata as every object has.

Source: k8s.io/apiextensions-apiserver/pkg/apiserver/schema/objectmeta/validation.go (v1.37).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from kubernel.errors import Cause
from kubernel.objects import names
from kubernel.registry import causes
from kubernel.registry.metadata import validate_metadata

if TYPE_CHECKING:
    from kubernel.registry.schema import Node

__all__ = ["check_embedded", "has_embedded"]

_MIXED_CASE = "may have mixed case, but should otherwise match: "


def has_embedded(node: Node) -> bool:
    """Whether ``check_embedded`` could find anything."""
    if node.native:
        return False
    below = [*(node.properties or {}).values(), node.additional, node.items]
    return node.embedded or any(has_embedded(one) for one in below if one is not None)


def check_embedded(node: Node, value: Any, path: str = "") -> list[Cause]:
    """What is wrong with the embedded objects in a value."""
    found: list[Cause] = []
    if node.native:
        return found
    if isinstance(value, dict):
        if node.embedded:
            found += _check(value, path)
        properties, additional = node.properties or {}, node.additional
        for key, item in value.items():
            if key in properties:
                found += check_embedded(properties[key], item, f"{path}.{key}" if path else key)
            elif additional is not None:
                found += check_embedded(additional, item, f"{path}[{key}]")
    elif isinstance(value, list) and node.items is not None:
        for index, item in enumerate(value):
            found += check_embedded(node.items, item, f"{path}[{index}]")
    return found


def _check(obj: dict[str, Any], path: str) -> list[Cause]:
    found: list[Cause] = []
    prefix = f"{path}." if path else ""
    found += _text(obj, prefix, "apiVersion", _group_version)
    found += _text(obj, prefix, "kind", _kind)
    metadata = obj.get("metadata")
    if isinstance(metadata, dict):
        name = metadata.get("name")
        if name:
            found += [
                causes.invalid(f"{prefix}metadata.name", name, text)
                for text in names.check_path_segment(name)
            ]
        found += [
            Cause(one.reason, one.message, f"{prefix}{one.field}") for one in validate_metadata(metadata)
        ]
    return found


def _text(obj: dict[str, Any], prefix: str, key: str, wrong: Callable[[str], str]) -> Iterator[Cause]:
    value, field = obj.get(key), f"{prefix}{key}"
    if key not in obj:
        yield causes.required(field)
    elif value == "":
        yield causes.invalid(field, "", "must not be empty")
    elif not isinstance(value, str):
        yield causes.invalid(field, value, "must be a string")
    elif text := wrong(value):
        yield causes.invalid(field, value, text)


def _group_version(version: str) -> str:
    return f"unexpected GroupVersion string: {version}" if version.count("/") > 1 else ""


def _kind(kind: str) -> str:
    wrong = names.check_dns1035_label(kind.lower())
    return _MIXED_CASE + ",".join(wrong) if wrong else ""

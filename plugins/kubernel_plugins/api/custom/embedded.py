"""Objects within objects: ``x-kubernetes-embedded-resource`` has a kind, and metadata as every object has.

Source: k8s.io/apiextensions-apiserver/pkg/apiserver/schema/objectmeta/validation.go (v1.37).
"""

from __future__ import annotations

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
    version, kind = obj.get("apiVersion"), obj.get("kind")
    if "apiVersion" not in obj:
        found.append(causes.required(f"{prefix}apiVersion"))
    elif version == "":
        found.append(causes.invalid(f"{prefix}apiVersion", "", "must not be empty"))
    elif not isinstance(version, str):
        found.append(causes.invalid(f"{prefix}apiVersion", version, "must be a string"))
    elif version.count("/") > 1:
        text = f"unexpected GroupVersion string: {version}"
        found.append(causes.invalid(f"{prefix}apiVersion", version, text))
    if "kind" not in obj:
        found.append(causes.required(f"{prefix}kind"))
    elif kind == "":
        found.append(causes.invalid(f"{prefix}kind", "", "must not be empty"))
    elif not isinstance(kind, str):
        found.append(causes.invalid(f"{prefix}kind", kind, "must be a string"))
    else:
        wrong = names.check_dns1035_label(kind.lower())
        if wrong:
            found.append(causes.invalid(f"{prefix}kind", kind, _MIXED_CASE + ",".join(wrong)))
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

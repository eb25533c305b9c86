"""The node tree: one compact schema that drives everything the registry does with fields.

A tree is compiled from the Kubernetes OpenAPI definitions (``api/builtin``) or from a CRD's
structural schema. Trees share nodes and may be recursive (JSONSchemaProps): a reference is the node itself.
"""

from __future__ import annotations

from typing import Any

__all__ = ["Node"]


class Node:
    """One field's type.

    ``type`` is one of ``object``, ``array``, ``string``, ``integer``, ``number``, ``boolean``,
    ``int-or-string``, ``quantity``, ``time``, ``microtime``, ``any``.
    ``properties`` is set for a struct, ``additional`` for a map (its values), ``items`` for an array.
    ``list_type`` is ``atomic`` (default), ``set`` or ``map`` (with ``map_keys``); ``map_type`` ``granular`` or
    ``atomic``. ``patch_strategy`` holds any of ``merge``, ``replace``, ``retainKeys``, with ``merge_key``.
    ``default`` is the JSON value for an absent field (``Node.UNSET`` is none); it is copied when used.
    ``ref`` names the definition (``io.k8s.api.core.v1.PodSpec``) for OpenAPI and explain.
    ``extra`` holds rarer OpenAPI keywords (minimum, maxLength, pattern, x-kubernetes-validations, …).
    """

    UNSET: Any = object()

    __slots__ = (
        "additional",
        "default",
        "embedded",
        "enum",
        "extra",
        "format",
        "items",
        "list_type",
        "map_keys",
        "map_type",
        "merge_key",
        "nullable",
        "patch_strategy",
        "preserve_unknown",
        "properties",
        "ref",
        "required",
        "type",
        "union_discriminator",
    )

    def __init__(self, type: str = "any") -> None:
        self.type = type
        self.properties: dict[str, Node] | None = None
        self.additional: Node | None = None
        self.items: Node | None = None
        self.required: tuple[str, ...] = ()
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

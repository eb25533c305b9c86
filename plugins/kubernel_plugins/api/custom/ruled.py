"""Whether a schema has CEL rules: asked of every definition, without loading CEL."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kubernel.registry.schema import Node

__all__ = ["has_rules"]


def has_rules(node: Node) -> bool:
    """The schema or one below it."""
    if node.native:
        return False
    if (node.extra or {}).get("x-kubernetes-validations"):
        return True
    below = [*(node.properties or {}).values(), node.additional, node.items]
    return any(has_rules(one) for one in below if one is not None)

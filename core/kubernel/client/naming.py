"""Names: of resources as components write them, and of components as the API records them."""

from __future__ import annotations

__all__ = ["component_name", "groups_of", "parse_resource"]


def parse_resource(resource: str) -> tuple[str, str, str]:
    """``deployments.v1.apps`` -> (plural, version, group); a bare plural is core/v1."""
    plural, _, rest = resource.partition(".")
    version, _, group = rest.partition(".")
    return plural, version or "v1", group


def component_name(user: str) -> str:
    """The field manager of a component known as ``user``: ``system:kube-scheduler`` -> ``kube-scheduler``."""
    if user.startswith("system:node:"):
        return "kubelet"
    return user.rpartition(":")[2] or "unknown"


def groups_of(user: str) -> tuple[str, ...]:
    """The groups that authentication would give ``user``."""
    parts = user.split(":")
    if user.startswith("system:serviceaccount:") and len(parts) == 4:
        return ("system:serviceaccounts", f"system:serviceaccounts:{parts[2]}", "system:authenticated")
    if user.startswith("system:node:"):
        return ("system:nodes", "system:authenticated")
    return ("system:authenticated",)

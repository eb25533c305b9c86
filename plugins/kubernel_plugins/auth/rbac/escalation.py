"""Nobody grants more than they have. Source: kubernetes/pkg/registry/rbac/{role,rolebinding}/policybased."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubernel.errors import Forbidden, NotFound
from kubernel.registry.attributes import Attributes
from kubernel_plugins.auth.rules import Rule, compile_rules, covers

if TYPE_CHECKING:
    from kubernel.plugin.manager import Hooks
    from kubernel.registry.request import Request

    from .policy import Policy

__all__ = ["check"]

GROUP = "rbac.authorization.k8s.io"
_ROLES = ("roles", "clusterroles")
_EVERYTHING = Rule(("*",), ("*",), ("*",)), Rule(("*",), urls=("*",))


def check(request: Request, policy: Policy, hooks: Hooks) -> None:
    """Refuse a role or binding that grants what the writer neither holds nor may hand out."""
    obj, old, user = request.obj, request.old, request.user
    if obj is None or request.subresource or "system:masters" in user.groups:
        return
    plural = request.type.plural
    if plural in _ROLES:
        aggregates = obj.get("aggregationRule")
        if (
            old is not None
            and old.get("rules") == obj.get("rules")
            and old.get("aggregationRule") == aggregates
        ):
            return
        if _may(hooks, request, "escalate", plural, request.name, request.namespace):
            return
        wanted = _EVERYTHING if aggregates else compile_rules(obj.get("rules"))
    elif plural in ("rolebindings", "clusterrolebindings"):
        if (
            old is not None
            and old.get("subjects") == obj.get("subjects")
            and old.get("roleRef") == obj.get("roleRef")
        ):
            return
        role = obj.get("roleRef") or {}
        kind, name = role.get("kind", ""), role.get("name", "")
        resource = "roles" if kind == "Role" else "clusterroles"
        if _may(hooks, request, "bind", resource, name, request.namespace):
            return
        if not policy.has_role(request.namespace if kind == "Role" else "", name):
            raise NotFound.for_object(resource, GROUP, name)
        wanted = policy.rules_for(kind, name, request.namespace)
    else:
        return
    missing = covers(policy.rules_of(user, request.namespace), wanted)
    if missing:
        groups = " ".join(f'"{group}"' for group in user.groups)
        listed = "\n".join(_told(rule) for rule in missing)
        raise Forbidden.for_object(
            plural,
            GROUP,
            request.name,
            f'user "{user.name}" (groups=[{groups}]) is attempting to grant RBAC permissions not currently held:\n'
            f"{listed}",
        )


def _may(hooks: Hooks, request: Request, verb: str, resource: str, name: str, namespace: str) -> bool:
    return hooks.authorize(Attributes(request.user, verb, GROUP, "v1", resource, "", namespace, name)).allowed


def _told(rule: Rule) -> str:
    parts = []
    for title, values in (
        ("APIGroups", rule.groups),
        ("Resources", rule.resources),
        ("ResourceNames", rule.names),
        ("NonResourceURLs", rule.urls),
        ("Verbs", rule.verbs),
    ):
        if values:
            listed = " ".join(f'"{value}"' for value in sorted(values))
            parts.append(f"{title}:[{listed}]")
    return "{" + ", ".join(parts) + "}"

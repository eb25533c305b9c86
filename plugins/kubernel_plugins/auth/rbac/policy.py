"""All roles and bindings of the cluster, kept compiled and current, and the decisions they give."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from kubernel.registry.attributes import ALLOW, Decision, Standing
from kubernel_plugins.auth.rules import Rule, Ruleset, compile_rules, permission

if TYPE_CHECKING:
    from kubernel.registry.attributes import Attributes
    from kubernel.registry.request import UserInfo
    from kubernel.store.records import Obj

__all__ = ["Policy"]

_CACHE = 20_000
_Subjects = dict[str, dict[str, tuple[str, str]]]
"""Subject -> binding name -> (kind, name) of the role."""
_ACCOUNT = "system:serviceaccount:"
_NONE: dict[str, tuple[str, str]] = {}


class Policy:
    """Objects are put and removed one by one; decisions are remembered until something changes.

    Bindings are indexed by subject (``u:NAME``, ``g:NAME``), so that a decision costs what the user's own
    bindings cost, not what the cluster's do.
    """

    def __init__(self) -> None:
        self._roles: dict[tuple[str, str], Ruleset] = {}
        """(namespace, name); cluster roles have no namespace."""
        self._bindings: dict[str, _Subjects] = {}
        """Namespace ("" for cluster role bindings) -> subjects."""
        self._bound: dict[tuple[str, str], list[str]] = {}
        self._verdicts: dict[tuple[str, tuple[str, ...], str, str, str, str, str], Any] = {}
        self._granted = Decision(True, standing=Standing())
        self.revision = 0

    def _changed(self) -> None:
        self._verdicts.clear()
        self.revision += 1
        assert self._granted.standing is not None  # noqa: S101 - it was made with one
        self._granted.standing.over = True
        self._granted = Decision(True, standing=Standing())

    # --- objects

    def put_role(self, obj: Obj) -> None:
        meta = obj["metadata"]
        self._roles[meta.get("namespace", ""), meta["name"]] = Ruleset(compile_rules(obj.get("rules")))
        self._changed()

    def remove_role(self, namespace: str, name: str) -> None:
        self._roles.pop((namespace, name), None)
        self._changed()

    def has_role(self, namespace: str, name: str) -> bool:
        return (namespace, name) in self._roles

    def put_binding(self, obj: Obj) -> None:
        meta = obj["metadata"]
        namespace, name = meta.get("namespace", ""), meta["name"]
        self._unbind(namespace, name)
        role = obj.get("roleRef") or {}
        told = (role.get("kind", ""), role.get("name", ""))
        keys = [_subject_key(subject, namespace) for subject in obj.get("subjects") or ()]
        subjects = self._bindings.setdefault(namespace, {})
        for key in keys:
            subjects.setdefault(key, {})[name] = told
        self._bound[namespace, name] = keys
        self._changed()

    def remove_binding(self, namespace: str, name: str) -> None:
        self._unbind(namespace, name)
        self._changed()

    def _unbind(self, namespace: str, name: str) -> None:
        subjects = self._bindings.get(namespace, {})
        for key in self._bound.pop((namespace, name), ()):
            bound = subjects.get(key)
            if bound is not None:
                bound.pop(name, None)
                if not bound:
                    del subjects[key]

    # --- decisions

    def allows(self, attributes: Attributes) -> bool:
        """Whether any rule allows it."""
        return self.decide(attributes) is not None

    def decide(self, attributes: Attributes) -> Decision | None:
        """What rules allow; None when none does. Remembered for each user, verb and resource; names are looked at
        only where rules name some."""
        user = attributes.user
        if attributes.path:
            key = (user.name, user.groups, attributes.verb, "\0", attributes.path, "", "")
        else:
            key = (
                user.name, user.groups, attributes.verb, attributes.group, attributes.resource,
                attributes.subresource, attributes.namespace,
            )  # fmt: skip
        verdict = self._verdicts.get(key)
        if verdict is None:
            if len(self._verdicts) >= _CACHE:
                self._verdicts.clear()
            verdict = self._verdicts[key] = self._judge(attributes)
        if verdict is True:
            return self._granted
        return ALLOW if verdict is not False and attributes.name in verdict else None

    def _judge(self, attributes: Attributes) -> bool | frozenset[str]:
        """True, False, or the names for which it is allowed."""
        names: set[str] = set()
        key = _asked(attributes)
        namespace = "" if attributes.path else attributes.namespace
        for *_, role in self._bound_to(attributes.user, namespace):
            granted = _granted(role, key, attributes)
            if granted is True:
                return True
            if granted is not False:
                names |= granted
        return frozenset(names) if names else False

    def because(self, attributes: Attributes) -> str:
        """What allows it, in upstream's words; empty when nothing does."""
        key = _asked(attributes)
        for scope, subject, name, told, role in self._bound_to(attributes.user, attributes.namespace):
            granted = _granted(role, key, attributes)
            if granted is True or (granted is not False and attributes.name in granted):
                binding = f'RoleBinding "{name}/{scope}"' if scope else f'ClusterRoleBinding "{name}"'
                return f'RBAC: allowed by {binding} of {told[0]} "{told[1]}" to {_shown(subject)}'
        return ""

    def _bound_to(
        self, user: UserInfo, namespace: str
    ) -> Iterator[tuple[str, str, str, tuple[str, str], Ruleset]]:
        """(namespace, subject and name of the binding, (kind, name) of its role, role), cluster-wide ones first."""
        keys = (f"u:{user.name}", *[f"g:{group}" for group in user.groups])
        for scope in ("", namespace) if namespace else ("",):
            subjects = self._bindings.get(scope)
            if not subjects:
                continue
            for key in keys:
                for binding, told in subjects.get(key, _NONE).items():
                    role = self._roles.get((scope if told[0] == "Role" else "", told[1]))
                    if role is not None:
                        yield scope, key, binding, told, role

    def rules_of(self, user: UserInfo, namespace: str) -> Iterator[Rule]:
        """The rules that hold for ``user`` in ``namespace``; the cluster-wide ones alone when it is empty."""
        for *_, role in self._bound_to(user, namespace):
            yield from role.rules

    def rules_for(self, kind: str, name: str, namespace: str) -> tuple[Rule, ...]:
        """The rules of a role as a binding in ``namespace`` refers to it; none when it is not there."""
        role = self._roles.get((namespace if kind == "Role" else "", name))
        return role.rules if role is not None else ()


def _asked(attributes: Attributes) -> str:
    """The permission that a resource takes, as ``Ruleset.grants`` has it."""
    resource = attributes.resource
    if attributes.subresource:
        resource = f"{resource}/{attributes.subresource}"
    return permission(attributes.verb, attributes.group, resource)


def _granted(role: Ruleset, key: str, attributes: Attributes) -> bool | frozenset[str]:
    if not attributes.path:
        return role.grants(key, attributes)
    return any(
        rule.matches_verb(attributes.verb) and rule.matches_path(attributes.path) for rule in role.rules
    )


def _shown(subject: str) -> str:
    """A subject's key in upstream's words."""
    name = subject[2:]
    if subject.startswith("g:"):
        return f'Group "{name}"'
    if name.startswith(_ACCOUNT) and name.count(":") == 3:
        _, _, namespace, account = name.split(":")
        return f'ServiceAccount "{account}/{namespace}"'
    return f'User "{name}"'


def _subject_key(subject: dict[str, Any], namespace: str) -> str:
    kind, name = subject.get("kind"), subject.get("name", "")
    if kind == "Group":
        return f"g:{name}"
    if kind == "ServiceAccount":
        return f"u:system:serviceaccount:{subject.get('namespace') or namespace}:{name}"
    return f"u:{name}"

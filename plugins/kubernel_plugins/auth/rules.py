"""Policy rules, compiled for matching. Source: k8s.io/component-helpers/auth/rbac/validation and
k8s.io/api/rbac/v1 (``*`` is all; ``*/scale`` that subresource of all; ``/api/*`` a path prefix)."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kubernel.registry.attributes import Attributes
    from kubernel.registry.request import UserInfo

__all__ = [
    "NODE_RULES",
    "Rule",
    "Ruleset",
    "allows",
    "compile_rules",
    "covers",
    "node_name",
    "parse_rule",
    "permission",
]


_NODE = "system:node:"


class Rule:
    """One PolicyRule. ``names`` empty covers every name."""

    __slots__ = ("groups", "names", "resources", "urls", "verbs")

    def __init__(
        self,
        verbs: Iterable[str],
        groups: Iterable[str] = (),
        resources: Iterable[str] = (),
        names: Iterable[str] = (),
        urls: Iterable[str] = (),
    ) -> None:
        self.verbs = frozenset(verbs)
        self.groups = frozenset(groups)
        self.resources = frozenset(resources)
        self.names = frozenset(names)
        self.urls = frozenset(urls)

    def matches_verb(self, verb: str) -> bool:
        return verb in self.verbs or "*" in self.verbs

    def matches_resource(self, group: str, resource: str, subresource: str) -> bool:
        """Whether the rule is about this resource, whatever the name and verb."""
        if group not in self.groups and "*" not in self.groups:
            return False
        resources = self.resources
        if "*" in resources:
            return True
        if subresource:
            return f"{resource}/{subresource}" in resources or f"*/{subresource}" in resources
        return resource in resources

    def matches_path(self, path: str) -> bool:
        urls = self.urls
        if path in urls or "*" in urls:
            return True
        return any(url.endswith("*") and path.startswith(url[:-1]) for url in urls)

    def as_dict(self) -> dict[str, Any]:
        told: dict[str, Any] = {"verbs": sorted(self.verbs)}
        for key, values in (
            ("apiGroups", self.groups),
            ("resources", self.resources),
            ("resourceNames", self.names),
            ("nonResourceURLs", self.urls),
        ):
            if values:
                told[key] = sorted(values)
        return told


def node_name(user: UserInfo) -> str | None:
    """The node that ``user`` is; empty when it is one that does not say which; None for others."""
    if not user.name.startswith(_NODE) or "system:nodes" not in user.groups:
        return None
    return user.name[len(_NODE) :]


def compile_rules(rules: Iterable[Mapping[str, Any]] | None) -> tuple[Rule, ...]:
    """``rules`` of a Role or ClusterRole."""
    return tuple(
        Rule(
            rule.get("verbs") or (),
            rule.get("apiGroups") or (),
            rule.get("resources") or (),
            rule.get("resourceNames") or (),
            rule.get("nonResourceURLs") or (),
        )
        for rule in rules or ()
    )


_LARGEST = 1024
"""Permissions that a rule is taken apart into; a larger one is matched as it is."""


class Ruleset:
    """The rules of a role, ready to be asked: permissions without wildcards are looked up, not matched."""

    __slots__ = ("_exact", "_wild", "rules")

    def __init__(self, rules: tuple[Rule, ...]) -> None:
        self.rules = rules
        self._wild: list[Rule] = []
        self._exact: dict[str, bool | frozenset[str]] = {}
        for rule in rules:
            if rule.urls:
                continue
            count = len(rule.verbs) * len(rule.groups) * len(rule.resources)
            if count > _LARGEST or any("*" in part for part in (*rule.verbs, *rule.groups, *rule.resources)):
                self._wild.append(rule)
                continue
            for verb, group, resource in itertools.product(rule.verbs, rule.groups, rule.resources):
                key = permission(verb, group, resource)
                known = self._exact.get(key, frozenset())
                if known is not True:
                    self._exact[key] = not rule.names or known | rule.names  # type: ignore[operator]

    def grants(self, key: str, asked: Attributes) -> bool | frozenset[str]:
        """True, False, or the names for which it does. ``key`` is ``asked``'s permission."""
        granted = self._exact.get(key, False)
        if granted is True or not self._wild:
            return granted
        names: set[str] = set()
        for rule in self._wild:
            if rule.matches_verb(asked.verb) and rule.matches_resource(
                asked.group, asked.resource, asked.subresource
            ):
                if not rule.names:
                    return True
                names |= rule.names
        return frozenset(names).union(granted or ()) or False


def permission(verb: str, group: str, resource: str) -> str:
    """``resource`` with its subresource: ``pods/log``."""
    return f"{verb} {group} {resource}"


def allows(rule: Rule, attributes: Attributes) -> bool:
    """Whether ``rule`` allows the resource request."""
    return (
        rule.matches_verb(attributes.verb)
        and rule.matches_resource(attributes.group, attributes.resource, attributes.subresource)
        and (not rule.names or attributes.name in rule.names)
    )


def covers(owned: Iterable[Rule], wanted: Iterable[Rule]) -> list[Rule]:
    """What of ``wanted``, taken apart into single permissions, no rule of ``owned`` grants."""
    held = tuple(owned)
    missing: list[Rule] = []
    for rule in wanted:
        missing.extend(piece for piece in _pieces(rule) if not any(_includes(mine, piece) for mine in held))
    return missing


def _pieces(rule: Rule) -> Iterable[Rule]:
    for verb in sorted(rule.verbs):
        for url in sorted(rule.urls):
            yield Rule((verb,), urls=(url,))
        for group in sorted(rule.groups):
            for resource in sorted(rule.resources):
                if rule.names:
                    for name in sorted(rule.names):
                        yield Rule((verb,), (group,), (resource,), (name,))
                else:
                    yield Rule((verb,), (group,), (resource,))


def _includes(mine: Rule, piece: Rule) -> bool:
    (verb,) = piece.verbs
    if not mine.matches_verb(verb):
        return False
    if piece.urls:
        (url,) = piece.urls
        return mine.matches_path(url)
    (group,) = piece.groups
    (resource,) = piece.resources
    plural, _, subresource = resource.partition("/")
    if not mine.matches_resource(group, plural, subresource):
        return False
    return not mine.names or (bool(piece.names) and piece.names <= mine.names)


def parse_rule(text: str) -> dict[str, Any]:
    """A PolicyRule written ``verbs | groups: resources | names``, or ``verbs | /path …``; the core group is
    empty, ``a,b:`` are two groups."""
    parts = [part.strip() for part in text.split("|")]
    verbs, what = parts[0].split(), parts[1]
    if ":" not in what:
        return {"verbs": verbs, "nonResourceURLs": what.split()}
    groups, _, resources = what.partition(":")
    rule: dict[str, Any] = {
        "verbs": verbs,
        "apiGroups": groups.split(",") if groups else [""],
        "resources": resources.split(),
    }
    if len(parts) > 2:
        rule["resourceNames"] = parts[2].split()
    return rule


NODE_RULES = (
    "create | authentication.k8s.io: tokenreviews",
    "create | authorization.k8s.io: localsubjectaccessreviews subjectaccessreviews",
    "get list watch | : services configmaps secrets pods",
    "create get patch update list watch | : nodes",
    "patch update | : nodes/status pods/status",
    "create patch update | ,events.k8s.io: events",
    "create delete | : pods",
    "create | : pods/eviction serviceaccounts/token",
    "get | : persistentvolumeclaims persistentvolumes endpoints",
    "get patch update | : persistentvolumeclaims/status",
    "create get list watch | certificates.k8s.io: certificatesigningrequests podcertificaterequests",
    "get list watch | certificates.k8s.io: clustertrustbundles",
    "create delete get patch update | coordination.k8s.io: leases",
    "get | storage.k8s.io: volumeattachments",
    "get list watch | storage.k8s.io: csidrivers",
    "create delete get patch update | storage.k8s.io: csinodes",
    "get list watch | node.k8s.io: runtimeclasses",
    "get | resource.k8s.io: resourceclaims",
    "create delete deletecollection get list patch update watch | resource.k8s.io: resourceslices",
)
"""What nodes do. The node authorizer narrows it to what concerns each."""

"""FlowSchemas: which one a request belongs to.

Source: k8s.io/apiserver/pkg/util/flowcontrol/rule.go, …/apihelpers (the order).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from kubernel.registry.request import UserInfo
    from kubernel.store.records import Obj

__all__ = ["Asked", "Schema", "deal", "flow_hash"]

_ACCOUNT = "system:serviceaccount:"


class Asked(NamedTuple):
    """What a request is about. ``resource`` is empty for one of a ``path``, and ``name`` counts for nothing here."""

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    path: str = ""


class Schema:
    """A FlowSchema, ready to ask."""

    def __init__(self, obj: Obj) -> None:
        spec = obj["spec"]
        self.name: str = obj["metadata"]["name"]
        self.uid: str = obj["metadata"].get("uid") or ""
        self.level: str = spec["priorityLevelConfiguration"]["name"]
        self.precedence: int = spec.get("matchingPrecedence") or 1000
        self.distinguisher: str = (spec.get("distinguisherMethod") or {}).get("type") or ""
        self._rules = [_rule(rule) for rule in spec.get("rules") or ()]

    def matches(self, user: UserInfo, asked: Asked) -> bool:
        return any(rule(user, asked) for rule in self._rules)

    def flow(self, user: UserInfo, asked: Asked) -> str:
        """What keeps its flows apart."""
        if self.distinguisher == "ByUser":
            return user.name
        return asked.namespace if self.distinguisher == "ByNamespace" else ""


_Rule = Callable[["UserInfo", Asked], bool]


def _rule(rule: Mapping[str, Any]) -> _Rule:
    subjects = [_subject(subject) for subject in rule.get("subjects") or ()]
    resources = [_resources(one) for one in rule.get("resourceRules") or ()]
    paths = [_paths(one) for one in rule.get("nonResourceRules") or ()]

    def matches(user: UserInfo, asked: Asked) -> bool:
        if not any(subject(user) for subject in subjects):
            return False
        return any(one(asked) for one in (resources if asked.resource else paths))

    return matches


def _subject(subject: Mapping[str, Any]) -> Callable[[UserInfo], bool]:
    kind = subject.get("kind")
    told = (
        subject.get(
            {"User": "user", "Group": "group", "ServiceAccount": "serviceAccount"}.get(kind or "", "")
        )
        or {}
    )
    name = told.get("name", "")
    if not told:
        return lambda user: False
    if kind == "User":
        return lambda user: name in ("*", user.name)
    if kind == "Group":
        return lambda user: name == "*" or name in user.groups
    account = f"{_ACCOUNT}{told.get('namespace', '')}:"
    if name == "*":
        return lambda user: user.name.startswith(account)
    return lambda user: user.name == account + name


def _member(listed: Iterable[str] | None) -> Callable[[str], bool]:
    names = tuple(listed or ())
    if names == ("*",):
        return lambda name: True
    known = frozenset(names)
    return lambda name: name in known


def _resources(rule: Mapping[str, Any]) -> Callable[[Asked], bool]:
    verbs, groups = _member(rule.get("verbs")), _member(rule.get("apiGroups"))
    resources, namespaces = _member(rule.get("resources")), _member(rule.get("namespaces"))
    cluster = bool(rule.get("clusterScope"))

    def matches(asked: Asked) -> bool:
        named = f"{asked.resource}/{asked.subresource}" if asked.subresource else asked.resource
        if not (verbs(asked.verb) and resources(named) and groups(asked.group)):
            return False
        return namespaces(asked.namespace) if asked.namespace else cluster

    return matches


def _paths(rule: Mapping[str, Any]) -> Callable[[Asked], bool]:
    verbs = _member(rule.get("verbs"))
    told = tuple(rule.get("nonResourceURLs") or ())
    prefixes = tuple(path.removesuffix("*").rstrip("/") + "/" for path in told)

    def matches(asked: Asked) -> bool:
        if not verbs(asked.verb):
            return False
        return "*" in told or asked.path in told or asked.path.startswith(prefixes)

    return matches


def flow_hash(schema: str, flow: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{schema}\0{flow}".encode()).digest()[:8], "little")


def deal(number: int, deck: int, hand: int) -> tuple[int, ...]:
    """``hand`` different cards of ``deck``, drawn by ``number`` (shuffle sharding)."""
    drawn: list[int] = []
    for index in range(hand):
        number, card = divmod(number, deck - index)
        drawn.append(card)
    cards: list[int] = []
    for index in range(hand):
        card = drawn[index]
        for earlier in range(index - 1, -1, -1):
            if card >= drawn[earlier]:
                card += 1
        cards.append(card)
    return tuple(cards)

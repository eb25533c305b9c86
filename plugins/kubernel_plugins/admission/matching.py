"""Which requests a policy or a webhook is about: rules, selectors and equivalent versions.

Source: k8s.io/apiserver/pkg/admission/plugin/policy/matching, …/webhook/predicates (v1.37).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from kubernel.errors import NotFound
from kubernel.objects import selectors
from kubernel.registry.conversion import convert

if TYPE_CHECKING:
    from kubernel.registry.registry import Registry
    from kubernel.registry.request import Request
    from kubernel.registry.types import ResourceType
    from kubernel.store.records import Obj

__all__ = ["Equivalents", "MatchResources", "Rule", "exempt", "presented", "stored_namespace"]

_CONFIGURATION = frozenset(
    (
        "validatingwebhookconfigurations",
        "mutatingwebhookconfigurations",
        "validatingadmissionpolicies",
        "validatingadmissionpolicybindings",
        "mutatingadmissionpolicies",
        "mutatingadmissionpolicybindings",
    )
)


def exempt(request: Request) -> bool:
    """Whether no webhook and no policy is asked: for the objects that configure them, so that a wrong one can
    always be taken away."""
    return request.type.group == "admissionregistration.k8s.io" and request.type.plural in _CONFIGURATION


class Rule:
    """One of ``rules``, ``resourceRules`` or ``excludeResourceRules``."""

    __slots__ = ("groups", "names", "operations", "resources", "scope", "versions")

    def __init__(self, rule: Mapping[str, Any]) -> None:
        self.groups = frozenset(rule.get("apiGroups") or ())
        self.versions = frozenset(rule.get("apiVersions") or ())
        self.operations = frozenset(rule.get("operations") or ())
        self.resources = frozenset(
            (plural, sub) for plural, _, sub in (text.partition("/") for text in rule.get("resources") or ())
        )
        self.names = frozenset(rule.get("resourceNames") or ())
        self.scope = rule.get("scope") or "*"

    def matches(self, request: Request, type: ResourceType) -> bool:
        """Whether it is about the request, taken as one for ``type``, a version of its resource."""
        if "*" not in self.operations and request.operation not in self.operations:
            return False
        if "*" not in self.groups and type.group not in self.groups:
            return False
        if "*" not in self.versions and type.version not in self.versions:
            return False
        sub = request.subresource
        if not any(
            resource in self.resources
            for resource in ((type.plural, sub), ("*", sub), (type.plural, "*"), ("*", "*"))
        ):
            return False
        if self.names and request.name not in self.names:
            return False
        return self.scope == "*" or (self.scope == "Namespaced") == type.namespaced


class Equivalents:
    """The served versions of a resource, the request's own left out."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._generation = -1
        self._others: dict[tuple[str, str, str], tuple[ResourceType, ...]] = {}

    def of(self, type: ResourceType) -> tuple[ResourceType, ...]:
        if self._generation != self._registry.generation:
            self._generation = self._registry.generation
            self._others = {}
        key = (type.group, type.version, type.plural)
        found = self._others.get(key)
        if found is None:
            found = self._others[key] = tuple(
                other
                for other in self._registry.types()
                if other.resource == type.resource and other is not type
            )
        return found


class MatchResources:
    """``matchConstraints``, ``matchResources`` or the matching part of a webhook, ready to ask.

    Without ``resourceRules`` and ``rules`` everything that is not excluded matches.
    """

    __slots__ = ("equivalent", "excluded", "namespaces", "objects", "rules")

    def __init__(self, spec: Mapping[str, Any]) -> None:
        self.rules = _rules(spec.get("resourceRules") or spec.get("rules"))
        self.excluded = _rules(spec.get("excludeResourceRules"))
        self.equivalent = (spec.get("matchPolicy") or "Equivalent") == "Equivalent"
        self.namespaces = selectors.from_object(spec.get("namespaceSelector") or {})
        self.objects = selectors.from_object(spec.get("objectSelector") or {})

    def match(
        self, request: Request, equivalents: Equivalents, namespace: Callable[[str], Obj | None]
    ) -> ResourceType | None:
        """The version of the request's resource that matched, None when the request is not meant.

        ``namespace(name)`` gives a Namespace. Raises NotFound when the selector needs one that is missing.
        """
        matched: ResourceType | None = request.type
        if self.rules:
            matched = self._version(self.rules, request, equivalents)
            if matched is None:
                return None
        if self.excluded and self._version(self.excluded, request, equivalents) is not None:
            return None
        if self.objects.requirements and not self._selects_object(request):
            return None
        if self.namespaces.requirements and not self._selects_namespace(request, namespace):
            return None
        return matched

    def _version(
        self, rules: Iterable[Rule], request: Request, equivalents: Equivalents
    ) -> ResourceType | None:
        own = request.type
        if any(rule.matches(request, own) for rule in rules):
            return own
        if self.equivalent:
            for other in equivalents.of(own):
                if any(rule.matches(request, other) for rule in rules):
                    return other
        return None

    def _selects_object(self, request: Request) -> bool:
        # What a connect brings are options, which have no labels.
        new = None if request.operation == "CONNECT" else request.obj
        old = None if request.operation == "CONNECT" else request.old
        return any(obj is not None and self.objects.matches(_labels(obj)) for obj in (new, old))

    def _selects_namespace(self, request: Request, namespace: Callable[[str], Obj | None]) -> bool:
        if request.type.plural == "namespaces" and not request.type.group:
            return self.namespaces.matches(_labels(request.obj or request.old or {}))
        if not request.type.namespaced:
            return True
        found = namespace(request.namespace)
        if found is None:
            raise NotFound.for_object("namespaces", "", request.namespace)
        return self.namespaces.matches(_labels(found))


def _rules(spec: Iterable[Mapping[str, Any]] | None) -> tuple[Rule, ...]:
    return tuple(Rule(rule) for rule in spec or ())


def _labels(obj: Obj) -> Mapping[str, str]:
    labels: Mapping[str, str] = (obj.get("metadata") or {}).get("labels") or {}
    return labels


async def presented(request: Request, type: ResourceType) -> tuple[Obj | None, Obj | None]:
    """(object, old object) as admission shows them: in the matched version; for a subresource with a view of its
    own (a scale) that view."""
    if request.operation == "CONNECT":
        return request.obj, None
    pair = (request.obj, request.old)
    sub = request.type.subresources.get(request.subresource)
    if sub is not None and sub.read is not None:
        read = sub.read
        return tuple(None if obj is None else read(obj) for obj in pair)  # type: ignore[return-value]
    if sub is not None and sub.schema is not None:
        return pair
    if type is request.type:
        return pair
    return tuple(  # type: ignore[return-value]
        [None if obj is None else await convert(request.type, type, obj) for obj in pair]
    )


def stored_namespace(registry: Registry, name: str) -> Obj | None:
    """The Namespace as it is stored now."""
    type = registry.lookup("", "v1", "namespaces")
    try:
        return registry.get(type, "", name).obj if type is not None else None
    except NotFound:
        return None

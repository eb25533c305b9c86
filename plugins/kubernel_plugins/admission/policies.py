"""What the two kinds of admission policies share: policies with their bindings, always current, and their parameters.

Source: k8s.io/apiserver/pkg/admission/plugin/policy/generic (v1.37).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from kubernel.errors import ApiError, NotFound
from kubernel.objects import meta, selectors
from kubernel.registry.conversion import from_storage
from kubernel.registry.operations import ListOptions
from kubernel_plugins.admission.matching import Equivalents, MatchResources

if TYPE_CHECKING:
    from kubernel.plugin import Handle
    from kubernel.registry.request import Request
    from kubernel.registry.types import ResourceType
    from kubernel.store.records import Obj

__all__ = ["ConfigurationError", "Hook", "Policies"]

Compiled = TypeVar("Compiled")


class ConfigurationError(Exception):
    """A policy or its binding cannot be used for a request."""


class Hook(NamedTuple):
    """A policy with one of its bindings, both about the request. ``type`` is the version that matched."""

    policy: Obj
    binding: Obj
    type: ResourceType


class Policies(Generic[Compiled]):
    """The policies of one kind. ``compile(policy)`` is called once for each new ``spec``, when it is first needed."""

    def __init__(
        self, handle: Handle, policies: str, bindings: str, compile: Callable[[Obj], Compiled]
    ) -> None:
        self._handle = handle
        self._compile = compile
        self._names = (policies, bindings)
        self._compiled: dict[str, tuple[Any, Compiled]] = {}
        self._matchers: dict[tuple[str, str], tuple[Any, MatchResources]] = {}
        self._equivalents = Equivalents(handle.registry)

    def start(self) -> None:
        client = self._handle.client("system:apiserver", ("system:masters",))
        self._policies, self._bindings = (client.informer(name) for name in self._names)
        self._bindings.add_index(
            "policy", lambda binding: ((binding.get("spec") or {}).get("policyName", ""),)
        )

    def compiled(self, policy: Obj) -> Compiled:
        name, spec = meta.name(policy), policy.get("spec") or {}
        known = self._compiled.get(name)
        if known is None or (known[0] is not spec and known[0] != spec):
            if len(self._compiled) > 2 * len(self._policies) + 16:
                self._compiled.clear()
            known = self._compiled[name] = (spec, self._compile(policy))
        return known[1]

    def _matcher(self, obj: Obj, field: str) -> MatchResources:
        key = (field, meta.name(obj))
        spec = (obj.get("spec") or {}).get(field) or {}
        known = self._matchers.get(key)
        if known is None or (known[0] is not spec and known[0] != spec):
            if len(self._matchers) > 2 * (len(self._policies) + len(self._bindings)) + 16:
                self._matchers.clear()
            known = self._matchers[key] = (spec, MatchResources(spec))
        return known[1]

    def hooks(self, request: Request) -> list[Hook]:
        """The policies that are bound and about the request, by name. Raises NotFound for a missing namespace."""
        if not len(self._policies) or not len(self._bindings):
            return []
        return list(self._matching(request))

    def _matching(self, request: Request) -> Iterator[Hook]:
        for policy in sorted(self._policies.list(), key=meta.name):
            bindings = self._bindings.by("policy", meta.name(policy))
            if not bindings:
                continue
            type = self._matcher(policy, "matchConstraints").match(request, self._equivalents, self.namespace)
            if type is None:
                continue
            for binding in sorted(bindings, key=meta.name):
                bound = self._matcher(binding, "matchResources")
                if bound.match(request, self._equivalents, self.namespace) is not None:
                    yield Hook(policy, binding, type)

    def namespace(self, name: str) -> Obj | None:
        """The Namespace as it is stored now."""
        registry = self._handle.registry
        type = registry.lookup("", "v1", "namespaces")
        if type is None:
            return None
        try:
            return registry.get(type, "", name).obj
        except NotFound:
            return None

    def namespace_of(self, request: Request) -> Obj | None:
        """``namespaceObject``. Raises NotFound."""
        if not request.type.namespaced or not request.namespace:
            return None
        found = self.namespace(request.namespace)
        if found is None:
            raise NotFound.for_object("namespaces", "", request.namespace)
        return found

    async def params(self, hook: Hook, request: Request) -> list[Obj | None]:
        """The objects that the binding refers to, ``[None]`` when the policy has no parameters. Raises
        ConfigurationError."""
        kind: Mapping[str, str] | None = hook.policy["spec"].get("paramKind")
        reference: Mapping[str, Any] | None = hook.binding["spec"].get("paramRef")
        if kind is None or reference is None:
            return [None]
        type = self._param_type(kind)
        namespace = reference.get("namespace") or ""
        if type.namespaced:
            namespace = namespace or request.namespace
            if not namespace:
                raise ConfigurationError(
                    "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources"
                )
        elif namespace:
            raise ConfigurationError(
                "paramRef.namespace must not be provided for a cluster-scoped `paramKind`"
            )
        found = await self._find(type, namespace, reference)
        if not found and reference.get("parameterNotFoundAction") == "Deny":
            raise ConfigurationError("no params found for policy binding with `Deny` parameterNotFoundAction")
        return list(found)

    def _param_type(self, kind: Mapping[str, str]) -> ResourceType:
        group, _, version = kind.get("apiVersion", "").rpartition("/")
        type = self._handle.registry.by_kind(group, version, kind.get("kind", ""))
        if type is None:
            raise ConfigurationError(
                f"failed to find resource referenced by paramKind: '{group}/{version}, Kind={kind.get('kind', '')}'"
            )
        return type

    async def _find(self, type: ResourceType, namespace: str, reference: Mapping[str, Any]) -> list[Obj]:
        registry = self._handle.registry
        try:
            if reference.get("name"):
                return [from_storage(type, registry.get(type, namespace, reference["name"]).obj)]
            labels = selectors.from_object(reference.get("selector") or {}).to_string()
            page = await registry.list(type, namespace, ListOptions(labels=labels))
            return [from_storage(type, record.obj) for record in page.records]
        except NotFound:
            return []
        except ApiError as error:
            raise ConfigurationError(error.message) from error

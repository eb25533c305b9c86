"""What the two kinds of admission policies share: policies with their bindings, always current, and their parameters.

Source: k8s.io/apiserver/pkg/admission/plugin/policy/generic (v1.37).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NamedTuple, TypeVar

from kubernel.errors import ApiError, NotFound
from kubernel.objects import meta, selectors
from kubernel.plugin import Plugin
from kubernel.registry.conversion import from_storage
from kubernel.registry.operations import ListOptions
from kubernel_plugins.admission.matching import Equivalents, MatchResources, exempt, stored_namespace

if TYPE_CHECKING:
    from kubernel.plugin import Handle
    from kubernel.registry.request import Request
    from kubernel.registry.types import ResourceType
    from kubernel.store.records import Obj

__all__ = ["ConfigurationError", "Hook", "Policies", "PolicyPlugin"]

Compiled = TypeVar("Compiled")


class ConfigurationError(Exception):
    """A policy or its binding cannot be used for a request; ``of`` says which of the two."""

    def __init__(self, message: str, of: str = "binding") -> None:
        super().__init__(message)
        self.of = of


class Hook(NamedTuple):
    """A policy with one of its bindings, both about the request. ``type`` is the version that matched."""

    policy: Obj
    binding: Obj
    type: ResourceType


class _Bound(NamedTuple):
    """A policy that has bindings, ready to ask."""

    policy: Obj
    matcher: MatchResources
    bindings: list[tuple[Obj, MatchResources]]


class Policies(Generic[Compiled]):
    """The policies of one kind. ``compile(policy)`` is called once for each new ``spec``, when it is first needed."""

    def __init__(
        self, handle: Handle, policies: str, bindings: str, compile: Callable[[Obj], Compiled]
    ) -> None:
        self._handle = handle
        self._compile = compile
        self._names = (policies, bindings)
        self._compiled: dict[str, tuple[Any, Compiled]] = {}
        self._bound: list[_Bound] | None = None
        self._equivalents = Equivalents(handle.registry)
        self._forget: list[Callable[[], None]] = []

    def start(self) -> None:
        client = self._handle.client("system:apiserver", ("system:masters",))
        self._policies, self._bindings = (client.informer(name) for name in self._names)
        self._forget = [informer.add_listener(self._changed) for informer in (self._policies, self._bindings)]

    def stop(self) -> None:
        for forget in self._forget:
            forget()
        self._forget = []

    def _changed(self, type: str, obj: Obj, old: Obj | None) -> None:
        self._bound = None

    def _arranged(self) -> list[_Bound]:
        """The bound policies, by name."""
        if self._bound is None:
            policies = {meta.name(policy): policy for policy in sorted(self._policies.list(), key=meta.name)}
            bound: dict[str, _Bound] = {}
            for binding in sorted(self._bindings.list(), key=meta.name):
                name = binding["spec"].get("policyName", "")
                if (policy := policies.get(name)) is None:
                    continue
                if name not in bound:
                    matcher = MatchResources(policy["spec"].get("matchConstraints") or {})
                    bound[name] = _Bound(policy, matcher, [])
                matcher = MatchResources(binding["spec"].get("matchResources") or {})
                bound[name].bindings.append((binding, matcher))
            self._bound = [bound[name] for name in sorted(bound)]
            self._compiled = {name: known for name, known in self._compiled.items() if name in bound}
        return self._bound

    def compiled(self, policy: Obj) -> Compiled:
        name, spec = meta.name(policy), policy["spec"]
        known = self._compiled.get(name)
        if known is None or (known[0] is not spec and known[0] != spec):
            known = self._compiled[name] = (spec, self._compile(policy))
        return known[1]

    def hooks(self, request: Request) -> list[Hook]:
        """The policies that are bound and about the request, by name. Raises NotFound for a missing namespace."""
        bound = self._arranged()
        if not bound or exempt(request):
            return []
        found: list[Hook] = []
        for policy, matcher, bindings in bound:
            type = matcher.match(request, self._equivalents, self.namespace)
            if type is not None and isinstance(self._param_type(policy), str):
                # What it is to be judged by is not there, whatever its bindings are about.
                found.append(Hook(policy, bindings[0][0], type))
            elif type is not None:
                found += [
                    Hook(policy, binding, type)
                    for binding, narrower in bindings
                    if narrower.match(request, self._equivalents, self.namespace) is not None
                ]
        return found

    def namespace(self, name: str) -> Obj | None:
        """The Namespace as it is stored now."""
        return stored_namespace(self._handle.registry, name)

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
        type = self._param_type(hook.policy)
        if isinstance(type, str):
            raise ConfigurationError(f"failed to find resource referenced by paramKind: '{type}'", "policy")
        reference: Mapping[str, Any] | None = hook.binding["spec"].get("paramRef")
        if type is None or reference is None:
            return [None]
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

    def _param_type(self, policy: Obj) -> ResourceType | str | None:
        """The type of a policy's parameters; its name where there is no such type, None where there are none."""
        kind: Mapping[str, str] | None = policy["spec"].get("paramKind")
        if kind is None:
            return None
        group, _, version = kind.get("apiVersion", "").rpartition("/")
        type = self._handle.registry.by_kind(group, version, kind.get("kind", ""))
        return f"{group}/{version}, Kind={kind.get('kind', '')}" if type is None else type

    async def _find(self, type: ResourceType, namespace: str, reference: Mapping[str, Any]) -> list[Obj]:
        registry = self._handle.registry
        try:
            if reference.get("name"):
                record = await registry.read(type, namespace, reference["name"])
                return [from_storage(type, record.obj)]
            labels = selectors.from_object(reference.get("selector") or {}).to_string()
            page = await registry.list(type, namespace, ListOptions(labels=labels))
            return [from_storage(type, record.obj) for record in page.records]
        except NotFound:
            return []
        except ApiError as error:
            raise ConfigurationError(error.message) from error


class PolicyPlugin(Plugin):
    """The plugin of one kind of policies, ``kind`` being "mutating" or "validating". ``compile`` is called with the
    first policy, so that a cluster without one starts without CEL."""

    kind: ClassVar[str]

    def __init__(self, settings: Any, handle: Handle) -> None:
        super().__init__(settings, handle)
        policies, bindings = (
            f"{self.kind}admission{what}.v1.admissionregistration.k8s.io"
            for what in ("policies", "policybindings")
        )
        self._policies: Policies[Any] = Policies(handle, policies, bindings, self.compile)

    @staticmethod
    def compile(policy: Obj) -> object:
        raise NotImplementedError

    async def start(self) -> None:
        self._policies.start()

    async def stop(self) -> None:
        self._policies.stop()

"""PodSecurity: what a namespace's labels allow its pods to do, by the Pod Security Standards.

Source: k8s.io/pod-security-admission/admission (v1.37).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kubernel.errors import Forbidden, InternalError, Invalid
from kubernel.objects import meta
from kubernel.plugin import Plugin as Base
from kubernel.plugin import hookimpl
from kubernel.registry.request import AUDIT_NOTES
from kubernel_plugins.admission.matching import stored_namespace

from .policy import (
    LEVELS,
    MODES,
    PREFIX,
    LevelVersion,
    Policy,
    details,
    evaluate,
    parse_version,
    policy_of,
    reasons,
)

if TYPE_CHECKING:
    from kubernel.errors import Cause
    from kubernel.plugin import Handle
    from kubernel.registry.request import Request
    from kubernel.store.records import Obj

__all__ = ["Defaults", "Exemptions", "Plugin", "Settings"]

_IGNORED = frozenset(("exec", "attach", "binding", "eviction", "log", "portforward", "proxy", "status"))
_TEMPLATES: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("", "replicationcontrollers"): ("spec", "template"),
    ("", "podtemplates"): ("template",),
    ("apps", "replicasets"): ("spec", "template"),
    ("apps", "deployments"): ("spec", "template"),
    ("apps", "statefulsets"): ("spec", "template"),
    ("apps", "daemonsets"): ("spec", "template"),
    ("batch", "jobs"): ("spec", "template"),
    ("batch", "cronjobs"): ("spec", "jobTemplate", "spec", "template"),
}
"""Where pod templates lie."""
_MOST_PODS = 3000
_LONGEST = 1.0


@dataclass(frozen=True, slots=True)
class Defaults:
    """For namespaces whose labels do not say."""

    enforce: str = "privileged"
    enforce_version: str = "latest"
    audit: str = "privileged"
    audit_version: str = "latest"
    warn: str = "privileged"
    warn_version: str = "latest"

    def __post_init__(self) -> None:
        for mode in MODES:
            if getattr(self, mode) not in LEVELS:
                raise ValueError(f"{mode}: must be one of {', '.join(LEVELS)}")
            try:
                parse_version(getattr(self, f"{mode}_version"))
            except ValueError as wrong:
                raise ValueError(f"{mode}Version: {wrong}") from None

    def policy(self) -> Policy:
        return Policy(
            *(
                LevelVersion(getattr(self, mode), parse_version(getattr(self, f"{mode}_version")))
                for mode in MODES
            )
        )


@dataclass(frozen=True, slots=True)
class Exemptions:
    """Whose requests are not looked at."""

    usernames: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    runtime_classes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Settings:
    """As upstream's PodSecurityConfiguration."""

    defaults: Defaults = field(default_factory=Defaults)
    exemptions: Exemptions = field(default_factory=Exemptions)


class Plugin(Base):
    """The ``pod_security`` admission plugin."""

    Settings = Settings

    def __init__(self, settings: Any, handle: Handle) -> None:
        super().__init__(settings, handle)
        self._defaults: Policy = settings.defaults.policy()
        self._exempt: Exemptions = settings.exemptions

    async def start(self) -> None:
        self._pods = self.handle.client("system:apiserver", ("system:masters",)).informer("pods")

    @hookimpl
    def kubernel_validate(self, request: Request) -> None:
        type, obj = request.type, request.obj
        if obj is None or request.verb == "connect":
            return
        if not type.group and type.plural == "pods":
            if request.subresource not in _IGNORED:
                self._pod(request, obj)
        elif not type.group and type.plural == "namespaces":
            if not request.subresource:
                self._namespace(request, obj)
        elif not request.subresource and (path := _TEMPLATES.get((type.group, type.plural))) is not None:
            self._template(request, obj, path)

    # --- pods, and what makes them

    def _pod(self, request: Request, pod: Obj) -> None:
        if self._is_exempt(request):
            return
        found = self._policy(request.namespace)
        if found is None:
            raise InternalError(f'Internal error occurred: failed to lookup namespace "{request.namespace}"')
        policy, causes = found
        if not causes and all(one.level == "privileged" for one in policy):
            _note(request, {"enforce-policy": str(policy.enforce)})
            return
        if request.old is not None and not _significant(pod, request.old):
            return
        self._judge(request, policy, causes, pod, enforce=True)

    def _template(self, request: Request, obj: Obj, path: tuple[str, ...]) -> None:
        if self._is_exempt(request):
            return
        found = self._policy(request.namespace)
        if found is None:
            _note(request, {"error": f'failed to lookup namespace "{request.namespace}"'})
            return
        policy, causes = found
        if not causes and policy.warn.level == policy.audit.level == "privileged":
            return
        template: Any = obj
        for step in path:
            template = template.get(step) or {}
        if template:
            self._judge(request, policy, causes, template, enforce=False)

    def _judge(
        self, request: Request, policy: Policy, causes: list[Cause], pod: Obj, *, enforce: bool
    ) -> None:
        spec = pod.get("spec") or {}
        if spec.get("runtimeClassName") in self._exempt.runtime_classes:
            _note(request, {"exempt": "runtimeClass"})
            return
        annotations = (pod.get("metadata") or {}).get("annotations") or {}
        results = {wanted: evaluate(wanted, annotations, spec) for wanted in policy[0 if enforce else 1 :]}
        notes = {"error": f"Failed to parse policy: {_aggregate(causes)}"} if causes else {}
        if enforce:
            notes["enforce-policy"] = str(policy.enforce)
        if results[policy.audit]:
            notes["audit-violations"] = _would(policy.audit, details(results[policy.audit]))
        _note(request, notes)
        if enforce and (wrong := results[policy.enforce]):
            raise Forbidden.for_object(
                request.type.plural,
                request.type.group,
                request.name,
                f'violates PodSecurity "{policy.enforce}": {details(wrong)}',
            )
        if results[policy.warn]:
            request.warn(_would(policy.warn, details(results[policy.warn])))

    def _policy(self, namespace: str) -> tuple[Policy, list[Cause]] | None:
        found = stored_namespace(self.handle.registry, namespace)
        return None if found is None else policy_of(meta.labels(found), self._defaults)

    def _is_exempt(self, request: Request) -> bool:
        if request.namespace in self._exempt.namespaces:
            _note(request, {"exempt": "namespace"})
            return True
        if request.user.name in self._exempt.usernames:
            _note(request, {"exempt": "user"})
            return True
        return False

    # --- namespaces

    def _namespace(self, request: Request, namespace: Obj) -> None:
        labels, old = meta.labels(namespace), request.old
        new, causes = policy_of(labels, self._defaults)
        before, known = policy_of(meta.labels(old), self._defaults) if old is not None else (None, [])
        if causes and causes != known:
            raise Invalid.for_object(request.type.kind, request.type.group, request.name, causes)
        if before is not None:
            same = new.enforce.minor == before.enforce.minor
            stricter = LEVELS.index(new.enforce.level) > LEVELS.index(before.enforce.level)
            if new.enforce == before.enforce or new.enforce.level == "privileged" or (same and not stricter):
                return
        if request.name in self._exempt.namespaces:
            self._warn_exempt(request, new, labels)
        elif before is not None:
            for text in self._existing(request.name, new.enforce):
                request.warn(text)

    def _warn_exempt(self, request: Request, policy: Policy, labels: Mapping[str, str]) -> None:
        if policy == self._defaults or all(one.level == "privileged" for one in policy):
            return
        told = ", ".join(
            f"{mode}={wanted}"
            for mode, wanted in zip(MODES, policy, strict=True)
            if wanted.level != "privileged"
            and (f"{PREFIX}{mode}" in labels or f"{PREFIX}{mode}-version" in labels)
        )
        request.warn(
            f'namespace "{request.name}" is exempt from Pod Security, and the policy ({told}) will be ignored'
        )

    def _existing(self, namespace: str, wanted: LevelVersion) -> list[str]:
        """Warnings about the pods that are there and would be refused."""
        clock = self.handle.clock
        pods = list(
            _one_of_each_first(
                pod
                for pod in self._pods.list(namespace)
                if pod["spec"].get("runtimeClassName") not in self._exempt.runtime_classes
            )
        )
        until = clock.monotonic() + _LONGEST
        found: dict[str, list[str]] = {}
        checked = 0
        for pod in itertools.islice(pods, _MOST_PODS):
            checked += 1
            wrong = evaluate(wanted, meta.annotations(pod), pod["spec"])
            if wrong:
                found.setdefault(reasons(wrong), []).append(meta.name(pod))
            if clock.monotonic() >= until:
                break
        told = []
        if checked < len(pods):
            told.append(
                f"new PodSecurity enforce level only checked against the first {checked} of {len(pods)} existing pods"
            )
        if found:
            told.append(
                f'existing pods in namespace "{namespace}" violate the new PodSecurity enforce level "{wanted}"'
            )
        return told + sorted(f"{_several(names)}: {why}" for why, names in found.items())


def _several(names: list[str]) -> str:
    others = len(names) - 1
    if not others:
        return names[0]
    return f"{min(names)} (and {others} other pod{'s' if others > 1 else ''})"


def _one_of_each_first(pods: Iterable[Obj]) -> Iterable[Obj]:
    """One pod of each controller and those without before the others: where not all can be looked at."""
    seen: set[str] = set()
    later: list[Obj] = []
    for pod in pods:
        owner = meta.controller_of(pod)
        if owner is None:
            yield pod
        elif owner["uid"] in seen:
            later.append(pod)
        else:
            seen.add(owner["uid"])
            yield pod
    yield from later


def _significant(pod: Obj, old: Obj) -> bool:
    """Whether an update changes something that the standards are about: of what may change, the images."""
    new, before = pod["spec"], old["spec"]
    for kind in ("containers", "initContainers"):
        ours, theirs = new.get(kind) or (), before.get(kind) or ()
        if len(ours) != len(theirs):
            return True
        if any(one.get("image") != other.get("image") for one, other in zip(ours, theirs, strict=True)):
            return True
    known = {one["name"]: one.get("image") for one in before.get("ephemeralContainers") or ()}
    return any(
        one["name"] not in known or known[one["name"]] != one.get("image")
        for one in new.get("ephemeralContainers") or ()
    )


def _would(wanted: LevelVersion, told: str) -> str:
    return f'would violate PodSecurity "{wanted}": {told}'


def _aggregate(causes: list[Cause]) -> str:
    texts = [f"{cause.field}: {cause.message}" for cause in causes]
    return texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"


def _note(request: Request, notes: Mapping[str, str]) -> None:
    kept = request.notes.setdefault(AUDIT_NOTES, {})
    for key, value in notes.items():
        kept[f"{PREFIX}{key}"] = value

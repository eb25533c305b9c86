"""pods/binding and pods/eviction."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from msgspec import structs

from kubernel.clock import rfc3339
from kubernel.errors import (
    ApiError,
    BadRequest,
    Cause,
    Conflict,
    Forbidden,
    TooManyRequests,
    UnnamedError,
)
from kubernel.objects import conditions, names, selectors
from kubernel.registry.types import GroupVersionKind, Subresource
from kubernel_plugins.api.builtin import causes
from kubernel_plugins.api.builtin.strategies.base import field

if TYPE_CHECKING:
    from kubernel.registry.request import DeleteOptions, Request
    from kubernel.registry.types import ResourceType
    from kubernel.store.records import Obj
    from kubernel_plugins.api.builtin.context import Context

__all__ = ["MAX_DISRUPTED_PODS", "TRIES", "Binder", "Evictor"]

TRIES = 10
"""How often a write is repeated when somebody else writes the pod or its budget at the same time."""
MAX_DISRUPTED_PODS = 2000

_SUCCESS = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}


_BINDING = GroupVersionKind("", "v1", "Binding")


def _itself(pod: Obj) -> Obj:
    return pod


class Binder:
    """POST of a Binding: the scheduler's decision for a node."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self._pods: ResourceType | None = None
        self._bindable: ResourceType

    @staticmethod
    def check(request: Request) -> None:
        if field(request.obj or {}, "metadata", "name") != request.name:
            raise BadRequest("name in URL does not match name in Binding object")
        Binder.check_target(request)

    @staticmethod
    def check_target(request: Request) -> None:
        target = (request.obj or {}).get("target") or {}
        found: list[Cause] = []
        if target.get("kind") not in (None, "", "Node"):
            found.append(causes.not_supported("target.kind", target.get("kind"), ["Node", "<empty>"]))
        if not target.get("name"):
            found.append(causes.required("target.name"))
        else:
            problems = names.check_dns1123_subdomain(target["name"])
            found += causes.invalid_each("target.name", target["name"], problems)
        if found:
            told = [f"{cause.field}: {cause.message}" for cause in found]
            raise UnnamedError(told[0] if len(told) == 1 else f"[{', '.join(told)}]")

    async def __call__(self, request: Request) -> Obj:
        binding = {**(request.obj or {}), "apiVersion": "v1", "kind": "Binding"}
        await self.context.registry.update(
            request.user,
            self._writable(),
            request.namespace,
            request.name,
            binding,
            request.options,
            subresource="binding",
            admitted=True,
        )
        return {**_SUCCESS, "code": 201}

    def _writable(self) -> ResourceType:
        """The type of pods, with a binding as a view of the pod that is written into it."""
        pods = self.context.registry.lookup("", "v1", "pods")
        assert pods is not None  # noqa: S101 - registered with this handler
        if self._pods is not pods:
            view = Subresource(
                "binding", _BINDING, ("update",), read=_itself, write=self._bound, complete=True
            )
            self._pods = pods
            self._bindable = replace(pods, subresources={**pods.subresources, "binding": view})
        return self._bindable

    def _bound(self, pod: Obj, binding: Obj) -> Obj:
        """The pod on its node; Conflict when it may not go there."""
        meta, spec = pod["metadata"], pod["spec"]
        name = meta["name"]
        why = ""
        uid = field(binding, "metadata", "uid")
        if uid and uid != meta.get("uid"):
            why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {meta.get('uid')}"
        elif meta.get("deletionTimestamp"):
            why = f"pod {name} is being deleted, cannot be assigned to a host"
        elif spec.get("nodeName"):
            why = f'pod {name} is already assigned to node "{spec["nodeName"]}"'
        elif spec.get("schedulingGates"):
            why = f"pod {name} has non-empty .spec.schedulingGates"
        if why:
            raise Conflict.for_object("pods/binding", "", name, why)
        for key in ("annotations", "labels"):
            if wanted := field(binding, "metadata", key):
                meta = {**meta, key: {**(meta.get(key) or {}), **wanted}}
        status = pod.get("status") or {}
        changed, _ = conditions.set(
            [each for each in status.get("conditions") or () if each.get("type") != "PodScheduled"],
            "PodScheduled",
            "True",
            "",
            "",
            rfc3339(self.context.clock.time()),
        )
        # A node that the pod was promised before would mislead who reads it.
        kept = {key: value for key, value in status.items() if key != "nominatedNodeName"}
        return {
            **pod,
            "metadata": meta,
            "spec": {**spec, "nodeName": binding["target"]["name"]},
            "status": {**kept, "conditions": changed},
        }


class _ManyBudgets(ApiError):
    """An answer without a reason."""

    reason = ""


class Evictor:
    """POST of an Eviction: a deletion that asks the pod's disruption budget first."""

    def __init__(self, context: Context) -> None:
        self.context = context

    @staticmethod
    def check(request: Request) -> None:
        if field(request.obj or {}, "metadata", "name") != request.name:
            raise BadRequest("name in URL does not match name in Eviction object")

    async def __call__(self, request: Request) -> Obj:
        from kubernel.registry.deletion import check_delete_options  # the write pipeline, not for start-up

        eviction = request.obj or {}
        options = check_delete_options(eviction.get("deleteOptions") or {})
        if request.dry_run:
            options = structs.replace(options, dry_run=True)
        for attempt in range(TRIES):
            pod = self.context.registry.get(request.type, request.namespace, request.name).obj
            if not self._needs_no_budget(pod):
                await self._ask_budget(request, pod, options)
                break
            held = options
            if field(pod, "status", "phase") == "Pending" and "deletionTimestamp" not in pod["metadata"]:
                # It must not have begun to count meanwhile.
                held = _unchanged(options, pod)
            try:
                await self._delete(request, pod, held)
            except Conflict:
                if options.resource_version or attempt == TRIES - 1:
                    raise
                continue
            break
        return {**_SUCCESS, "code": 201}

    async def _ask_budget(self, request: Request, pod: Obj, options: DeleteOptions) -> None:
        budget = self._budget_of(pod)
        if budget is None:
            await self._delete(request, pod, options)
            return
        name = budget["metadata"]["name"]
        if not self._unhealthy_may_go(pod, budget):
            await self._spend(request, pod, name)
            await self._delete(request, pod, options)
            return
        try:
            await self._delete(request, pod, _unchanged(options, pod))
        except Conflict:
            if options.resource_version:
                raise
            # It may be healthy by now.
            raise _in_work(name) from None

    async def _delete(self, request: Request, pod: Obj, options: DeleteOptions) -> None:
        if not options.dry_run:
            version = await self._mark(request, options)
            if options.resource_version:
                options = structs.replace(options, resource_version=version)
        options = structs.replace(options, uid=options.uid or pod["metadata"]["uid"])
        await self.context.registry.delete(
            request.user, request.type, request.namespace, request.name, options, admitted=True
        )

    @staticmethod
    def _needs_no_budget(pod: Obj) -> bool:
        ended = field(pod, "status", "phase") in ("Succeeded", "Failed", "Pending")
        return ended or bool(pod["metadata"].get("deletionTimestamp"))

    def _budget_of(self, pod: Obj) -> Obj | None:
        labels = pod["metadata"].get("labels") or {}
        found = [
            budget
            for budget in self.context.stored("poddisruptionbudgets.policy", pod["metadata"]["namespace"])
            if field(budget, "spec", "selector") is not None
            and selectors.from_object(budget["spec"]["selector"]).matches(labels)
        ]
        if len(found) > 1:
            raise _ManyBudgets(
                "This pod has more than one PodDisruptionBudget, "
                "which the eviction subresource does not support."
            )
        return found[0] if found else None

    @staticmethod
    def _unhealthy_may_go(pod: Obj, budget: Obj) -> bool:
        if conditions.is_true(pod, "Ready"):
            return False
        if field(budget, "spec", "unhealthyPodEvictionPolicy") == "AlwaysAllow":
            return True
        status = budget.get("status") or {}
        healthy, desired = status.get("currentHealthy") or 0, status.get("desiredHealthy") or 0
        return bool(desired > 0 and healthy >= desired)

    async def _spend(self, request: Request, pod: Obj, name: str) -> None:
        """Take one disruption from the budget; TooManyRequests when there is none."""
        registry = self.context.registry
        type = registry.lookup("policy", "v1", "poddisruptionbudgets")
        assert type is not None  # noqa: S101 - registered together with pods
        for attempt in range(TRIES):
            budget = registry.get(type, request.namespace, name).obj
            spent = self._spent(budget, pod["metadata"]["name"])
            if request.dry_run:
                return
            try:
                await registry.update(
                    request.user, type, request.namespace, name, spent, request.options, subresource="status"
                )
            except Conflict:
                if attempt == TRIES - 1:
                    raise
                continue
            return

    def _spent(self, budget: Obj, pod: str) -> Obj:
        status: dict[str, Any] = budget.get("status") or {}
        name = budget["metadata"]["name"]
        allowed = status.get("disruptionsAllowed") or 0
        if (status.get("observedGeneration") or 0) < (budget["metadata"].get("generation") or 0):
            raise _in_work(name)
        if allowed < 0:
            raise _spent_wrongly(name, "pdb disruptions allowed is negative")
        if len(status.get("disruptedPods") or ()) > MAX_DISRUPTED_PODS:
            raise _spent_wrongly(
                name,
                "DisruptedPods map too big - too many evictions not confirmed by PDB controller",
                "too many pending evictions not confirmed by PDB controller",
            )
        if allowed == 0:
            raise _too_many(_why_none(name, status))
        now = rfc3339(self.context.clock.time())
        changed = {
            **status,
            "disruptionsAllowed": allowed - 1,
            "disruptedPods": {**(status.get("disruptedPods") or {}), pod: now},
        }
        if allowed == 1:
            changed["conditions"], _ = conditions.set(
                status.get("conditions"),
                "DisruptionAllowed",
                "False",
                "InsufficientPods",
                "",
                now,
                observedGeneration=status.get("observedGeneration") or 0,
            )
            changed["conditions"] = [{"message": "", **one} for one in changed["conditions"]]
        return {**budget, "status": changed}

    async def _mark(self, request: Request, options: DeleteOptions) -> str:
        """Say in the pod's conditions why it ends; its resourceVersion afterwards."""
        from kubernel.registry.deletion import check_preconditions  # the write pipeline, not for start-up

        registry = self.context.registry
        for attempt in range(TRIES):
            pod = registry.get(request.type, request.namespace, request.name).obj
            about = pod["metadata"]
            check_preconditions(
                request.type, request.name, about.get("uid"), about["resourceVersion"], options
            )
            status = pod.get("status") or {}
            changed, _ = conditions.set(
                status.get("conditions") or [],
                "DisruptionTarget",
                "True",
                "EvictionByEvictionAPI",
                "Eviction API: evicting",
                rfc3339(self.context.clock.time()),
            )
            marked = {**pod, "status": {**status, "conditions": changed}}
            try:
                result = await registry.update(
                    request.user,
                    request.type,
                    request.namespace,
                    request.name,
                    marked,
                    request.options,
                    subresource="status",
                    admitted=True,
                )
            except Conflict:
                if attempt == TRIES - 1:
                    raise
                continue
            version: str = result.record.obj["metadata"]["resourceVersion"]
            return version
        raise AssertionError("unreachable")


def _unchanged(options: DeleteOptions, pod: Obj) -> DeleteOptions:
    """Only this state of the pod is to be deleted, or the older one that was asked for."""
    wanted = options.resource_version or pod["metadata"]["resourceVersion"]
    return structs.replace(options, resource_version=wanted)


def _in_work(name: str) -> TooManyRequests:
    return _too_many(f"The disruption budget {name} is still being processed by the server.", 10)


def _why_none(name: str, status: dict[str, Any]) -> str:
    """Why the budget ``name`` allows no eviction."""
    desired, current = status.get("desiredHealthy") or 0, status.get("currentHealthy") or 0
    told = conditions.find({"status": status}, "DisruptionAllowed") or {}
    message = told.get("message", "") if told.get("status") == "False" else ""
    text = f"The disruption budget {name} does not allow evicting pods currently"
    # Its counts are not to be trusted then.
    if message and told.get("reason") == "SyncFailed":
        return f"{text} because it failed sync: {message}"
    if current <= desired:
        return f"The disruption budget {name} needs {desired} healthy pods and has {current} currently"
    return f"{text} ({told['reason']}): {message}" if message else text


def _spent_wrongly(name: str, why: str, cause: str = "") -> Forbidden:
    text = f"The disruption budget {name} does not allow evicting pods currently: {cause or why}"
    refusal = Forbidden.for_object("poddisruptionbudget", "policy", name, why)
    refusal.causes = (Cause(reason="DisruptionBudget", message=text),)
    return refusal


def _too_many(why: str, retry_after: int = 0) -> TooManyRequests:
    return TooManyRequests(
        "Cannot evict pod as it would violate the pod's disruption budget.",
        causes=(Cause("DisruptionBudget", why),),
        retry_after=retry_after,
    )

"""The mutations of all matching policies, one after the other, on one request's object."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import orjson

from kubernel import cel
from kubernel.errors import ApiError, Cause, Forbidden
from kubernel.objects import meta
from kubernel.registry.conversion import convert
from kubernel.registry.defaulting import apply_defaults
from kubernel_plugins.admission.matching import presented
from kubernel_plugins.admission.mutating_policy.policy import Target
from kubernel_plugins.admission.policies import ConfigurationError
from kubernel_plugins.expressions import Budget, ExpressionError, View, authorizer

if TYPE_CHECKING:
    from kubernel.plugin import Handle
    from kubernel.registry.request import Request
    from kubernel.store.records import Obj
    from kubernel_plugins.admission.mutating_policy.policy import Policy
    from kubernel_plugins.admission.policies import Hook, Policies

__all__ = ["mutate"]

_AGAIN = "mutating_policy"
"""The key in ``request.notes``: the invocations that may be repeated, with the object as each left it."""


async def mutate(handle: Handle, policies: Policies[Any], request: Request, hooks: Sequence[Hook]) -> None:
    """Changes ``request.obj``. A policy with reinvocationPolicy IfNeeded sees the object once more when others,
    policies or plugins, changed it after it. Raises ApiError with what went wrong first."""
    run = _Run(policies, request, authorizer(handle.hooks, request.user), policies.namespace_of(request))
    if request.reinvoking:
        again: list[tuple[Hook, Obj | None, bytes]] = request.notes.pop(_AGAIN, [])
        for hook, param, left in again:
            if orjson.dumps(request.obj) != left:
                await run.invoke(hook, param)
        if run.errors:
            raise run.refusal()
        return
    again = []
    before = orjson.dumps(request.obj)
    for hook in hooks:
        try:
            params = await policies.params(hook, request)
        except ConfigurationError as error:
            run.failed(hook, f"failed to configure {error.of}: {error}", of_policy=error.of == "policy")
            continue
        reinvoked = policies.compiled(hook.policy).reinvoked
        again += [
            (hook, param, orjson.dumps(request.obj))
            for param in params
            if await run.invoke(hook, param) and reinvoked
        ]
    if run.errors:
        raise run.refusal()
    request.notes[_AGAIN] = again
    if orjson.dumps(request.obj) != before:
        request.reinvoke = True


class _Run:
    def __init__(
        self, policies: Policies[Any], request: Request, ask: cel.Authorizer, namespace: Obj | None
    ) -> None:
        self.policies = policies
        self.request = request
        self.ask = ask
        self.namespace = namespace
        self.errors: list[tuple[str, str]] = []

    def failed(self, hook: Hook, message: str, reason: str = "", *, of_policy: bool = False) -> None:
        if self.policies.compiled(hook.policy).fails:
            policy, binding = meta.name(hook.policy), meta.name(hook.binding)
            who = f'policy "{policy}"' if of_policy else f"policy '{policy}' with binding '{binding}'"
            self.errors.append((f"{who} denied request: {message}", reason))

    async def invoke(self, hook: Hook, param: Obj | None) -> bool:
        """Apply a policy's mutations; False when its conditions do not hold or it failed."""
        compiled: Policy = self.policies.compiled(hook.policy)
        try:
            if not compiled.conditions.hold(await self.view(hook, param)):
                return False
        except ExpressionError as error:
            self.failed(hook, str(error), "Invalid")
            return False
        done = True
        for mutation in compiled.mutations:
            view = await self.view(hook, param)
            budget = Budget()
            view.with_variables(compiled.variables, budget)
            before: Obj = view["object"]
            try:
                after = mutation(view, self.target(hook), before, budget)
            except ExpressionError as error:
                self.failed(hook, str(error), "Invalid")
                done = False
                continue
            if after is not before:
                await self.take(hook, after)
        return done

    async def view(self, hook: Hook, param: Obj | None) -> View:
        obj, old = await presented(self.request, hook.type)
        return View(self.request, hook.type, obj, old, params=param, namespace=self.namespace, ask=self.ask)

    def target(self, hook: Hook) -> Target:
        sub = self.request.type.subresources.get(self.request.subresource)
        if sub is not None and sub.write is not None:
            return Target(None, sub.kind.api_version, sub.kind.kind)
        if sub is not None and sub.schema is not None:
            return Target(sub.schema(), sub.kind.api_version, sub.kind.kind)
        return Target(hook.type.schema(), hook.type.api_version, hook.type.kind)

    async def take(self, hook: Hook, obj: Obj) -> None:
        """Make a mutation's object the request's, in its version, complete, and its own."""
        type = self.request.type
        sub = type.subresources.get(self.request.subresource)
        node = type.schema
        if sub is not None and sub.write is not None:
            obj = sub.write(self.request.obj or {}, obj)
        elif sub is not None and sub.schema is not None:
            node = sub.schema
        elif hook.type is not type:
            obj = await convert(hook.type, type, obj)
        own: Obj = orjson.loads(orjson.dumps(obj))
        apply_defaults(node(), own)
        self.request.obj = own

    def refusal(self) -> ApiError:
        message, reason = self.errors[0]
        type = self.request.type
        causes = tuple(Cause("", text) for text, _ in self.errors)
        error = Forbidden(message, name=self.request.name, group=type.group, kind=type.plural, causes=causes)
        if reason:
            error.status_reason = reason
        return error

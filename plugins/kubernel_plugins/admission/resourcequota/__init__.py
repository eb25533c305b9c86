"""ResourceQuota: nothing is stored that would exceed a quota of its namespace.

Source: k8s.io/apiserver/pkg/admission/plugin/resourcequota/controller.go (v1.37).
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Mapping
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from kubernel.errors import Conflict, Forbidden, NotFound
from kubernel.objects import meta, quantity
from kubernel.plugin import Plugin as Base
from kubernel.plugin import hookimpl
from kubernel_plugins.usage import COMPUTE, applies, compute_usage, total, usage

if TYPE_CHECKING:
    from kubernel.registry.request import Request
    from kubernel.store.records import Obj

__all__ = ["Plugin"]

_TRIES = 10
_CHANGING = frozenset(("services", "persistentvolumeclaims"))
"""Core resources whose use may grow by an update."""


class Plugin(Base):
    """The ``resourcequota`` admission plugin."""

    async def start(self) -> None:
        self._client = self.handle.client("system:apiserver", ("system:masters",))
        self._quotas = self._client.informer("resourcequotas")
        self._gates: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @hookimpl
    def kubernel_validate(self, request: Request) -> Awaitable[None] | None:
        type = request.type
        if request.obj is None or request.subresource or not type.namespaced:
            return None
        if request.operation == "UPDATE" and (type.group or type.plural not in _CHANGING):
            return None
        if request.operation not in ("CREATE", "UPDATE") or not self._quotas.list(request.namespace):
            return None
        return self._check(request, request.obj)

    async def _check(self, request: Request, obj: Obj) -> None:
        now = self.handle.clock.time()
        plural, group = request.type.plural, request.type.group
        wanted = usage(plural, group, obj, now)
        if request.old is not None:
            before = usage(plural, group, request.old, now)
            wanted = {name: quantity.subtract(value, before.get(name, "0")) for name, value in wanted.items()}
        wanted = {name: value for name, value in wanted.items() if quantity.parse(value) > 0}
        if not wanted:
            return
        # One after the other, so that two do not both take the last of it.
        gate = self._gates.get(request.namespace)
        if gate is None:
            gate = self._gates[request.namespace] = asyncio.Lock()
        async with gate:
            await self._take(request, obj, wanted)

    async def _take(self, request: Request, obj: Obj, wanted: Mapping[str, str]) -> None:
        names = sorted(meta.name(quota) for quota in self._quotas.list(request.namespace))
        for attempt in range(_TRIES):
            charged: list[Obj] = []
            for name in names:
                try:
                    quota = await self._client.get("resourcequotas", name, request.namespace)
                except NotFound:
                    continue
                if (after := _charged(request, quota, obj, wanted)) is not None:
                    charged.append(after)
            if request.dry_run:
                return
            try:
                for quota in charged:
                    await self._client.update("resourcequotas", quota, subresource="status")
                    names.remove(meta.name(quota))
            except Conflict:
                # Those that are written are taken from already; the others are looked at again.
                if attempt == _TRIES - 1:
                    raise
                continue
            return


def _charged(request: Request, quota: Obj, obj: Obj, wanted: Mapping[str, str]) -> Obj | None:
    """The quota with the use added; None when it has nothing to do with it. Raises Forbidden."""
    plural, group = request.type.plural, request.type.group
    status: dict[str, Any] = quota.get("status") or {}
    hard: Mapping[str, str] = status.get("hard") or {}
    used: Mapping[str, str] = status.get("used") or {}
    if not applies(quota, plural, group, obj):
        return None
    name = meta.name(quota)
    if plural == "pods" and not group and request.old is None:
        missing = _unstated(obj, COMPUTE & hard.keys())
        if missing:
            raise _refuse(request, f"failed quota: {name}: must specify {missing}")
    limited = {key: value for key, value in wanted.items() if key in hard}
    if not limited:
        return None
    unknown = sorted(key for key in limited if key not in used)
    if unknown:
        raise _refuse(request, f"status unknown for quota: {name}, resources: {','.join(unknown)}")
    after = {key: quantity.add(used[key], value) for key, value in limited.items()}
    over = sorted(key for key, value in after.items() if quantity.parse(value) > quantity.parse(hard[key]))
    if over:
        asked, taken, most = (_listed(over, amounts) for amounts in (limited, used, hard))
        raise _refuse(request, f"exceeded quota: {name}, requested: {asked}, used: {taken}, limited: {most}")
    return {**quota, "status": {**status, "used": {**used, **after}}}


def _listed(names: list[str], amounts: Mapping[str, str]) -> str:
    return ",".join(f"{name}={quantity.canonical(amounts[name])}" for name in names)


def _unstated(pod: Obj, required: frozenset[str]) -> str:
    """What containers leave out: ``limits.cpu for: a,b; limits.memory for: a``."""
    spec = pod["spec"]
    if not required:
        return ""
    own = spec.get("resources") or {}
    stated = compute_usage(own.get("requests") or {}, own.get("limits") or {})
    missing: dict[str, list[str]] = defaultdict(list)
    for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())):
        resources = container.get("resources") or {}
        found = compute_usage(*(total((resources.get(kind) or {},)) for kind in ("requests", "limits")))
        for name in required - found.keys() - stated.keys():
            missing[name].append(container["name"])
    return "; ".join(f"{name} for: {','.join(sorted(missing[name]))}" for name in sorted(missing))


def _refuse(request: Request, why: str) -> Forbidden:
    return Forbidden.for_object(request.type.plural, request.type.group, request.name, why)

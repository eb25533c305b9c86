"""ResourceQuota: nothing is stored that would exceed a quota of its namespace.

Source: k8s.io/apiserver/pkg/admission/plugin/resourcequota/controller.go (v1.37).
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from kubernel.errors import Conflict, Forbidden, NotFound
from kubernel.objects import meta, quantity
from kubernel.plugin import Plugin as Base
from kubernel.plugin import hookimpl
from kubernel_plugins.usage import (
    COMPUTE,
    DEVICE_CLAIMS,
    DEVICE_CLASSES,
    applies,
    as_extended,
    compute_usage,
    extended_names,
    is_claim_of,
    kinds_of,
    pod_of_extended,
    total,
    usage,
)
from kubernel_plugins.volumes import attributes_classes

if TYPE_CHECKING:
    from kubernel.registry.request import Request
    from kubernel.store.records import Obj

__all__ = ["Plugin"]

_TRIES = 10
_CHANGING = frozenset(
    (
        ("services", "", ""),
        ("persistentvolumeclaims", "", ""),
        ("pods", "", "resize"),
        ("resourceclaims", "resource.k8s.io", ""),
    )
)
"""(plural, group, subresource) of what may use more after an update."""


class Plugin(Base):
    """The ``resourcequota`` admission plugin."""

    async def start(self) -> None:
        self._client = self.handle.client("system:apiserver", ("system:masters",))
        self._quotas = self._client.informer("resourcequotas")
        self._classes = self._client.informer(DEVICE_CLASSES)
        self._gates: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @hookimpl
    def kubernel_validate(self, request: Request) -> Awaitable[None] | None:
        if request.obj is None or not request.type.namespaced or not _is_counted(request, request.obj):
            return None
        if not self._quotas.list(request.namespace):
            return None
        return self._check(request, request.obj)

    async def _check(self, request: Request, obj: Obj) -> None:
        extended = extended_names(self._classes.list())
        whole = await self._usage(request, obj, extended)
        more = whole
        if request.old is not None:
            before = await self._usage(request, request.old, extended)
            more = {name: quantity.subtract(value, before.get(name, "0")) for name, value in whole.items()}
        # One after the other, so that two do not both take the last of it.
        gate = self._gates.get(request.namespace)
        if gate is None:
            gate = self._gates[request.namespace] = asyncio.Lock()
        async with gate:
            await self._take(request, obj, _positive(whole), _positive(more), extended)

    async def _usage(self, request: Request, obj: Obj, extended: Mapping[str, str]) -> dict[str, str]:
        kind, now = (request.type.plural, request.type.group), self.handle.clock.time()
        found = usage(*kind, obj, now)
        if kind != DEVICE_CLAIMS:
            return found
        counted: Mapping[str, str] = {}
        if (owner := pod_of_extended(obj)) is not None:
            with suppress(NotFound):
                pod = await self._client.get("pods", owner[0], request.namespace)
                counted = usage("pods", "", pod, now) if is_claim_of(pod, obj) else {}
        return found | as_extended(found, extended, counted)

    async def _take(
        self,
        request: Request,
        obj: Obj,
        whole: Mapping[str, str],
        more: Mapping[str, str],
        extended: Mapping[str, str],
    ) -> None:
        names = sorted(meta.name(quota) for quota in self._quotas.list(request.namespace))
        for attempt in range(_TRIES):
            charged: list[Obj] = []
            for name in names:
                try:
                    quota = await self._client.get("resourcequotas", name, request.namespace)
                except NotFound:
                    continue
                if (after := _charged(request, quota, obj, whole, more, extended)) is not None:
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


def _is_counted(request: Request, obj: Obj) -> bool:
    """Whether the use of a quota may be another one afterwards."""
    type, old = request.type, request.old
    if request.operation == "CREATE":
        return not request.subresource
    if request.operation != "UPDATE" or old is None:
        return False
    what = type.plural, type.group, request.subresource
    if what == ("pods", "", ""):
        return (obj["spec"].get("activeDeadlineSeconds") is None) != (
            old["spec"].get("activeDeadlineSeconds") is None
        )
    if what == ("persistentvolumeclaims", "", "status"):
        allocated = [meta.get(each, "status", "allocatedResources") for each in (obj, old)]
        return allocated[0] != allocated[1] or attributes_classes(obj) != attributes_classes(old)
    return what in _CHANGING


def _positive(amounts: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in amounts.items() if quantity.parse(value) > 0}


def _charged(
    request: Request,
    quota: Obj,
    obj: Obj,
    whole: Mapping[str, str],
    more: Mapping[str, str],
    extended: Mapping[str, str],
) -> Obj | None:
    """The quota with the use added: ``more`` of what it counted already, else the ``whole``. None when it has
    nothing to do with it. Raises Forbidden."""
    plural, group = request.type.plural, request.type.group
    status: dict[str, Any] = quota.get("status") or {}
    hard: Mapping[str, str] = status.get("hard") or {}
    used: Mapping[str, str] = status.get("used") or {}
    counted = sorted(name for name in hard if (plural, group) in kinds_of(name, extended))
    if not counted or not applies(quota, plural, group, obj):
        return None
    name = meta.name(quota)
    if plural == "pods" and not group:
        missing = _unstated(obj, COMPUTE & hard.keys())
        if missing:
            raise _refuse(request, f"failed quota: {name}: must specify {missing}")
    if any(key not in used for key in counted):
        raise _refuse(request, f"status unknown for quota: {name}, resources: {','.join(counted)}")
    wanted = more if request.old is not None and applies(quota, plural, group, request.old) else whole
    limited = {key: value for key, value in wanted.items() if key in hard}
    if not limited:
        return None
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

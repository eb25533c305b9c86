"""Resource quota controller: the use of ResourceQuotas, counted anew.

Source: k8s.io/kubernetes/pkg/controller/resourcequota (v1.37).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from kubernel.client.reconciler import Reconciler
from kubernel.objects import meta, quantity
from kubernel_plugins.controller import pods
from kubernel_plugins.usage import (
    DEVICE_CLAIMS,
    DEVICE_CLASSES,
    applies,
    as_extended,
    extended_names,
    is_claim_of,
    kinds_of,
    pod_of_extended,
    total,
    usage,
)
from kubernel_plugins.volumes import attributes_classes

if TYPE_CHECKING:
    from kubernel.client.informer import Informer
    from kubernel.store.records import EventType, Obj

__all__ = ["Plugin"]

_AFTERWARDS = 5.0
"""Seconds after a creation until it is counted again: admission has counted it already, though perhaps at the same time
as a count here that could not see it yet."""


class Plugin(Reconciler):
    """The ``resourcequota`` controller."""

    resource = "resourcequotas"
    reads = (DEVICE_CLASSES,)
    resync = 300.0
    user = "system:serviceaccount:kube-system:resourcequota-controller"

    def __init__(self, settings: Any, handle: Any) -> None:
        super().__init__(settings, handle)
        self._followed: dict[tuple[str, str], Informer | None] = {}

    async def start(self) -> None:
        self._followed.clear()
        await super().start()

    def primary_changed(self, type: EventType, obj: Obj, old: Obj | None) -> None:
        # Each creation in the namespace changes the status: no reason to count.
        if old is None or (old.get("spec") or {}) != (obj.get("spec") or {}):
            super().primary_changed(type, obj, old)

    async def reconcile(self, namespace: str, name: str) -> None:
        quota = self.primary.get(name, namespace)
        if quota is None or meta.is_deleting(quota):
            return
        hard: dict[str, str] = (quota.get("spec") or {}).get("hard") or {}
        now = self.clock.time()
        before: dict[str, str] = (quota.get("status") or {}).get("used") or {}
        used: dict[str, str] = {}
        extended = extended_names(self.informer(DEVICE_CLASSES).list())
        kinds = {key: kinds_of(key, extended) for key in hard}
        for kind in sorted({kind for found in kinds.values() for kind in found}):
            informer = await self._follow(*kind)
            if informer is None:
                used |= {key: before[key] for key in kinds if kind in kinds[key] and key in before}
                continue
            if kind == DEVICE_CLAIMS:
                # What their pods count for is not counted twice.
                await self._follow("pods", "")
            counted = total(
                self._usage(kind, obj, now, extended)
                for obj in informer.list(namespace)
                if applies(quota, *kind, obj)
            )
            for key, found in kinds.items():
                # Once it is asked, a kind counts for all that anybody counts for.
                if kind in found or (found and key in counted):
                    amount = counted.get(key, "0")
                    used[key] = quantity.add(used[key], amount) if key in used else amount
        status = {"hard": hard, "used": used}
        if status != (quota.get("status") or {}):
            await self.client.update(self.resource, {**quota, "status": status}, subresource="status")

    def _usage(
        self, kind: tuple[str, str], obj: Obj, now: float, extended: Mapping[str, str]
    ) -> dict[str, str]:
        found = usage(*kind, obj, now)
        if kind != DEVICE_CLAIMS:
            return found
        pod: Obj | None = None
        pods = self._followed.get(("pods", ""))
        if pods is not None and (owner := pod_of_extended(obj)) is not None:
            pod = pods.get(owner[0], meta.namespace(obj))
        counted = usage("pods", "", pod, now) if pod is not None and is_claim_of(pod, obj) else {}
        return found | as_extended(found, extended, counted)

    async def _follow(self, plural: str, group: str) -> Informer | None:
        """The view of what a quota counts; None while nothing of that name is served."""
        key = plural, group
        informer = self._followed.get(key)
        if informer is None:
            served = await self.client.discover()
            version = next(
                (one["version"] for one in served if one["resource"] == plural and one["group"] == group),
                None,
            )
            if version is None:
                return None
            informer = self.informer(f"{plural}.{version}.{group}" if group else plural)
            await informer.synced()
            if self._followed.get(key) is None:
                self._followed[key] = informer
                self._listen(informer, self._recount(plural, group))
        return informer

    def _recount(self, plural: str, group: str) -> Callable[[EventType, Obj, Obj | None], None]:
        def changed(type: EventType, obj: Obj, old: Obj | None) -> None:
            if type == "ADDED":
                delay = _AFTERWARDS
            elif type == "DELETED" or _frees(plural, group, obj, old):
                delay = 0.0
            else:
                return
            for quota in self.primary.list(meta.namespace(obj)):
                self.queue.add(meta.key(quota), delay)

        return changed


def _frees(plural: str, group: str, obj: Obj, old: Obj | None) -> bool:
    """Whether a change makes the use another one, or puts the object into another scope."""
    if group or old is None:
        return False
    if plural == "pods":
        return (
            (pods.is_finished(obj) and not pods.is_finished(old))
            or _deadline(obj) != _deadline(old)
            or _resources(obj) != _resources(old)
        )
    if plural == "persistentvolumeclaims" and (
        attributes_classes(obj) != attributes_classes(old) or _allocated(obj) != _allocated(old)
    ):
        return True
    return plural in ("services", "persistentvolumeclaims") and obj.get("spec") != old.get("spec")


def _deadline(pod: Obj) -> bool:
    return (pod.get("spec") or {}).get("activeDeadlineSeconds") is not None


def _resources(pod: Obj) -> list[Any]:
    status = pod.get("status") or {}
    return [
        each.get("resources")
        for part in ("containerStatuses", "initContainerStatuses")
        for each in status.get(part) or ()
    ]


def _allocated(claim: Obj) -> Any:
    return (claim.get("status") or {}).get("allocatedResources")

"""Device taint eviction controller: pods leave devices that drivers or DeviceTaintRules have tainted NoExecute.

Source: k8s.io/kubernetes/pkg/controller/devicetainteviction (v1.37).
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from kubernel.client.reconciler import ObjectKey, Reconciler
from kubernel.clock import rfc3339
from kubernel.errors import NotFound
from kubernel.objects import conditions, meta, times
from kubernel_plugins.controller.devicetainteviction import status
from kubernel_plugins.controller.devicetainteviction.taints import (
    BY_POOL,
    Devices,
    Eviction,
    is_evicting,
    matches,
    pool_of,
    published,
    tainted,
)
from kubernel_plugins.controller.disrupting import disrupt
from kubernel_plugins.podclaims import claim_names

if TYPE_CHECKING:
    from kubernel.store.records import EventType, Obj

__all__ = ["Plugin"]

_RULES = "devicetaintrules.v1.resource.k8s.io"
_CLAIMS = "resourceclaims.v1.resource.k8s.io"
_SLICES = "resourceslices.v1.resource.k8s.io"
_STATUS_PERIOD = 10.0
"""Seconds between two changes of a rule's status at least."""
_REMEMBERED = 500
"""Pods of which is remembered that they have been told to go."""
_BY_CLAIM, _BY_DEVICE = "claim", "device"


def _on_pod(self: Plugin, type: EventType, pod: Obj, old: Obj | None) -> Iterable[ObjectKey]:
    if claim_names(pod) and (type == "DELETED" or old is None or _facts(pod) != _facts(old)):
        yield meta.key(pod)


def _facts(pod: Obj) -> tuple[object, object]:
    return pod["spec"].get("nodeName"), meta.get(pod, "status", "resourceClaimStatuses")


def _on_claim(self: Plugin, type: EventType, claim: Obj, old: Obj | None) -> Iterable[ObjectKey]:
    return self.users_of(claim)


def _on_slice(self: Plugin, type: EventType, slice: Obj, old: Obj | None) -> Iterable[ObjectKey]:
    return self.users_of_changed(slice)


def _pool(slice: Obj) -> str:
    return pool_of(slice["spec"]["driver"], slice["spec"]["pool"]["name"])


def _results(claim: Obj) -> Iterable[Any]:
    found: Iterable[Any] = meta.get(claim, "status", "allocation", "devices", "results", default=())
    return found


class Plugin(Reconciler):
    """The ``devicetainteviction`` controller. A key is a pod's, or a rule's name."""

    resource = _RULES
    watches = {"pods": _on_pod, _CLAIMS: _on_claim, _SLICES: _on_slice}  # noqa: RUF012 - typed in the base
    user = "system:serviceaccount:kube-system:device-taint-eviction-controller"

    async def start(self) -> None:
        self._ready = False
        self._begin()
        await super().start()
        self._pods = self.informer("pods")
        self._claims = self.informer(_CLAIMS)
        self._slices = self.informer(_SLICES)
        self._pods.add_index(
            _BY_CLAIM, lambda pod: [f"{meta.namespace(pod)}/{name}" for name in claim_names(pod)]
        )
        self._claims.add_index(
            _BY_DEVICE,
            lambda claim: {f"{each['driver']}/{each['pool']}/{each['device']}" for each in _results(claim)},
        )
        self._slices.add_index(BY_POOL, lambda each: (_pool(each),))
        self._devices = Devices(self._claims, self._slices)
        self._ready = True

    def _begin(self) -> None:
        self._leaving: dict[ObjectKey, tuple[Obj, Eviction]] = {}
        """The pods that have to go, and when."""
        self._gone: OrderedDict[str, None] = OrderedDict()
        self._evicted: Counter[str] = Counter()
        """Rule, by its uid -> pods that it has driven away."""
        self._changed: set[str] = set()
        """Rules of which nobody has looked yet whom they concern."""
        self._taints: dict[str, Any] = {}
        """Pool -> the taints of its devices when it was last looked at."""

    async def _work(self) -> None:
        self._begin()
        for slice in self._slices.list():
            self._taints[_pool(slice)] = tainted(self._slices.by(BY_POOL, _pool(slice)))
        self._changed.update(map(meta.name, self.primary.list()))
        for pod in self._pods.list():
            if claim_names(pod):
                self.queue.add(meta.key(pod))
        await super()._work()

    # --- whom a change concerns

    def users_of(self, claim: Obj) -> list[ObjectKey]:
        return (
            [meta.key(pod) for pod in self._pods.by(_BY_CLAIM, "/".join(meta.key(claim)))]
            if self._ready
            else []
        )

    def users_of_changed(self, slice: Obj) -> list[ObjectKey]:
        """The pods that use devices whose taints are not those of before."""
        if not self._ready:
            return []
        pool = _pool(slice)
        before, now = self._taints.get(pool, {}), tainted(self._slices.by(BY_POOL, pool))
        if now:
            self._taints[pool] = now
        else:
            self._taints.pop(pool, None)
        found: list[ObjectKey] = []
        for device in {*before, *now}:
            if before.get(device) != now.get(device):
                for claim in self._claims.by(_BY_DEVICE, f"{pool}/{device}"):
                    found += self.users_of(claim)
        return found

    def primary_changed(self, type: EventType, obj: Obj, old: Obj | None) -> None:
        if (
            type != "DELETED"
            and old is not None
            and meta.uid(old) == meta.uid(obj)
            and old["spec"] == obj["spec"]
        ):
            return
        self._changed.add(meta.name(obj))
        super().primary_changed(type, obj, old)

    async def reconcile(self, namespace: str, name: str) -> float | None:
        if namespace:
            return await self._reconcile_pod(namespace, name)
        rule = self.primary.get(name)
        # Told before anybody goes.
        wait = None if rule is None else await self._tell_status(rule)
        if name in self._changed:
            self._changed.discard(name)
            for claim in self._claims.list():
                for key in self.users_of(claim) if any(True for _ in _results(claim)) else ():
                    self.queue.add(key)
        return wait

    # --- pods

    def _evicting_rules(self) -> list[Obj]:
        return [rule for rule in self.primary.list() if is_evicting(rule["spec"]["taint"])]

    async def _reconcile_pod(self, namespace: str, name: str) -> float | None:
        key = namespace, name
        pod = self._pods.get(name, namespace)
        known = self._leaving.get(key)
        if pod is None or (known is not None and meta.uid(known[0]) != meta.uid(pod)):
            known = None
            self._leaving.pop(key, None)
        if pod is None or meta.uid(pod) in self._gone:
            return None
        eviction = self._devices.pod_eviction(pod, self._evicting_rules())
        if eviction is None:
            if self._leaving.pop(key, None) is not None:
                await self._tell(pod, "Cancelling deletion")
            return None
        self._leaving[key] = pod, eviction
        if known is None or known[1] != eviction:
            self._tell_later(eviction)
        left = eviction.at - self.clock.time()
        if left > 0:
            return left
        if await self._evict(pod):
            self._evicted.update(eviction.rules)
            self._tell_later(eviction)
        self._leaving.pop(key, None)
        self._gone[meta.uid(pod)] = None
        if len(self._gone) > _REMEMBERED:
            self._gone.popitem(last=False)
        return None

    def _tell_later(self, eviction: Eviction) -> None:
        for rule in self.primary.list():
            if meta.uid(rule) in eviction.rules:
                self.queue.add(meta.key(rule), _STATUS_PERIOD)

    async def _evict(self, pod: Obj) -> bool:
        """Say in the pod's status why it goes, then delete it; False when somebody else has done so."""
        name, namespace = meta.name(pod), meta.namespace(pod)
        try:
            live = await self.client.get("pods", name, namespace)
            if meta.uid(live) != meta.uid(pod):
                return False
            if meta.is_deleting(live):
                return True
            await self._tell(pod, "Marking for deletion")
            await disrupt(
                self.client,
                self.clock,
                live,
                "DeletionByDeviceTaintManager",
                "Device Taint manager: deleting due to NoExecute taint",
            )
        except NotFound:
            return False
        return True

    async def _tell(self, pod: Obj, what: str) -> None:
        metadata = {"namespace": meta.namespace(pod), "name": meta.name(pod), "uid": meta.uid(pod)}
        about = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata}
        await self.recorder.event(about, "Normal", "DeviceTaintManagerEviction", what)

    # --- rules

    async def _tell_status(self, rule: Obj) -> float | None:
        """Bring the rule's condition up to date; seconds until it may be, None when it is."""
        generation = rule["metadata"].get("generation", 0)
        old = conditions.find(rule, status.CONDITION) or {}
        now = self.clock.time()
        if old.get("observedGeneration") == generation:
            since = now - times.parse(old["lastTransitionTime"])
            if since < _STATUS_PERIOD:
                return _STATUS_PERIOD - since
        effect = rule["spec"]["taint"]["effect"]
        new = dict(
            zip(("status", "reason", "message"), status.told(effect, self._count(rule)), strict=True),
            type=status.CONDITION,
            observedGeneration=generation,
        )
        if any(old.get(field, "") != value for field, value in new.items()):
            new["lastTransitionTime"] = rfc3339(now)
            applied = {
                "apiVersion": "resource.k8s.io/v1",
                "kind": "DeviceTaintRule",
                "metadata": {"name": meta.name(rule), "uid": meta.uid(rule)},
                "status": {"conditions": [new]},
            }
            await self.client.patch(
                _RULES,
                meta.name(rule),
                applied,
                type="apply",
                subresource="status",
                field_manager=self.recorder.component,
                force=True,
            )
        return None

    def _count(self, rule: Obj) -> status.Count:
        evicted = self._evicted[meta.uid(rule)]
        effect = rule["spec"]["taint"]["effect"]
        if effect not in ("NoExecute", "None"):
            return status.Count(evicted=evicted)
        selected = [
            claim
            for claim in self._claims.list()
            if any(matches(rule, each["driver"], each["pool"], each["device"]) for each in _results(claim))
        ]
        going = {
            key
            for claim in selected
            for key in self.users_of(claim)
            if (pod := self._pods.get(key[1], key[0])) is not None
            and not meta.is_deleting(pod)
            and (eviction := self._devices.pod_eviction(pod, [rule])) is not None
            and meta.uid(rule) in eviction.rules
        }
        namespaces = len({namespace for namespace, _ in going})
        if effect == "NoExecute":
            return status.Count(len(going), namespaces, evicted=evicted)
        allocated = sum(
            matches(rule, each["driver"], each["pool"], each["device"])
            for claim in selected
            for each in _results(claim)
        )
        return status.Count(len(going), namespaces, self._published(rule), allocated, evicted)

    def _published(self, rule: Obj) -> int:
        """How many devices in slices the rule selects."""
        pools = {(each["spec"]["driver"], each["spec"]["pool"]["name"]) for each in self._slices.list()}
        return sum(
            matches(rule, driver, pool, device["name"])
            for driver, pool in pools
            for device in published(self._slices.by(BY_POOL, pool_of(driver, pool)))
        )

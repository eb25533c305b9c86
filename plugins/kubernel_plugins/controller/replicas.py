"""What keeps as many pods of a template alive as asked for: ReplicaSets and ReplicationControllers.

Source: k8s.io/kubernetes/pkg/controller/replicaset/{replica_set,replica_set_utils}.go (v1.37).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from kubernel.client.expectations import Expectations
from kubernel.client.reconciler import ObjectKey, Reconciler
from kubernel.clock import rfc3339
from kubernel.objects import conditions, meta
from kubernel_plugins.controller import pods
from kubernel_plugins.controller.ownership import Claims, adopters, index_orphans
from kubernel_plugins.controller.podcontrol import PodControl
from kubernel_plugins.controller.podcounts import PodCounts, Tally
from kubernel_plugins.controller.podranks import PodRanks, Ranks

if TYPE_CHECKING:
    from kubernel.errors import ApiError
    from kubernel.objects.selectors import Selector
    from kubernel.store.records import EventType, Obj
    from kubernel_plugins.controller.podcounts import Counts

__all__ = ["ReplicasController"]

_BURST = 500
"""Most pods created or deleted in one reconcile (upstream's BurstReplicas)."""


def _owners_of_orphan(
    self: ReplicasController, type: EventType, pod: Obj, old: Obj | None
) -> Iterable[ObjectKey]:
    return adopters(self.primary, type, pod, self.selector)


class ReplicasController(Reconciler):
    """Subclasses name ``resource``, ``kind`` and ``user`` and say what the selector is."""

    kind: ClassVar[str]
    owns = ("pods",)
    watches = {"pods": _owners_of_orphan}  # noqa: RUF012 - typed ClassVar in the base

    @staticmethod
    def selector(owner: Obj) -> Selector:
        """Which pods are the owner's."""
        raise NotImplementedError

    async def start(self) -> None:
        await super().start()
        # What an earlier run was interrupted in will not arrive.
        self._expected = Expectations(self.clock)
        self._pods = self.informer("pods")
        index_orphans(self._pods)
        self._claims = Claims(self.client, self.resource, "pods", self._pods)
        self._control = PodControl(self.client, self.recorder, self._expected)
        self._counts = PodCounts(self.kind)
        self._listen(self._pods, self._control.observe)
        self._ranks = PodRanks(self.kind)
        self._listen(self._pods, self._counts.observe)
        self._listen(self._pods, self._ranks.observe)

    async def reconcile(self, namespace: str, name: str) -> float | None:
        rs = self.primary.get(name, namespace)
        if rs is None:
            return None
        uid = meta.uid(rs)
        # Before the pods are looked at: an event in between would make an old count look like a new one.
        wait = self._expected.give_up_in(uid)
        selector = self.selector(rs)
        tally, owned = self._counts.of(uid), None
        if not self._settled(rs, selector, tally):
            owned = await self._claims.of(rs, selector, wanted=pods.is_active)
            tally = Tally(owned)
        counts = tally.counts(
            selector,
            meta.get(rs, "spec", "template", "metadata", "labels", default={}),
            rs["spec"].get("minReadySeconds", 0),
            self.clock.time(),
        )
        failure: ApiError | None = None
        if meta.is_deleting(rs):
            self._expected.forget(uid)
        elif not wait:
            failure = await self._manage(rs, counts.active, owned)
        await self._update_status(rs, counts, failure)
        return min(filter(None, (wait, counts.soonest)), default=None)

    def _settled(self, rs: Obj, selector: Selector, tally: Tally) -> bool:
        """Whether there is nothing to adopt and nothing to release."""
        if meta.is_deleting(rs):
            return True
        return not tally.has_strangers(selector) and not self._claims.adoptable(
            meta.namespace(rs), selector, wanted=pods.is_active
        )

    # --- pods

    async def _manage(self, rs: Obj, active: int, owned: Sequence[Obj] | None) -> ApiError | None:
        """``owned`` is None when the owner has no other pods than those the informer shows."""
        wanted = rs["spec"].get("replicas", 1)
        missing = wanted - active
        if missing > 0:
            pod = pods.from_template(rs["spec"]["template"], rs)
            _, failure = await self._control.create(rs, [pod] * min(missing, _BURST))
            return failure
        if missing < 0:
            ranks = self._ranks.of(meta.uid(rs)) if owned is None else Ranks(owned)
            gone = ranks.first(min(-missing, _BURST), self._pods_by_node(rs), self.clock.time())
            _, failure = await self._control.delete(rs, gone)
            return failure
        return None

    def _pods_by_node(self, rs: Obj) -> Counter[str]:
        """Active pods by node of all ReplicaSets that the same Deployment controls."""
        controller = meta.controller_of(rs)
        family = [rs] if controller is None else self.primary.by("owner", controller["uid"])
        counts: Counter[str] = Counter()
        for member in family:
            counts.update(self._ranks.of(meta.uid(member)).nodes)
        return counts

    # --- status

    async def _update_status(self, rs: Obj, counts: Counts, failure: ApiError | None) -> None:
        old = rs.get("status") or {}
        status: dict[str, Any] = {
            "replicas": counts.active,
            "fullyLabeledReplicas": counts.labelled,
            "readyReplicas": counts.ready,
            "availableReplicas": counts.available,
            "terminatingReplicas": counts.terminating,
            "observedGeneration": meta.get(rs, "metadata", "generation", default=0),
        }
        status = {
            key: value for key, value in status.items() if value or key in ("replicas", "terminatingReplicas")
        }
        found = old.get("conditions") or []
        if failure is not None:
            wanted = rs["spec"].get("replicas", 1)
            reason = "FailedCreate" if wanted > counts.active else "FailedDelete"
            if conditions.find(rs, "ReplicaFailure") is None:
                now = rfc3339(self.clock.time())
                found, _ = conditions.set(found, "ReplicaFailure", "True", reason, failure.message, now)
        else:
            found, _ = conditions.remove(found, "ReplicaFailure")
        if found:
            status["conditions"] = found
        if status != old:
            await self.client.update(self.resource, {**rs, "status": status}, subresource="status")
        if failure is not None:
            raise failure

"""StatefulSet controller: pods with an identity, in order.

Source: k8s.io/kubernetes/pkg/controller/statefulset (v1.37). ``identity`` says what belongs to an ordinal, ``claims``
looks after its volumes.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from kubernel.client.reconciler import Reconciler
from kubernel.errors import AlreadyExists, ApiError, NotFound
from kubernel.objects import meta
from kubernel.objects.selectors import from_object
from kubernel_plugins.controller import pods, revisions
from kubernel_plugins.controller.ownership import Claims as Ownership
from kubernel_plugins.controller.ownership import adopters, index_orphans
from kubernel_plugins.controller.statefulset import identity
from kubernel_plugins.controller.statefulset.claims import RESOURCE as CLAIMS
from kubernel_plugins.controller.statefulset.claims import Claims
from kubernel_plugins.controller.statefulset.identity import ordinal

if TYPE_CHECKING:
    from kubernel.client.reconciler import ObjectKey
    from kubernel.store.records import EventType, Obj

__all__ = ["Plugin"]

_HASH_LABEL = "controller.kubernetes.io/hash"
_BATCH = 500
_STALE_CLAIM_WAIT = 1.0


def _sets_of_orphan(self: Plugin, type: EventType, pod: Obj, old: Obj | None) -> Iterable[ObjectKey]:
    return adopters(self.primary, type, pod)


class _StaleClaim(Exception):
    """A claim still belongs to an earlier pod."""


@dataclass(slots=True)
class _View:
    """A StatefulSet at one moment. ``slots`` has a pod or None for each ordinal of the range."""

    owner: Obj
    current: Obj
    update: Obj
    slots: list[Obj | None]
    condemned: list[Obj]
    """Highest ordinal first."""
    now: float

    @property
    def min_ready(self) -> int:
        return int(self.owner["spec"].get("minReadySeconds", 0))

    @property
    def strategy(self) -> str:
        return str(meta.get(self.owner, "spec", "updateStrategy", "type", default="RollingUpdate"))

    @property
    def rolling(self) -> dict[str, Any]:
        found: dict[str, Any] = meta.get(self.owner, "spec", "updateStrategy", "rollingUpdate", default={})
        return found

    def up(self, pod: Obj | None) -> bool:
        """Running and available, whether it is going or not."""
        if pod is None or pods.phase(pod) != "Running":
            return False
        return pods.is_available(pod, self.min_ready, self.now)

    def unavailable(self, pod: Obj | None) -> bool:
        return pod is None or meta.is_deleting(pod) or not self.up(pod)

    @property
    def first_unavailable(self) -> Obj | None:
        """Of those there are, by ordinal, condemned ones last. A missing one is nobody's to delete."""
        for pod in (*self.slots, *reversed(self.condemned)):
            if self.unavailable(pod):
                return pod
        return None


class Plugin(Reconciler):
    """The ``statefulset`` controller."""

    resource = "statefulsets.v1.apps"
    owns = ("pods", revisions.RESOURCE)
    watches = {"pods": _sets_of_orphan}  # noqa: RUF012 - typed in the base
    reads = (CLAIMS,)
    user = "system:serviceaccount:kube-system:statefulset-controller"

    async def start(self) -> None:
        await super().start()
        self._pods = self.informer("pods")
        self._history = self.informer(revisions.RESOURCE)
        index_orphans(self._pods)
        index_orphans(self._history)
        self._pod_claims = Ownership(self.client, self.resource, "pods", self._pods)
        self._revision_claims = Ownership(self.client, self.resource, revisions.RESOURCE, self._history)
        self._claims = Claims(self.client, self.recorder, self.informer(CLAIMS))

    async def reconcile(self, namespace: str, name: str) -> float | None:
        owner = self.primary.get(name, namespace)
        if owner is None:
            return None
        selector = from_object(owner["spec"].get("selector") or {})
        history = revisions.ordered(await self._revision_claims.of(owner, selector))
        owned = await self._pod_claims.of(owner, selector, accept=lambda pod: identity.is_member(owner, pod))
        if meta.is_deleting(owner):
            return None
        current, update, collisions = await self._revisions(owner, history)
        view = self._view(owner, current, update, owned)
        again: float | None = None
        try:
            await self._advance(view)
        except _StaleClaim:
            again = _STALE_CLAIM_WAIT
        finally:
            # Also when a pod was refused, what there is has to be told.
            soonest = await self._put_status(view, owned, collisions)
        live = {meta.name(current), meta.name(update), *(identity.revision(pod) for pod in owned)}
        old = [one for one in history if meta.name(one) not in live]
        await revisions.prune(self.client, old, owner["spec"].get("revisionHistoryLimit", 10))
        return min((wait for wait in (again, soonest) if wait is not None), default=None)

    def _view(self, owner: Obj, current: Obj, update: Obj, owned: Sequence[Obj]) -> _View:
        first, count = identity.start(owner), identity.replicas(owner)
        slots: list[Obj | None] = [None] * count
        condemned: list[Obj] = []
        for pod in owned:
            place = ordinal(pod) - first
            if 0 <= place < count:
                slots[place] = pod
            else:
                condemned.append(pod)
        condemned.sort(key=ordinal, reverse=True)
        return _View(owner, current, update, slots, condemned, self.clock.time())

    # --- history

    async def _revisions(self, owner: Obj, history: Sequence[Obj]) -> tuple[Obj, Obj, int]:
        """(current revision, update revision, collision count)."""
        status = owner.get("status") or {}
        collisions = status.get("collisionCount") or 0
        equal = [one for one in history if revisions.matches(owner, one)]
        wanted = revisions.newest(history) + 1
        if equal and equal[-1] is history[-1]:
            update = equal[-1]
        elif equal:
            update = await revisions.renumber(self.client, equal[-1], wanted)
        else:
            update, collisions = await revisions.create(self.client, owner, wanted, collisions, _HASH_LABEL)
        current = next((one for one in history if meta.name(one) == status.get("currentRevision")), update)
        if meta.name(current) == meta.name(update):
            current = update
        return current, update, collisions

    # --- pods

    async def _advance(self, view: _View) -> None:
        """Create, then scale down, then update; in order each step waits for the one before."""
        first = identity.start(view.owner)
        numbers = range(first, first + len(view.slots))
        if identity.parallel(view.owner):
            await _in_batches([partial(self._tend, view, number) for number in numbers])
            await _in_batches([partial(self._dismiss, view, pod) for pod in view.condemned])
        else:
            for number in numbers:
                if await self._tend(view, number):
                    return
            for pod in view.condemned:
                if await self._dismiss(view, pod):
                    return
        if view.strategy == "RollingUpdate":
            await self._update(view)

    async def _tend(self, view: _View, number: int) -> bool:
        """One ordinal within the range. True: in order, the next one has to wait for it."""
        owner = view.owner
        pod = view.slots[number - identity.start(owner)]
        if pod is None:
            await self._create(view, number)
            return True
        if pods.is_finished(pod):
            if not meta.is_deleting(pod):
                await self._delete(owner, pod)
            return True
        ordered = not identity.parallel(owner)
        if pods.phase(pod) == "Pending" and not meta.is_deleting(pod):
            await self._claims.ensure(owner, number)
        if ordered and view.unavailable(pod):
            return True
        await self._claims.retain(owner, pod, condemned=False)
        changed = identity.with_identity(pod)
        if changed is not pod and not meta.is_deleting(pod):
            labels = {"metadata": {"uid": meta.uid(pod), "labels": meta.labels(changed)}}
            await self.client.patch("pods", meta.name(pod), labels, meta.namespace(pod))
            await self._tell(owner, pod, "Update")
        return False

    async def _dismiss(self, view: _View, pod: Obj) -> bool:
        """One pod beyond the range. True: in order, the next one has to wait for it."""
        await self._claims.retain(view.owner, pod, condemned=True)
        if meta.is_deleting(pod):
            return True
        ordered = not identity.parallel(view.owner)
        if ordered and not view.up(pod) and pod is not view.first_unavailable:
            return True
        await self._delete(view.owner, pod)
        return True

    async def _update(self, view: _View) -> None:
        """Delete pods of other revisions, the highest ordinal first, as many as may be missing."""
        partition = view.rolling.get("partition", 0)
        room = _max_unavailable(view) - sum(map(view.unavailable, view.slots))
        old = [
            pod
            for pod in reversed(view.slots[partition:])
            if pod is not None
            and not meta.is_deleting(pod)
            and identity.revision(pod) != meta.name(view.update)
        ]
        if identity.parallel(view.owner):
            # What is missing already is no loss, however many are.
            for pod in filter(view.unavailable, old):
                await self._delete(view.owner, pod)
            old = [pod for pod in old if not view.unavailable(pod)]
        for pod in old[: max(room, 0)]:
            await self._delete(view.owner, pod)

    async def _create(self, view: _View, number: int) -> None:
        owner = view.owner
        if self._claims.is_stale(owner, number):
            raise _StaleClaim
        made_from = view.update
        # The partition counts from the first ordinal.
        place = number - identity.start(owner)
        if view.strategy == "RollingUpdate" and place < view.rolling.get("partition", 0):
            made_from = view.current
        pod = identity.new_pod(revisions.apply(owner, made_from), number, meta.name(made_from))
        try:
            await self._claims.ensure(owner, number)
            created = await self.client.create("pods", pod, meta.namespace(owner))
        except AlreadyExists:
            raise
        except ApiError as error:
            await self._tell(owner, pod, "Create", error)
            raise
        await self._tell(owner, created, "Create")
        await self._claims.retain(owner, created, condemned=False)

    async def _delete(self, owner: Obj, pod: Obj) -> None:
        try:
            await self.client.delete("pods", meta.name(pod), meta.namespace(pod), uid=meta.uid(pod))
        except NotFound:
            return
        except ApiError as error:
            await self._tell(owner, pod, "Delete", error)
            raise
        await self._tell(owner, pod, "Delete")

    async def _tell(self, owner: Obj, pod: Obj, verb: str, error: ApiError | None = None) -> None:
        text = f"{verb} Pod {meta.name(pod)} in StatefulSet {meta.name(owner)}"
        if error is None:
            await self.recorder.event(owner, "Normal", f"Successful{verb}", f"{text} successful")
        else:
            await self.recorder.event(
                owner, "Warning", f"Failed{verb}", f"{text} failed error: {error.message}"
            )

    # --- status

    async def _put_status(self, view: _View, owned: Sequence[Obj], collisions: int) -> float | None:
        owner, count = view.owner, identity.replicas(view.owner)
        current, update = meta.name(view.current), meta.name(view.update)
        ready = available = of_current = of_update = 0
        soonest: float | None = None
        for pod in owned:
            since = pods.ready_since(pod) if pods.phase(pod) == "Running" else None
            if since is not None:
                ready += 1
                available += (up := view.up(pod))
                if not up:
                    wait = since + view.min_ready - view.now
                    soonest = wait if soonest is None else min(soonest, wait)
            if not meta.is_deleting(pod):
                of_current += identity.revision(pod) == current
                of_update += identity.revision(pod) == update
        if view.strategy == "RollingUpdate" and of_update == ready == len(owned) == count:
            current, of_current = update, of_update
        counts = {"readyReplicas": ready, "currentReplicas": of_current, "updatedReplicas": of_update}
        old = owner.get("status") or {}
        status: dict[str, Any] = {
            **({"conditions": old["conditions"]} if old.get("conditions") else {}),
            "observedGeneration": meta.get(owner, "metadata", "generation", default=0),
            "replicas": len(owned),
            "availableReplicas": available,
            **{key: value for key, value in counts.items() if value},
            "currentRevision": current,
            "updateRevision": update,
            "collisionCount": collisions,
        }
        if status != old:
            await self.client.update(self.resource, {**owner, "status": status}, subresource="status")
        return soonest


def _max_unavailable(view: _View) -> int:
    """How many may be unavailable during an update; at least one."""
    value = view.rolling.get("maxUnavailable", 1)
    if isinstance(value, str):
        value = math.floor(int(value.rstrip("%")) * len(view.slots) / 100)
    return max(int(value), 1)


async def _in_batches(work: Sequence[Callable[[], Awaitable[object]]]) -> None:
    """1, 2, 4, … at a time; the first failure ends it once its batch is through."""
    done, size = 0, 1
    while done < len(work):
        part = work[done : done + size]
        results = await asyncio.gather(*(one() for one in part), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        done += len(part)
        size = min(2 * size, _BATCH)

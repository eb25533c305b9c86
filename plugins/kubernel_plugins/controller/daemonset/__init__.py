"""DaemonSet controller: one pod on each node that should have it.

Source: k8s.io/kubernetes/pkg/controller/daemon (v1.37). ``placement`` says where, ``rollout`` what next.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kubernel.client.expectations import Expectations
from kubernel.client.reconciler import Reconciler
from kubernel.objects import meta
from kubernel.objects.selectors import from_object
from kubernel_plugins.controller import pods, revisions
from kubernel_plugins.controller.daemonset.placement import Fit, fit, pod_for, target
from kubernel_plugins.controller.daemonset.rollout import Plan, View, age, roll, steady
from kubernel_plugins.controller.ownership import Claims, adopters, index_orphans
from kubernel_plugins.controller.podcontrol import PodControl

if TYPE_CHECKING:
    from kubernel.client.reconciler import ObjectKey
    from kubernel.objects.selectors import Selector
    from kubernel.store.records import EventType, Obj

__all__ = ["Plugin"]

_BURST = 250
_FIRST_BACKOFF = 1.0
_LAST_BACKOFF = 900.0


def _sets_of_orphan(self: Plugin, type: EventType, pod: Obj, old: Obj | None) -> Iterable[ObjectKey]:
    return adopters(self.primary, type, pod)


def _sets_of_node(self: Plugin, type: EventType, node: Obj, old: Obj | None) -> Iterable[ObjectKey]:
    """DaemonSets for which the change of a node makes a difference; heartbeats make none."""
    if type == "MODIFIED" and old is not None:
        same = meta.labels(node) == meta.labels(old) and _taints(node) == _taints(old)
        if same:
            return ()
        return [meta.key(ds) for ds in self.primary.list() if fit(ds, node) != fit(ds, old)]
    return [meta.key(ds) for ds in self.primary.list() if type == "DELETED" or fit(ds, node).runs]


def _taints(node: Obj) -> Any:
    return (node.get("spec") or {}).get("taints") or ()


class Plugin(Reconciler):
    """The ``daemonset`` controller."""

    resource = "daemonsets.v1.apps"
    owns = ("pods", revisions.RESOURCE)
    watches = {"pods": _sets_of_orphan, "nodes": _sets_of_node}  # noqa: RUF012 - typed in the base
    user = "system:serviceaccount:kube-system:daemon-set-controller"
    component = "daemonset-controller"

    def __init__(self, settings: Any, handle: Any) -> None:
        super().__init__(settings, handle)
        self._expected = Expectations(handle.clock)
        self._backoff: dict[tuple[str, str], tuple[float, float]] = {}
        """(uid, node) -> (seconds to wait, since when) after a pod failed there."""

    async def start(self) -> None:
        await super().start()
        self._pods = self.informer("pods")
        self._nodes = self.informer("nodes")
        self._history = self.informer(revisions.RESOURCE)
        index_orphans(self._pods)
        index_orphans(self._history)
        self._pod_claims = Claims(self.client, self.resource, "pods", self._pods)
        self._revision_claims = Claims(self.client, self.resource, revisions.RESOURCE, self._history)
        self._control = PodControl(self.client, self.recorder, self._expected)
        self._unlisten.append(self._pods.add_listener(self._control.observe))

    async def reconcile(self, namespace: str, name: str) -> float | None:
        ds = self.primary.get(name, namespace)
        if ds is None:
            return None
        uid = meta.uid(ds)
        selector = from_object(ds["spec"].get("selector") or {})
        if selector.everything:
            text = "This daemon set is selecting all pods. A non-empty selector is required."
            await self.recorder.event(ds, "Warning", "SelectingAll", text)
            return None
        if meta.is_deleting(ds):
            self._expected.forget(uid)
            self._forget_failures(uid, ())
            return None
        found = await self._revision_claims.of(ds, selector)
        digest, old, collisions = await self._current(ds, found, selector)
        # Before the pods are looked at: an event in between would make an old count look like a new one.
        observed = self._expected.satisfied(uid)
        owned = await self._pod_claims.of(ds, selector)
        view = self._view(ds, owned, digest)
        again: float | None = None
        try:
            if observed:
                self._forget_failures(uid, view.fits)
                plan, again = await self._steady(view)
                await self._carry_out(view, plan)
                if self._expected.satisfied(uid):
                    await self._advance(view)
                await self._clean_up(ds, old, owned)
        finally:
            # Also when a pod was refused: what was seen is told.
            soonest = await self._put_status(view, observed, collisions)
        return _sooner(again, soonest)

    def _view(self, ds: Obj, owned: Sequence[Obj], digest: str) -> View:
        by_node: dict[str, list[Obj]] = defaultdict(list)
        for pod in owned:
            # One that has ended and waits only for a finalizer is in nobody's way.
            if not (pods.is_finished(pod) and meta.is_deleting(pod)):
                by_node[target(pod)].append(pod)
        fits = {meta.name(node): fit(ds, node) for node in self._nodes.list()}
        return View(ds, digest, self.clock.time(), fits, by_node)

    # --- pods

    async def _steady(self, view: View) -> tuple[Plan, float | None]:
        told: list[tuple[str, Obj]] = []
        again: float | None = None

        def ended(node: str, pod: Obj) -> bool:
            nonlocal again
            if pods.phase(pod) == "Failed" and (wait := self._hold_back(view, node)) > 0:
                again = _sooner(again, wait)
                return False
            told.append((node, pod))
            return True

        plan = steady(view, ended)
        for node, pod in told:
            where = f"{meta.namespace(pod)}/{meta.name(pod)} on node {node}"
            if pods.phase(pod) == "Failed":
                text = f"Found failed daemon pod {where}, will try to kill it"
                await self.recorder.event(view.daemons, "Warning", "FailedDaemonPod", text)
            else:
                text = f"Found succeeded daemon pod {where}, will try to delete it"
                await self.recorder.event(view.daemons, "Normal", "SucceededDaemonPod", text)
        return plan, again

    def _hold_back(self, view: View, node: str) -> float:
        """Seconds for which a failed pod has to stay; 0 lets it go and makes the next one wait longer."""
        key = meta.uid(view.daemons), node
        wait, since = self._backoff.get(key, (0.0, 0.0))
        if view.now - since > 2 * _LAST_BACKOFF:
            wait = 0.0
        if view.now - since < wait:
            return since + wait - view.now
        self._backoff[key] = (min(wait * 2, _LAST_BACKOFF) or _FIRST_BACKOFF, view.now)
        return 0.0

    def _forget_failures(self, uid: str, nodes: Iterable[str] | Mapping[str, Fit]) -> None:
        for key in [key for key in self._backoff if key[0] == uid and key[1] not in nodes]:
            del self._backoff[key]

    async def _advance(self, view: View) -> None:
        strategy = view.daemons["spec"].get("updateStrategy") or {}
        if strategy.get("type", "RollingUpdate") == "RollingUpdate":
            await self._carry_out(view, roll(view))

    async def _carry_out(self, view: View, plan: Plan) -> None:
        made = [pod_for(view.daemons, node, view.digest) for node in plan.create[:_BURST]]
        _, unmade = await self._control.create(view.daemons, made)
        _, kept = await self._control.delete(view.daemons, plan.delete[:_BURST])
        for refusal in (unmade, kept):
            if refusal is not None:
                raise refusal

    # --- history

    async def _current(self, ds: Obj, found: Sequence[Obj], selector: Selector) -> tuple[str, list[Obj], int]:
        """(the hash of the template's revision, the other revisions, collision count)."""
        collisions = (ds.get("status") or {}).get("collisionCount") or 0
        labelled = [await self._labelled(one) for one in found]
        same = revisions.ordered(one for one in labelled if revisions.matches(ds, one))
        old = [one for one in labelled if not revisions.matches(ds, one)]
        wanted = revisions.newest(old) + 1
        if not same:
            made, collisions = await revisions.create(
                self.client, ds, wanted, collisions, revisions.HASH_LABEL
            )
            return meta.labels(made)[revisions.HASH_LABEL], old, collisions
        current = same[-1]
        digest = meta.labels(current)[revisions.HASH_LABEL]
        if len(same) > 1:
            for pod in await self._pod_claims.of(ds, selector):
                if meta.labels(pod).get(revisions.HASH_LABEL) != digest:
                    labels = {"metadata": {"labels": {revisions.HASH_LABEL: digest}}}
                    await self.client.patch("pods", meta.name(pod), labels, meta.namespace(pod))
            await revisions.prune(self.client, same[:-1], 0)
        if revisions.number(current) < wanted:
            await revisions.renumber(self.client, current, wanted)
        return digest, old, collisions

    async def _labelled(self, revision: Obj) -> Obj:
        """Whose label was lost is known by its name from then on."""
        if revisions.HASH_LABEL in meta.labels(revision):
            return revision
        labels = {**meta.labels(revision), revisions.HASH_LABEL: meta.name(revision)}
        changed = meta.replace(revision, ("metadata", "labels"), labels)
        return await self.client.update(revisions.RESOURCE, changed)

    async def _clean_up(self, ds: Obj, old: Sequence[Obj], owned: Sequence[Obj]) -> None:
        keep = ds["spec"].get("revisionHistoryLimit", 10)
        if len(old) <= keep:
            return
        live = {meta.labels(pod).get(revisions.HASH_LABEL) for pod in owned}
        unused = [one for one in old if meta.labels(one).get(revisions.HASH_LABEL) not in live]
        await revisions.prune(self.client, unused, max(keep - (len(old) - len(unused)), 0))

    # --- status

    async def _put_status(self, view: View, observed: bool, collisions: int) -> float | None:
        ds = view.daemons
        counts = dict.fromkeys(
            (
                "currentNumberScheduled",
                "numberMisscheduled",
                "desiredNumberScheduled",
                "numberReady",
                "updatedNumberScheduled",
                "numberAvailable",
            ),
            0,
        )
        soonest: float | None = None
        for node, place in view.fits.items():
            found = view.by_node.get(node)
            if not place.runs:
                counts["numberMisscheduled"] += bool(found)
                continue
            counts["desiredNumberScheduled"] += 1
            if not found:
                continue
            counts["currentNumberScheduled"] += 1
            pod = min(found, key=age)
            since = pods.ready_since(pod)
            if since is not None:
                counts["numberReady"] += 1
                counts["numberAvailable"] += view.available(pod)
            counts["updatedNumberScheduled"] += view.is_new(pod)
            for each in found:
                since = pods.ready_since(each)
                if since is not None and not view.available(each):
                    soonest = _sooner(soonest, since + ds["spec"].get("minReadySeconds", 0) - view.now)
        counts["numberUnavailable"] = counts["desiredNumberScheduled"] - counts["numberAvailable"]
        old = ds.get("status") or {}
        generation = meta.get(ds, "metadata", "generation", default=0) if observed else 0
        status: dict[str, Any] = {
            **{key: value for key, value in old.items() if key not in counts},
            **{key: value for key, value in counts.items() if value or key in _ALWAYS},
        }
        if generation:
            status["observedGeneration"] = generation
        if collisions:
            status["collisionCount"] = collisions
        if status != old:
            await self.client.update(self.resource, {**ds, "status": status}, subresource="status")
        return soonest


_ALWAYS = frozenset(("currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady"))


def _sooner(first: float | None, second: float | None) -> float | None:
    known = [value for value in (first, second) if value is not None]
    return min(known) if known else None

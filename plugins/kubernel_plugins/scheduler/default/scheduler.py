"""The scheduling loop: pods come out of the queue, get a node, and are bound while the next one is looked at.

Source: k8s.io/kubernetes/pkg/scheduler/schedule_one.go and eventhandlers.go (v1.37).
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from kubernel.clock import rfc3339
from kubernel.errors import ApiError, Conflict, KubernelError, NotFound
from kubernel.objects import conditions, meta
from kubernel.plugin.scheduling import Change, Nomination, PolicyError, Wait
from kubernel_plugins.scheduler.default.context import SchedulerContext, Supposed
from kubernel_plugins.scheduler.default.extenders import Extenders, Verdict
from kubernel_plugins.scheduler.default.gangs import GangCycle
from kubernel_plugins.scheduler.default.messages import unschedulable
from kubernel_plugins.scheduler.default.metrics import Metrics, render
from kubernel_plugins.scheduler.default.nominations import Nominations
from kubernel_plugins.scheduler.default.pods import pod_state, refreshed, resizing
from kubernel_plugins.scheduler.default.profile import Profile
from kubernel_plugins.scheduler.default.queue import Attempt, SchedulingQueue
from kubernel_plugins.scheduler.default.table import NodeTable
from kubernel_plugins.scheduler.default.waiting import Decision, WaitingPods
from kubernel_plugins.webhooks import Caller

if TYPE_CHECKING:
    from kubernel.client import Client
    from kubernel.client.informer import Informer
    from kubernel.client.series import SeriesRecorder
    from kubernel.plugin.scheduling import PodState, Policy, PolicyFactory
    from kubernel.store.records import EventType, Obj
    from kubernel_plugins.scheduler.default.configuration import SchedulerSettings
    from kubernel_plugins.scheduler.default.cycle import Evaluation

__all__ = ["Scheduler"]

T = TypeVar("T")

_FLUSH_PERIOD = 30.0


class Scheduler:
    """Gives the pods of its profiles a node.

    ``follow`` begins to take in what happens; ``work`` schedules until it is cancelled. Both may be called
    again, by a scheduler that leads again.
    """

    def __init__(
        self,
        handle: Any,
        client: Client,
        settings: SchedulerSettings,
        factories: Sequence[PolicyFactory],
        recorders: Callable[[str], SeriesRecorder],
        parallel_binds: int,
    ) -> None:
        self.clock, self.rng, self._log = handle.clock, handle.rng, handle.log
        self._client = client
        self._parallel_binds = parallel_binds
        self.election = settings.election
        self.extenders = Extenders(settings.extenders, Caller(handle), handle.log)
        self.table = NodeTable()
        self.nominations = Nominations()
        self.held = WaitingPods(self.clock)
        self._contexts = {
            each.scheduler_name: SchedulerContext(self, handle, client, recorders(each.scheduler_name))
            for each in settings.profiles
        }
        self.profiles = {
            each.scheduler_name: Profile(each, factories, self._contexts[each.scheduler_name], self.table)
            for each in settings.profiles
        }
        self.metrics = Metrics()
        self.queue = SchedulingQueue(
            self.clock,
            incoming=self.metrics.incoming,
            order=lambda pod: self.profile(pod).sort_key(pod),
            gate=lambda pod: self.profile(pod).gates(pod),
            sign=lambda pod: self.profile(pod).signature(pod),
            backoff=(settings.first_backoff, settings.last_backoff),
        )
        self._attempts: dict[str, Attempt] = {}
        """Of pods that are being bound."""
        self._assumed: dict[str, str] = {}
        """The nodes of pods for which something is kept there until they are bound."""
        self._unlisten: list[Callable[[], None]] = []
        self._starting = asyncio.Lock()
        self._following = False
        self._started: list[Policy] = []
        self._followed: dict[str, Informer] = {}
        self.pods = client.informer("pods")

    def profile(self, pod: PodState) -> Profile:
        return self.profiles[pod.pod["spec"].get("schedulerName") or "default-scheduler"]

    def evaluation(self, pod: PodState) -> Evaluation:
        """What the pod's profile says about it, now."""
        profile = self.profile(pod)
        return profile.evaluation(self.queue.signature(pod.uid) or profile.signature(pod))

    def render_metrics(self) -> str:
        return render(self.metrics, self.queue, self.table)

    # --- life

    async def follow(self) -> None:
        """Start the policies and take in nodes and pods; all that is there is known when this returns. Does
        nothing when already done."""
        async with self._starting:
            if not self._following:
                await self._follow()
                self._following = True

    async def _follow(self) -> None:
        for profile in self.profiles.values():
            for policy in profile.policies.values():
                await policy.start()
                self._started.append(policy)
        nodes = self._client.informer("nodes")
        await nodes.synced()
        await self.pods.synced()
        self._unlisten += [nodes.add_listener(self._on_node), self.pods.add_listener(self._on_pod)]

    async def follow_also(self, resource: str) -> Informer:
        """As ``Context.follow``."""
        informer = self._followed.get(resource)
        if informer is None:
            informer = self._followed[resource] = self._client.informer(resource)
            await informer.synced()

            def tell(type: EventType, obj: Obj, old: Obj | None) -> None:
                self.queue.changed(Change(resource, type, obj, old))

            self._unlisten.append(informer.add_listener(tell))
        return informer

    async def stop(self) -> None:
        for remove in self._unlisten:
            remove()
        self._unlisten.clear()
        self._followed.clear()
        self._following = False
        self.queue.close()
        self.held.close()
        await self.extenders.close()
        started, self._started = self._started, []
        for policy in started:
            await policy.stop()

    async def work(self) -> None:
        binds = asyncio.Semaphore(self._parallel_binds)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._flush(), name="scheduler flush")
                while True:
                    await self._schedule(await self.queue.pop(), group, binds)
        finally:
            # Whoever was between the queue and its binding waits again; what was bound, the informer will tell.
            for pod in self.queue.taken():
                self._unassume(pod, self.profile(pod))

    async def _flush(self) -> None:
        while True:
            await self.clock.sleep(_FLUSH_PERIOD)
            self.queue.flush()

    # --- events

    def _on_node(self, type: EventType, node: Obj, old: Obj | None) -> None:
        if type == "DELETED":
            self.table.remove_node(meta.name(node))
        elif not self.table.set_node(node):
            return
        self.queue.changed(Change("nodes", type, node, old))

    def _on_pod(self, type: EventType, pod: Obj, old: Obj | None) -> None:
        uid = meta.uid(pod)
        if type == "DELETED" or (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
            self.queue.remove(uid)
            self.nominations.remove(uid)
            self.held.reject(uid, "", "removed")
            if self.table.take_off(uid):
                self.queue.changed(Change("pods", "DELETED", pod, old))
        elif node := pod["spec"].get("nodeName"):
            self._on_bound_pod(uid, node, pod, old)
        elif self._is_ours(pod):
            state = pod_state(pod)
            self.queue.add(state)
            promised = (pod.get("status") or {}).get("nominatedNodeName")
            if promised and self.table.pod(uid) is None:
                self.nominations.add(state, promised)
        else:
            self.queue.remove(uid)

    def _on_bound_pod(self, uid: str, node: str, pod: Obj, old: Obj | None) -> None:
        self.queue.remove(uid)
        self.nominations.remove(uid)
        before = old if old is not None and old["spec"].get("nodeName") == node else None
        if before is not None and _placing(before) == _placing(pod):
            return
        assumed = self.table.pod(uid)
        known = assumed[0] if assumed is not None and assumed[1] == node else None
        self.table.place(pod_state(pod) if known is None else refreshed(known, pod), node)
        self.queue.changed(Change("pods", "ADDED" if before is None else "MODIFIED", pod, before))

    def _is_ours(self, pod: Obj) -> bool:
        name = pod["spec"].get("schedulerName") or "default-scheduler"
        return name in self.profiles and not meta.is_deleting(pod)

    # --- one pod

    async def _schedule(self, pod: PodState, group: asyncio.TaskGroup, binds: asyncio.Semaphore) -> None:
        profile = self.profile(pod)
        if (gang := profile.gang(pod)) is not None:
            await GangCycle(self, profile, *gang).schedule(pod, group, binds)
            return
        evaluation = self.evaluation(pod)
        begun = self.clock.monotonic()
        try:
            refused = None
            if self.extenders.decide(pod):
                row, refused = await self._ask_extenders(pod, evaluation)
            else:
                row = self.choose(pod, evaluation)
            self.metrics.algorithm.observe(self.clock.monotonic() - begun)
            if row is None:
                await self._no_node(pod, profile, evaluation, refused)
                return
        except PolicyError as error:
            self.queue.fail(pod, retry=True)
            await self.tell(pod, profile, str(error), "", reason="SchedulerError")
            return
        node = self.table.name(row)
        try:
            refusal = self.assume(pod, node, profile)
        except PolicyError as error:
            await self._give_up(pod, profile, str(error), bound=False)
            return
        if refusal is not None:
            await self._give_up(pod, profile, refusal.text, refusal.policy, bound=False)
            return
        await self.begin_binding(pod, node, profile, group, binds)

    async def _ask_extenders(
        self, pod: PodState, evaluation: Evaluation
    ) -> tuple[int | None, Verdict | None]:
        """The row of the best node, and what the extenders said where there is none."""
        table = self.table
        nodes = [table.node(int(row)) for row in evaluation.fitting(pod, self.nominations).nonzero()[0]]
        if not nodes:
            return None, None
        try:
            verdict = await self.extenders.filter(pod, nodes)
        except KubernelError as error:
            raise PolicyError(str(error)) from None
        passed = set(verdict.passed)
        left = [node for node in nodes if node["metadata"]["name"] in passed]
        scores = await self.extenders.prioritize(pod, left) if len(left) > 1 else {}
        only, extra = table.marked(passed), table.spread(scores)
        return evaluation.choose_among(pod, self.rng, self.nominations, only, extra), verdict

    def choose(self, pod: PodState, evaluation: Evaluation) -> int | None:
        """The row of the node that was promised to the pod, if it fits there, or of the best one."""
        if promised := self.nominations.node_of(pod.uid):
            row = self.table.row(promised)
            evaluation.update(pod)
            others = self.nominations.for_row(pod, promised, self.table)
            if row is not None and evaluation.fits_at(pod, row, others):
                return row
        return evaluation.choose(pod, self.rng, self.nominations)

    def assume(self, pod: PodState, node: str, profile: Profile) -> Decision | None:
        """The pod counts on the node from now on. Why it may not have it after all; None when it may. PolicyError."""
        self.nominations.remove(pod.uid)
        self.table.place(pod, node)
        self._assumed[pod.uid] = node
        return self._reserve(pod, node, profile)

    async def begin_binding(
        self,
        pod: PodState,
        node: str,
        profile: Profile,
        group: asyncio.TaskGroup,
        binds: asyncio.Semaphore,
    ) -> None:
        self._attempts[pod.uid] = self.queue.attempt(pod.uid)
        await binds.acquire()
        group.create_task(self._bind(pod, node, profile, binds), name=f"bind {pod.namespace}/{pod.name}")

    def _reserve(self, pod: PodState, node: str, profile: Profile) -> Decision | None:
        """Why the pod may not have the node after all; None when everything it needs there is kept for it."""
        with self._measured("Reserve", profile) as measured:
            for policy in profile.at("reserve"):
                try:
                    refusal = policy.reserve(pod, node)
                except PolicyError as error:
                    raise PolicyError(f'running Reserve plugin "{policy.name}": {error}') from error
                if refusal:
                    measured.status = "Unschedulable"
                    return Decision(policy.name, refusal)
        if not profile.at("permit"):
            return None
        waits = {}
        with self._measured("Permit", profile) as measured:
            for policy in profile.at("permit"):
                answer = policy.permit(pod, node)
                if isinstance(answer, Wait):
                    waits[policy.name] = answer.seconds
                elif answer:
                    measured.status = "Unschedulable"
                    return Decision(policy.name, answer)
            if waits:
                measured.status = "Wait"
                self.held.hold(pod, waits)
        return None

    def _measured(self, point: str, profile: Profile) -> _Measured:
        return _Measured(self, point, profile.scheduler_name)

    async def _bind(self, pod: PodState, node: str, profile: Profile, binds: asyncio.Semaphore) -> None:
        doing, attempt = "", self._attempts.pop(pod.uid)
        promised = False
        try:
            if pod.uid in self.held:
                promised = True
                await self.patch_status(pod, {"nominatedNodeName": node})
                since = self.clock.monotonic()
                refusal = await _aside(binds, self.held.wait(pod.uid))
                self.metrics.permit_wait(_result(refusal), self.clock.monotonic() - since)
                if refusal is not None and refusal.taken_back:
                    await self._give_up(pod, profile, f"waiting on permit for pod: {refusal.text}")
                    return
                if refusal is not None:
                    await self._give_up(pod, profile, refusal.text, refusal.policy)
                    return
            self.queue.placed(pod.uid)
            with self._measured("PreBind", profile):
                for policy in profile.at("pre_bind"):
                    doing = f'running PreBind plugin "{policy.name}"'
                    if (work := policy.pre_bind(pod, node)) is not None:
                        await _aside(binds, self._prepare(pod, work, "" if promised else node))
                        promised = True
            doing = ""
            if (binder := self.extenders.binder(pod)) is not None:
                await binder.bind(pod, node)
            else:
                with self._measured("Bind", profile):
                    for policy in profile.at("bind"):
                        doing = f'running Bind plugin "{policy.name}"'
                        answer = policy.bind(pod, node)
                        if inspect.isawaitable(answer) and await answer:
                            break
        except KubernelError as error:
            await self._give_up(pod, profile, f"{doing}: {error}" if doing else str(error))
            return
        finally:
            binds.release()
        self._assumed.pop(pod.uid, None)
        now = self.clock.monotonic()
        self.metrics.attempt(profile.scheduler_name, "scheduled", now - attempt.begun)
        self.metrics.scheduled(attempt.number, now - attempt.entered)
        self.metrics.after_flush += attempt.flushed
        with self._measured("PostBind", profile):
            for policy in profile.at("post_bind"):
                policy.post_bind(pod, node)
        message = f"Successfully assigned {pod.namespace}/{pod.name} to {node}"
        self._contexts[profile.scheduler_name].event(pod.pod, "Normal", "Scheduled", "Binding", message)

    async def _prepare(self, pod: PodState, work: Awaitable[None], promised: str) -> None:
        """What has to be done before the pod is bound. ``promised``: the node others are to be told of meanwhile."""
        with self.held.preparing(pod.uid):
            if promised:
                await self.patch_status(pod, {"nominatedNodeName": promised})
            await work

    async def _give_up(
        self, pod: PodState, profile: Profile, why: str, policy: str | None = None, *, bound: bool = True
    ) -> None:
        """The pod does not get its node: ``policy`` refused it there (an empty name for nobody's), or something went
        wrong. ``bound``: others may have seen it there."""
        if self._unassume(pod, profile, None if policy is None else (policy,), bound=bound):
            if policy is None:
                await self.tell(pod, profile, why, "", reason="SchedulerError")
            else:
                await self.tell(pod, profile, f"0/1 nodes are available: 1 {why}.", "")

    def _unassume(
        self, pod: PodState, profile: Profile, refused_by: Iterable[str] | None = None, *, bound: bool = True
    ) -> bool:
        """The pod was not bound as intended, None: for no policy's refusal; whether it still waits for a node."""
        self.give_back(pod, profile)
        current = self.pods.get(pod.name, pod.namespace)
        if current is not None and meta.uid(current) == pod.uid and current["spec"].get("nodeName"):
            return False
        there = self.table.take_off(pod.uid)
        waits = current is not None and meta.uid(current) == pod.uid and self._is_ours(current)
        if not waits:
            self.queue.remove(pod.uid)
        elif refused_by is None:
            self.queue.fail(pod, retry=True)
        else:
            known = [profile.policies[name] for name in refused_by if name in profile.policies]
            self.queue.fail(pod, known)
        if there and bound:
            self.queue.changed(Change("pods", "DELETED", pod.pod), but=pod.uid)
        return waits

    def give_back(self, pod: PodState, profile: Profile) -> None:
        """What was reserved for an assumed pod."""
        self.held.forget(pod.uid)
        node = self._assumed.pop(pod.uid, None)
        if node is not None:
            for policy in reversed(profile.at("reserve")):
                policy.unreserve(pod, node)

    def _failed(self, pod: PodState, profile: Profile, result: str) -> None:
        begun = self.queue.attempt(pod.uid).begun
        self.metrics.attempt(profile.scheduler_name, result, self.clock.monotonic() - begun)

    # --- when no node fits

    async def _no_node(
        self, pod: PodState, profile: Profile, evaluation: Evaluation, verdict: Verdict | None = None
    ) -> None:
        found = evaluation.diagnose(pod)
        refused_by = [profile.policies[name] for name in sorted(found.policies)]
        if verdict is not None:
            # What may make an extender change its mind nobody knows.
            refused_by = []
            found.reasons.update((*verdict.failed.values(), *verdict.never.values()))
            found = replace(found, lasting=found.lasting | self.table.marked(verdict.never))
        said: list[str] = []
        nominated: str | None = None
        if found.nodes:
            self.metrics.preemptions += bool(profile.at("post_filter"))
            names = [policy.name for policy in profile.at("filter")]
            # When all nodes are refused at once those after the one that refused were not asked.
            asked = names[: names.index(min(found.policies)) + 1] if found.everywhere else names
            cycle = Supposed(self, pod, evaluation, found.lasting, asked)
            said, nominated = await self._make_room(pod, profile, cycle)
        if pod.uid in self.queue and nominated:
            self.nominations.add(pod, nominated)
        self.queue.fail(pod, refused_by)
        await self.tell(pod, profile, unschedulable(found, said), nominated)

    async def _make_room(
        self, pod: PodState, profile: Profile, cycle: Supposed
    ) -> tuple[list[str], str | None]:
        """What the policies said that tried to, and the node that was promised to the pod (empty: none any more)."""
        said: list[str] = []
        nominated: str | None = None
        with self._measured("PostFilter", profile) as measured:
            measured.status = "Unschedulable"
            for policy in profile.at("post_filter"):
                try:
                    answer = await policy.post_filter(cycle)
                except PolicyError as error:
                    measured.status = "Error"
                    said.append(str(error))
                    break
                if isinstance(answer, Nomination) and not answer.node:
                    nominated = ""
                    self.nominations.remove(pod.uid)
                    said.append(answer.text)
                elif isinstance(answer, Nomination):
                    measured.status = "Success"
                    self.metrics.victims.observe(answer.victims)
                    return [answer.text] if answer.text else [], answer.node
                elif answer:
                    said.append(answer)
        return said, nominated

    async def tell(
        self,
        pod: PodState,
        profile: Profile,
        message: str,
        nominated: str | None = None,
        *,
        reason: Literal["Unschedulable", "SchedulerError"] = "Unschedulable",
    ) -> None:
        """The pod's owner, why it waits. ``nominated`` is the node it was promised now, empty when it is promised none
        any more."""
        self._failed(pod, profile, "unschedulable" if reason == "Unschedulable" else "error")
        context = self._contexts[profile.scheduler_name]
        context.event(pod.pod, "Warning", "FailedScheduling", "Scheduling", message)
        now = rfc3339(self.clock.time())
        current = self.pods.get(pod.name, pod.namespace)
        obj = pod.pod if current is None or meta.uid(current) != pod.uid else current
        status = obj.get("status") or {}
        wanted, changed = conditions.set(
            status.get("conditions"),
            "PodScheduled",
            "False",
            reason,
            message,
            now,
            observedGeneration=obj["metadata"].get("generation", 0),
        )
        change: dict[str, Any] = {"conditions": wanted}
        if nominated is not None and (status.get("nominatedNodeName") or "") != nominated:
            change["nominatedNodeName"] = nominated or None
            changed = True
        if changed:
            await self.patch_status(pod, change)

    async def patch_status(self, pod: PodState, status: Obj) -> None:
        patch = {"metadata": {"uid": pod.uid}, "status": status}
        try:
            await self._client.patch(
                "pods", pod.name, patch, pod.namespace, type="strategic", subresource="status"
            )
        except (NotFound, Conflict):
            # Deleted, or replaced by a namesake: nobody to tell.
            return
        except ApiError as error:
            self._log.warning("status of pod {}/{}: {}", pod.namespace, pod.name, error.message)


class _Measured:
    """How long an extension point takes."""

    __slots__ = ("_begun", "_point", "_profile", "_scheduler", "status")

    def __init__(self, scheduler: Scheduler, point: str, profile: str) -> None:
        self._scheduler, self._point, self._profile = scheduler, point, profile
        self.status = "Success"

    def __enter__(self) -> _Measured:
        self._begun = self._scheduler.clock.monotonic()
        return self

    def __exit__(self, type: type[BaseException] | None, *_: object) -> None:
        status = self.status if type is None else "Error"
        seconds = self._scheduler.clock.monotonic() - self._begun
        self._scheduler.metrics.point(self._point, status, self._profile, seconds)


def _result(refusal: Decision | None) -> str:
    if refusal is None:
        return "Success"
    return "Error" if refusal.taken_back else "Unschedulable"


def _placing(pod: Obj) -> tuple[Any, ...]:
    """All of a pod on a node that decides where others go, and whether it is worth more than they are."""
    metadata = pod["metadata"]
    return (
        pod["spec"],
        metadata.get("labels"),
        metadata.get("deletionTimestamp"),
        (pod.get("status") or {}).get("startTime"),
        conditions.find(pod, "DisruptionTarget"),
        resizing(pod),
    )


async def _aside(binds: asyncio.Semaphore, work: Awaitable[T]) -> T:
    """Wait for what others do (a provisioner, the rest of a gang) without a place among those who write."""
    binds.release()
    try:
        return await work
    finally:
        await binds.acquire()

"""What policies see of the scheduler: ``kubernel.plugin.scheduling.Context`` and ``Cycle``."""

from __future__ import annotations

from collections.abc import Collection, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from kubernel.errors import KubernelError
from kubernel.plugin.scheduling import PolicyError

if TYPE_CHECKING:
    from kubernel.client import Client
    from kubernel.client.informer import Informer
    from kubernel.client.series import SeriesRecorder
    from kubernel.clock import Clock
    from kubernel.plugin.gangs import Gang
    from kubernel.plugin.scheduling import Change, Mask, Nodes, PodState, Proposal
    from kubernel.store.records import Obj
    from kubernel_plugins.scheduler.default.cycle import Evaluation
    from kubernel_plugins.scheduler.default.scheduler import Scheduler

__all__ = ["SchedulerContext", "Supposed"]


class SchedulerContext:
    """Of one profile."""

    def __init__(self, scheduler: Scheduler, handle: Any, client: Client, recorder: SeriesRecorder) -> None:
        self._scheduler = scheduler
        self._handle = handle
        self._recorder = recorder
        self.client = client
        self.scheduler_name = recorder.controller

    @property
    def clock(self) -> Clock:
        return self._handle.clock  # type: ignore[no-any-return]

    @property
    def rng(self) -> Any:
        return self._handle.rng

    @property
    def log(self) -> Any:
        return self._handle.log

    @property
    def nodes(self) -> Nodes:
        return self._scheduler.table

    def nominated(self, node: str) -> Collection[PodState]:
        return self._scheduler.nominations.on(node)

    async def withdraw(self, pod: PodState) -> None:
        self._scheduler.nominations.remove(pod.uid)
        await self._scheduler.patch_status(pod, {"nominatedNodeName": None})
        self._scheduler.queue.activate(pod.uid)

    def gang(self, pod: PodState) -> Gang | None:
        found = self._scheduler.profiles[self.scheduler_name].gang(pod)
        return None if found is None else found[1]

    def waiting(self) -> Collection[PodState]:
        return self._scheduler.held.pods()

    def allow(self, uid: str, policy: str) -> None:
        self._scheduler.held.allow(uid, policy)

    def reject(self, uid: str, policy: str, text: str) -> None:
        self._scheduler.held.reject(uid, policy, text)

    def preempt(self, uid: str, policy: str) -> bool:
        return self._scheduler.held.preempt(uid, policy)

    def activate(self, uid: str) -> None:
        self._scheduler.queue.activate(uid)

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        self._handle.spawn(work, name)

    async def follow(self, resource: str) -> Informer:
        return await self._scheduler.follow_also(resource)

    def forget_answers(self) -> None:
        self._scheduler.table.epoch += 1

    def changed(self, change: Change) -> None:
        self._scheduler.queue.changed(change)

    def event(
        self,
        obj: Obj,
        type: Literal["Normal", "Warning"],
        reason: str,
        action: str,
        note: str,
        *,
        related: Obj | None = None,
    ) -> None:
        self._recorder.event(obj, type, reason, action, note, related=related)


class Supposed:
    """A ``Cycle``: the pod that fits nowhere, and nodes as they might be."""

    def __init__(
        self,
        scheduler: Scheduler,
        pod: PodState,
        evaluation: Evaluation,
        lasting: Mask,
        asked: Collection[str],
    ) -> None:
        """``asked``: the policies whose ``pre_filter`` was."""
        self._scheduler = scheduler
        self._asked = asked
        self._evaluation = evaluation
        self.pod = pod
        self.lasting = lasting
        self._kind = scheduler.queue.signature(pod.uid) if evaluation.is_local(pod) else None

    def was_asked(self, policy: str) -> bool:
        return policy in self._asked

    async def review(self, proposals: Mapping[str, Proposal]) -> Mapping[str, Proposal]:
        try:
            return await self._scheduler.extenders.preempt(self.pod, proposals)
        except PolicyError:
            raise
        except KubernelError as error:
            raise PolicyError(f"preemption: {error}") from None

    def stamp(self, row: int) -> object | None:
        if self._kind is None:
            return None
        table = self._scheduler.table
        promised = self._scheduler.nominations.for_row(self.pod, table.name(row), table)
        return self._kind, table.epoch, table.version(row), tuple(each.uid for each in promised)

    @contextmanager
    def suppose(self, row: int) -> Iterator[_Node]:
        table = self._scheduler.table
        self._evaluation.update(self.pod)
        position = table.position
        node = _Node(self._scheduler, self.pod, self._evaluation, row)
        try:
            yield node
        finally:
            node.restore()
            table.rewind(position)


class _Node:
    def __init__(self, scheduler: Scheduler, pod: PodState, evaluation: Evaluation, row: int) -> None:
        self._table = scheduler.table
        self._pod, self._evaluation, self._row = pod, evaluation, row
        self._name = self._table.name(row)
        self._off: dict[str, tuple[PodState, str]] = {}
        self._promised = scheduler.nominations.for_row(pod, self._name, self._table)

    def take_off(self, pod: PodState) -> None:
        there = self._table.pod(pod.uid)
        if there is not None:
            self._table.take_off(pod.uid)
            self._off[pod.uid] = there

    def put_back(self, pod: PodState) -> None:
        self._table.place(*self._off.pop(pod.uid))

    def fits(self) -> bool:
        return self._evaluation.fits_at(self._pod, self._row, self._promised)

    def refusals(self) -> Sequence[str]:
        return self._evaluation.refusals_at(self._pod, self._row, self._promised)

    def restore(self) -> None:
        for pod, _ in tuple(self._off.values()):
            self.put_back(pod)

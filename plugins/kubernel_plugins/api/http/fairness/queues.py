"""The queues of one priority level: seats, shuffle-sharded flows, and who is next.

Virtual time runs as fast as seats are at work for each queue that has work. A queue's next request starts at
``next_r``; the request that would be finished first goes next. Source:
k8s.io/apiserver/pkg/util/flowcontrol/fairqueuing/queueset (v1.37).
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from kubernel.clock import Clock

    from .allocation import Demand
    from .controller import Classified
    from .matching import Asked
    from .seats import Estimate

__all__ = ["Queue", "QueueSet", "Ticket"]

SERVICE_SECONDS = 0.003
"""What a request is taken to last until it is known."""


class Ticket:
    """One request in a level."""

    __slots__ = (
        "arrival", "arrival_r", "asked", "classified", "estimate", "left", "most", "name", "queue", "set", "start",
        "user", "waiting", "work",
    )  # fmt: skip

    def __init__(
        self, classified: Classified, estimate: Estimate, user: str, asked: Asked, name: str
    ) -> None:
        self.classified = classified
        self.set = classified.level.queues
        self.estimate = estimate
        self.most = estimate.most
        self.user = user
        self.asked = asked
        self.name = name
        self.queue: Queue | None = None
        self.left = False
        self.arrival = 0.0
        self.arrival_r = 0.0
        self.start = 0.0
        self.work = estimate.seats * SERVICE_SECONDS + estimate.final * estimate.after
        self.waiting: asyncio.Future[None] | None = None


class Queue:
    __slots__ = ("executing", "next_r", "seats_in_use", "waiting", "waiting_work")

    def __init__(self) -> None:
        self.waiting: deque[Ticket] = deque()
        self.waiting_work = 0.0
        self.executing: dict[int, Ticket] = {}
        self.seats_in_use = 0
        self.next_r = 0.0

    @property
    def idle(self) -> bool:
        return not self.waiting and not self.executing


class QueueSet:
    """``queues`` 0 turns away whoever finds no seat; None (the exempt level) has seats for all."""

    def __init__(self, name: str, clock: Clock, demand: Demand, changed: Callable[[], None]) -> None:
        self.name = name
        self.demand = demand
        self.limit = 1
        self.exempt = False
        self.wanted = 0
        self.length = 0
        self.queues: list[Queue] = []
        self.queueless: dict[int, Ticket] = {}
        self.waiting = self.executing = 0
        self.seats_in_use = self.seats_waiting = 0
        self.dispatched = self.rejected = self.timed_out = self.cancelled = 0
        self.r = 0.0
        self._clock = clock
        self._changed = changed
        self._last = clock.monotonic()
        self._active = 0
        self._robin = -1
        self._enqueued = 0

    def configure(self, queues: int | None, length: int) -> None:
        self.exempt = queues is None
        self.wanted = queues or 0
        self.length = length
        self.queues += [Queue() for _ in range(self.wanted - len(self.queues))]
        self._trim()

    def resize(self, limit: int) -> None:
        """Set the number of seats; who finds one now goes."""
        now = self._sync()
        self.limit = limit
        if self.waiting:
            self._dispatch_all(now)

    @property
    def idle(self) -> bool:
        return not self.waiting and not self.executing

    def _sync(self) -> float:
        now = self._clock.monotonic()
        if self._active:
            wanted = min(self.seats_in_use + self.seats_waiting, self.limit)
            self.r += wanted / self._active * (now - self._last)
        self._last = now
        return now

    def _note(self, now: float) -> None:
        self.demand.set(self.seats_in_use + self.seats_waiting, now)

    def free(self, seats: int = 1) -> bool:
        """Whether a request would be run at once."""
        return self.exempt or (not self.waiting and self._fits(seats))

    def _fits(self, seats: int) -> bool:
        if self.exempt:
            return True
        if seats > self.limit:
            return not self.executing
        return self.seats_in_use + seats <= self.limit

    # --- arrival

    def enter(self, ticket: Ticket, hand: tuple[int, ...]) -> str:
        """Empty when it may run or waits (then ``ticket.waiting`` is done when it may run), else why it may
        not."""
        now = self._sync()
        ticket.arrival, ticket.arrival_r = now, self.r
        if not hand or self.exempt or not self.wanted:
            if not self._fits(ticket.most):
                self.rejected += 1
                return "concurrency-limit"
            self.queueless[id(ticket)] = ticket
            self._start(ticket, now)
            return ""
        queue = self._choose(hand)
        if self.seats_in_use >= self.limit and len(queue.waiting) >= self.length:
            self.rejected += 1
            return "queue-full"
        ticket.queue = queue
        if queue.idle:
            queue.next_r = self.r
            self._active += 1
        if not self.waiting and self._fits(ticket.most):
            self._dispatch(ticket, queue, now)
            return ""
        ticket.waiting = asyncio.get_running_loop().create_future()
        queue.waiting.append(ticket)
        queue.waiting_work += ticket.work
        self.waiting += 1
        self.seats_waiting += ticket.most
        self._bound(queue)
        self._note(now)
        self._dispatch_all(now)
        return ""

    def _choose(self, hand: tuple[int, ...]) -> Queue:
        """The queue of the hand with the least work waiting; those that are equal take turns."""
        size, queues = len(hand), self.queues
        offset = self._enqueued % size
        self._enqueued += 1
        best = queues[hand[offset]]
        if best.waiting_work:
            for index in range(1, size):
                queue = queues[hand[(offset + index) % size]]
                if queue.waiting_work < best.waiting_work:
                    best = queue
        return best

    # --- dispatch

    def _start(self, ticket: Ticket, now: float) -> None:
        ticket.start = now
        self.executing += 1
        self.dispatched += 1
        self.seats_in_use += ticket.most
        self._note(now)

    def _dispatch(self, ticket: Ticket, queue: Queue, now: float) -> None:
        queue.executing[id(ticket)] = ticket
        queue.seats_in_use += ticket.most
        queue.next_r += ticket.work
        self._start(ticket, now)

    def _dispatch_all(self, now: float) -> None:
        while self.waiting and self.seats_in_use < self.limit:
            queue = self._next()
            ticket = queue.waiting[0]
            if not self._fits(ticket.most):
                return
            self._unqueue(ticket, queue)
            self._dispatch(ticket, queue, now)
            self._bound(queue)
            assert ticket.waiting is not None  # noqa: S101 - it stood in a queue
            if not ticket.waiting.done():
                ticket.waiting.set_result(None)

    def _next(self) -> Queue:
        """The queue whose oldest request would be finished first."""
        best: Queue | None = None
        finish = 0.0
        count = len(self.queues)
        chosen = self._robin
        for step in range(1, count + 1):
            index = (self._robin + step) % count
            queue = self.queues[index]
            if queue.waiting:
                would = queue.next_r + queue.waiting[0].work
                if best is None or would < finish:
                    best, finish, chosen = queue, would, index
        assert best is not None  # noqa: S101 - the caller knows that somebody waits
        self._robin = chosen
        return best

    def _unqueue(self, ticket: Ticket, queue: Queue) -> None:
        queue.waiting.remove(ticket)
        queue.waiting_work = queue.waiting_work - ticket.work if queue.waiting else 0.0
        self.waiting -= 1
        self.seats_waiting -= ticket.most

    def _bound(self, queue: Queue) -> None:
        """Nobody starts before they came: what a queue did not use it does not keep."""
        if queue.waiting and queue.next_r < queue.waiting[0].arrival_r:
            queue.next_r = queue.waiting[0].arrival_r

    # --- departure

    def leave_queue(self, ticket: Ticket, *, late: bool) -> bool:
        """It waits no more, because it is too ``late`` or its client went away. False when it has been let in
        meanwhile."""
        queue = ticket.queue
        if queue is None or ticket not in queue.waiting:
            return False
        now = self._sync()
        self._unqueue(ticket, queue)
        self.rejected += 1
        if late:
            self.timed_out += 1
        else:
            self.cancelled += 1
        self._bound(queue)
        self._note(now)
        self._emptied(queue)
        self._dispatch_all(now)
        return True

    def finish(self, ticket: Ticket) -> float:
        """It has run; gives how long. Its seats are free once its final ones are."""
        now = self._sync()
        self.executing -= 1
        lasted = now - ticket.start
        queue = ticket.queue
        if queue is None:
            del self.queueless[id(ticket)]
        else:
            del queue.executing[id(ticket)]
            queue.next_r -= ticket.estimate.seats * (SERVICE_SECONDS - lasted)
            self._bound(queue)
        if ticket.estimate.after > 0:
            self._clock.call_later(ticket.estimate.after, self._late_release, ticket)
        else:
            self._release(ticket, now)
        if queue is not None:
            self._emptied(queue)
        return lasted

    def _late_release(self, ticket: Ticket) -> None:
        self._release(ticket, self._sync())

    def _release(self, ticket: Ticket, now: float) -> None:
        self.seats_in_use -= ticket.most
        if ticket.queue is not None:
            ticket.queue.seats_in_use -= ticket.most
        self._note(now)
        if self.waiting:
            self._dispatch_all(now)

    def _emptied(self, queue: Queue) -> None:
        if queue.idle:
            self._active -= 1
            if len(self.queues) > self.wanted:
                self._trim()
        if self.idle:
            self._changed()

    def _trim(self) -> None:
        """Queues that are not wanted any more go when their last request does."""
        while len(self.queues) > self.wanted and self.queues[-1].idle and not self.queues[-1].seats_in_use:
            self.queues.pop()
        self._robin = min(self._robin, len(self.queues) - 1)

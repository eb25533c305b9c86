"""``/debug/api_priority_and_fairness/…``: tables of levels, queues and requests.

Source: k8s.io/apiserver/pkg/util/flowcontrol/apf_controller_debug.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .controller import Fairness, Level
    from .queues import Ticket

__all__ = ["dump"]

_LEVELS = (
    "PriorityLevelName", "ActiveQueues", "IsIdle", "IsQuiescing", "WaitingRequests", "ExecutingRequests",
    "DispatchedRequests", "RejectedRequests", "TimedoutRequests", "CancelledRequests",
)  # fmt: skip
_QUEUES = (
    "PriorityLevelName", "Index", "PendingRequests", "ExecutingRequests", "SeatsInUse", "NextDispatchR",
    "InitialSeatsSum", "MaxSeatsSum", "TotalWorkSum",
)  # fmt: skip
_REQUESTS = (
    "PriorityLevelName", "FlowSchemaName", "QueueIndex", "RequestIndexInQueue", "FlowDistingsher", "ArriveTime",
    "InitialSeats", "FinalSeats", "AdditionalLatency", "StartTime",
)  # fmt: skip
_DETAILS = ("UserName", "Verb", "APIPath", "Namespace", "Name", "APIVersion", "Resource", "SubResource")
_NEVER = "0001-01-01T00:00:00Z"
_NARROWEST = 8


def dump(fairness: Fairness, what: str, *, details: bool) -> str | None:
    """The table ``what``; None for an unknown one."""
    levels = [fairness.levels[name] for name in sorted(fairness.levels)]
    if what == "dump_priority_levels":
        return _table(_LEVELS, map(_level, levels))
    if what == "dump_queues":
        return _table(_QUEUES, (row for level in levels for row in _queues(level)))
    if what == "dump_requests":
        columns = (*_REQUESTS, *_DETAILS) if details else _REQUESTS
        offset = fairness.clock.time() - fairness.clock.monotonic()
        return _table(columns, (row for level in levels for row in _requests(level, offset, details)))
    return None


def _level(level: Level) -> tuple[str, ...]:
    queues = level.queues
    active = sum(1 for queue in queues.queues if queue.waiting)
    numbers = (
        queues.waiting,
        queues.executing,
        queues.dispatched,
        queues.rejected,
        queues.timed_out,
        queues.cancelled,
    )
    return (level.name, str(active), _flag(queues.idle), _flag(level.quiescing), *map(str, numbers))


def _queues(level: Level) -> Iterable[tuple[str, ...]]:
    for index, queue in enumerate(level.queues.queues):
        seats = sum(ticket.estimate.seats for ticket in queue.waiting)
        most = sum(ticket.most for ticket in queue.waiting)
        numbers = (index, len(queue.waiting), len(queue.executing), queue.seats_in_use)
        yield (
            level.name, *map(str, numbers), _work(queue.next_r), str(seats), str(most), _work(queue.waiting_work),
        )  # fmt: skip


def _requests(level: Level, offset: float, details: bool) -> Iterable[tuple[str, ...]]:
    for index, queue in enumerate(level.queues.queues):
        for place, ticket in enumerate(queue.waiting):
            yield _request(level, index, place, ticket, offset, details)
        for ticket in queue.executing.values():
            yield _request(level, index, -1, ticket, offset, details)
    for ticket in level.queues.queueless.values():
        yield _request(level, -1, -1, ticket, offset, details)


def _request(
    level: Level, queue: int, place: int, ticket: Ticket, offset: float, details: bool
) -> tuple[str, ...]:
    estimate, asked, classified = ticket.estimate, ticket.asked, ticket.classified
    row = (
        level.name, classified.schema.name, str(queue), str(place), classified.flow, _when(ticket.arrival + offset),
        str(estimate.seats), str(estimate.final), f"{estimate.after * 1000:g}ms" if estimate.after else "0s",
        _when(ticket.start + offset) if ticket.start else _NEVER,
    )  # fmt: skip
    if not details:
        return row
    return (
        *row, ticket.user, asked.verb, asked.path, asked.namespace, ticket.name, asked.group, asked.resource,
        asked.subresource,
    )  # fmt: skip


def _flag(value: bool) -> str:
    return "true" if value else "false"


def _work(seconds: float) -> str:
    """Seat-seconds in upstream's fixed point."""
    whole, rest = divmod(round(max(seconds, 0.0) * 1e8), 100_000_000)
    return f"{whole}.{rest:08d}ss"


def _when(seconds: float) -> str:
    text = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds")[:26]
    return text.rstrip("0").rstrip(".") + "Z"


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """As Go's tabwriter aligns cells that end in a comma."""
    lines = [[*(f"{cell}," for cell in row[:-1]), row[-1]] for row in (columns, *rows)]
    widths = [
        max(_NARROWEST, max(len(line[index]) for line in lines) + 1) for index in range(len(columns) - 1)
    ]
    return "".join(
        "".join(cell.ljust(width) for cell, width in zip(line, widths, strict=False)) + line[-1] + "\n"
        for line in lines
    )

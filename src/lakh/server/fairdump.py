"""What priority and fairness has under way, as text: upstream's `/debug/api_priority_and_fairness/dump_…` (`apf_controller_debug.go`).

Columns end with a comma and are padded, so that both people and `awk` can read them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from lakh.machinery import times
from lakh.server.fairqueue import GUESS_SECONDS

if TYPE_CHECKING:
    from lakh.server.fairness import Fairness, Grant

PATH = "/debug/api_priority_and_fairness/"
NONE = "<none>"
CELL_MIN = 8

LEVELS = (
    *("PriorityLevelName", "ActiveQueues", "IsIdle", "IsQuiescing", "WaitingRequests", "ExecutingRequests"),
    *("DispatchedRequests", "RejectedRequests", "TimedoutRequests", "CancelledRequests"),
)
QUEUES = (
    *("PriorityLevelName", "Index", "PendingRequests", "ExecutingRequests", "SeatsInUse", "NextDispatchR"),
    *("InitialSeatsSum", "MaxSeatsSum", "TotalWorkSum"),
)
REQUESTS = (
    *("PriorityLevelName", "FlowSchemaName", "QueueIndex", "RequestIndexInQueue", "FlowDistingsher"),
    *("ArriveTime", "InitialSeats", "FinalSeats", "AdditionalLatency"),
)
DETAILS = (*("UserName", "Verb", "APIPath", "Namespace", "Name", "APIVersion", "Resource", "SubResource"),)
Row = tuple[str, ...]


def dump(fairness: Fairness, what: str, details: bool) -> bytes | None:
    """The table of that name; None when there is none. `details`: of requests, who asks for what, too."""
    found = _TABLES.get(what)
    if found is None:
        return None
    heading, rows = found
    if details and what == "dump_requests":
        heading += DETAILS
    return table([heading, *rows(fairness, details)])


def table(rows: Iterable[Row]) -> bytes:
    """Rows of cells as aligned text. The last cell of a row is not padded."""
    cells = [(*(f"{cell}," for cell in row[:-1]), row[-1]) for row in rows]
    widths = [max(CELL_MIN, 1 + max(map(len, column))) for column in zip(*cells, strict=True)]
    widths[-1] = 0
    return "".join(
        "".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + "\n" for row in cells
    ).encode()


def _levels(fairness: Fairness, details: bool) -> Iterable[Row]:
    exempt: Row = ("exempt", *[NONE] * (len(LEVELS) - 1))
    rows = [exempt]
    for name, level in fairness.levels.items():
        active = sum(1 for queue in level.queues if queue.waiting)
        idle = not level.used and not level.waiting
        counts = (
            level.waiting,
            level.running,
            level.dispatched,
            level.rejected,
            level.timed_out,
            level.cancelled,
        )
        rows.append((name, str(active), _bool(idle), "false", *map(str, counts)))
    return sorted(rows)


def _queues(fairness: Fairness, details: bool) -> Iterable[Row]:
    yield ("exempt", *[NONE] * (len(QUEUES) - 1))
    for name, level in sorted(fairness.levels.items()):
        for queue in level.queues:
            width = queue.waiting_width
            yield (
                name,
                *map(str, (queue.index, len(queue.waiting), queue.running, queue.seats)),
                _seat_seconds(queue.start),
                str(width),
                str(width),
                _seat_seconds(width * GUESS_SECONDS),
            )


def _requests(fairness: Fairness, details: bool) -> Iterable[Row]:
    ago = time.time() - time.monotonic()
    for name, level in sorted(fairness.levels.items()):
        for queue in level.queues:
            for number, ticket in enumerate(queue.waiting):
                grant: Grant = ticket.payload
                row: Row = (
                    *(name, grant.flow.schema, str(queue.index), str(number), grant.flow.distinguisher),
                    *(times.micro_of_seconds(ticket.since + ago), str(ticket.width), "0", "0s"),
                )
                if details:
                    info, r = grant.info, grant.info.resource
                    row += (
                        *(grant.user.name, info.verb, _path(grant), info.namespace, info.name),
                        *(r.api_version, r.plural, info.subresource),
                    )
                yield row


def _path(grant: Grant) -> str:
    info, r = grant.info, grant.info.resource
    root = f"/apis/{r.group}/{r.version}" if r.group else f"/api/{r.version}"
    scope = f"/namespaces/{info.namespace}" if info.namespace else ""
    rest = "".join(f"/{part}" for part in (info.name, info.subresource) if part)
    return f"{root}{scope}/{r.plural}{rest}"


def _bool(value: bool) -> str:
    return "true" if value else "false"


def _seat_seconds(value: float) -> str:
    return f"{value:.8f}ss"


_TABLES: dict[str, tuple[Row, Callable[[Fairness, bool], Iterable[Row]]]] = {
    "dump_priority_levels": (LEVELS, _levels),
    "dump_queues": (QUEUES, _queues),
    "dump_requests": (REQUESTS, _requests),
}

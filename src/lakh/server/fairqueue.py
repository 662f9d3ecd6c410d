"""Fair queueing of one priority level, pure: times go in, verdicts come out.

A level has seats and queues. A request of a flow (a user or a namespace) is dealt a hand of queues by the flow's hash (*shuffle sharding*: a
flow that fills its hand leaves most queues to others) and waits in the shortest of them. Queues take turns by virtual time, as in
fair queueing of network packets: `virtual` is the work, in seat-seconds, that a queue which always had something to do would have got until
now; each queue keeps the virtual time at which its next request starts (`Queue.start`), and the smallest goes first. How long a request takes is known
only afterwards: at dispatch a guess is charged, at the end it is put right.

Worked example: two flows, one seat. Flow a has five requests waiting when b's first comes; b's queue starts at the present virtual time, a's queue
has been charged ahead of it, so b is next although it came last.

Invariants: `used` is the width of what runs; a queue that is neither waiting nor running has no say in the speed of virtual time; everything
is bounded by `queues` times `queue_length`. Costs: free seats and nothing waiting, 1 µs; else O(queues that wait).
"""

from __future__ import annotations

from collections import deque
from typing import Any

GUESS_SECONDS = 0.003
"""Charged at dispatch for each seat, upstream's estimate too."""


class Ticket:
    """A request at a level. `queue` is None when it never waited."""

    __slots__ = ("flow", "payload", "queue", "rejected", "running", "since", "width")

    def __init__(self, flow: int, width: int, since: float) -> None:
        self.flow = flow
        self.width = width
        self.since = since
        self.queue: Queue | None = None
        self.running = False
        self.rejected = False
        self.payload: Any = None

    def __repr__(self) -> str:
        state = "rejected" if self.rejected else "running" if self.running else "waiting"
        return f"<Ticket {state}, width {self.width}>"


class Queue:
    """Waiting requests of a few flows."""

    __slots__ = ("index", "running", "seats", "start", "waiting", "waiting_width")

    def __init__(self, index: int) -> None:
        self.index = index
        self.start = 0.0
        self.running = 0
        self.seats = 0
        """What runs occupies."""
        self.waiting: deque[Ticket] = deque()
        self.waiting_width = 0

    def __repr__(self) -> str:
        return f"<Queue {self.index}, {len(self.waiting)} waiting, {self.running} running>"


class Level:
    """A priority level. With `queues` 0 it rejects what finds no seat."""

    def __init__(
        self, name: str, seats: int, *, queues: int = 0, hand_size: int = 1, queue_length: int = 0
    ) -> None:
        self.name = name
        self.seats = seats
        self.used = 0
        self.waiting = 0
        self.running = 0
        self.dispatched = self.rejected = self.timed_out = self.cancelled = 0
        self.virtual = 0.0
        self.shape = (queues, hand_size, queue_length)
        self._queue_length = queue_length
        self._hand_size = min(hand_size, queues)
        self.queues = [Queue(i) for i in range(queues)]
        """None of them if it rejects at once."""
        self._backlog: set[Queue] = set()
        self._active = 0
        self._at = 0.0

    def __repr__(self) -> str:
        return f"<Level {self.name}, {self.used} of {self.seats} seats, {self.waiting} waiting>"

    def enter(self, ticket: Ticket, now: float, spare: int = 0) -> None:
        """A request comes: it runs, waits or is rejected; the ticket says which. `spare` seats may be borrowed."""
        if not self.waiting and self._fits(ticket.width, spare):
            queue = self._choose(ticket.flow) if self.queues else None
            self._run(ticket, queue, now)
            return
        queue = self._choose(ticket.flow) if self.queues else None
        if queue is None or len(queue.waiting) >= self._queue_length:
            ticket.rejected = True
            self.rejected += 1
            return
        self._advance(now)
        self._wake(queue)
        ticket.queue = queue
        queue.waiting.append(ticket)
        queue.waiting_width += ticket.width
        self.waiting += 1
        self._backlog.add(queue)

    def leave(self, ticket: Ticket, now: float) -> None:
        """A running request is done."""
        ticket.running = False
        self.used -= ticket.width
        self.running -= 1
        queue = ticket.queue
        if queue is not None:
            self._advance(now)
            queue.start += (now - ticket.since - GUESS_SECONDS) * ticket.width
            queue.running -= 1
            queue.seats -= ticket.width
            self._sleep(queue)

    def give_up(self, ticket: Ticket, now: float, *, cancelled: bool) -> None:
        """A waiting request waits no more: its client has gone (`cancelled`), or its time is over."""
        self.cancelled += cancelled
        self.timed_out += not cancelled
        queue = ticket.queue
        assert queue is not None and not ticket.running
        self._advance(now)
        queue.waiting.remove(ticket)
        self._taken(queue, ticket)
        self._sleep(queue)

    def dispatch(self, now: float, spare: int = 0) -> Ticket | None:
        """The next waiting request, running now, if there is a seat for it. Call it until it returns None."""
        if not self.waiting:
            return None
        queue = min(self._backlog, key=_by_finish)
        ticket = queue.waiting[0]
        if not self._fits(ticket.width, spare):
            return None
        self._advance(now)
        queue.waiting.popleft()
        self._taken(queue, ticket)
        self._run(ticket, queue, now)
        return ticket

    def hand(self, flow: int) -> list[int]:
        """The queues dealt to a flow: distinct, the same each time."""
        count = len(self.queues)
        dealt: list[int] = []
        for i in range(self._hand_size):
            flow, card = divmod(flow, count - i)
            for other in sorted(dealt):
                if card >= other:
                    card += 1
            dealt.append(card)
        return dealt

    def _choose(self, flow: int) -> Queue:
        if not self.waiting:
            return self.queues[flow % len(self.queues)]  # the first card; nothing waits anywhere
        queues = self.queues
        return min((queues[i] for i in self.hand(flow)), key=lambda q: q.waiting_width)

    def _fits(self, width: int, spare: int) -> bool:
        # A request wider than the level runs alone rather than never.
        return self.used + width <= self.seats + spare or (not self.used and self.seats > 0)

    def _run(self, ticket: Ticket, queue: Queue | None, now: float) -> None:
        self.used += ticket.width
        self.running += 1
        self.dispatched += 1
        ticket.running = True
        ticket.since = now
        if queue is not None:
            if ticket.queue is None:
                self._advance(now)
                self._wake(queue)
                ticket.queue = queue
            queue.running += 1
            queue.seats += ticket.width
            queue.start += GUESS_SECONDS * ticket.width

    def _taken(self, queue: Queue, ticket: Ticket) -> None:
        self.waiting -= 1
        queue.waiting_width -= ticket.width
        if not queue.waiting:
            self._backlog.discard(queue)

    def _wake(self, queue: Queue) -> None:
        if not queue.waiting and not queue.running:
            self._active += 1
            queue.start = self.virtual

    def _sleep(self, queue: Queue) -> None:
        if not queue.waiting and not queue.running:
            self._active -= 1

    def _advance(self, now: float) -> None:
        if self._active and now > self._at:
            self.virtual += (now - self._at) * min(self.used, self.seats) / self._active
        self._at = now


def _by_finish(queue: Queue) -> tuple[float, int]:
    return queue.start + GUESS_SECONDS * queue.waiting[0].width, queue.index

from __future__ import annotations

import heapq

from hypothesis import given
from hypothesis import strategies as st

from lakh.server.fairqueue import Level, Ticket


def level(seats: int = 2, queues: int = 8, hand: int = 3, length: int = 4) -> Level:
    return Level("test", seats, queues=queues, hand_size=hand, queue_length=length)


def enter(it: Level, flow: int, now: float, width: int = 1) -> Ticket:
    ticket = Ticket(flow, width, now)
    it.enter(ticket, now)
    return ticket


def test_free_seats_run_at_once_then_wait_then_are_rejected() -> None:
    it = level(seats=1, queues=1, hand=1, length=1)
    first, second, third = (enter(it, 7, 0.0) for _ in range(3))
    assert first.running and not second.running and not second.rejected and third.rejected
    assert it.dispatch(0.0) is None
    it.leave(first, 1.0)
    assert it.dispatch(1.0) is second and second.running and it.used == 1


def test_without_queues_it_rejects() -> None:
    it = Level("catch-all", 1)
    assert enter(it, 1, 0.0).running
    assert enter(it, 2, 0.0).rejected


def test_wider_than_the_level_runs_alone() -> None:
    it = level(seats=2)
    assert enter(it, 1, 0.0, width=10).running
    assert not enter(it, 2, 0.0).running


def test_borrowed_seats() -> None:
    it = level(seats=1)
    enter(it, 1, 0.0)
    ticket = Ticket(2, 1, 0.0)
    it.enter(ticket, 0.0, spare=1)
    assert ticket.running


def test_the_flow_with_less_work_goes_first() -> None:
    """The worked example of the module."""
    it = level(seats=1, queues=64, hand=1, length=10)
    running = enter(it, 1, 0.0)
    crowd = [enter(it, 1, 0.0) for _ in range(5)]
    one = enter(it, 2, 0.5)
    it.leave(running, 1.0)
    assert it.dispatch(1.0) is one
    it.leave(one, 1.1)
    assert it.dispatch(1.1) is crowd[0]


def test_giving_up_leaves_the_queue() -> None:
    it = level(seats=1)
    running, waiting = enter(it, 1, 0.0), enter(it, 2, 0.0)
    it.give_up(waiting, 1.0, cancelled=True)
    it.leave(running, 2.0)
    assert it.dispatch(2.0) is None and it.waiting == 0 and it.used == 0


@given(st.integers(0, 2**64 - 1))
def test_a_hand_is_distinct(flow: int) -> None:
    hand = level(queues=16, hand=4).hand(flow)
    assert len(set(hand)) == 4 and all(0 <= i < 16 for i in hand)
    assert hand == level(queues=16, hand=4).hand(flow)


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(1, 3), st.floats(0.001, 1)), max_size=60),
    st.integers(1, 4),
)
def test_every_request_ends_and_seats_hold(requests: list[tuple[int, int, float]], seats: int) -> None:
    """In simulated time: seats are never overdrawn, everything that was not rejected runs once."""
    it = level(seats=seats)
    ends: list[tuple[float, int, Ticket]] = []
    lengths: dict[int, float] = {}
    now, ran, taken = 0.0, 0, 0

    def started(ticket: Ticket) -> None:
        nonlocal ran
        ran += 1
        assert it.used <= seats or it.used == ticket.width
        heapq.heappush(ends, (now + lengths[id(ticket)], ran, ticket))

    tickets = []
    for flow, width, seconds in requests:
        ticket = Ticket(flow, width, now)
        tickets.append(ticket)
        lengths[id(ticket)] = seconds
        it.enter(ticket, now)
        taken += not ticket.rejected
        if ticket.running:
            started(ticket)
        now += 0.01
    while ends:
        end, _, ticket = heapq.heappop(ends)
        now = max(now, end)
        it.leave(ticket, now)
        while (more := it.dispatch(now)) is not None:
            started(more)
    assert ran == taken and it.used == 0 and it.waiting == 0


def test_a_thousand_listers_do_not_delay_one_flow() -> None:
    """Simulated: 1,000 clients of one user list in a loop; another user's request waits for a hand of lists at most."""
    it = level(seats=10, queues=128, hand=6, length=50)
    now = 0.0
    running: list[tuple[float, int, Ticket]] = []
    count = 0

    def run(ticket: Ticket) -> None:
        nonlocal count
        count += 1
        heapq.heappush(running, (now + 0.1, count, ticket))

    for _ in range(1000):
        ticket = enter(it, 12345, now, width=5)
        if ticket.running:
            run(ticket)
    waits = []
    for round_ in range(200):
        mine = enter(it, 999 + round_ % 3, now)
        came = now
        while not mine.running:
            now, _, done = heapq.heappop(running)
            it.leave(done, now)
            again = enter(it, 12345, now, width=5)
            if again.running:
                run(again)
            while (more := it.dispatch(now)) is not None:
                if more is not mine:
                    run(more)
        waits.append(now - came)
        it.leave(mine, now)
    # Six queues dealt, two lists at a time, a tenth of a second each.
    assert max(waits) <= 0.3 + 1e-9, max(waits)

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakh.scheduler.podclass import ClassTable
from lakh.scheduler.queue import PendingPod, SchedulingQueue, State

from . import clusters

Add = Callable[..., PendingPod]


@pytest.fixture
def queue() -> SchedulingQueue:
    return SchedulingQueue()


@pytest.fixture
def add(queue: SchedulingQueue) -> Add:
    classes = ClassTable()

    def add(name: str, priority: int = 0, cpu: str = "1") -> PendingPod:
        spec = clusters.as_pod(clusters.pod(name, {"cpu": cpu}, priority=priority)).spec
        pod = PendingPod(name, "default", name, classes.of(spec))
        queue.add(pod)
        return pod

    return add


def names(queue: SchedulingQueue) -> list[str]:
    found = []
    while (pod := queue.pop()) is not None:
        found.append(pod.name)
    return found


def test_priority_then_arrival(queue: SchedulingQueue, add: Add) -> None:
    for name, priority in (("a", 0), ("b", 10), ("c", 0), ("d", 10), ("e", -1)):
        add(name, priority)
    assert names(queue) == ["b", "d", "a", "c", "e"]


def test_backoff_doubles_up_to_ten_seconds() -> None:
    queue = SchedulingQueue()
    assert [queue.backoff_seconds(n) for n in (1, 2, 3, 4, 5, 50)] == [1, 2, 4, 8, 10, 10]
    queue = SchedulingQueue(3, 100)
    assert [queue.backoff_seconds(n) for n in (1, 2, 6, 7)] == [3, 6, 96, 100]


def test_a_parked_pod_waits_for_its_backoff_when_woken(queue: SchedulingQueue, add: Add) -> None:
    pod = add("a")
    assert queue.pop() is pod
    queue.park(pod, now=100.0)
    assert queue.wake(pod.cls, 100.5, limit=10) == 0
    assert pod.state is State.BACKOFF
    assert queue.next_flush() == 101.0
    queue.flush(100.9)
    assert queue.active == 0
    queue.flush(101.0)
    assert queue.active == 1
    assert queue.pop() is pod
    queue.park(pod, now=101.0)
    assert queue.wake(pod.cls, 103.0, limit=10) == 1
    assert queue.pop() is pod


def test_with_nothing_else_to_do_the_backoff_is_cut_short(queue: SchedulingQueue, add: Add) -> None:
    early, late = add("early", cpu="1"), add("late", priority=7, cpu="2")
    for _ in range(2):
        pod = queue.pop()
        assert pod is not None
        queue.park(pod, now=100.0)
    for parked in (early, late):
        queue.wake(parked.cls, 100.0, limit=1)
    other = add("other", priority=-5)
    assert names(queue) == ["other", "late", "early"]
    assert queue.next_flush() is None
    queue.retry(other, now=100.0)
    assert queue.pop() is None  # an error's backoff is not
    queue.flush(101.0)
    assert queue.pop() is other
    assert other.attempts == 2


def test_a_parked_pod_is_tried_again_after_five_minutes(queue: SchedulingQueue, add: Add) -> None:
    pod = add("a")
    queue.pop()
    queue.park(pod, now=0.0)
    queue.flush(299.9)
    assert pod.state is State.PARKED
    assert queue.next_flush() == 300.0
    queue.flush(300.0)
    assert queue.pop() is pod
    assert not queue.is_parked(pod.cls)


def test_waking_takes_the_oldest_of_the_class(queue: SchedulingQueue, add: Add) -> None:
    pods = [add(name) for name in "abc"]
    other = add("d", cpu="2")
    for _ in range(4):
        queue.pop()
    for pod in (*pods, other):
        queue.park(pod, now=0.0)
    assert set(queue.parked_classes()) == {pods[0].cls, other.cls}
    assert queue.wake(pods[0].cls, 5.0, limit=2) == 2
    assert names(queue) == ["a", "b"]


def test_waking_takes_no_more_than_there_is_room_for(queue: SchedulingQueue, add: Add) -> None:
    pods = [add(name) for name in "abcde"]
    for _ in pods:
        queue.pop()
    pods[0].group = pods[2].group = ("default", "gang")
    for pod in pods:
        queue.park(pod, now=0.0)
    assert queue.wake(pods[0].cls, 5.0, limit=10, room=1) == 2
    assert names(queue) == ["a", "b"], "whether a gang fits is another question"
    assert queue.wake(pods[0].cls, 5.0, limit=1, room=1) == 1
    assert names(queue) == ["c"]


def test_removed_pods_are_gone_from_every_state(queue: SchedulingQueue, add: Add) -> None:
    active, parked, waiting, flying = (add(name) for name in "abcd")
    for _ in range(4):
        queue.pop()
    queue.retry(active, now=0.0)
    queue.flush(2.0)
    queue.park(parked, now=0.0)
    queue.retry(waiting, now=10.0)
    for pod in (active, parked, waiting, flying):
        assert queue.remove(pod.uid) is pod
    queue.flush(1e6)
    assert queue.pop() is None
    assert queue.active == len(queue) == 0
    assert queue.next_flush() is None
    assert list(queue.parked_classes()) == []
    assert queue.remove("a") is None


def test_a_changed_spec_is_tried_at_once(queue: SchedulingQueue, add: Add) -> None:
    pod = add("a")
    queue.pop()
    queue.park(pod, now=0.0)
    better = add("b", cpu="2").cls
    queue.reclassify(pod, better)
    assert pod.cls is better
    assert names(queue) == ["a", "b"]
    queue.reclassify(pod, better)  # in flight: stays there
    assert pod.state is State.IN_FLIGHT


def test_repr_tells_the_state(queue: SchedulingQueue, add: Add) -> None:
    assert repr(add("a")) == "PendingPod(default/a, active, attempts=0)"
    assert repr(queue) == "SchedulingQueue(pods=1, active=1, classes parked=0)"


@given(
    st.lists(
        st.tuples(
            st.sampled_from(("pop", "park", "retry", "wake", "remove", "flush", "take", "hold")),
            st.integers(0, 5),
        )
    )
)
def test_counts_are_what_the_pods_say(steps: list[tuple[str, int]]) -> None:
    queue, classes = SchedulingQueue(), ClassTable()
    spec = clusters.as_pod(clusters.pod("a", {"cpu": "1"})).spec
    pods = [PendingPod(str(n), "default", str(n), classes.of(spec)) for n in range(6)]
    for pod in pods:
        queue.add(pod)
    for now, (step, number) in enumerate(steps):
        pod = pods[number]
        flying = queue.get(pod.uid) is pod and pod.state is State.IN_FLIGHT
        if step == "pop":
            queue.pop()
        elif step in ("park", "retry", "hold") and flying:
            getattr(queue, step)(pod, float(now))
        elif step == "wake":
            queue.wake(pod.cls, float(now), 2)
        elif step == "remove":
            queue.remove(pod.uid)
        elif step == "flush":
            queue.flush(now * 2.0)
        elif step == "take":
            queue.take(pod)
        wanted = dict.fromkeys(State, 0)
        for one in queue.pods():
            wanted[one.state] += 1
        assert queue.counts() == wanted


def test_why_pods_come_into_a_queue(queue: SchedulingQueue, add: Add) -> None:
    pod = add("a")
    queue.pop()
    queue.park(pod, now=100.0)
    queue.wake_pod(pod, now=100.5)
    queue.flush(101.0)
    queue.pop()
    queue.retry(pod, now=102.0)
    counted = {(state.value, event): n for (state, event), n in queue.incoming.items() if n}
    assert counted == {
        ("active", "UnscheduledPodAdd"): 1,
        ("parked", "ScheduleAttemptFailure"): 1,
        ("backoff", "ClusterEvent"): 1,
        ("active", "BackoffComplete"): 1,
        ("backoff", "ScheduleAttemptFailure"): 1,
    }

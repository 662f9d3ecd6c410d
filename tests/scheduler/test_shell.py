"""The shell against a server in memory: what it binds and reports, and that its accounting is exact whatever happens when."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

from lakh.client.errors import ApiError, ConnectFailed, ConnectionLost
from lakh.scheduler import candidates, shell
from lakh.scheduler.config import SchedulerConfig
from lakh.scheduler.profile import DEFAULT_PROFILE, Profile, Strategy
from lakh.scheduler.queue import State
from lakh.scheduler.shell import Scheduler

from . import clusters, reference
from .clusters import NEURON
from .fakeapi import FakeApi

Json = dict[str, Any]


@pytest.fixture
async def api() -> AsyncIterator[FakeApi]:
    found = FakeApi()
    yield found
    await found.close()


def neurons(name: str, count: int, **spec: Any) -> Json:
    return clusters.pod(name, {NEURON: str(count)}, **spec)


async def test_binds_and_says_so(api: FakeApi) -> None:
    api.set_node(clusters.node("n0"))
    api.add_pod(neurons("p", 4))
    await api.settle()
    assert api.node_of("p") == "n0"
    assert api.events == [("p", "Scheduled", "Successfully assigned default/p to n0")]
    assert len(api.scheduler.queue) == 0
    assert api.scheduler.bound == 1


async def test_reports_once_and_binds_when_a_node_comes(api: FakeApi) -> None:
    api.set_node(clusters.node("n0"))
    api.add_pod(neurons("p", 16))
    await api.settle()
    message = (
        "0/1 nodes are available: 1 Insufficient aws.amazon.com/neuron. no new claims to deallocate, "
        "preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
    )
    assert api.events == [("p", "FailedScheduling", message)]
    [(name, patch)] = api.patches
    [condition] = patch["status"]["conditions"]
    assert name == "p"
    assert patch["metadata"] == {"uid": "uid-p"}
    assert condition.pop("lastTransitionTime")
    assert condition == {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": message,
    }
    api.now += 500.0
    await api.settle()
    assert len(api.patches) == 1
    api.set_node(clusters.node("n1", allocatable={NEURON: "16"}))
    api.now += 20.0
    await api.settle()
    assert api.node_of("p") == "n1"


async def test_a_changed_message_is_patched_without_a_new_transition(api: FakeApi) -> None:
    api.add_pod(neurons("p", 16))
    await api.settle()
    api.set_node(clusters.node("n0"))
    await api.settle()
    api.now += 300.0
    await api.settle()
    assert api.events[0] == ("p", "FailedScheduling", "no nodes available to schedule pods")
    assert len(api.events) == len(api.patches) == 2
    assert "lastTransitionTime" not in api.patches[1][1]["status"]["conditions"][0]


async def test_a_restarted_scheduler_does_not_repeat_the_condition(api: FakeApi) -> None:
    pod = neurons("p", 16)
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    pod["status"]["conditions"] = [{**condition, "message": "no nodes available to schedule pods"}]
    api.add_pod(pod)
    await api.settle()
    assert api.patches == []


@pytest.mark.parametrize(
    "spec",
    [
        {"schedulerName": "another"},
        {"schedulingGates": [{"name": "wait"}]},
        {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}},
    ],
)
async def test_leaves_alone_what_is_not_its_own(api: FakeApi, spec: Json) -> None:
    api.set_node(clusters.node("n0"))
    api.add_pod(neurons("p", 1, **spec))
    await api.settle()
    assert api.node_of("p") is None
    assert len(api.scheduler.queue) == 0


async def test_a_gate_that_opens_lets_the_pod_in(api: FakeApi) -> None:
    api.set_node(clusters.node("n0"))
    api.add_pod(neurons("p", 1, schedulingGates=[{"name": "wait"}]))
    await api.settle()
    del api.pods["p"]["spec"]["schedulingGates"]
    api.changed("p")
    await api.settle()
    assert api.node_of("p") == "n0"


async def test_a_deleted_pod_makes_room_for_one_that_waits(api: FakeApi) -> None:
    api.set_node(clusters.node("n0"))
    for number in range(3):
        api.add_pod(neurons(f"p{number}", 4))
    await api.settle()
    assert [api.node_of(f"p{n}") for n in range(3)] == ["n0", None, None]
    api.now += 1.0
    api.delete_pod("p0")
    await api.settle()
    assert [api.node_of(f"p{n}") for n in (1, 2)] == ["n0", None]
    api.now += 10.0
    api.pods["p1"]["status"]["phase"] = "Succeeded"
    api.changed("p1")
    await api.settle()
    assert api.node_of("p2") == "n0"


async def test_priority_goes_first(api: FakeApi) -> None:
    api.add_pod(neurons("low", 4))
    api.add_pod(neurons("high", 4, priority=1000))
    api.set_node(clusters.node("n0"))
    await api.settle()
    assert (api.node_of("low"), api.node_of("high")) == (None, "n0")


async def test_a_burst_that_fits_nowhere_costs_one_explanation(
    api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.set_node(clusters.node("n0"))
    calls = Counter[str]()
    explain = api.scheduler.core.explain
    monkeypatch.setattr(
        api.scheduler.core, "explain", lambda cls, tail: (calls.update(["explain"]), explain(cls))[1]
    )
    for number in range(2000):
        api.add_pod(neurons(f"p{number}", 16))
    api.deliver()
    while api.scheduler.step():
        pass
    for _ in range(1000):
        await asyncio.sleep(0)
    assert calls["explain"] == 1
    assert len(api.events) == len(api.patches) == 2000


async def test_many_waiting_pods_are_woken_as_room_allows(api: FakeApi) -> None:
    """More pods wait than one wake-up takes, and those woken first disappear."""
    for number in range(600):
        api.add_pod(neurons(f"p{number}", 1))
    await api.settle()
    api.now += 20.0
    api.set_node(clusters.node("n0", allocatable={NEURON: "400", "pods": "1000"}))
    api.deliver()
    for number in range(300):
        api.delete_pod(f"p{number}")
    await api.settle()
    assert Counter(api.node_of(name) for name in api.pods) == {"n0": 300}


async def test_room_for_one_is_tried_by_one(api: FakeApi) -> None:
    """Not by all that wait, of which all but one would be told again that they fit nowhere."""
    for number in range(100):
        api.add_pod(neurons(f"p{number}", 4))
    await api.settle()
    tried = api.scheduler.queue.incoming[State.PARKED, "ScheduleAttemptFailure"]
    assert tried == 100
    for number in range(100):
        api.now += 2.0
        api.set_node(clusters.node(f"n{number}"))
        await api.settle()
        assert api.node_of(f"p{number}") == f"n{number}", "the oldest first"
    assert api.scheduler.queue.incoming[State.PARKED, "ScheduleAttemptFailure"] == tried


async def test_a_refused_bind_is_undone_and_tried_again(api: FakeApi) -> None:
    api.auto = False
    api.set_node(clusters.node("n0"))
    api.add_pod(neurons("p", 4))
    await api.settle()
    [bind] = api.binds
    assert api.scheduler.core.node_of("uid-p") == "n0"
    api.answer(bind, ApiError(403, "Forbidden", "no"))
    await api.settle()
    assert api.scheduler.core.node_of("uid-p") is None
    message = 'running Bind plugin "DefaultBinder": no'
    assert api.events == [("p", "FailedScheduling", message)]
    api.auto = True
    api.now += 1.0
    await api.settle()
    assert api.node_of("p") == "n0"


@pytest.mark.parametrize("carried_out", [True, False])
async def test_a_lost_answer_is_looked_up(api: FakeApi, carried_out: bool) -> None:
    api.auto = False
    api.set_node(clusters.node("n0"))
    api.add_pod(neurons("p", 4))
    await api.settle()
    bind = api.binds.pop()
    api.lost_gets = 2
    if carried_out:
        api.carry_out(bind, lose=True)
    else:
        api.answer(bind, ConnectionLost("lost"))
    for _ in range(20):
        await asyncio.sleep(0)
    assert api.scheduler.core.node_of("uid-p") == ("n0" if carried_out else None)
    api.auto = True
    api.now += 20.0
    await api.settle()
    assert api.node_of("p") == "n0"
    assert api.scheduler.core.node_of("uid-p") == "n0"


async def test_the_first_pass_for_a_class_goes_in_pieces(
    api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What happens between them counts: the pod is deleted; the best node is taken by others; the pod asks for something else."""
    monkeypatch.setattr(shell, "SLICE_SECONDS", 0.0)
    monkeypatch.setattr(candidates, "BLOCK_ROWS", 1)
    for number in range(3):
        api.set_node(clusters.node(f"n{number}"))

    def begin(name: str, count: int) -> None:
        api.add_pod(neurons(name, count))
        api.deliver()
        for _ in range(3):
            assert api.scheduler.step() and not api.scheduler.core.node_of(f"uid-{name}")

    begin("gone", 1)
    api.delete_pod("gone")
    await api.settle()
    assert not api.scheduler.core.placed() and not len(api.scheduler.queue)
    begin("p", 4)
    api.add_pod(neurons("other", 1, nodeName="n0", schedulerName="another"))
    await api.settle()
    assert api.node_of("p") == "n1"
    begin("q", 3)
    api.pods["q"]["spec"]["containers"][0]["resources"]["requests"][NEURON] = "4"
    api.changed("q")
    await api.settle()
    assert api.node_of("q") == "n2"
    check_accounting(api)


async def test_another_scheduler_was_faster(api: FakeApi) -> None:
    api.auto = False
    api.set_node(clusters.node("n0", allocatable={"cpu": "64"}))
    api.set_node(clusters.node("n1"))
    api.add_pod(clusters.pod("p", {"cpu": "1"}))
    await api.settle()
    assert api.scheduler.core.node_of("uid-p") == "n0"
    api.assign("p", "n1")
    api.carry_out(api.binds.pop())
    for _ in range(10):
        await asyncio.sleep(0)
    assert api.scheduler.core.node_of("uid-p") == "n1"
    await api.settle()
    assert api.scheduler.core.node_of("uid-p") == "n1"


async def test_views_share_what_their_class_has(api: FakeApi) -> None:
    one, two = clusters.as_pod(neurons("a", 1)), clusters.as_pod(neurons("b", 1))
    api.scheduler.on_pod(one)
    api.scheduler.on_pod(two)
    assert one.spec.containers is two.spec.containers


# Random interleavings


def check_accounting(api: FakeApi) -> None:
    """The columns equal a recomputation from scratch."""
    core = api.scheduler.core
    expected: dict[str, Counter[str]] = {name: Counter() for name in core.columns.row_of}
    for cls, node in core.placed().values():
        if node in expected:
            expected[node].update({**cls.requests, "pods": 1, "score": cls.score_milli_cpu})
    for name, row in core.columns.row_of.items():
        for resource, column in core.columns.resources.items():
            assert int(column.requested[row]) == expected[name][resource]
        assert int(core.columns.score[0].requested[row]) == expected[name]["score"]


WEIGHTS = {
    "pod": 9,
    "delete": 4,
    "finish": 3,
    "restart pod": 1,
    "foreign": 1,
    "node": 2,
    "remove node": 1,
    "pods": 14,
    "nodes": 4,
    "step": 10,
    "bind": 8,
    "time": 3,
}
ACTIONS = 200
SEEDS_A_TEST = 10


@pytest.mark.parametrize("first", range(0, 60, SEEDS_A_TEST))
async def test_accounting_is_exact_whatever_happens_when(first: int) -> None:
    """The printed seed replays a failure."""
    bound = 0
    for seed in range(first, first + SEEDS_A_TEST):
        print("seed", seed)
        bound += await interleave(random.Random(seed))
    assert bound > 2 * SEEDS_A_TEST, "too little was bound: the simulation tests nothing"


async def interleave(rng: random.Random) -> int:
    api = FakeApi()
    api.auto = False
    for number in range(2):
        api.set_node(clusters.node(f"n{number}"))
    api.deliver()
    made = 0
    foreign = changed_nodes = False
    for action in rng.choices(list(WEIGHTS), list(WEIGHTS.values()), k=ACTIONS):
        names = sorted(api.pods)
        match action:
            case "pod":
                made += 1
                requests = {NEURON: str(rng.randint(1, 3)), "cpu": f"{rng.randint(1, 6)}m"}  # many classes
                api.add_pod(clusters.pod(f"p{made}", requests))
            case "delete" if names:
                api.delete_pod(rng.choice(names))
            case "restart pod" if names:  # the same name, another pod
                name = rng.choice(names)
                api.delete_pod(name)
                made += 1
                pod = neurons(name, 2)
                pod["metadata"]["uid"] = f"uid-{made}"
                api.add_pod(pod)
            case "finish" if names:
                name = rng.choice(names)
                api.pods[name]["status"]["phase"] = "Succeeded"
                api.changed(name)
            case "foreign":
                waiting = [n for n in names if api.node_of(n) is None]
                if waiting:
                    foreign = True
                    api.assign(rng.choice(waiting), f"n{rng.randint(0, 3)}")
            case "node":
                name = f"n{rng.randint(0, 2)}"
                changed_nodes |= name in api.nodes
                api.set_node(clusters.node(name, allocatable={NEURON: rng.choice(("4", "8", "16"))}))
            case "remove node" if api.nodes:
                changed_nodes = True
                api.delete_node(rng.choice(sorted(api.nodes)))
            case "pods" if api.pod_stream:
                api.deliver_pod()
            case "nodes" if api.node_stream:
                api.deliver_node()
            case "time":
                api.now += rng.choice((0.5, 3.0, 11.0))
            case "bind" if api.binds:
                bind = api.binds.pop(rng.randint(0, len(api.binds) - 1))
                match rng.choice(("done", "done", "lost", "not sent", "error", "refused")):
                    case "done":
                        api.carry_out(bind)
                    case "lost":
                        api.lost_gets = rng.randint(0, 2)
                        api.carry_out(bind, lose=True)
                    case "not sent":
                        api.answer(bind, ConnectFailed("refused"))
                    case "error":
                        api.answer(bind, ApiError(503, "ServiceUnavailable", "later"))
                    case _:
                        api.answer(bind, ApiError(403, "Forbidden", "no"))
            case "step":
                api.scheduler.step()
        for _ in range(rng.randint(0, 4)):
            await asyncio.sleep(0)
        check_accounting(api)
    api.auto = True
    for bind in api.binds:
        api.carry_out(bind)
    for _ in range(4):
        api.now += 11.0  # every backoff is over, but nobody has been parked for five minutes
        await api.settle()
    check_accounting(api)
    core = api.scheduler.core
    running = {n: p for n, p in api.pods.items() if p["status"]["phase"] == "Pending"}
    truth = {
        p["metadata"]["uid"]: p["spec"]["nodeName"] for p in running.values() if p["spec"].get("nodeName")
    }
    assert {uid: node for uid, (_, node) in core.placed().items()} == truth
    placed: dict[str, list[Json]] = {}
    for pod in running.values():
        if pod["spec"].get("nodeName"):
            placed.setdefault(pod["spec"]["nodeName"], []).append(pod)
    for pod in running.values():  # whoever still waits has good reason
        if not pod["spec"].get("nodeName"):
            assert not reference.evaluate(pod, list(api.nodes.values()), placed), pod
    if not (foreign or changed_nodes):
        for name, node in api.nodes.items():
            used = reference.node_use(placed.get(name, []), lambda pod: reference.pod_requests(pod, {}))
            assert used.get(NEURON, 0) <= reference.allocatable(node)[NEURON]
    assert len(api.scheduler.queue) == len(running) - len(truth)
    assert api.scheduler._binds_in_flight == 0
    await api.close()
    return api.scheduler.bound


WEB = {"labels": {"app": "web"}}
NEAR_DB = {"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "db"}}}
AFFINITY = {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [NEAR_DB]}}


async def test_a_pod_that_wants_company_is_woken_when_it_comes(api: FakeApi) -> None:
    for number in range(3):
        api.set_node(clusters.node(f"n{number}", labels={"zone": f"z{number}"}))
    api.add_pod(neurons("web", 1, metadata=WEB | {"namespace": "default"}, affinity=AFFINITY))
    await api.settle()
    assert api.events[0][2].startswith("0/3 nodes are available: 3 node(s) didn't match pod affinity rules.")
    api.add_pod(neurons("db", 1, metadata={"labels": {"app": "db"}}, nodeSelector={"zone": "z1"}))
    await api.settle()
    api.now += 2.0
    await api.settle()
    assert api.node_of("web") == api.node_of("db") == "n1"


async def test_foreign_anti_affinity_keeps_a_pod_away(api: FakeApi) -> None:
    apart = {"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "web"}}}
    hermit = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [apart]}}
    for number in range(2):
        api.set_node(clusters.node(f"n{number}", labels={"zone": f"z{number}"}))
    api.add_pod(neurons("other", 0, affinity=hermit, nodeName="n0", schedulerName="another"))
    for number in range(3):
        api.add_pod(neurons(f"web{number}", 1, metadata=WEB))
    await api.settle()
    assert {api.node_of(f"web{n}") for n in range(3)} == {"n1"}


class Recorder:
    """Events of one profile."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str]] = []

    def event(self, ref: Any, kind: str, reason: str, message: str) -> None:
        self.said.append((ref.name, reason))


async def test_each_profile_schedules_its_own_pods_and_says_so() -> None:
    packer = Profile(name="packer", strategy=Strategy("MostAllocated"), balanced=())
    api = FakeApi()
    recorders = {"default-scheduler": Recorder(), "packer": Recorder()}
    api.scheduler = Scheduler(
        api,  # type: ignore[arg-type]
        api,  # type: ignore[arg-type]
        config=SchedulerConfig(profiles=(DEFAULT_PROFILE, packer), initial_backoff_seconds=3),
        recorders=recorders,  # type: ignore[arg-type]
        clock=lambda: api.now,
        sleep=api.sleep,
    )
    for name in ("n0", "n1"):
        api.set_node(clusters.node(name))
    for number in range(3):
        api.add_pod(clusters.pod(f"packed-{number}", {"cpu": "1"}, schedulerName="packer"))
    await api.settle()
    assert {api.node_of(f"packed-{number}") for number in range(3)} == {"n0"}
    api.add_pod(clusters.pod("spread", {"cpu": "1"}))
    api.add_pod(clusters.pod("huge", {"cpu": "9"}, schedulerName="packer"))
    api.add_pod(clusters.pod("foreign", schedulerName="another"))
    await api.settle()
    assert (api.node_of("spread"), api.node_of("huge"), api.node_of("foreign")) == ("n1", None, None)
    assert recorders["packer"].said == [
        *((f"packed-{number}", "Scheduled") for number in range(3)),
        ("huge", "FailedScheduling"),
    ]
    assert recorders["default-scheduler"].said == [("spread", "Scheduled")]
    await api.close()


async def test_a_pod_that_shrinks_in_place_makes_room(api: FakeApi) -> None:
    api.set_node(clusters.node("n0"))
    running = clusters.pod(
        "running", nodeName="n0", containers=[{"name": "c", "resources": {"requests": {"cpu": "2"}}}]
    )
    held = {"name": "c", "resources": {"requests": {"cpu": "7"}}, "allocatedResources": {"cpu": "7"}}
    api.add_pod({**running, "status": {"phase": "Running", "containerStatuses": [held]}})
    api.add_pod(clusters.pod("waiting", {"cpu": "4"}))
    await api.settle()
    assert api.node_of("waiting") is None
    done = {"name": "c", "resources": {"requests": {"cpu": "2"}}, "allocatedResources": {"cpu": "2"}}
    api.pods["running"]["status"]["containerStatuses"] = [done]
    api.changed("running")
    await api.settle()
    assert api.node_of("waiting") == "n0"


async def test_a_pod_goes_where_its_image_is(api: FakeApi) -> None:
    for name in ("n0", "n1", "n2"):
        api.set_node(clusters.node(name))
    container = {"image": "registry.io/big", "resources": {"requests": {"cpu": "1m"}}}
    api.add_pod(clusters.pod("first", containers=[container]))
    await api.settle()
    assert api.node_of("first") == "n0"
    api.nodes["n2"]["status"]["images"] = [{"names": ["registry.io/big:latest"], "sizeBytes": 3 << 30}]
    api.set_node(api.nodes["n2"])
    for number in range(3):
        api.add_pod(clusters.pod(f"p{number}", containers=[container]))
    await api.settle()
    assert {api.node_of(f"p{number}") for number in range(3)} == {"n2"}
    api.delete_node("n2")
    api.add_pod(clusters.pod("last", containers=[container]))
    await api.settle()
    assert api.node_of("last") in ("n0", "n1")


async def test_two_schedulers_may_overcommit_and_both_see_it() -> None:
    """Of different names on the same nodes: nothing but the kubelet refuses the second pod, as upstream; nobody adds to it."""
    api = FakeApi()
    api.auto = False
    other = Scheduler(
        api,  # type: ignore[arg-type]
        api,  # type: ignore[arg-type]
        config=SchedulerConfig(profiles=(Profile(name="other"),)),
        clock=lambda: api.now,
        sleep=api.sleep,
    )
    mine = api.scheduler
    api.set_node(clusters.node("n0"))
    api.add_pod(clusters.pod("a", {NEURON: "4"}))
    api.add_pod(clusters.pod("b", {NEURON: "4"}, schedulerName="other"))
    streams = list(api.pod_stream), list(api.node_stream)

    def deliver() -> None:
        for verb, node in api.node_stream:
            assert verb == "set"
            for one in (mine, other):
                one.on_node(clusters.as_node(node))
        for verb, pod in api.pod_stream:
            for one in (mine, other):
                (one.on_pod if verb == "set" else one.on_pod_deleted)(clusters.as_pod(pod))
        api.node_stream.clear()
        api.pod_stream.clear()

    assert all(streams)
    for _ in range(4):
        deliver()
        mine.step()
        other.step()
        await asyncio.sleep(0)
        for bind in api.binds:
            api.carry_out(bind)
        api.binds.clear()
        await asyncio.sleep(0)
    assert (api.node_of("a"), api.node_of("b")) == ("n0", "n0")
    for one in (mine, other):
        column = one.core.columns.resources[NEURON]
        assert (int(column.requested[0]), int(column.allocatable[0])) == (8, 4)
    api.add_pod(clusters.pod("c", {NEURON: "1"}))
    deliver()
    mine.step()
    assert api.node_of("c") is None
    api.delete_pod("b")
    deliver()
    assert int(mine.core.columns.resources[NEURON].requested[0]) == 4
    await mine._guard.close()
    await other._guard.close()

"""Preemption against the reference, and what the shell makes of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakh.machinery.selectors import of_labels
from lakh.scheduler.outlook import Outlook
from lakh.scheduler.preemption import Budget

from . import clusters, reference
from .clusters import NEURON, as_pod
from .fakeapi import FakeApi
from .test_interpod import Model, nodes, pods

Json = dict[str, Any]


def reference_plans(
    model: Model, pod: Json, budgets: list[tuple[dict[str, str], int]]
) -> dict[str, tuple[int, list[str]]]:
    """By node: violations and victims' uids, as upstream's SelectVictimsOnNode finds them."""
    found: dict[str, tuple[int, list[str]]] = {}
    priority = pod["spec"].get("priority", 0)
    every = list(model.nodes.values())

    def fits(node: Json, gone: set[str]) -> bool:
        placed: dict[str, list[Json]] = {}
        for uid, (other, at) in model.pods.items():
            if uid not in gone:
                placed.setdefault(at, []).append(other)
        cluster = reference.Cluster(every, placed, model.namespaces, model.services)
        return not (
            reference.refusal(pod, node, placed.get(node["metadata"]["name"], []))
            or reference.spread_refusal(pod, node, cluster)
            or reference.interpod_refusal(pod, node, cluster)
        )

    for name, node in model.nodes.items():
        lower = [
            uid
            for uid, (other, at) in model.pods.items()
            if at == name and other["spec"].get("priority", 0) < priority
        ]
        lower.sort()
        lower.sort(key=lambda uid: -model.pods[uid][0]["spec"].get("priority", 0))
        placed, cluster = model.cluster()
        earlier = reference.refusal(pod, node, placed.get(name, [])) or reference.spread_refusal(
            pod, node, cluster
        )
        if (
            not earlier
            and reference.interpod_refusal(pod, node, cluster) == "node(s) didn't match pod affinity rules"
        ):
            continue  # never resolved by removing pods
        gone = set(lower)
        if not lower or not fits(node, gone):
            continue
        allowed = [count for _, count in budgets]
        bad = []
        for uid in lower:
            labels = model.pods[uid][0]["metadata"].get("labels") or {}
            for index, (wanted, _) in enumerate(budgets):
                if labels and wanted.items() <= labels.items() and uid not in bad:
                    allowed[index] -= 1
                    if allowed[index] < 0:
                        bad.append(uid)
        for uid in [*bad, *(uid for uid in lower if uid not in bad)]:
            gone.discard(uid)
            if not fits(node, gone):
                gone.add(uid)
        if gone:
            found[name] = sum(uid in gone for uid in bad), [uid for uid in lower if uid in gone]
    return found


@given(data=st.data())
def test_plans_equal_the_references(data: st.DataObject) -> None:
    model = Model()
    for number in range(data.draw(st.integers(1, 4), label="nodes")):
        model.set_node(data.draw(nodes(f"n{number}")))
    kinds = data.draw(st.lists(pods(), min_size=1, max_size=3), label="pods")
    priorities = st.integers(-1, 3)
    for number in range(data.draw(st.integers(0, 8))):
        if number == 4:
            model.core._all_levels()  # kept up to date from here on
        pod = data.draw(st.sampled_from(kinds))
        pod = {**pod, "spec": {**pod["spec"], "priority": data.draw(priorities)}}
        model.place(pod, f"n{data.draw(st.integers(0, 3))}")
    if model.pods and data.draw(st.booleans()):
        model.remove(data.draw(st.sampled_from(sorted(model.pods))))
    pod = data.draw(st.sampled_from(kinds))
    pod = {**pod, "spec": {**pod["spec"], "priority": data.draw(priorities)}}
    allowed = data.draw(st.lists(st.integers(0, 2), max_size=1))
    budgets = [({"app": "a"}, count) for count in allowed]
    view, core = as_pod(pod), model.core
    cls = core.resolve(core.classes.of(view.spec), core.interpods.identity(view.metadata))
    if cls.problem is not None or core.decide(cls) is not None:
        return
    expected = reference_plans(model, pod, budgets)
    plan = core.preempt(cls, [Budget(ns, of_labels(w), n) for w, n in budgets for ns in ("default", "other")])
    if plan is None:
        assert not expected
        return
    if not budgets:
        _violations, victims = expected[plan.node]
        assert [victim.uid for victim in plan.victims] == victims

        def preference(uids: list[str]) -> tuple[int, int, int]:
            of = [model.pods[uid][0]["spec"]["priority"] for uid in uids]
            return max(of), sum(p + (1 << 31) for p in of), len(of)

        assert preference(victims) == min(preference(uids) for _, uids in expected.values())
    else:
        assert plan.node in expected
        assert plan.violations <= len(plan.victims)
    placed, _ = model.cluster()
    for name, row in core.columns.row_of.items():  # all was put back
        assert int(core.columns.resources["pods"].requested[row]) == len(placed.get(name, []))


@given(data=st.data())
def test_an_outlook_that_is_kept_equals_a_new_one(data: st.DataObject) -> None:
    model = Model()
    core, names = model.core, [f"n{number}" for number in range(4)]
    kinds = data.draw(st.lists(pods(), min_size=1, max_size=3), label="pods")
    wanted = as_pod(data.draw(st.sampled_from(kinds)))
    cls = core.resolve(core.classes.of(wanted.spec), core.interpods.identity(wanted.metadata))
    for _ in range(data.draw(st.integers(1, 12))):
        name = data.draw(st.sampled_from(names))
        kind = data.draw(st.sampled_from(["node", "place", "remove", "forget"]))
        if kind == "node":
            model.set_node(data.draw(nodes(name)))
        elif kind == "place":
            pod = data.draw(st.sampled_from(kinds))
            model.place({**pod, "spec": {**pod["spec"], "priority": data.draw(st.integers(-1, 3))}}, name)
        elif kind == "remove" and model.pods:
            model.remove(data.draw(st.sampled_from(sorted(model.pods))))
        elif kind == "forget":
            core.remove_node(name)
        levels = core._all_levels()
        below = levels.below(cls.priority)
        kept, fresh = core._outlook(cls, levels, below), Outlook(cls)
        fresh.catch_up(core.columns, levels, below)
        assert list(kept.walk()) == kept.rows().tolist() == fresh.rows().tolist()
        assert kept.count() == len(fresh.rows())


@pytest.fixture
async def api() -> AsyncIterator[FakeApi]:
    found = FakeApi()
    yield found
    await found.close()


def low(name: str, count: int, **spec: Any) -> Json:
    return clusters.pod(name, {NEURON: str(count)}, nodeName="n0", **spec)


def high(name: str, count: int) -> Json:
    return clusters.pod(name, {NEURON: str(count)}, priority=1000)


async def test_a_victim_is_told_and_deleted_and_the_pod_takes_its_place(api: FakeApi) -> None:
    api.graceful = True
    api.set_node(clusters.node("n0"))
    api.add_pod(low("small", 1))
    api.add_pod(low("big", 3))
    api.add_pod(high("p", 3))
    await api.settle()
    assert api.evicted == ["big"]
    by_name = dict(api.patches)
    [condition] = by_name["big"]["status"]["conditions"]
    assert condition.pop("lastTransitionTime")
    assert condition == {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "PreemptionByScheduler",
        "message": "default-scheduler: preempting to accommodate a higher priority pod",
    }
    assert by_name["p"]["status"]["nominatedNodeName"] == "n0"
    message = "0/1 nodes are available: 1 Insufficient aws.amazon.com/neuron."
    assert sorted(api.events) == [
        ("big", "Preempted", "Preempted by pod uid-p on node n0"),
        ("p", "FailedScheduling", message),
    ]
    api.now += 400.0  # tried again while the victim terminates: nobody else is preempted
    await api.settle()
    assert api.evicted == ["big"]
    assert api.events[-1][2] == message + (
        " no new claims to deallocate, preemption: not eligible due to a terminating pod on the nominated node."
    )
    api.delete_pod("big")
    api.now += 20.0
    await api.settle()
    assert api.node_of("p") == "n0"
    assert len(api.scheduler.nominations) == 0


async def test_nobody_takes_the_room_that_was_made(api: FakeApi) -> None:
    api.graceful = True
    api.set_node(clusters.node("n0"))
    api.add_pod(low("victim", 4))
    api.add_pod(high("p", 4))
    await api.settle()
    api.add_pod(clusters.pod("later", {NEURON: "4"}))
    api.delete_pod("victim")
    await api.settle()
    api.now += 20.0
    await api.settle()
    assert (api.node_of("p"), api.node_of("later")) == ("n0", None)


async def test_many_preemptors_choose_many_places(api: FakeApi) -> None:
    api.graceful = True
    for number in range(10):
        api.set_node(clusters.node(f"n{number}"))
        api.add_pod(clusters.pod(f"low{number}", {NEURON: "4"}, nodeName=f"n{number}"))
    for number in range(10):
        api.add_pod(high(f"p{number}", 4))
    await api.settle()
    assert sorted(api.evicted) == [f"low{n}" for n in range(10)]
    for number in range(10):
        api.delete_pod(f"low{number}")
    for _ in range(3):
        api.now += 20.0
        await api.settle()
    assert sorted(str(api.node_of(f"p{n}")) for n in range(10)) == [f"n{n}" for n in range(10)]
    assert len(api.evicted) == 10


async def test_a_higher_pod_outdoes_a_reservation(api: FakeApi) -> None:
    api.graceful = True
    api.set_node(clusters.node("n0"))
    api.add_pod(low("victim", 4))
    api.add_pod(high("p", 4))
    await api.settle()
    api.add_pod(clusters.pod("king", {NEURON: "4"}, priority=2000))
    await api.settle()
    api.delete_pod("victim")
    api.now += 20.0
    await api.settle()
    api.now += 20.0
    await api.settle()
    assert (api.node_of("king"), api.node_of("p")) == ("n0", None)


async def test_a_deleted_preemptor_gives_its_room_back(api: FakeApi) -> None:
    api.graceful = True
    api.set_node(clusters.node("n0"))
    api.add_pod(low("victim", 4))
    api.add_pod(high("p", 4))
    await api.settle()
    api.delete_pod("p")
    api.delete_pod("victim")
    api.add_pod(clusters.pod("later", {NEURON: "4"}))
    await api.settle()
    assert api.node_of("later") == "n0"
    assert {uid: node for uid, (_, node) in api.scheduler.core.placed().items()} == {"uid-later": "n0"}


async def test_never_means_never(api: FakeApi) -> None:
    api.set_node(clusters.node("n0"))
    api.add_pod(low("victim", 4))
    api.add_pod(clusters.pod("p", {NEURON: "4"}, priority=1000, preemptionPolicy="Never"))
    await api.settle()
    assert api.evicted == []
    assert api.events[-1][2].endswith("preemption: not eligible due to preemptionPolicy=Never.")


async def test_a_nomination_that_cannot_come_true_is_given_up(api: FakeApi) -> None:
    api.graceful = True
    for name in ("n0", "n1"):
        api.set_node(clusters.node(name))
    api.add_pod(low("v0", 4))
    api.add_pod(clusters.pod("v1", {NEURON: "4"}, nodeName="n1"))
    api.add_pod(high("p", 4))
    await api.settle()
    [first] = api.evicted
    nominated = api.pods[first]["spec"]["nodeName"]
    api.set_node(clusters.node(nominated, unschedulable=True))
    api.now += 400.0
    await api.settle()
    assert sorted(api.evicted) == ["v0", "v1"]
    for name in ("v0", "v1"):
        api.delete_pod(name)
    api.now += 20.0
    await api.settle()
    assert {api.node_of("p"), nominated} == {"n0", "n1"}


async def test_a_nominated_pod_waits_while_its_victims_leave(api: FakeApi) -> None:
    api.graceful = True
    for name in ("n0", "n1"):
        api.set_node(clusters.node(name))
    api.add_pod(low("v0", 4))
    api.add_pod(clusters.pod("v1", {NEURON: "4"}, nodeName="n1"))
    api.add_pod(high("p", 4))
    for _ in range(3):
        await api.settle()
        api.now += 400.0
    assert len(api.evicted) == 1
    assert api.events[-1][2].endswith(
        "no new claims to deallocate, preemption: not eligible due to a terminating pod on the nominated node."
    )

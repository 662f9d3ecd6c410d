"""Gangs: all or none, in few domains, in order of rank; and that competing gangs do not block each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakh.scheduler.core import Core
from lakh.scheduler.gangs import NETWORK_LAYERS, GangSpec, plan_gang
from lakh.scheduler.interpod import own_labels
from lakh.scheduler.queue import PendingPod
from lakh.scheduler.views import PodGroup

from . import clusters
from .clusters import NEURON, as_node, as_pod
from .fakeapi import FakeApi

Json = dict[str, Any]


def tree(core: Core, spines: int, racks: int, nodes: int) -> None:
    """Spines of racks of nodes, added so that neighbours in the network are not neighbours in the columns."""
    for node in range(nodes):
        for rack in range(racks):
            for spine in range(spines):
                labels = {NETWORK_LAYERS[0]: f"s{spine}", NETWORK_LAYERS[2]: f"s{spine}r{rack}"}
                core.set_node(as_node(clusters.node(f"s{spine}-r{rack}-n{node}", labels=labels)))


def members(core: Core, count: int, neurons: int = 4) -> list[PendingPod]:
    found = []
    for index in range(count):
        labels = {"batch.kubernetes.io/job-completion-index": str(index)}
        pod = as_pod(clusters.pod(f"p{index}", {NEURON: str(neurons)}, metadata={"labels": labels}))
        cls = core.classes.of(pod.spec)
        identity = core.interpods.identity(pod.metadata)
        found.append(PendingPod(f"uid{index}", "default", f"p{index}", cls, identity, own_labels(labels)))
    return found


def test_a_gang_takes_the_fewest_racks_in_order_of_rank() -> None:
    core = Core()
    tree(core, spines=2, racks=3, nodes=4)
    placed = plan_gang(core, list(reversed(members(core, 10))), GangSpec(10), 10)
    nodes = [node for _, node in placed]
    assert [member.uid for member, _ in placed] == [f"uid{n}" for n in range(10)]
    assert len({node.split("-")[0] for node in nodes}) == 1
    racks = [node.split("-")[1] for node in nodes]
    assert len(set(racks)) == 3
    assert racks == sorted(racks, key=racks.index)  # each rack is used once, in one go


def test_the_smallest_domain_that_suffices_is_chosen() -> None:
    core = Core()
    tree(core, spines=1, racks=3, nodes=4)
    core.remove_node("s0-r1-n0")
    placed = plan_gang(core, members(core, 3), GangSpec(3), 3)
    assert {node.rsplit("-", 1)[0] for _, node in placed} == {"s0-r1"}


def test_a_required_topology_is_one_domain_or_nothing() -> None:
    core = Core()
    tree(core, spines=1, racks=2, nodes=4)
    spec = GangSpec(5, NETWORK_LAYERS[2])
    assert plan_gang(core, members(core, 5), spec, 5) == []
    assert core.placed() == {}
    placed = plan_gang(core, members(core, 4), GangSpec(4, NETWORK_LAYERS[2]), 4)
    assert len({node.split("-")[1] for _, node in placed}) == 1


@given(
    room=st.lists(st.integers(0, 4), min_size=1, max_size=6),
    count=st.integers(1, 12),
    minimum=st.integers(1, 12),
    labelled=st.booleans(),
)
def test_all_or_none(room: list[int], count: int, minimum: int, labelled: bool) -> None:
    core = Core()
    for number, neurons in enumerate(room):
        labels = {NETWORK_LAYERS[2]: f"r{number % 2}"} if labelled else {}
        core.set_node(as_node(clusters.node(f"n{number}", labels=labels, allocatable={NEURON: str(neurons)})))
    needed = min(minimum, count)
    placed = plan_gang(core, members(core, count, neurons=1), GangSpec(needed), needed)
    assert len(placed) == (min(count, sum(room)) if sum(room) >= needed else 0)
    assert len(core.placed()) == len(placed)
    used = Counter(node for _, node in placed)
    assert all(used[f"n{number}"] <= neurons for number, neurons in enumerate(room))


@pytest.fixture
async def api() -> AsyncIterator[FakeApi]:
    found = FakeApi()
    yield found
    await found.close()


def group(name: str, count: int) -> PodGroup:
    policy = {"gang": {"minCount": count}}
    return msgspec.convert(
        {"metadata": {"name": name, "namespace": "default"}, "spec": {"schedulingPolicy": policy}}, PodGroup
    )


def set_group(api: FakeApi, group: PodGroup) -> None:
    first = api.scheduler.gangs.on_group(group)
    if first is not None:
        api.scheduler.wake_pod(first)


def worker(gang: str, index: int) -> Json:
    return clusters.pod(f"{gang}-{index}", {NEURON: "4"}, schedulingGroup={"podGroupName": gang})


async def test_a_gang_waits_for_its_group_its_members_and_its_room(api: FakeApi) -> None:
    for number in range(2):
        api.set_node(clusters.node(f"n{number}"))
    api.add_pod(worker("g", 0))
    await api.settle()
    assert api.events[-1][2] == 'waiting for pods\'s pod group "g" to appear in scheduling queue'
    set_group(api, group("g", 3))
    api.now += 2.0
    await api.settle()
    assert api.events[-1][2] == "waiting for minCount pods from a gang to appear in scheduling queue"
    for index in (1, 2):
        api.add_pod(worker("g", index))
    api.now += 20.0
    await api.settle()
    assert [api.node_of(f"g-{n}") for n in range(3)] == [None] * 3
    why = "pod group is unschedulable: at least 3 more of its pods must be placed together"
    assert sum(event[2].startswith(f"{why}, 3 wait: 0/2 nodes are available") for event in api.events) == 1
    assert sum(event[2] == why for event in api.events) == 2
    api.set_node(clusters.node("n2"))
    api.now += 20.0
    await api.settle()
    assert sorted(str(api.node_of(f"g-{n}")) for n in range(3)) == ["n0", "n1", "n2"]


async def test_competing_gangs_do_not_block_each_other(api: FakeApi) -> None:
    for number in range(4):
        api.set_node(clusters.node(f"n{number}"))
    for gang in "ab":
        set_group(api, group(gang, 3))
    for index in range(3):
        for gang in "ab":
            api.add_pod(worker(gang, index))
    await api.settle()
    bound = Counter(name[0] for name in api.pods if api.node_of(name))
    assert sorted(bound.values()) == [3]
    [first] = bound
    for index in range(3):
        api.delete_pod(f"{first}-{index}")
    for _ in range(3):
        api.now += 20.0
        await api.settle()
    assert all(api.node_of(name) for name in api.pods)


async def test_the_coscheduling_label_is_understood(api: FakeApi) -> None:
    labels = {"scheduling.x-k8s.io/pod-group": "g", "pod-group.scheduling.sigs.k8s.io/min-available": "2"}
    api.set_node(clusters.node("n0"))
    for index in range(2):
        api.add_pod(clusters.pod(f"p{index}", {NEURON: "4"}, metadata={"labels": labels}))
    await api.settle()
    assert [api.node_of(f"p{n}") for n in range(2)] == [None, None]
    api.set_node(clusters.node("n1"))
    api.now += 20.0
    await api.settle()
    assert sorted(str(api.node_of(f"p{n}")) for n in range(2)) == ["n0", "n1"]

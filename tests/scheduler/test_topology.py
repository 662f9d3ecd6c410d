"""The fewest domains, against trying all combinations."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lakh.scheduler.core import Core
from lakh.scheduler.gangs import NETWORK_LAYERS, GangSpec, plan_gang
from lakh.scheduler.topology import Domain, layout

from . import clusters
from .clusters import NEURON, as_node
from .test_gangs import members

KEYS = (NETWORK_LAYERS[0], NETWORK_LAYERS[1])


def fewest(rooms: list[int], need: int) -> int:
    """The smallest number of domains that hold `need` pods: all combinations tried."""
    for count in range(1, len(rooms) + 1):
        if any(sum(chosen) >= need for chosen in itertools.combinations(rooms, count)):
            return count
    raise AssertionError("they do not hold so many")


@given(
    spines=st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=4), min_size=1, max_size=4),
    need=st.integers(1, 20),
    shuffle=st.randoms(use_true_random=False),
)
def test_the_fewest_domains_of_the_widest_layer_and_then_of_the_next(
    spines: list[list[int]], need: int, shuffle: object
) -> None:
    core = Core()
    nodes = []
    for spine, racks in enumerate(spines):
        for rack, neurons in enumerate(racks):
            labels = {KEYS[0]: f"s{spine}", KEYS[1]: f"s{spine}r{rack}"}
            for node, amount in enumerate((neurons // 2, neurons - neurons // 2)):
                name = f"s{spine}-r{rack}-{node}"
                nodes.append(clusters.node(name, labels=labels, allocatable={NEURON: str(amount)}))
    shuffle.shuffle(nodes)  # type: ignore[attr-defined]
    for made in nodes:
        core.set_node(as_node(made))
    totals = [sum(racks) for racks in spines]
    gang = members(core, need, neurons=1)
    placed = plan_gang(core, gang, GangSpec(need, preferred_keys=KEYS), need)
    if sum(totals) < need:
        assert placed == [] and core.placed() == {}
        return
    assert [member.uid for member, _ in placed] == [member.uid for member in gang]
    used = [tuple(node.split("-")[:2]) for _, node in placed]
    assert used == sorted(used, key=used.index)  # in order of rank each domain is used in one go
    used_spines = {spine for spine, _ in used}
    assert len(used_spines) == fewest(totals, need)
    if len(used_spines) == 1:
        enough = [racks for racks in spines if sum(racks) >= need]
        assert len(set(used)) == min(fewest(racks, need) for racks in enough)


def test_the_worked_example() -> None:
    core = Core()
    for number, (rack, room) in enumerate({"a1": 4, "a2": 3, "b1": 3, "b2": 3, "b3": 3}.items()):
        labels = {KEYS[0]: rack[0], KEYS[1]: rack}
        core.set_node(
            as_node(clusters.node(f"{rack}-{number}", labels=labels, allocatable={"pods": str(room)}))
        )
    columns = core.columns
    rows = np.arange(5)
    tree = Domain.of(columns, rows, np.array([4, 3, 3, 3, 3]), KEYS, np.zeros(0, np.intp))
    names = {need: [str(columns.names[row])[:2] for row in layout(tree, need)] for need in (6, 8, 12)}
    assert names[6][:2] == ["a1", "a2"]
    assert names[8][:3] == ["b1", "b2", "b3"]
    assert names[12][:4] == ["b1", "b2", "b3", "a2"]


def test_a_replacement_goes_to_its_peers() -> None:
    core = Core()
    for rack in range(3):
        for node in range(4):
            labels = {KEYS[0]: "s", KEYS[1]: f"r{rack}"}
            core.set_node(as_node(clusters.node(f"r{rack}-{node}", labels=labels)))
    spec = GangSpec(1, preferred_keys=KEYS)
    [late] = members(core, 1)
    [(_, node)] = plan_gang(core, [late], spec, 0, ["r1-0"])
    assert node.startswith("r1")
    core.remove(late.uid)
    required = GangSpec(1, required_key=KEYS[1], preferred_keys=KEYS)
    [(_, node)] = plan_gang(core, [late], required, 0, ["r2-0"])
    assert node.startswith("r2")
    core.remove(late.uid)
    assert plan_gang(core, [late], required, 0, ["r1-0", "r2-0"]) == []

"""Gangs whose members share claims that nobody has allocated yet: planned as one, with and without topology."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakh.scheduler.constraints import needs_of
from lakh.scheduler.gangbundles import _components, bundles_of
from lakh.scheduler.gangs import NETWORK_LAYERS, GangSpec, plan_gang
from lakh.scheduler.queue import PendingPod

from . import clusters
from .test_devices import Cluster, claim, device, request, slice_of

Json = dict[str, Any]
RACK = NETWORK_LAYERS[2]


def cluster_of(*nodes: tuple[int, int, str]) -> Cluster:
    """Nodes by cpus, devices and rack."""
    found = Cluster({})
    for number, (cpus, devices, rack) in enumerate(nodes):
        name = f"n{number}"
        labels = {RACK: rack} if rack else {}
        node = clusters.node(name, labels=labels, allocatable={"cpu": str(cpus), "pods": "20"})
        found.core.set_node(clusters.as_node(node))
        found.slice(slice_of(name, [device(f"d{i}") for i in range(devices)]))
    return found


def member(cluster: Cluster, name: str, *claims: str, cpus: int = 1) -> PendingPod:
    wanted = [{"name": f"c{i}", "resourceClaimName": c} for i, c in enumerate(claims)]
    pod = clusters.as_pod(clusters.pod(name, {"cpu": str(cpus)}, resourceClaims=wanted))
    core, uid = cluster.core, pod.metadata.uid
    core.set_needs(uid, needs_of(pod))
    identity = core.interpods.identity(pod.metadata)
    return PendingPod(uid, "default", name, core.resolve(core.classes.of(pod.spec), identity, uid), identity)


def gang(cluster: Cluster, count: int, *claims: str) -> list[PendingPod]:
    return [member(cluster, f"p{number}", *claims) for number in range(count)]


def test_what_hangs_together() -> None:
    assert _components([[0, 1], [2, 3], [1, 4], [5, 6, 2]]) == [[0, 1, 4], [2, 3, 5, 6]]
    cluster = cluster_of((8, 2, ""))
    for name in ("a", "b", "c"):
        cluster.claim(claim(name, [request()]))
    shared = [member(cluster, "p0", "a"), member(cluster, "p1", "a", "b"), member(cluster, "p2", "b")]
    alone = member(cluster, "p3", "c")
    assert [[m.name for m in b] for b in bundles_of(cluster.core, [*shared, alone])] == [["p0", "p1", "p2"]]


def test_all_go_where_the_devices_are() -> None:
    """The node with most room has no devices, the next one too little room for all."""
    cluster = cluster_of((16, 0, ""), (2, 4, ""), (4, 4, ""))
    cluster.claim(claim("shared", [request(count=2)]))
    placed = plan_gang(cluster.core, gang(cluster, 4, "shared"), GangSpec(4), 4)
    assert [node for _, node in placed] == ["n2"] * 4
    assert [d.partition("/")[0] for d in cluster.devices_of("shared")] == ["n2", "n2"]


def test_too_little_room_is_no_room() -> None:
    cluster = cluster_of((3, 4, ""), (3, 4, ""))
    cluster.claim(claim("shared", [request(count=2)]))
    members = gang(cluster, 4, "shared")
    before = [m.cls for m in members]
    assert plan_gang(cluster.core, members, GangSpec(4), 4) == []
    assert not cluster.core.placed() and not cluster.core.devices.pending
    assert [m.cls for m in members] == before


@pytest.mark.parametrize("required", [True, False])
def test_in_one_rack(required: bool) -> None:
    """Two pairs that share a claim each, and one that has none: the first rack has one node with devices, the second two."""
    cluster = cluster_of((4, 2, "a"), (4, 0, "a"), (2, 2, "b"), (2, 2, "b"), (1, 0, "b"))
    for name in ("x", "y"):
        cluster.claim(claim(name, [request(count=2)]))
    members = [member(cluster, f"p{i}", "xxyy"[i]) for i in range(4)] + [member(cluster, "p4")]
    spec = GangSpec(5, RACK if required else None, () if required else (RACK,))
    placed = plan_gang(cluster.core, members, spec, 5)
    found = {m.name: node for m, node in placed}
    assert len(found) == 5 and found["p0"] == found["p1"] and found["p2"] == found["p3"]
    assert {found["p0"], found["p2"]} == {"n2", "n3"} if required else len({found["p0"], found["p2"]}) == 2
    if required:
        assert found["p4"] == "n4"


def test_devices_that_many_nodes_reach_let_members_spread() -> None:
    cluster = cluster_of((2, 0, "a"), (1, 0, "a"), (3, 0, "b"))
    pool = {"name": "fabric", "generation": 1, "resourceSliceCount": 1}
    cluster.slice(slice_of("fabric", [device("f0")], nodeName=None, allNodes=True, pool=pool))
    cluster.claim(claim("shared", [request()]))
    placed = plan_gang(cluster.core, gang(cluster, 6, "shared"), GangSpec(6), 6)
    assert sorted(node for _, node in placed) == ["n0", "n0", "n1", "n2", "n2", "n2"]
    for m, _ in placed:
        cluster.core.remove(m.uid)
    again = plan_gang(cluster.core, gang(cluster, 3, "shared"), GangSpec(3, RACK), 3)
    assert len({node in ("n0", "n1") for _, node in again}) == 1 and len(again) == 3


@given(
    st.lists(st.tuples(st.integers(1, 5), st.integers(0, 3), st.sampled_from("ab")), min_size=1, max_size=5),
    st.integers(2, 4),
    st.integers(1, 2),
    st.integers(0, 2),
    st.booleans(),
)
def test_one_bundle_agrees_with_brute_force(
    nodes: list[tuple[int, int, str]], size: int, wanted: int, others: int, required: bool
) -> None:
    """A bundle with a claim of devices of one node, and pods without: all are placed where any assignment exists."""
    cluster = cluster_of(*nodes)
    cluster.claim(claim("shared", [request(count=wanted)]))
    members = gang(cluster, size, "shared") + [member(cluster, f"q{i}") for i in range(others)]
    total = len(members)

    def fits(home: int, racks: set[str]) -> bool:
        cpus, devices, rack = nodes[home]
        inside = [c - (size if i == home else 0) for i, (c, _, r) in enumerate(nodes) if r in racks]
        return devices >= wanted and cpus >= size and rack in racks and sum(inside) >= others

    choices = [{"a"}, {"b"}] if required else [{"a", "b"}]
    exists = any(fits(home, racks) for home, racks in itertools.product(range(len(nodes)), choices))
    placed = plan_gang(cluster.core, members, GangSpec(total, RACK if required else None), total)
    assert bool(placed) is exists
    if placed:
        assert len(placed) == total and len({n for m, n in placed if m.name.startswith("p")}) == 1
        racks = {nodes[int(node[1:])][2] for _, node in placed}
        assert not required or len(racks) == 1
    else:
        assert not cluster.core.placed() and not cluster.core.devices.pending

"""Disks that pods name themselves: who may be on a node with whom."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from lakh.scheduler.constraints import needs_of
from lakh.scheduler.core import Core
from lakh.scheduler.profile import DEFAULT_PROFILE, Profile

from . import clusters

Json = dict[str, Any]

read_only = st.sampled_from(({}, {"readOnly": True}, {"readOnly": False}))
volumes = st.one_of(
    st.tuples(st.sampled_from("ab"), read_only).map(
        lambda d: {"gcePersistentDisk": {"pdName": d[0], **d[1]}}
    ),
    st.tuples(st.sampled_from("ab"), read_only).map(
        lambda d: {"awsElasticBlockStore": {"volumeID": d[0], **d[1]}}
    ),
    st.tuples(st.sampled_from("ab"), read_only).map(
        lambda d: {"iscsi": {"targetPortal": "p", "lun": 0, "iqn": d[0], **d[1]}}
    ),
    st.tuples(st.sets(st.sampled_from("xyz"), min_size=1), st.sampled_from("ab"), read_only).map(
        lambda d: {"rbd": {"monitors": sorted(d[0]), "pool": "rbd", "image": d[1], **d[2]}}
    ),
    st.just({"emptyDir": {}}),
)


def reference_conflict(one: Json, other: Json) -> bool:
    """Two volumes of two pods on a node, by upstream's words."""
    [(kind, a)], [(other_kind, b)] = one.items(), other.items()
    if kind != other_kind or kind == "emptyDir":
        return False
    if kind == "awsElasticBlockStore":
        return bool(a["volumeID"] == b["volumeID"])
    if kind == "gcePersistentDisk":
        same = a["pdName"] == b["pdName"]
    elif kind == "iscsi":
        same = a["iqn"] == b["iqn"]
    else:
        same = (a["pool"], a["image"]) == (b["pool"], b["image"]) and set(a["monitors"]) & set(b["monitors"])
    return bool(same) and not (a.get("readOnly") and b.get("readOnly"))


def resolve(core: Core, name: str, found: list[Json], profile: Profile = DEFAULT_PROFILE, **spec: Any) -> Any:
    named = [{"name": f"v{i}", **volume} for i, volume in enumerate(found)]
    pod = clusters.as_pod(clusters.pod(name, volumes=named, **spec))
    core.set_needs(pod.metadata.uid, needs_of(pod))
    return core.resolve(core.classes.of(pod.spec, profile), None, pod.metadata.uid)


@given(st.lists(st.tuples(st.lists(volumes, max_size=2), st.integers(0, 4)), min_size=1, max_size=14))
def test_every_decision_equals_the_reference(steps: list[tuple[list[Json], int]]) -> None:
    core = Core()
    for number in range(3):
        core.set_node(clusters.as_node(clusters.node(f"n{number}")))
    placed: dict[str, tuple[list[Json], str]] = {}
    for number, (found, choice) in enumerate(steps):
        if choice == 4 and placed:
            gone = next(iter(placed))
            del placed[gone]
            core.remove(f"uid-{gone}")
            core.set_needs(f"uid-{gone}", None)
        name = f"p{number}"
        cls = resolve(core, name, found)
        expected = {
            node
            for node in ("n0", "n1", "n2")
            if not any(
                reference_conflict(one, other)
                for others, at in placed.values()
                if at == node
                for one in found
                for other in others
            )
        }
        node = core.decide(cls)
        assert {core.columns.names[row] for row in core.feasible_rows(cls)} == expected
        assert (node in expected) if expected else node is None
        if node is not None:
            at = sorted(expected)[choice % len(expected)]
            core.place(f"uid-{name}", cls, at)
            placed[name] = found, at


def test_wording_and_preemption() -> None:
    core = Core()
    core.set_node(clusters.as_node(clusters.node("n0")))
    disk = [{"gcePersistentDisk": {"pdName": "a"}}]
    core.place("uid-p", resolve(core, "p", disk), "n0", name="p")
    cls = resolve(core, "q", disk)
    assert core.decide(cls) is None
    assert core.explain(cls).startswith("0/1 nodes are available: 1 node(s) had no available disk. ")
    plan = core.preempt(resolve(core, "q", disk, priority=5), ())
    assert plan is not None and [victim.uid for victim in plan.victims] == ["uid-p"]
    free = Profile(filters=DEFAULT_PROFILE.filters - {"VolumeRestrictions"})
    assert core.decide(resolve(core, "r", disk, free)) == "n0"

"""Volumes: the vectorised verdicts against a plain reference, wording, what is set aside and given back."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakh.machinery.volumes import ClaimView, StorageClassView, VolumeView
from lakh.scheduler.constraints import needs_of
from lakh.scheduler.core import Core
from lakh.scheduler.profile import DEFAULT_PROFILE, Profile
from lakh.scheduler.volumeviews import CapacityView, CSIDriverView, CSINodeView

from . import clusters

Json = dict[str, Any]
ZONE = "topology.kubernetes.io/zone"
BOUND = {"pv.kubernetes.io/bind-completed": "yes"}
GI = 1 << 30


def to(value: Json, view: type[Any]) -> Any:
    return msgspec.json.decode(msgspec.json.encode(value), type=view)


def pvc(
    name: str, size: int = 1, cls: str = "wait", modes: tuple[str, ...] = ("ReadWriteOnce",), **spec: Any
) -> Json:
    annotations = spec.pop("annotations", {})
    return {
        "metadata": {
            "name": name,
            "namespace": "default",
            "uid": f"uid-{name}",
            "resourceVersion": "1",
            "annotations": {**annotations, **(BOUND if spec.get("volumeName") else {})},
        },
        "spec": {
            "accessModes": list(modes),
            "storageClassName": cls,
            "resources": {"requests": {"storage": f"{size}Gi"}},
            **spec,
        },
        "status": {"phase": "Bound" if spec.get("volumeName") else "Pending"},
    }


def pv(name: str, size: int = 1, cls: str = "wait", zone: str | None = None, **spec: Any) -> Json:
    labels = spec.pop("labels", {})
    phase = spec.pop("phase", "Available")
    if zone is not None:
        term = {"matchExpressions": [{"key": ZONE, "operator": "In", "values": [zone]}]}
        spec["nodeAffinity"] = {"required": {"nodeSelectorTerms": [term]}}
    return {
        "metadata": {"name": name, "uid": f"uid-{name}", "resourceVersion": "1", "labels": labels},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "capacity": {"storage": f"{size}Gi"},
            "storageClassName": cls,
            **spec,
        },
        "status": {"phase": phase},
    }


def storage_class(name: str = "wait", provisioner: str = "csi.example.com", **more: Any) -> Json:
    return {
        "metadata": {"name": name},
        "provisioner": provisioner,
        "volumeBindingMode": "WaitForFirstConsumer",
        **more,
    }


class Cluster:
    """A core with nodes, one a zone unless said otherwise, and storage."""

    def __init__(
        self,
        *zones: str,
        classes: tuple[Json, ...] = (storage_class(),),
        profile: Profile = DEFAULT_PROFILE,
    ) -> None:
        self.core = Core()
        self.profile = profile
        self.index = self.core.volumes
        for number, zone in enumerate(zones):
            self.core.set_node(
                clusters.as_node(clusters.node(f"n{number}", labels={ZONE: zone} if zone else {}))
            )
        for value in classes:
            self.index.set_class(to(value, StorageClassView), there=True)

    def add(self, *objects: Json) -> None:
        for value in objects:
            if value["metadata"].get("namespace"):
                self.index.set_claim(to(value, ClaimView))
            else:
                self.index.set_volume(to(value, VolumeView))

    def resolve(self, name: str, *claims: str, **spec: Any) -> Any:
        volumes = [{"name": f"v{i}", "persistentVolumeClaim": {"claimName": c}} for i, c in enumerate(claims)]
        pod = clusters.as_pod(clusters.pod(name, volumes=volumes, **spec))
        self.core.set_needs(pod.metadata.uid, needs_of(pod))
        return self.core.resolve(self.core.classes.of(pod.spec, self.profile), None, pod.metadata.uid)

    def schedule(self, name: str, *claims: str, **spec: Any) -> str | None:
        cls = self.resolve(name, *claims, **spec)
        node = self.core.decide(cls)
        if node is not None:
            self.core.place(f"uid-{name}", cls, node, name=name)
        return node

    def feasible(self, name: str, *claims: str) -> set[str]:
        cls = self.resolve(name, *claims)
        rows = self.core.feasible_rows(cls) if cls.problem is None else []
        assert (self.core.decide(cls) is None) is (len(rows) == 0)
        return {str(self.core.columns.names[row]) for row in rows}

    def why(self, name: str, *claims: str) -> str:
        cls = self.resolve(name, *claims)
        assert self.core.decide(cls) is None
        return self.core.explain(cls)


# The reference


def reference_feasible(
    zone: str, claims: list[Json], volumes: list[Json], allowed: list[str] | None, provisions: bool
) -> bool:
    """One node, judged as upstream's binder does, claim by claim."""

    def reaches(volume: Json) -> bool:
        affinity = volume["spec"].get("nodeAffinity")
        return (
            affinity is None
            or zone in affinity["required"]["nodeSelectorTerms"][0]["matchExpressions"][0]["values"]
        )

    def size(value: Json) -> int:
        spec = value["spec"]
        text = spec["capacity"]["storage"] if "capacity" in spec else spec["resources"]["requests"]["storage"]
        return int(text.removesuffix("Gi"))

    taken: set[str] = set()
    for wanted in sorted((c for c in claims if not c["spec"].get("volumeName")), key=size):
        mine = [
            v for v in volumes if (v["spec"].get("claimRef") or {}).get("name") == wanted["metadata"]["name"]
        ]
        if mine and size(mine[0]) >= size(wanted):  # one that is too small is as if it were not there
            if reaches(mine[0]):
                taken.add(mine[0]["metadata"]["name"])
                continue
            chosen = []
        else:
            chosen = [
                v
                for v in volumes
                if v["metadata"]["name"] not in taken
                and "claimRef" not in v["spec"]
                and v["status"]["phase"] == "Available"
                and v["spec"]["storageClassName"] == wanted["spec"]["storageClassName"]
                and size(v) >= size(wanted)
                and reaches(v)
            ]
        if chosen:
            taken.add(min(chosen, key=lambda v: (size(v), v["metadata"]["name"]))["metadata"]["name"])
        elif not provisions or (allowed is not None and zone not in allowed):
            return False
    by_name = {v["metadata"]["name"]: v for v in volumes}
    bound = [by_name.get(c["spec"]["volumeName"]) for c in claims if c["spec"].get("volumeName")]
    return all(v is not None and reaches(v) for v in bound)


zones = st.sampled_from(["a", "b", "c"])


@st.composite
def storage(draw: st.DrawFn) -> tuple[list[Json], list[Json]]:
    volumes = []
    for number in range(draw(st.integers(0, 5))):
        spec: Json = {"phase": draw(st.sampled_from(["Available", "Available", "Released"]))}
        if draw(st.integers(0, 4)) == 0:
            spec["claimRef"] = {"namespace": "default", "name": draw(st.sampled_from(["c0", "c1", "other"]))}
        zone = draw(st.none() | zones)
        volumes.append(pv(f"v{number}", draw(st.integers(1, 4)), zone=zone, **spec))
    named = {(v["spec"].get("claimRef") or {}).get("name") for v in volumes}
    seen: set[str | None] = set()
    kept = []
    for volume in volumes:  # at most one volume names a claim
        name = (volume["spec"].get("claimRef") or {}).get("name")
        if name is None or name not in seen:
            kept.append(volume)
        seen.add(name)
    claims = []
    for number in range(draw(st.integers(1, 3))):
        spec = {}
        if f"c{number}" not in named and draw(st.integers(0, 3)) == 0:
            spec["volumeName"] = draw(st.sampled_from(["v0", "v1", "absent"]))
        claims.append(pvc(f"c{number}", draw(st.integers(1, 4)), **spec))
    return claims, kept


@given(
    found=storage(),
    places=st.lists(zones, min_size=1, max_size=5),
    allowed=st.none() | st.lists(zones, min_size=1, max_size=2),
    provisions=st.booleans(),
)
def test_binding_agrees_with_the_reference(
    found: tuple[list[Json], list[Json]], places: list[str], allowed: list[str] | None, provisions: bool
) -> None:
    claims, volumes = found
    more: Json = {}
    if allowed is not None:
        more["allowedTopologies"] = [{"matchLabelExpressions": [{"key": ZONE, "values": allowed}]}]
    provisioner = "csi.example.com" if provisions else "kubernetes.io/no-provisioner"
    cluster = Cluster(*places, classes=(storage_class(provisioner=provisioner, **more),))
    cluster.add(*claims, *volumes)
    expected = {
        f"n{number}"
        for number, zone in enumerate(places)
        if reference_feasible(zone, claims, volumes, allowed, provisions)
    }
    names = [c["metadata"]["name"] for c in claims]
    assert cluster.feasible("p", *names) == expected
    node = cluster.schedule("p", *names)
    if node is not None:
        plan = cluster.index.plans.get("uid-p")
        unbound = {f"default/{c['metadata']['name']}" for c in claims if not c["spec"].get("volumeName")}
        planned = set() if plan is None else {key for key, _ in plan.bindings} | set(plan.provisions)
        assert planned == unbound
        cluster.core.remove("uid-p")
        assert cluster.feasible("p", *names) == expected  # all that was set aside is free again


def test_a_volume_is_set_aside_once() -> None:
    cluster = Cluster("a", "b", classes=(storage_class(provisioner="kubernetes.io/no-provisioner"),))
    cluster.add(pv("local", zone="b"), pvc("c0"), pvc("c1"))
    assert cluster.schedule("p0", "c0") == "n1"
    assert cluster.schedule("p1", "c1") is None
    cluster.core.remove("uid-p0")
    assert cluster.schedule("p1", "c1") == "n1"


def test_a_claim_that_is_being_provisioned_ties_its_pods() -> None:
    cluster = Cluster("a", "a", "a")
    cluster.add(pvc("c"))
    first = cluster.schedule("p0", "c")
    assert cluster.feasible("p1", "c") == {first}
    again = pvc("d", annotations={"volume.kubernetes.io/selected-node": "n2"})
    cluster.add(again)
    assert cluster.feasible("p2", "d") == {"n2"}


def test_equal_wants_share_a_class() -> None:
    cluster = Cluster("a", "b")
    cluster.add(
        pv("v0", zone="a", phase="Bound"),
        pv("v1", zone="a", phase="Bound"),
        pv("v2", zone="b", phase="Bound"),
    )
    cluster.add(*(pvc(f"c{i}", volumeName=f"v{i}") for i in range(3)))
    first, second, third = (cluster.resolve(f"p{i}", f"c{i}") for i in range(3))
    assert first is second and first is not third
    plain = cluster.core.classes.of(clusters.as_pod(clusters.pod("q")).spec)
    assert plain.constraints == () and first.base is plain


def test_volume_limits() -> None:
    cluster = Cluster("a", "a")
    for name, limit in (("n0", 2), ("n1", 1)):
        drivers = [{"name": "csi.example.com", "nodeID": name, "allocatable": {"count": limit}}]
        cluster.index.set_csinode(
            to({"metadata": {"name": name}, "spec": {"drivers": drivers}}, CSINodeView), there=True
        )
    cluster.add(*(pvc(f"c{i}") for i in range(5)))
    nodes = [cluster.schedule(f"p{i}", f"c{i}") for i in range(4)]
    assert sorted(filter(None, nodes)) == ["n0", "n0", "n1"] and nodes[3] is None
    assert "2 node(s) exceed max volume count" in cluster.why("p3", "c3")
    cluster.core.remove("uid-p0")
    assert cluster.schedule("p3", "c3") == nodes[0]


def test_a_volume_that_is_seen_after_its_pod_is_counted() -> None:
    """Informers come in any order: the claim and its pod may be known before the volume tells the driver."""
    cluster = Cluster("a")
    node = {
        "metadata": {"name": "n0"},
        "spec": {"drivers": [{"name": "csi", "nodeID": "n", "allocatable": {"count": 1}}]},
    }
    cluster.index.set_csinode(to(node, CSINodeView), there=True)
    cluster.add(pvc("c1", volumeName="v1"), pvc("c2", volumeName="v2"))
    running = clusters.as_pod(
        clusters.pod("running", volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": "c1"}}])
    )
    cluster.core.set_needs("uid-running", needs_of(running))
    cluster.core.place("uid-running", cluster.core.classes.of(running.spec), "n0")
    for number in (1, 2):
        reference = {"namespace": "default", "name": f"c{number}", "uid": f"uid-c{number}"}
        cluster.add(
            pv(f"v{number}", phase="Bound", claimRef=reference, csi={"driver": "csi", "volumeHandle": "h"})
        )
    assert cluster.schedule("p", "c2") is None
    cluster.core.remove("uid-running")
    assert cluster.schedule("p", "c2") == "n0"


def test_capacity_is_looked_at_where_the_driver_tells_it() -> None:
    cluster = Cluster("a", "b")
    cluster.index.set_driver(
        to({"metadata": {"name": "csi.example.com"}, "spec": {"storageCapacity": True}}, CSIDriverView),
        there=True,
    )
    for zone, capacity in (("a", "5Gi"), ("b", "50Gi")):
        told = {
            "metadata": {"name": zone, "namespace": "kube-system"},
            "storageClassName": "wait",
            "nodeTopology": {"matchLabels": {ZONE: zone}},
            "capacity": capacity,
        }
        cluster.index.set_capacity(to(told, CapacityView), there=True)
    cluster.add(pvc("c", 10), pvc("huge", 100))
    assert cluster.feasible("p", "c") == {"n1"}
    assert "2 node(s) did not have enough free storage" in cluster.why("q", "huge")


def test_zone_labels_of_a_volume() -> None:
    cluster = Cluster("a", "b", "")
    cluster.add(pv("v", labels={ZONE: "b__c"}, phase="Bound"), pvc("c", volumeName="v"))
    assert cluster.feasible("p", "c") == {"n1", "n2"}  # a node without topology labels passes


def test_a_claim_for_one_pod_at_a_time_is_preempted_for() -> None:
    cluster = Cluster("a", "a", "a")
    cluster.add(
        pv("v", phase="Bound", accessModes=["ReadWriteOncePod"]),
        pvc("c", modes=("ReadWriteOncePod",), volumeName="v"),
    )
    node = cluster.schedule("low", "c", priority=1)
    cls = cluster.resolve("same", "c", priority=1)
    assert cluster.core.decide(cls) is None
    assert cluster.core.preempt(cls, ()) is None
    assert (
        "3 node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode"
        in cluster.core.explain(cls)
    )
    high = cluster.resolve("high", "c", priority=5)
    plan = cluster.core.preempt(high, ())
    assert plan is not None and plan.node == node and [v.name for v in plan.victims] == ["low"]
    cluster.core.remove("uid-low")
    assert cluster.core.decide(high) is not None


HEAD = "0/1 nodes are available: {}. no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."


@pytest.mark.parametrize(
    ("objects", "why"),
    [
        ([], 'persistentvolumeclaim "c" not found'),
        ([pvc("c", cls="now")], "pod has unbound immediate PersistentVolumeClaims"),
        ([pvc("c", cls="")], "pod has unbound immediate PersistentVolumeClaims"),
        (
            [pvc("c", volumeName="gone")],
            "1 node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)",
        ),
        (
            [pvc("c", volumeName="v"), pv("v", zone="z", phase="Bound")],
            "1 node(s) didn't match PersistentVolume's node affinity",
        ),
        ([pvc("c", cls="static")], "1 node(s) didn't find available persistent volumes to bind"),
        (
            [pvc("c", volumeName="v"), pv("v", labels={ZONE: "z"}, phase="Bound")],
            "1 node(s) had no available volume zone",
        ),
    ],
)
def test_wording(objects: list[Json], why: str) -> None:
    cluster = Cluster(
        "a",
        classes=(
            storage_class(),
            storage_class("now", volumeBindingMode="Immediate"),
            storage_class("static", provisioner="kubernetes.io/no-provisioner"),
        ),
    )
    cluster.add(*objects)
    assert cluster.why("p", "c") == HEAD.format(why)


def without(*plugins: str) -> Profile:
    return Profile(filters=DEFAULT_PROFILE.filters - set(plugins))


BINDING, RESTRICTIONS, LIMITS, ZONES = "VolumeBinding", "VolumeRestrictions", "NodeVolumeLimits", "VolumeZone"


@pytest.mark.parametrize(
    ("refusing", "objects"),
    [
        ((BINDING,), [pvc("c", volumeName="v"), pv("v", zone="z", phase="Bound")]),
        ((BINDING,), [pvc("c", cls="static")]),
        ((ZONES,), [pvc("c", volumeName="v"), pv("v", labels={ZONE: "z"}, phase="Bound")]),
        ((RESTRICTIONS,), [pvc("c", modes=("ReadWriteOncePod",), volumeName="v"), pv("v", phase="Bound")]),
        (
            (LIMITS,),
            [pvc("c", volumeName="v"), pv("v", phase="Bound", csi={"driver": "full", "volumeHandle": "h"})],
        ),
        ((BINDING, ZONES), [pvc("c", cls="now")]),
        ((BINDING, ZONES), [pvc("c", volumeName="gone")]),
        ((BINDING, RESTRICTIONS, LIMITS, ZONES), []),
    ],
)
def test_a_plugin_that_is_disabled_refuses_nothing(refusing: tuple[str, ...], objects: list[Json]) -> None:
    """Each verdict is its plugins' own: it stays while one of them is enabled, and goes with the last."""
    classes = (
        storage_class(),
        storage_class("now", volumeBindingMode="Immediate"),
        storage_class("static", provisioner="kubernetes.io/no-provisioner"),
    )
    everything = (BINDING, RESTRICTIONS, LIMITS, ZONES)
    for disabled in ((), *((plugin,) for plugin in everything), refusing, everything):
        cluster = Cluster("a", classes=classes, profile=without(*disabled))
        node = {
            "metadata": {"name": "n0"},
            "spec": {"drivers": [{"name": "full", "nodeID": "n", "allocatable": {"count": 0}}]},
        }
        cluster.index.set_csinode(to(node, CSINodeView), there=True)
        cluster.add(*objects)
        user = clusters.as_pod(
            clusters.pod("user", volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}])
        )
        if refusing == (RESTRICTIONS,):
            cluster.core.set_needs("uid-user", needs_of(user))
            cluster.core.place("uid-user", cluster.core.classes.of(user.spec), "n0")
        refused = cluster.schedule("p", "c") is None
        assert refused is not set(refusing).issubset(disabled), disabled


def test_claims_that_volume_zone_judges_alone() -> None:
    cluster = Cluster(
        "a",
        classes=(storage_class(), storage_class("now", volumeBindingMode="Immediate")),
        profile=without(BINDING),
    )
    cluster.add(
        pvc("now", cls="now"), pvc("none", cls=""), pvc("odd", cls="odd"), pvc("lost", volumeName="v")
    )
    problems = {
        name: cluster.resolve("p", name).problem for name in ("now", "none", "odd", "lost", "missing")
    }
    assert problems == {
        "now": "PersistentVolume had no name",
        "none": "PersistentVolumeClaim had no pv name and storageClass name",
        "odd": 'storageclass.storage.k8s.io "odd" not found',
        "lost": 'persistentvolume "v" not found',
        "missing": 'persistentvolumeclaim "missing" not found',
    }


def test_ephemeral_volumes_have_claims_of_their_own() -> None:
    cluster = Cluster("a")
    volumes = [{"name": "scratch", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}}]
    pod = clusters.as_pod(clusters.pod("p", volumes=volumes))
    needs = needs_of(pod)
    assert needs is not None and needs.volumes == ("p-scratch",)
    assert cluster.index.resolve(needs)[0] == (
        'waiting for ephemeral volume controller to create the persistentvolumeclaim "p-scratch"'
    )
    assert cluster.index.resolve(needs, frozenset((RESTRICTIONS, ZONES))) == (None, ())
    assert (
        cluster.index.resolve(needs, frozenset((LIMITS,)))[0] == 'persistentvolumeclaim "p-scratch" not found'
    )

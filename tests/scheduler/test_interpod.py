"""Spread constraints and inter-pod affinity against the reference: same feasible nodes, same scores, whatever happened before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakh.scheduler import columns, groups, interpod
from lakh.scheduler.core import Core
from lakh.scheduler.diagnosis import INTERPOD_REASONS
from lakh.scheduler.podclass import PodClass

from . import clusters, reference
from .clusters import as_node, as_pod
from .reference import HOSTNAME, ZONE

Json = dict[str, Any]
NAMESPACES = ("default", "other")

selectors = st.one_of(
    st.none(),
    st.just({}),
    st.fixed_dictionaries({"matchLabels": st.fixed_dictionaries({"app": st.sampled_from("ab")})}),
    st.fixed_dictionaries(
        {
            "matchExpressions": st.lists(
                st.fixed_dictionaries(
                    {
                        "key": st.sampled_from(("app", "tier")),
                        "operator": st.just("NotIn"),
                        "values": st.just(["a"]),
                    }
                ),
                max_size=1,
            )
        }
    ),
)
topology_keys = st.sampled_from((HOSTNAME, ZONE, "rack"))
spread_constraints = st.fixed_dictionaries(
    {
        "maxSkew": st.integers(1, 3),
        "topologyKey": topology_keys,
        "whenUnsatisfiable": st.sampled_from(("DoNotSchedule", "ScheduleAnyway")),
    },
    optional={
        "labelSelector": selectors,
        "minDomains": st.integers(1, 3),
        "nodeAffinityPolicy": st.sampled_from(("Honor", "Ignore")),
        "nodeTaintsPolicy": st.sampled_from(("Honor", "Ignore")),
        "matchLabelKeys": st.just(["tier"]),
    },
)
affinity_terms = st.fixed_dictionaries(
    {"topologyKey": topology_keys},
    optional={
        "labelSelector": selectors,
        "namespaces": st.lists(st.sampled_from(NAMESPACES), max_size=1),
        "namespaceSelector": st.sampled_from(({}, {"matchLabels": {"team": "x"}})),
    },
)
pod_affinities = st.fixed_dictionaries(
    {},
    optional={
        "requiredDuringSchedulingIgnoredDuringExecution": st.lists(affinity_terms, max_size=2),
        "preferredDuringSchedulingIgnoredDuringExecution": st.lists(
            st.fixed_dictionaries({"weight": st.integers(1, 100), "podAffinityTerm": affinity_terms}),
            max_size=2,
        ),
    },
)


@st.composite
def pods(draw: st.DrawFn) -> Json:
    pod = draw(clusters.pods())
    pod["metadata"]["namespace"] = draw(st.sampled_from(NAMESPACES))
    pod["metadata"]["labels"] = draw(
        st.dictionaries(st.sampled_from(("app", "tier")), st.sampled_from("ab"), max_size=2)
    )
    spec = pod["spec"]
    spec.pop("nodeSelector", None) if draw(st.booleans()) else None
    if draw(st.booleans()):
        spec["topologySpreadConstraints"] = draw(st.lists(spread_constraints, max_size=2))
    for part in ("podAffinity", "podAntiAffinity"):
        if draw(st.integers(0, 2)) == 0:
            spec.setdefault("affinity", {})[part] = draw(pod_affinities)
    return pod


@st.composite
def nodes(draw: st.DrawFn, name: str) -> Json:
    node = draw(clusters.nodes(name))
    labels = node["metadata"]["labels"]
    if draw(st.integers(0, 5)):
        labels[HOSTNAME] = name
    if draw(st.integers(0, 5)):
        labels[ZONE] = draw(st.sampled_from(("z1", "z2")))
    if draw(st.booleans()):
        labels["rack"] = draw(st.sampled_from(("r1", "r2", "r3")))
    if draw(st.booleans()):
        node["status"]["allocatable"] |= {"pods": "110", "cpu": "64", "memory": str(1 << 38)}
        node["spec"] = {}
    return node


class Model:
    """A core, and the same cluster as dictionaries."""

    def __init__(self) -> None:
        self.core = Core()
        self.nodes: dict[str, Json] = {}
        self.pods: dict[str, tuple[Json, str]] = {}
        self.namespaces: dict[str, dict[str, str]] = {}
        self.services: list[Json] = []
        self.count = 0

    def cluster(self) -> tuple[dict[str, list[Json]], reference.Cluster]:
        placed: dict[str, list[Json]] = {}
        for pod, node in self.pods.values():
            placed.setdefault(node, []).append(pod)
        every = list(self.nodes.values())
        return placed, reference.Cluster(every, placed, self.namespaces, self.services)

    def set_node(self, node: Json) -> None:
        self.nodes[node["metadata"]["name"]] = node
        self.core.set_node(as_node(node))

    def put(self, uid: str, pod: Json, node: str) -> None:
        self.pods[uid] = pod, node
        view = as_pod(pod)
        identity = self.core.interpods.identity(view.metadata)
        active = not view.metadata.deletionTimestamp
        own = interpod.own_labels(view.metadata.labels)
        self.core.place(uid, self.core.classes.of(view.spec), node, identity, active=active, own=own)

    def place(self, pod: Json, node: str) -> str:
        self.count += 1
        self.put(f"u{self.count}", pod, node)
        return f"u{self.count}"

    def remove(self, uid: str) -> None:
        del self.pods[uid]
        assert self.core.remove(uid)

    def terminate(self, uid: str) -> None:
        pod, node = self.pods[uid]
        self.put(uid, {**pod, "metadata": {**pod["metadata"], "deletionTimestamp": "now"}}, node)

    def resolve(self, pod: Json) -> PodClass:
        core, view = self.core, as_pod(pod)
        cls, identity = core.classes.of(view.spec), None
        while identity is not core.interpods.identity(view.metadata):
            identity = core.interpods.identity(view.metadata)
            cls = core.resolve(cls, identity)
        return cls

    def schedule(self, pod: Json, between: Callable[[], None] | None = None) -> str | None:
        """Decide, compare with the reference, and place. A first pass goes in pieces, `between` which something happens."""
        core, cls = self.core, self.resolve(pod)
        if between is not None and core.is_new(cls):
            for _ in core.prepare(cls):
                between()
            cls = self.resolve(pod)
        placed, cluster = self.cluster()
        expected = reference.evaluate(pod, list(self.nodes.values()), placed, cluster)
        chosen = core.decide(cls)
        if cls in core._orders and cls.problem is None:
            order = core._orders[cls]
            found = {core.columns.names[row]: order.score(row) for row in order.feasible_rows()}
            assert found == expected
        if chosen is None:
            assert not expected
            if cls.problem is None and cls.pinned_nodes is None and self.nodes:
                self.check_message(pod, core.explain(cls), placed, cluster)
            return None
        if cls.pinned_nodes is None:
            assert expected[chosen] == max(expected.values())
        self.place(pod, chosen)
        return chosen

    def check_message(
        self, pod: Json, message: str, placed: dict[str, list[Json]], cluster: reference.Cluster
    ) -> None:
        reasons: Counter[str] = Counter()
        for name, node in self.nodes.items():
            found = reference.refusal(pod, node, placed.get(name, []))
            other = reference.spread_refusal(pod, node, cluster) or reference.interpod_refusal(
                pod, node, cluster
            )
            reasons.update(found or [str(other)])
        listed = ", ".join(sorted(f"{count} {reason}" for reason, count in reasons.items()))
        assert message.startswith(f"0/{len(self.nodes)} nodes are available: {listed}. no new claims")


@pytest.fixture(params=["values", "counts", "own labels"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run with labels as values, and as counts; with labels that are no part of identities until they are selected by; with tiny arrays."""
    monkeypatch.setattr(groups, "SMALL_DOMAINS", 0 if request.param == "counts" else 512)
    if request.param == "own labels":
        monkeypatch.setattr(interpod, "PER_POD_LABELS", frozenset(("app", "tier")))
    monkeypatch.setattr(columns, "INITIAL_ROWS", 2)
    monkeypatch.setattr(columns, "MAX_LOG_ENTRIES", 60)
    return str(request.param)


@given(data=st.data())
def test_every_decision_equals_the_references(path: str, data: st.DataObject) -> None:
    model = Model()
    for number in range(data.draw(st.integers(1, 6), label="nodes")):
        model.set_node(data.draw(nodes(f"n{number}")))
    kinds = data.draw(st.lists(pods(), min_size=1, max_size=4), label="pods")

    def happen() -> None:
        match data.draw(st.integers(0, 7)):
            case 0 if model.pods:
                model.remove(data.draw(st.sampled_from(sorted(model.pods))))
            case 1 if model.pods:
                model.terminate(data.draw(st.sampled_from(sorted(model.pods))))
            case 2:
                model.set_node(data.draw(nodes(f"n{data.draw(st.integers(0, 7))}")))
            case 3 if model.nodes:
                name = data.draw(st.sampled_from(sorted(model.nodes)))
                del model.nodes[name]
                model.core.remove_node(name)
            case 6:
                name = data.draw(st.sampled_from(NAMESPACES))
                model.namespaces[name] = data.draw(st.sampled_from(({}, {"team": "x"})))
                model.core.set_namespace(name, model.namespaces[name])
            case 7:
                model.services = [
                    {"metadata": {"namespace": "default"}, "spec": {"selector": {"app": "a"}}}
                ] * data.draw(st.integers(0, 1))
                model.core.interpods.set_service("default", "s", {"app": "a"} if model.services else None)
            case _:
                model.place(data.draw(st.sampled_from(kinds)), f"n{data.draw(st.integers(0, 7))}")

    for _ in range(data.draw(st.integers(1, 16), label="steps")):
        match data.draw(st.integers(0, 3)):
            case 0 | 1:
                happen()
            case 2:
                model.schedule(data.draw(st.sampled_from(kinds)), happen)
            case _:
                model.schedule(data.draw(st.sampled_from(kinds)))


def web(**spec: Any) -> Json:
    return clusters.pod("p", {"cpu": "100m"}, metadata={"labels": {"app": "web"}}, **spec)


def zoned(number: int, zone: str, **spec: Any) -> Json:
    name = f"n{number}"
    return clusters.node(name, labels={HOSTNAME: name, ZONE: zone}, **spec)


def test_replicas_of_a_deployment_land_on_different_nodes_and_zones() -> None:
    model = Model()
    for number in range(6):
        model.set_node(zoned(number, f"z{number % 3}", allocatable={"cpu": "192"}))
    model.services = [{"metadata": {"namespace": "default"}, "spec": {"selector": {"app": "web"}}}]
    model.core.interpods.set_service("default", "web", {"app": "web"})
    chosen = [model.schedule(web()) for _ in range(6)]
    assert len(set(chosen)) == 6
    assert len({int(str(name)[1:]) % 3 for name in chosen[:3]}) == 3


def test_a_replica_set_spreads_by_its_own_selector() -> None:
    core = Core()
    for number in range(3):
        core.set_node(as_node(zoned(number, "z")))
    owner = {"kind": "ReplicaSet", "name": "rs", "controller": True}
    pod = as_pod(web() | {"metadata": {**web()["metadata"], "ownerReferences": [owner]}})
    identity = core.interpods.identity(pod.metadata)
    assert core.resolve(core.classes.of(pod.spec), identity).interpod is None
    selector = as_pod(
        web(
            affinity={
                "podAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": [
                        {"topologyKey": ZONE, "labelSelector": {"matchLabels": {"app": "web"}}}
                    ]
                }
            }
        )
    ).spec.affinity
    assert selector is not None and selector.podAffinity is not None
    [term] = selector.podAffinity.requiredDuringSchedulingIgnoredDuringExecution or ()
    core.interpods.set_owner("ReplicaSet", "default", "rs", term.labelSelector)
    cls = core.resolve(core.classes.of(pod.spec), identity)
    assert cls.interpod is not None
    assert [(s.key, s.max_skew) for s in cls.interpod.soft] == [(HOSTNAME, 3), (ZONE, 5)]


SELF = {"labelSelector": {"matchLabels": {"app": "web"}}}
APART = {
    "podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": HOSTNAME, **SELF}]}
}


def test_anti_affinity_takes_one_node_each_and_needs_no_pass() -> None:
    model = Model()
    for number in range(20):
        model.set_node(zoned(number, "z"))
    chosen = [model.schedule(web(affinity=APART)) for _ in range(20)]
    assert len(set(chosen)) == 20
    [order] = model.core._orders.values()
    assert order.passes == 1
    view = as_pod(web(affinity=APART))
    cls = model.core.resolve(model.core.classes.of(view.spec), model.core.interpods.identity(view.metadata))
    assert model.core.decide(cls) is None
    assert model.core.explain(cls).startswith(
        "0/20 nodes are available: 20 node(s) didn't match pod anti-affinity rules. no new claims"
    )


def test_anti_affinity_of_others_is_respected() -> None:
    model = Model()
    for number in range(2):
        model.set_node(zoned(number, f"z{number}"))
    model.place(web(affinity=APART), "n0")
    assert model.schedule(web()) == "n1"
    assert model.schedule(web()) == "n1"


def test_pods_of_one_job_share_an_identity_until_their_index_is_selected_by() -> None:
    model = Model()
    key = "batch.kubernetes.io/job-completion-index"
    for name in ("n0", "n1"):
        model.set_node(clusters.node(name, labels={HOSTNAME: name}))
    workers = [clusters.pod("w", metadata={"labels": {"app": "a", key: str(index)}}) for index in range(2)]
    for number, worker in enumerate(workers):
        model.place(worker, f"n{number}")
    index = model.core.interpods
    assert len({id(index.identity(as_pod(worker).metadata)) for worker in workers}) == 1
    apart = {"labelSelector": {"matchLabels": {key: "1"}}, "topologyKey": HOSTNAME}
    required = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [apart]}}
    assert model.schedule(clusters.pod("x", affinity=required)) == "n0"
    assert len({id(index.identity(as_pod(worker).metadata)) for worker in workers}) == 2


def test_selections_without_use_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lakh.scheduler.interpod.MAX_IDLE_SELECTIONS", 8)
    monkeypatch.setattr("lakh.scheduler.interpod.MAX_EFFECTIVE", 4)
    model = Model()
    for number in range(3):
        model.set_node(zoned(number, "z", allocatable={"pods": "500"}))
    for number in range(60):
        constraint = {
            "maxSkew": 1,
            "topologyKey": HOSTNAME,
            "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": {"app": f"a{number}"}},
        }
        pod = web(topologySpreadConstraints=[constraint])
        pod["metadata"]["labels"] = {"app": f"a{number}"}
        assert len({model.schedule(pod) for _ in range(3)}) == 3
    assert len(model.core.interpods._selections) < 30


def test_all_reasons_have_words() -> None:
    assert sorted(INTERPOD_REASONS) == list(np.arange(1, 6))

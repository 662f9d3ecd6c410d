"""The core against the reference: same feasible nodes, same best score, exact accounting, no node over-committed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakh.scheduler import candidates, columns, plugins
from lakh.scheduler.core import Core

from . import clusters, reference
from .clusters import GPU, NEURON, as_node, as_pod

Json = dict[str, Any]


class Model:
    """A core, and the same cluster as dictionaries."""

    def __init__(self) -> None:
        self.core = Core()
        self.nodes: dict[str, Json] = {}
        self.pods: dict[str, tuple[Json, str]] = {}
        self.count = 0

    def set_node(self, node: Json) -> None:
        self.nodes[node["metadata"]["name"]] = node
        self.core.set_node(as_node(node))

    def remove_node(self, name: str) -> None:
        self.nodes.pop(name, None)
        self.core.remove_node(name)

    def place(self, pod: Json, node: str) -> None:
        self.count += 1
        uid = f"u{self.count}"
        self.pods[uid] = pod, node
        self.core.place(uid, self.core.classes.of(as_pod(pod).spec), node)

    def remove(self, uid: str) -> None:
        del self.pods[uid]
        assert self.core.remove(uid)

    def on_nodes(self) -> dict[str, list[Json]]:
        placed: dict[str, list[Json]] = {}
        for pod, node in self.pods.values():
            placed.setdefault(node, []).append(pod)
        return placed

    def schedule(self, pod: Json, between: Callable[[], None] | None = None) -> str | None:
        """Decide, compare with the reference, and place. A first pass goes in pieces, `between` which something happens."""
        core, cls = self.core, self.core.classes.of(as_pod(pod).spec)
        if between is not None and core.is_new(cls):
            for _ in core.prepare(cls):
                between()
        expected = reference.evaluate(pod, list(self.nodes.values()), self.on_nodes())
        chosen = core.decide(cls)
        assert bool(core.room(cls, 1)) == bool(expected)
        if cls.pinned_nodes is None and cls.problem is None and cls in core._orders:
            order = core._orders[cls]
            found = {core.columns.names[row]: order.score(row) for row in order.feasible_rows()}
            assert found == expected
        if chosen is None:
            assert not expected
            self.check_message(pod, core.explain(cls))
            return None
        assert expected[chosen] == max(expected.values())
        self.place(pod, chosen)
        return chosen

    def check_message(self, pod: Json, message: str) -> None:
        cls = self.core.classes.of(as_pod(pod).spec)
        if not self.nodes:
            assert message == "no nodes available to schedule pods"
            return
        if cls.problem is not None or cls.pinned_nodes is not None:
            return
        reasons: Counter[str] = Counter()
        placed = self.on_nodes()
        for name, node in self.nodes.items():
            reasons.update(reference.refusal(pod, node, placed.get(name, [])))
        listed = ", ".join(sorted(f"{count} {reason}" for reason, count in reasons.items()))
        assert message.startswith(
            f"0/{len(self.nodes)} nodes are available: {listed}. no new claims to deallocate"
        )

    def check_columns(self) -> None:
        """The requested columns are the sums over the placed pods."""
        placed = self.on_nodes()
        cols = self.core.columns
        assert set(cols.row_of) == set(self.nodes)
        for name, row in cols.row_of.items():
            pods = placed.get(name, [])
            use = reference.node_use(pods, lambda pod: reference.pod_requests(pod, {}))
            scored = reference.node_use(pods, reference.scoring_requests)
            for resource, column in cols.resources.items():
                expected = len(pods) if resource == "pods" else use.get(resource, 0)
                assert int(column.requested[row]) == expected, (name, resource)
            assert int(cols.score[0].requested[row]) == scored.get("cpu", 0)
            assert int(cols.score[1].requested[row]) == scored.get("memory", 0)
            taken = Counter(port for pod in pods for port in reference.host_ports(pod))
            found = Counter(
                {
                    (protocol, port, ip): count
                    for (protocol, port), rows in cols.ports.items()
                    for ip, count in rows.get(row, {}).items()
                }
            )
            assert found == taken
        for row in range(cols.size):
            if cols.names[row] is None:
                assert not cols.alive[row]
                assert all(not c.requested[row] and not c.allocatable[row] for c in cols.resources.values())


@pytest.fixture(params=["scalar", "vector"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run with changed rows evaluated one by one, and with NumPy; with tiny windows, blocks and arrays."""
    monkeypatch.setattr(candidates, "SCALAR_ROWS", 0 if request.param == "vector" else 1000)
    monkeypatch.setattr(candidates, "WINDOW", 2)
    monkeypatch.setattr(candidates, "BLOCK_ROWS", 3)
    monkeypatch.setattr(columns, "INITIAL_ROWS", 2)
    monkeypatch.setattr(columns, "MAX_LOG_ENTRIES", 40)
    return str(request.param)


@given(data=st.data())
def test_every_decision_equals_the_references(path: str, data: st.DataObject) -> None:
    model = Model()
    for number in range(data.draw(st.integers(0, 6), label="nodes")):
        model.set_node(data.draw(clusters.nodes(f"n{number}")))
    kinds = data.draw(st.lists(clusters.pods(), min_size=1, max_size=4), label="pods")

    def happen() -> None:
        match data.draw(st.integers(0, 3)):
            case 0 if model.pods:
                model.remove(data.draw(st.sampled_from(sorted(model.pods))))
            case 1:
                model.set_node(data.draw(clusters.nodes(f"n{data.draw(st.integers(0, 7))}")))
            case 2 if model.nodes:
                model.remove_node(data.draw(st.sampled_from(sorted(model.nodes))))
            case _:
                model.place(data.draw(st.sampled_from(kinds)), f"n{data.draw(st.integers(0, 7))}")

    for _ in range(data.draw(st.integers(1, 12), label="steps")):
        match data.draw(st.integers(0, 9)):
            case 0 | 1 | 2:
                happen()
            case 3 | 4 | 5:
                model.schedule(data.draw(st.sampled_from(kinds)), happen)
            case _:
                model.schedule(data.draw(st.sampled_from(kinds)))
    model.check_columns()


@given(data=st.data())
def test_scalar_scores_equal_vector_scores(data: st.DataObject) -> None:
    model = Model()
    model.set_node(data.draw(clusters.nodes("n0")))
    for pod in data.draw(st.lists(clusters.pods(), max_size=4)):
        model.place(pod, "n0")
    cls = model.core.classes.of(as_pod(data.draw(clusters.pods())).spec)
    cols = model.core.columns
    cpu, memory = cols.resources["cpu"], cols.resources["memory"]
    cells = (cpu.allocatable, memory.allocatable, cols.score[0].requested, cols.score[1].requested)
    values = [int(cell[0]) for cell in (*cells, cpu.requested, memory.requested)]
    vector = plugins.resource_scores(cols, cls, np.array([0]))
    assert plugins.row_score(cls, *values) == int(vector[0])


def scheduled(model: Model, count: int, pod: Json) -> list[str | None]:
    return [model.schedule(pod) for _ in range(count)]


def test_a_full_cluster_takes_what_fits_and_no_more(path: str) -> None:
    model = Model()
    for number in range(5):
        model.set_node(clusters.node(f"n{number}"))
    chosen = scheduled(model, 12, clusters.pod("p", {NEURON: "2"}))
    assert Counter(chosen) == Counter({f"n{n}": 2 for n in range(5)} | {None: 2})
    model.check_columns()


@given(
    st.lists(clusters.nodes("n"), max_size=30),
    clusters.quantities,
    st.sampled_from((1, 5, 300)),
    st.integers(0, 40),
)
def test_there_is_room_for_as_many_as_fit(
    nodes: list[Json], requests: dict[str, str], limit: int, placed: int
) -> None:
    core = Core()
    for number, node in enumerate(nodes):
        node["metadata"]["name"] = f"n{number}"
        core.set_node(as_node(node))
    cls = core.classes.of(as_pod(clusters.pod("p", requests)).spec)

    def place(name: str, most: int) -> int:
        for number in range(most):
            chosen = core.decide(cls)
            if chosen is None:
                return number
            core.place(f"{name}{number}", cls, chosen)
        return most

    place("before", placed)
    room = core.room(cls, limit)
    assert room == place("after", limit)


def test_equal_nodes_are_taken_in_turn() -> None:
    """Pods so small that no score changes do not pile up on one node."""
    model = Model()
    for number in range(4):
        model.set_node(clusters.node(f"n{number}", allocatable={"cpu": "192", "memory": str(1 << 41)}))
    assert scheduled(model, 8, clusters.pod("p")) == ["n0", "n1", "n2", "n3"] * 2


def test_pods_of_a_node_that_comes_later_count() -> None:
    model = Model()
    model.place(clusters.pod("p", {NEURON: "3"}), "n0")
    assert model.schedule(clusters.pod("q", {NEURON: "2"})) is None
    model.set_node(clusters.node("n0"))
    assert model.schedule(clusters.pod("q", {NEURON: "2"})) is None
    assert model.schedule(clusters.pod("q", {NEURON: "1"})) == "n0"
    model.remove_node("n0")
    model.set_node(clusters.node("n0"))
    model.check_columns()


def test_placing_is_idempotent_and_moves() -> None:
    core = Core()
    for name in ("a", "b"):
        core.set_node(as_node(clusters.node(name)))
    cls = core.classes.of(as_pod(clusters.pod("p", {"cpu": "1"})).spec)
    for node in ("a", "a", "b"):
        core.place("u", cls, node)
    requested = core.columns.resources["cpu"].requested
    assert [int(requested[core.columns.row_of[name]]) for name in ("a", "b")] == [0, 1000]
    assert core.node_of("u") == "b"
    assert core.remove("u")
    assert not core.remove("u")
    assert not requested.any()


def test_the_second_pod_of_a_class_needs_no_pass() -> None:
    core = Core()
    for number in range(200):
        core.set_node(as_node(clusters.node(f"n{number}")))
    cls = core.classes.of(as_pod(clusters.pod("p", {"cpu": "1"})).spec)
    for number in range(300):
        node = core.decide(cls)
        assert node is not None
        core.place(f"u{number}", cls, node)
    assert core._orders[cls].passes == 1


def test_a_class_that_fitted_nowhere_is_judged_by_what_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lakh.scheduler.core.MIN_ORDERS", 1)
    monkeypatch.setattr("lakh.scheduler.core.MAX_ORDERS", 1)
    core = Core()
    for number in range(3):
        core.set_node(as_node(clusters.node(f"n{number}")))
    big = core.classes.of(as_pod(clusters.pod("p", {NEURON: "8"})).spec)
    small = core.classes.of(as_pod(clusters.pod("p", {NEURON: "1"})).spec)
    assert core.decide(big) is None
    assert core.decide(small) == "n0"  # takes the only place for an order
    assert big not in core._orders
    core.set_node(as_node(clusters.node("n3")))
    assert core.decide(big) is None
    assert big not in core._orders
    core.set_node(as_node(clusters.node("n4", allocatable={NEURON: "8"})))
    assert core.decide(big) == "n4"


def explain(nodes: list[Json], pod: Json, *placed: tuple[Json, str]) -> str:
    model = Model()
    for node in nodes:
        model.set_node(node)
    for other, name in placed:
        model.place(other, name)
    cls = model.core.classes.of(as_pod(pod).spec)
    assert model.core.decide(cls) is None
    return model.core.explain(cls)


TAINTED = {"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]}
ONLY = {
    "nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}]
}
PINNED = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": ONLY}}


def test_message_of_a_mixed_cluster() -> None:
    nodes = [
        clusters.node("a", **TAINTED),
        clusters.node("b", labels={"zone": "z"}, allocatable={NEURON: "0"}),
        clusters.node("c", labels={"zone": "z"}),
        clusters.node("d"),
        clusters.node("e", unschedulable=True),
    ]
    pod = clusters.pod("p", {NEURON: "16"}, nodeSelector={"zone": "z"})
    assert explain(nodes, pod) == (
        "0/5 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, 1 node(s) had untolerated taint(s), "
        "1 node(s) were unschedulable, 2 Insufficient aws.amazon.com/neuron. no new claims to deallocate, "
        "preemption: 0/5 nodes are available: 5 Preemption is not helpful for scheduling."
    )


def test_message_where_pods_are_in_the_way() -> None:
    running = clusters.pod("q", {NEURON: "3"})
    pod = clusters.pod("p", {NEURON: "2", GPU: "1"})
    full = [clusters.node("a", allocatable={GPU: "8"}), clusters.node("b")]
    assert explain(full, pod, (running, "a"), (running, "b")) == (
        "0/2 nodes are available: 1 Insufficient nvidia.com/gpu, 2 Insufficient aws.amazon.com/neuron. no new claims to "
        "deallocate, preemption: 0/2 nodes are available: 1 No preemption victims found for incoming pod, "
        "1 Preemption is not helpful for scheduling."
    )


def test_message_says_what_is_in_the_way_without_victims() -> None:
    """A pod that is not lower holds too much; the lower one's place is not enough."""
    high, low = clusters.pod("h", {NEURON: "2"}, priority=100), clusters.pod("l", {NEURON: "1"})
    pod = clusters.pod("p", {NEURON: "3"}, priority=100)
    assert explain([clusters.node("a"), clusters.node("b")], pod, (high, "a"), (low, "a"), (high, "b")) == (
        "0/2 nodes are available: 2 Insufficient aws.amazon.com/neuron. no new claims to deallocate, preemption: "
        "0/2 nodes are available: 1 Insufficient aws.amazon.com/neuron, 1 No preemption victims found for incoming pod."
    )


def test_message_of_a_pod_that_never_preempts() -> None:
    pod = clusters.pod("p", {NEURON: "20"}, preemptionPolicy="Never")
    assert explain([clusters.node("a")], pod) == (
        "0/1 nodes are available: 1 Insufficient aws.amazon.com/neuron. no new claims to deallocate, "
        "preemption: not eligible due to preemptionPolicy=Never."
    )


def test_message_of_a_daemons_pod() -> None:
    nodes = [clusters.node("n0"), clusters.node("n1", **TAINTED), clusters.node("n2")]
    assert explain(nodes, clusters.pod("p", affinity=PINNED)).startswith(
        "0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 node(s) didn't satisfy plugin(s) [NodeAffinity]. no new"
    )


def test_message_of_an_empty_cluster() -> None:
    assert explain([], clusters.pod("p")) == "no nodes available to schedule pods"


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"containers": [{"resources": {"requests": {"cpu": "one"}}}]}, "invalid resource requests"),
    ],
)
def test_what_is_not_supported_is_never_ignored(spec: Json, why: str) -> None:
    message = explain([clusters.node("a")], clusters.pod("p", **spec))
    assert message.startswith(f"0/1 nodes are available: {why}")


def test_a_daemons_pod_goes_to_its_node_without_a_pass() -> None:
    core = Core()
    for number in range(3):
        core.set_node(as_node(clusters.node(f"n{number}")))
    cls = core.classes.of(as_pod(clusters.pod("p", affinity=PINNED)).spec)
    assert core.decide(cls) == "n1"
    assert not core._orders

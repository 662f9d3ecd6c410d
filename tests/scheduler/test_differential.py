"""The differential test: random clusters, pods and profiles, every decision against the reference.

Each example is a cluster with up to three profiles (plugins on and off, weights, strategies, arguments), nodes with taints, labels, images and odd
resources, pods with everything that a class knows, some resized in place, some with terms towards others; a history of placements, removals, node
and namespace changes; and decisions under a profile. Compared are the feasible nodes, the score of each, the chosen node and the message.

A summary is printed with `-s`.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakh.scheduler import candidates, columns, config, groups, interpod
from lakh.scheduler.configtypes import API_VERSION
from lakh.scheduler.deviceviews import SliceView
from lakh.scheduler.podclass import PodClass
from lakh.scheduler.preemption import Budget
from lakh.scheduler.profile import Profile
from lakh.scheduler.requests import images_of, resized

from . import clusters, reference, test_interpod
from .clusters import GPU, MIB, NEURON, as_pod
from .reference import WEIGHTS, ZONE
from .test_devices import slice_of, to
from .test_extendedresources import device_class

pytestmark = pytest.mark.xdist_group("differential")

Json = dict[str, Any]
FILTERS = (
    "NodeUnschedulable",
    "TaintToleration",
    "NodeAffinity",
    "NodePorts",
    "NodeResourcesFit",
    "PodTopologySpread",
    "InterPodAffinity",
)
IMAGES = ("a", "registry.io/b:1", "registry.io:5000/c")
RESOURCES = ("cpu", "memory", "ephemeral-storage", NEURON, GPU)
seen: Counter[str] = Counter()

# Profiles

plugin_sets = st.fixed_dictionaries(
    {},
    optional={
        "score": st.fixed_dictionaries(
            {},
            optional={
                "disabled": st.lists(
                    st.sampled_from((*WEIGHTS, "*")).map(lambda name: {"name": name}), max_size=2
                ),
                "enabled": st.lists(
                    st.fixed_dictionaries(
                        {"name": st.sampled_from(tuple(WEIGHTS))}, optional={"weight": st.integers(1, 9)}
                    ),
                    max_size=2,
                    unique_by=lambda one: one["name"],
                ),
            },
        ),
        "filter": st.fixed_dictionaries(
            {"disabled": st.lists(st.sampled_from(FILTERS).map(lambda name: {"name": name}), max_size=2)}
        ),
        "multiPoint": st.fixed_dictionaries(
            {},
            optional={
                "disabled": st.lists(
                    st.sampled_from(tuple(WEIGHTS)).map(lambda name: {"name": name}), max_size=1
                ),
                "enabled": st.lists(
                    st.fixed_dictionaries(
                        {"name": st.sampled_from(tuple(WEIGHTS)), "weight": st.integers(1, 9)}
                    ),
                    max_size=1,
                ),
            },
        ),
    },
)
shapes = st.lists(
    st.tuples(st.integers(0, 100), st.integers(0, 10)),
    min_size=1,
    max_size=4,
    unique_by=lambda point: point[0],
).map(lambda points: [{"utilization": at, "score": score} for at, score in sorted(points)])


@st.composite
def fit_args(draw: st.DrawFn) -> Json:
    strategy: Json = {
        "type": draw(st.sampled_from(("LeastAllocated", "MostAllocated", "RequestedToCapacityRatio"))),
        "resources": [
            {"name": name, "weight": draw(st.integers(1, 5))}
            for name in draw(st.lists(st.sampled_from(RESOURCES), max_size=3, unique=True))
        ],
    }
    if strategy["type"] == "RequestedToCapacityRatio":
        strategy["requestedToCapacityRatio"] = {"shape": draw(shapes)}
    args: Json = {"scoringStrategy": strategy}
    if draw(st.integers(0, 4)) == 0:
        args["ignoredResources"] = [NEURON]
    if draw(st.integers(0, 4)) == 0:
        args["ignoredResourceGroups"] = ["nvidia.com"]
    return args


def nonempty(affinity: Json) -> bool:
    """Whether upstream can parse the terms' values."""
    needed = affinity.get("requiredDuringSchedulingIgnoredDuringExecution", {}).get("nodeSelectorTerms", [])
    liked = affinity.get("preferredDuringSchedulingIgnoredDuringExecution", [])
    terms = [*needed, *(one["preference"] for one in liked)]
    return all(len(r.get("values", [])) == 1 for term in terms for r in term.get("matchFields", []))


default_constraints = st.lists(
    st.fixed_dictionaries(
        {
            "maxSkew": st.integers(1, 3),
            "topologyKey": test_interpod.topology_keys,
            "whenUnsatisfiable": st.sampled_from(("DoNotSchedule", "ScheduleAnyway")),
        }
    ),
    max_size=2,
    unique_by=lambda one: (one["topologyKey"], one["whenUnsatisfiable"]),
)
arguments: dict[str, st.SearchStrategy[Json]] = {
    "NodeResourcesFit": fit_args(),
    "NodeResourcesBalancedAllocation": st.fixed_dictionaries(
        {
            "resources": st.lists(st.sampled_from(RESOURCES), min_size=1, max_size=4, unique=True).map(
                lambda names: [{"name": name} for name in names]
            )
        }
    ),
    "PodTopologySpread": st.fixed_dictionaries(
        {"defaultingType": st.just("List"), "defaultConstraints": default_constraints}
    ),
    "InterPodAffinity": st.fixed_dictionaries(
        {},
        optional={
            "hardPodAffinityWeight": st.sampled_from((0, 1, 40, 100)),
            "ignorePreferredTermsOfExistingPods": st.booleans(),
        },
    ),
    "NodeAffinity": st.fixed_dictionaries({"addedAffinity": clusters.affinities.filter(nonempty)}),
}


@st.composite
def profiles(draw: st.DrawFn, name: str) -> Json:
    profile: Json = {"schedulerName": name}
    if draw(st.booleans()):
        profile["plugins"] = draw(plugin_sets)
    names = draw(st.lists(st.sampled_from(tuple(arguments)), max_size=3, unique=True))
    profile["pluginConfig"] = [{"name": one, "args": draw(arguments[one])} for one in names]
    return profile


def compiled(profile: Json) -> Profile:
    head = {"apiVersion": API_VERSION, "kind": "KubeSchedulerConfiguration", "profiles": [profile]}
    [found] = config.parse(msgspec.json.encode(head).decode()).profiles
    return found


# Nodes and pods

images = st.lists(
    st.fixed_dictionaries(
        {
            "names": st.sampled_from(
                (["a:latest", "mirror/a:latest"], ["registry.io/b:1"], ["registry.io:5000/c:latest"])
            ),
            "sizeBytes": st.sampled_from((5 * MIB, 300 * MIB, 5000 * MIB)),
        }
    ),
    max_size=2,
    unique_by=lambda image: image["names"][0],
)
SIZES = {"a:latest": 300 * MIB, "registry.io/b:1": 5000 * MIB, "registry.io:5000/c:latest": 90 * MIB}


@st.composite
def nodes(draw: st.DrawFn, name: str) -> Json:
    node = draw(test_interpod.nodes(name))
    if draw(st.integers(0, 3)):
        node["spec"] = {
            "taints": [taint for taint in node["spec"].get("taints", []) if taint["effect"][0] == "P"]
        }
        node["status"]["allocatable"] |= {"cpu": "64", "memory": str(1 << 38), NEURON: "64", GPU: "64"}
    if draw(st.booleans()):
        node["chips"] = draw(st.sampled_from((1, 4, 40)))
        if draw(st.booleans()):
            node["status"]["allocatable"].pop(NEURON, None)
    if draw(st.booleans()):
        node["status"]["images"] = [
            {**image, "sizeBytes": SIZES[image["names"][0]]} for image in draw(images)
        ]
    return node


@st.composite
def pods(draw: st.DrawFn, names: tuple[str, ...]) -> Json:
    pod = draw(test_interpod.pods())
    spec = pod["spec"]
    spec["schedulerName"] = draw(st.sampled_from(names))
    if draw(st.integers(0, 3)):  # not too many that fit nowhere
        spec.pop("nodeSelector", None)
        for part in spec.get("affinity", {}).values():
            if draw(st.integers(0, 2)):
                part.pop("requiredDuringSchedulingIgnoredDuringExecution", None)
    for number, container in enumerate((*spec["containers"], *spec.get("initContainers", []))):
        container["name"] = f"c{number}"
        if draw(st.booleans()):
            container["image"] = draw(st.sampled_from(IMAGES))
    return pod


@st.composite
def statuses(draw: st.DrawFn, pod: Json) -> Json:
    """A placed pod, perhaps amid a resize."""
    if draw(st.integers(0, 2)):
        return pod
    found: Json = {"containerStatuses": []}
    for container in pod["spec"]["containers"]:
        status: Json = {"name": container["name"]}
        if draw(st.integers(0, 3)):
            status["resources"] = {"requests": draw(clusters.quantities)}
            status["allocatedResources"] = draw(clusters.quantities)
        found["containerStatuses"].append(status)
    if draw(st.integers(0, 4)) == 0:
        found["conditions"] = [{"type": "PodResizePending", "status": "True", "reason": "Infeasible"}]
    return {**pod, "status": found}


class Model(test_interpod.Model):
    """A core with profiles, and the same cluster as dictionaries."""

    def __init__(self, given: list[Json], *, backed: bool = False) -> None:
        super().__init__()
        self.backed = backed
        """A DeviceClass stands behind NEURON."""
        if backed:
            self.core.devices.set_class(device_class("chips", NEURON), there=True)
        self.given = {profile["schedulerName"]: profile for profile in given}
        self.profiles = {name: compiled(profile) for name, profile in self.given.items()}

    def profile(self, pod: Json) -> Json:
        found: Json = self.given[pod["spec"]["schedulerName"]]
        return found

    def set_node(self, node: Json) -> None:
        if self.backed:
            node = {**node, "backed": NEURON}
        super().set_node(node)
        chips = [{"name": f"chip-{number}"} for number in range(node.get("chips", 0))]
        self.core.devices.set_slice(to(slice_of(node["metadata"]["name"], chips), SliceView))

    def place(self, pod: Json, node: str, chosen: PodClass | None = None) -> str:
        self.count += 1
        self.put(f"u{self.count}", pod, node, chosen)
        return f"u{self.count}"

    def put(self, uid: str, pod: Json, node: str, chosen: PodClass | None = None) -> None:
        view = as_pod(pod)
        spec = resized(view)
        images_of(spec)
        self.core.place(
            uid,
            chosen or self.core.classes.of(spec, self.profiles[pod["spec"]["schedulerName"]]),
            node,
            self.core.interpods.identity(view.metadata),
            active=not view.metadata.deletionTimestamp,
            own=interpod.own_labels(view.metadata.labels),
        )
        claim = self.core.devices.special_of(uid)
        if claim is not None:
            seen["claims"] += 1
            pod = {**pod, "held": [result.device for result in claim.allocation.devices.results or ()]}
        self.pods[uid] = pod, node

    def class_of(self, pod: Json) -> PodClass:
        core, view = self.core, as_pod(pod)
        names = images_of(view.spec)
        cls, identity = core.classes.of(view.spec, self.profiles[pod["spec"]["schedulerName"]]), None
        while identity is not core.interpods.identity(view.metadata):
            identity = core.interpods.identity(view.metadata)
            cls = core.resolve(cls, identity, images=names)
        return cls

    def schedule(self, pod: Json) -> str | None:
        core, cls, profile = self.core, self.class_of(pod), self.profile(pod)
        placed, cluster = self.cluster()
        expected = reference.evaluate(pod, list(self.nodes.values()), placed, cluster, profile)
        chosen = core.decide(cls)
        seen["decisions"] += 1
        seen["nodes judged"] += len(self.nodes)
        seen["feasible"] += len(expected)
        if cls in core._orders and cls.problem is None:
            order = core._orders[cls]
            found = {core.columns.names[row]: order.score(row) for row in order.feasible_rows()}
            assert found == expected
            seen["all scores compared"] += 1
        if chosen is None:
            assert not expected
            if cls.problem is None and cls.pinned_nodes is None and self.nodes:
                self.check_reasons(pod, core.explain(cls), placed, cluster)
                seen["messages compared"] += 1
            return None
        assert expected[chosen] == max(expected.values())
        self.place(pod, chosen, cls)
        return chosen

    def check_reasons(
        self, pod: Json, message: str, placed: dict[str, list[Json]], cluster: reference.Cluster
    ) -> None:
        profile = self.profile(pod)
        reasons: Counter[str] = Counter()
        for name, node in self.nodes.items():
            found = reference.refusal(pod, node, placed.get(name, []), profile)
            reasons.update(found or [str(reference.others_refusal(pod, node, cluster, profile))])
        listed = ", ".join(sorted(f"{count} {reason}" for reason, count in reasons.items()))
        claims = self.backed and reference.pod_requests(pod, {}).get(NEURON)
        then = "still not schedulable" if claims else "no new claims"
        assert message.startswith(f"0/{len(self.nodes)} nodes are available: {listed}. {then}")

    def plans(self, pod: Json, budgets: list[tuple[Json, int]]) -> dict[str, tuple[Any, ...]]:
        """By node, what upstream compares when it chooses: violations, highest priority, sum of priorities, number of victims."""
        profile, priority = self.profile(pod), pod["spec"].get("priority", 0)
        found: dict[str, tuple[Any, ...]] = {}

        def refused(node: Json, gone: set[str]) -> tuple[list[str], str | None]:
            placed: dict[str, list[Json]] = {}
            for uid, (other, at) in self.pods.items():
                if uid not in gone:
                    placed.setdefault(at, []).append(other)
            cluster = reference.Cluster(list(self.nodes.values()), placed, self.namespaces, self.services)
            own = reference.refusal(pod, node, placed.get(node["metadata"]["name"], []), profile)
            return own, None if own else reference.others_refusal(pod, node, cluster, profile)

        for name, node in self.nodes.items():
            first = refused(node, set())
            if first[1] in (
                "node(s) didn't match pod affinity rules",
                "node(s) didn't match pod topology spread constraints (missing required label)",
            ):
                continue  # removing pods never helps
            lower = sorted(
                (
                    uid
                    for uid, (other, at) in self.pods.items()
                    if at == name and other["spec"]["priority"] < priority
                ),
                key=lambda uid: (-self.pods[uid][0]["spec"]["priority"], self.pods[uid][0]["started"]),
            )
            gone = set(lower)
            if not lower or any(refused(node, gone)):
                continue
            left = [count for _, count in budgets]
            bad: list[str] = []
            for uid in lower:
                metadata = self.pods[uid][0]["metadata"]
                for index, (budget, _) in enumerate(budgets):
                    labels = metadata.get("labels") or {}
                    if (
                        labels
                        and budget["namespace"] == metadata["namespace"]
                        and budget["labels"].items() <= labels.items()
                    ):
                        left[index] -= 1
                        if left[index] < 0 and uid not in bad:
                            bad.append(uid)
            for uid in [*bad, *(uid for uid in lower if uid not in bad)]:
                gone.discard(uid)
                if any(refused(node, gone)):
                    gone.add(uid)
            if gone:
                victims = [uid for uid in lower if uid in gone]
                priorities = [self.pods[uid][0]["spec"]["priority"] for uid in victims]
                highest = [uid for uid in victims if self.pods[uid][0]["spec"]["priority"] == max(priorities)]
                earliest = min(self.pods[uid][0]["started"] for uid in highest)
                found[name] = (
                    sum(uid in gone for uid in bad),
                    max(priorities),
                    sum(priority + (1 << 31) for priority in priorities),
                    len(victims),
                    earliest,
                    victims,
                )
        return found


@pytest.fixture(params=["scalar, values", "vector, counts"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run with changed rows one by one and labels as values, and with NumPy and counts; with tiny windows and arrays."""
    vector = request.param.startswith("vector")
    monkeypatch.setattr(candidates, "SCALAR_ROWS", 0 if vector else 1000)
    monkeypatch.setattr(candidates, "WINDOW", 2)
    monkeypatch.setattr(candidates, "BLOCK_ROWS", 3)
    monkeypatch.setattr(groups, "SMALL_DOMAINS", 0 if vector else 512)
    monkeypatch.setattr(columns, "INITIAL_ROWS", 2)
    monkeypatch.setattr(columns, "MAX_LOG_ENTRIES", 60)
    return str(request.param)


NAMES = ("one", "two", "three")


@given(data=st.data())
def test_every_decision_equals_the_references(path: str, data: st.DataObject) -> None:
    names = NAMES[: data.draw(st.integers(1, 3), label="profiles")]
    model = Model([data.draw(profiles(name)) for name in names], backed=data.draw(st.booleans()))
    seen["clusters"] += 1
    for number in range(data.draw(st.integers(2, 6), label="nodes")):
        model.set_node(data.draw(nodes(f"n{number}")))
    kinds = data.draw(st.lists(pods(names), min_size=2, max_size=4), label="pods")
    for _ in range(data.draw(st.integers(5, 14), label="steps")):
        match data.draw(st.integers(0, 15)):
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
            case 4 | 5:
                pod = data.draw(statuses(data.draw(st.sampled_from(kinds))))
                model.place(pod, f"n{data.draw(st.integers(0, 7))}")
            case 6:
                name = data.draw(st.sampled_from(test_interpod.NAMESPACES))
                model.namespaces[name] = data.draw(st.sampled_from(({}, {"team": "x"})))
                model.core.set_namespace(name, model.namespaces[name])
            case 7:
                model.services = [
                    {"metadata": {"namespace": "default"}, "spec": {"selector": {"app": "a"}}}
                ] * data.draw(st.integers(0, 1))
                model.core.interpods.set_service("default", "s", {"app": "a"} if model.services else None)
            case _:
                model.schedule(data.draw(st.sampled_from(kinds)))


@given(data=st.data())
def test_preemption_equals_the_references(data: st.DataObject) -> None:
    names = NAMES[: data.draw(st.integers(1, 2), label="profiles")]
    model = Model([data.draw(profiles(name)) for name in names], backed=data.draw(st.booleans()))
    for number in range(data.draw(st.integers(2, 4), label="nodes")):
        node = data.draw(nodes(f"n{number}"))
        node["metadata"]["labels"].setdefault(ZONE, "z1")
        model.set_node(node)
    kinds = data.draw(st.lists(pods(names), min_size=1, max_size=3), label="pods")
    priorities = st.integers(-1, 3)
    for number in range(data.draw(st.integers(4, 10), label="placed")):
        if number == 4:
            model.core._all_levels()  # kept up to date from here on
        pod = data.draw(st.sampled_from(kinds))
        started = f"2026-01-01T00:00:{data.draw(st.integers(0, 59)):02d}.{number}Z"
        pod = {**pod, "spec": {**pod["spec"], "priority": data.draw(priorities)}, "started": started}
        uid = model.place(pod, f"n{data.draw(st.integers(0, 3))}")
        model.core._placed[uid].started = started
    pod = data.draw(st.sampled_from(kinds))
    pod = {**pod, "spec": {**pod["spec"], "priority": data.draw(st.integers(1, 4))}}
    placed, _ = model.cluster()
    for name, on_node in placed.items() if data.draw(st.integers(0, 3), label="full") else ():
        if name in model.nodes:
            node = model.nodes[name]
            limits = {**node["status"]["allocatable"], "pods": str(len(on_node))}
            model.set_node({**node, "status": {**node["status"], "allocatable": limits}})
    budgets = data.draw(
        st.lists(
            st.tuples(
                st.fixed_dictionaries(
                    {
                        "namespace": st.sampled_from(test_interpod.NAMESPACES),
                        "labels": st.sampled_from(({"app": "a"}, {"tier": "b"})),
                    }
                ),
                st.integers(0, 2),
            ),
            max_size=2,
        )
    )
    cls = model.class_of(pod)
    if cls.problem is not None or model.core.decide(cls) is not None:
        return
    expected = model.plans(pod, budgets)
    if cls.pinned_nodes is not None:
        expected = {name: plan for name, plan in expected.items() if name in cls.pinned_nodes}
    given_budgets = [Budget(b["namespace"], clusters.selector_of(b["labels"]), count) for b, count in budgets]
    plan = model.core.preempt(cls, given_budgets)
    seen["preemptions"] += 1
    if plan is None:
        assert not expected
        return
    seen["preemptions with a plan"] += 1
    violations, *_, victims = expected[plan.node]
    assert (plan.violations, [victim.uid for victim in plan.victims]) == (violations, victims)
    first_four = min(candidate[:4] for candidate in expected.values())
    assert expected[plan.node][:4] == first_four
    latest = max(one[4] for one in expected.values() if one[:4] == first_four)
    assert expected[plan.node][4] == latest
    placed, _ = model.cluster()
    for name, row in model.core.columns.row_of.items():  # all was put back
        assert int(model.core.columns.resources["pods"].requested[row]) == len(placed.get(name, []))


def test_what_was_compared() -> None:
    """The random clusters are no desert: most decisions have a choice, and both answers occur."""
    if seen["clusters"] < 2 * settings().max_examples or not seen["preemptions"]:
        pytest.skip("some of the tests above did not run")
    print(f"\n{dict(seen)}")
    assert seen["feasible"] > seen["decisions"] / 2
    assert seen["all scores compared"] > seen["decisions"] / 2
    assert seen["messages compared"] > seen["decisions"] / 20
    if (
        seen["clusters"] >= 1_000
    ):  # one of a hundred pods gets what devices stand behind: few draws may have none
        assert seen["claims"] > seen["decisions"] / 1_000
    assert seen["preemptions with a plan"] > seen["preemptions"] / 20

"""Devices: the allocator against a brute-force reference, states of nodes against a fresh index, wording, lifecycles of claims."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakh.machinery import cel_device
from lakh.scheduler.allocator import Bench, Demand, Shape, allocate, describe
from lakh.scheduler.constraints import needs_of
from lakh.scheduler.core import Core
from lakh.scheduler.devicedemand import claim_demands
from lakh.scheduler.deviceviews import ClaimView, Device, DeviceClassView, SliceView
from lakh.scheduler.profile import DEFAULT_PROFILE, Profile

from . import clusters

Json = dict[str, Any]
DRIVER = "chips.example.com"
CLASSES = {
    "any": None,
    "big": f'device.attributes["{DRIVER}"].size >= 2',
    "red": f'device.driver == "{DRIVER}" && device.attributes["{DRIVER}"].colour == "red"',
    "roomy": f'device.capacity["{DRIVER}"].memory.compareTo(quantity("20Gi")) >= 0',
}


def to(value: Json, view: type[Any]) -> Any:
    return msgspec.json.decode(msgspec.json.encode(value), type=view)


def device(name: str, size: int = 1, colour: str = "red", memory: str = "16Gi", **more: Any) -> Json:
    return {
        "name": name,
        "attributes": {"size": {"int": size}, "colour": {"string": colour}},
        "capacity": {"memory": {"value": memory}},
        **more,
    }


def slice_of(node: str, devices: list[Json], **spec: Any) -> Json:
    return {
        "metadata": {"name": spec.pop("name", f"slice-{node}")},
        "spec": {
            "driver": DRIVER,
            "nodeName": node,
            "pool": {"name": node, "generation": 1, "resourceSliceCount": 1},
            "devices": devices,
            **spec,
        },
    }


def claim(name: str, requests: list[Json], constraints: list[Json] | None = None, **status: Any) -> Json:
    return {
        "metadata": {"name": name, "namespace": "default", "uid": f"uid-{name}", "resourceVersion": "1"},
        "spec": {"devices": {"requests": requests, "constraints": constraints or []}},
        "status": status,
    }


def request(name: str = "r", cls: str = "any", count: int = 1, **more: Any) -> Json:
    return {"name": name, "exactly": {"deviceClassName": cls, "count": count, **more}}


class Cluster:
    """A core with device classes, nodes and claims."""

    def __init__(self, nodes: dict[str, list[Json]]) -> None:
        self.core = Core()
        self.profile = DEFAULT_PROFILE
        for name, expression in CLASSES.items():
            selectors = [] if expression is None else [{"cel": {"expression": expression}}]
            self.core.devices.set_class(
                to({"metadata": {"name": name}, "spec": {"selectors": selectors}}, DeviceClassView),
                there=True,
            )
        for name, devices in nodes.items():
            self.core.set_node(clusters.as_node(clusters.node(name)))
            self.slice(slice_of(name, devices))

    def slice(self, value: Json) -> None:
        self.core.devices.set_slice(to(value, SliceView))

    def claim(self, value: Json) -> None:
        self.core.devices.set_claim(to(value, ClaimView))

    def resolve(self, name: str, *claims: str, **spec: Any) -> Any:
        wanted = [{"name": f"c{i}", "resourceClaimName": c} for i, c in enumerate(claims)]
        pod = clusters.as_pod(clusters.pod(name, resourceClaims=wanted, **spec))
        needs = needs_of(pod)
        self.core.set_needs(pod.metadata.uid, needs)
        return self.core.resolve(self.core.classes.of(pod.spec, self.profile), None, pod.metadata.uid)

    def schedule(self, name: str, *claims: str, **spec: Any) -> str | None:
        cls = self.resolve(name, *claims, **spec)
        node = self.core.decide(cls)
        if node is not None:
            self.core.place(f"uid-{name}", cls, node)
        return node

    def devices_of(self, name: str) -> list[str]:
        allocation = self.core.devices.pending[f"uid-{name}"].allocation
        return [f"{r.pool}/{r.device}" for r in allocation.devices.results or ()]


# The reference: every combination, nothing clever.


def reference_matches(
    driver: str, found: Json, cls: str, selectors: list[Json], tolerations: list[Json]
) -> bool:
    for taint in found.get("taints", ()):
        tolerated = any(
            t.get("effect") in (None, taint["effect"])
            and (t["operator"] == "Exists" or t.get("value") == taint.get("value"))
            and t.get("key") in (None, taint["key"])
            for t in tolerations
        )
        if taint["effect"] != "None" and not tolerated:
            return False
    expressions = [CLASSES[cls], *(s["cel"]["expression"] for s in selectors)]
    for expression in expressions:
        if expression is not None:
            view = describe(driver, to(found, Device))
            if cel_device.compile_selector(expression).run(view)[0] is not True:
                return False
    return True


def reference_allocatable(devices: list[Json], used: set[str], claims: list[Json]) -> bool:
    """Whether all claims can be had together: tries every choice of devices for every request."""
    steps = []
    for number, wanted in enumerate(claims):
        for asked in wanted["spec"]["devices"]["requests"]:
            choices = [asked["exactly"]] if "exactly" in asked else asked["firstAvailable"]
            steps.append((number, asked, choices))

    def rules_hold(picked: list[tuple[int, str, str, Json]]) -> bool:
        for number, wanted in enumerate(claims):
            for rule in wanted["spec"]["devices"]["constraints"]:
                key = (rule.get("matchAttribute") or rule["distinctAttribute"]).partition("/")[2]
                concerned = [
                    d["attributes"].get(key)
                    for claim_number, name, full, d in picked
                    if claim_number == number
                    and (not rule.get("requests") or name in rule["requests"] or full in rule["requests"])
                ]
                if None in concerned:
                    return False
                distinct = {msgspec.json.encode(v) for v in concerned}
                if "matchAttribute" in rule and len(distinct) > 1:
                    return False
                if "distinctAttribute" in rule and len(distinct) < len(concerned):
                    return False
        return True

    def try_from(step: int, taken: set[str], picked: list[tuple[int, str, str, Json]]) -> bool:
        if step == len(steps):
            return rules_hold(picked)
        number, asked, choices = steps[step]
        for choice in choices:
            full = asked["name"] if "exactly" in asked else f"{asked['name']}/{choice['name']}"
            matching = [
                d
                for d in devices
                if reference_matches(
                    DRIVER,
                    d,
                    choice["deviceClassName"],
                    choice.get("selectors", []),
                    choice.get("tolerations", []),
                )
            ]
            admin = choice.get("adminAccess", False)
            if choice.get("allocationMode") == "All":
                sets = [tuple(matching)] if matching else []
            else:
                sets = list(itertools.combinations(matching, choice["count"]))
            for chosen in sets:
                names = {d["name"] for d in chosen}
                if not admin and names & (taken | used):
                    continue
                more = [*picked, *((number, asked["name"], full, d) for d in chosen)]
                if try_from(step + 1, taken if admin else taken | names, more):
                    return True
        return False

    return try_from(0, set(), [])


taints = st.fixed_dictionaries(
    {"key": st.just("broken"), "effect": st.sampled_from(["NoSchedule", "NoExecute", "None"])}
)
tolerations = st.lists(
    st.fixed_dictionaries({"operator": st.just("Exists"), "key": st.sampled_from(["broken", "other"])}),
    max_size=1,
)
device_lists = st.lists(
    st.fixed_dictionaries(
        {
            "size": st.integers(1, 3),
            "colour": st.sampled_from(["red", "blue"]),
            "memory": st.sampled_from(["16Gi", "32Gi"]),
            "taints": st.lists(taints, max_size=1),
        }
    ),
    max_size=5,
).map(lambda found: [device(f"d{i}", **spec) for i, spec in enumerate(found)])


@st.composite
def asks(draw: st.DrawFn, name: str, *, sub: bool = False) -> Json:
    body: Json = {
        "deviceClassName": draw(st.sampled_from(sorted(CLASSES))),
        "tolerations": draw(tolerations),
        "selectors": draw(
            st.lists(
                st.sampled_from(
                    [f'device.attributes["{DRIVER}"].size == 1', f'"colour" in device.attributes["{DRIVER}"]']
                ).map(lambda e: {"cel": {"expression": e}}),
                max_size=1,
            )
        ),
    }
    if draw(st.integers(0, 5)) == 0:
        body["allocationMode"] = "All"
    else:
        body |= {"allocationMode": "ExactCount", "count": draw(st.integers(1, 3))}
    if not sub and draw(st.integers(0, 4)) == 0:
        body["adminAccess"] = True
    return {**body, "name": name} if sub else {"name": name, "exactly": body}


@st.composite
def claims_strategy(draw: st.DrawFn) -> list[Json]:
    found = []
    for number in range(draw(st.integers(1, 2))):
        requests = []
        for index in range(draw(st.integers(1, 2))):
            name = f"r{index}"
            if draw(st.booleans()):
                requests.append(draw(asks(name)))
            else:
                requests.append(
                    {
                        "name": name,
                        "firstAvailable": [draw(asks("one", sub=True)), draw(asks("two", sub=True))],
                    }
                )
        constraints = draw(
            st.lists(
                st.tuples(
                    st.sampled_from(["matchAttribute", "distinctAttribute"]),
                    st.sampled_from(["colour", "size", "absent"]),
                    st.sampled_from([[], ["r0"], ["r0", "r1"], ["r1/one"]]),
                ).map(lambda t: {t[0]: f"{DRIVER}/{t[1]}", "requests": t[2]}),
                max_size=1,
            )
        )
        found.append(claim(f"c{number}", requests, constraints))
    return found


@given(devices=device_lists, used=st.sets(st.integers(0, 4), max_size=3), wanted=claims_strategy())
def test_allocator_agrees_with_brute_force(devices: list[Json], used: set[int], wanted: list[Json]) -> None:
    cluster = Cluster({"n": devices})
    taken = {f"d{i}" for i in used if i < len(devices)}
    if taken:
        results = [{"request": "x", "driver": DRIVER, "pool": "n", "device": name} for name in sorted(taken)]
        cluster.claim(claim("held", [request("x")], allocation={"devices": {"results": results}}))
    for value in wanted:
        cluster.claim(value)
    node = cluster.schedule("p", *(value["metadata"]["name"] for value in wanted))
    assert (node == "n") is reference_allocatable(devices, taken, wanted)
    if node is not None:
        check_allocation(cluster, devices, taken, wanted)


def check_allocation(cluster: Cluster, devices: list[Json], taken: set[str], wanted: list[Json]) -> None:
    """What was allocated is what was asked for, and no device is given twice."""
    by_name = {d["name"]: d for d in devices}
    given_: list[str] = []
    for value in wanted:
        allocation = cluster.core.devices.pending[value["metadata"]["uid"]].allocation
        results = allocation.devices.results or []
        for asked in value["spec"]["devices"]["requests"]:
            name = asked["name"]
            mine = [r for r in results if r.request == name or r.request.startswith(f"{name}/")]
            if "exactly" in asked:
                choice = asked["exactly"]
            else:
                choice = next(c for c in asked["firstAvailable"] if mine[0].request == f"{name}/{c['name']}")
            if choice["allocationMode"] == "ExactCount":
                assert len(mine) == choice["count"]
            for result in mine:
                found = by_name[result.device]
                assert reference_matches(
                    DRIVER, found, choice["deviceClassName"], choice["selectors"], choice["tolerations"]
                )
            if not choice.get("adminAccess"):
                given_ += [r.device for r in mine]
        assert allocation.nodeSelector is not None
    assert len(given_) == len(set(given_))
    assert not set(given_) & taken


@given(
    machines=st.lists(device_lists, min_size=1, max_size=4),
    pods=st.lists(claims_strategy(), min_size=1, max_size=5),
    gone=st.sets(st.integers(0, 4)),
)
def test_incremental_use_equals_a_fresh_index(
    machines: list[list[Json]], pods: list[list[Json]], gone: set[int]
) -> None:
    """Pods come and go; what the index thinks is free is what a new index makes of the claims that are left."""
    nodes = {f"n{i}": devices for i, devices in enumerate(machines)}
    cluster = Cluster(nodes)
    placed: dict[str, list[str]] = {}
    for number, wanted in enumerate(pods):
        names = []
        for value in wanted:
            value["metadata"]["name"] += f"-{number}"
            value["metadata"]["uid"] += f"-{number}"
            cluster.claim(value)
            names.append(value["metadata"]["name"])
        if cluster.schedule(f"p{number}", *names) is not None:
            placed[f"uid-p{number}"] = [value["metadata"]["uid"] for value in wanted]
    for number in gone:
        cluster.core.remove(f"uid-p{number}")
        placed.pop(f"uid-p{number}", None)
    fresh = Cluster(nodes)
    for uids in placed.values():
        for uid in uids:
            pending = cluster.core.devices.pending[uid]
            status = {"allocation": msgspec.to_builtins(pending.allocation)}
            fresh.claim(claim(uid, [request("x")], **status))
    rows = range(len(nodes))
    assert [used(cluster, row) for row in rows] == [used(fresh, row) for row in rows]


def used(cluster: Cluster, row: int) -> Any:
    index = cluster.core.devices
    bench, _ = index.bench(int(index.state[row]) if row < len(index.state) else 0)
    return [mask for shape, mask in zip(bench.shapes, bench.used, strict=True) if shape.devices]


def test_a_hopeless_search_is_short() -> None:
    """Sixteen equal devices and a constraint that nothing satisfies: equals are tried once."""
    shape = Shape(DRIVER, [to(device(f"d{i}", colour="red" if i % 2 else "blue"), Device) for i in range(16)])
    core = Cluster({}).core
    core.devices.set_claim(
        to(claim("c", [request(count=9)], [{"matchAttribute": f"{DRIVER}/colour"}]), ClaimView)
    )
    demand = Demand(claim_demands([bytes(core.devices.claims["default/c"].spec)], core.devices.classes))
    assert allocate(Bench((shape,), (0,)), demand) is None


def test_partitions_share_counters() -> None:
    """A whole device and its halves consume the same counters: one of the two can be had."""
    use = lambda n: [{"counterSet": "chip", "counters": {"cores": {"value": str(n)}}}]  # noqa: E731
    devices = [
        device("whole", size=3, consumesCounters=use(8)),
        device("half-0", consumesCounters=use(4)),
        device("half-1", consumesCounters=use(4)),
    ]
    counters = [{"name": "chip", "counters": {"cores": {"value": "8"}}}]
    cluster = Cluster({"n": []})
    cluster.slice(slice_of("n", devices, sharedCounters=counters))
    small = [{"cel": {"expression": f'device.attributes["{DRIVER}"].size == 1'}}]
    for name in ("a", "b"):
        cluster.claim(claim(name, [request(selectors=small)]))
    cluster.claim(claim("w", [request(cls="big")]))
    assert [cluster.schedule("p1", "a"), cluster.schedule("p2", "w"), cluster.schedule("p3", "b")] == [
        "n",
        None,
        "n",
    ]


def test_pools_are_taken_whole_and_by_generation() -> None:
    cluster = Cluster({"n": []})
    cluster.claim(claim("c", [request()]))
    half = {"name": "n", "generation": 2, "resourceSliceCount": 2}
    cluster.slice(slice_of("n", [device("d0")], pool=half, name="one"))
    assert cluster.schedule("p", "c") is None
    cluster.slice(slice_of("n", [device("d1")], pool=half, name="two"))
    assert cluster.schedule("p", "c") == "n"


def test_shared_devices_are_reached_by_label() -> None:
    core = Cluster({})
    for name, zone in (("a", "z1"), ("b", "z2")):
        core.core.set_node(clusters.as_node(clusters.node(name, labels={"zone": zone})))
    term = {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["z2"]}]}
    core.slice(
        slice_of(
            "",
            [device("net")],
            nodeSelector={"nodeSelectorTerms": [term]},
            pool={"name": "fabric", "generation": 1, "resourceSliceCount": 1},
        )
    )
    core.claim(claim("c1", [request()]))
    core.claim(claim("c2", [request()]))
    assert core.schedule("p1", "c1") == "b"
    assert core.schedule("p2", "c2") is None
    core.core.remove("uid-p1")
    assert core.schedule("p2", "c2") == "b"


def test_an_allocated_claim_ties_its_pods_to_its_node() -> None:
    cluster = Cluster({"a": [device("d0")], "b": [device("d0")]})
    cluster.claim(claim("c", [request()]))
    first = cluster.schedule("p1", "c")
    assert cluster.schedule("p2", "c") == first
    cls = cluster.resolve("p3", "c", nodeSelector={"metadata": "elsewhere"})
    assert cluster.core.decide(cls) is None


WHY = "no claims {} preemption"


@pytest.mark.parametrize(
    ("claims", "names", "message"),
    [
        (
            [claim("c", [request(count=2)])],
            ["c"],
            "0/1 nodes are available: 1 cannot allocate all claims. still not schedulable, preemption: "
            "0/1 nodes are available: 1 No preemption victims found for incoming pod.",
        ),
        (
            [claim("c", [request(cls="absent")])],
            ["c"],
            "0/1 nodes are available: request r: device class absent does not exist. no new claims to deallocate, "
            "preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.",
        ),
        (
            [
                claim(
                    "c",
                    [request()],
                    allocation={
                        "devices": {"results": []},
                        "nodeSelector": {
                            "nodeSelectorTerms": [
                                {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["x"]}]}
                            ]
                        },
                    },
                )
            ],
            ["c"],
            "0/1 nodes are available: 1 resourceclaim not available on the node. still not schedulable, preemption: "
            "0/1 nodes are available: 1 No preemption victims found for incoming pod.",
        ),
    ],
)
def test_wording(claims: list[Json], names: list[str], message: str) -> None:
    cluster = Cluster({"n": [device("d0")]})
    for value in claims:
        cluster.claim(value)
    cls = cluster.resolve("p", *names)
    assert cluster.core.decide(cls) is None
    assert cluster.core.explain(cls) == message


def test_a_profile_without_dynamic_resources_does_not_look_at_claims() -> None:
    cluster = Cluster({"n": [device("d0")]})
    cluster.claim(claim("c", [request(count=2)]))
    assert cluster.schedule("p", "c") is None
    cluster.profile = Profile(
        filters=DEFAULT_PROFILE.filters - {"DynamicResources"}, awaits_claims=False, deallocates=False
    )
    assert cluster.schedule("p", "c") == "n" and not cluster.core.devices.pending
    assert cluster.schedule("q", "missing") == "n"
    cls = cluster.resolve("r", "c", nodeSelector={"metadata": "elsewhere"})
    assert cluster.core.explain(cls) == (
        "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector. "
        "preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
    )


def test_a_claim_that_is_not_there_is_waited_for() -> None:
    cluster = Cluster({"n": [device("d0")]})
    cluster.resolve("p", "c")
    needs = cluster.core.needs("uid-p")
    assert needs is not None
    assert cluster.core.devices.awaited(needs) == 'resourceclaim.resource.k8s.io "c" not found'
    cluster.claim(claim("c", [request()]))
    assert cluster.core.devices.awaited(needs) is None


def test_what_the_server_was_told_stays_in_use() -> None:
    """A pod is deleted after its allocation was sent: the device is free only when the API server says so."""
    cluster = Cluster({"n": [device("d0")]})
    cluster.claim(claim("c1", [request()]))
    cluster.claim(claim("c2", [request()]))
    assert cluster.schedule("p1", "c1") == "n"
    cluster.core.devices.pending["uid-c1"].told = True
    cluster.core.remove("uid-p1")
    assert cluster.schedule("p2", "c2") is None
    gone = cluster.core.devices.claims["default/c1"]
    assert cluster.core.devices.remove_claim(gone) == {"n"}
    assert cluster.schedule("p2", "c2") == "n"


def test_nodes_come_and_go() -> None:
    """Slices outlive rows: a node that comes back has its devices, another one in its row has not."""
    cluster = Cluster({"a": [device("d0")]})
    cluster.claim(claim("c", [request()]))
    cluster.core.remove_node("a")
    cluster.core.set_node(clusters.as_node(clusters.node("b")))
    assert cluster.core.decide(cluster.resolve("p", "c")) is None
    cluster.core.set_node(clusters.as_node(clusters.node("a")))
    assert cluster.core.decide(cluster.resolve("p", "c")) == "a"
    cluster.core.devices.remove_slice("slice-a")
    assert cluster.core.decide(cluster.resolve("p", "c")) is None


choices = st.lists(
    st.tuples(st.sampled_from(("red", "big", "any")), st.integers(1, 3)), min_size=1, max_size=3
).map(
    lambda found: [
        {"name": f"s{i}", "deviceClassName": cls, "allocationMode": "ExactCount", "count": count}
        for i, (cls, count) in enumerate(found)
    ]
)


def reference_score(devices: list[Json], used: set[str], wanted: Json) -> int | None:
    """Of the first alternative that can be had with all else: 8 for the first, 7 for the second."""
    first, *others = wanted["spec"]["devices"]["requests"]
    for place, choice in enumerate(first["firstAvailable"]):
        if reference_allocatable(devices, used, [claim("c", [{"name": "r", "exactly": choice}, *others])]):
            return 8 - place
    return None


@given(
    st.lists(
        st.lists(st.tuples(st.integers(1, 3), st.sampled_from(("red", "blue"))), min_size=1, max_size=4),
        min_size=2,
        max_size=4,
    ),
    choices,
    st.booleans(),
    st.booleans(),
    st.integers(1, 5),
)
def test_earlier_alternatives_score_higher(
    nodes: list[list[tuple[int, str]]], alternatives: list[Json], exact: bool, spread: bool, pods: int
) -> None:
    """What a node's devices add to its score, kept up to date while pods are placed, in orders of single nodes and of groups."""
    by_node = {
        f"n{i}": [device(f"d{j}", size, colour) for j, (size, colour) in enumerate(found)]
        for i, found in enumerate(nodes)
    }
    cluster = Cluster(by_node)
    for name in by_node:
        cluster.core.set_node(clusters.as_node(clusters.node(name, labels={"zone": name})))
    requests: list[Json] = [{"name": "r", "firstAvailable": alternatives}]
    requests += [request("x")] if exact else []
    spec: Json = {}
    if spread:
        spec["topologySpreadConstraints"] = [
            {"maxSkew": 99, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {}}
        ]
    core = cluster.core
    used: dict[str, set[str]] = {name: set() for name in by_node}

    def resolve(name: str, *claims: str) -> Any:
        wanted = [{"name": f"c{i}", "resourceClaimName": c} for i, c in enumerate(claims)]
        pod = clusters.as_pod(clusters.pod(name, resourceClaims=wanted, **spec))
        core.set_needs(pod.metadata.uid, needs_of(pod))
        identity = core.interpods.identity(pod.metadata)
        cls = core.classes.of(pod.spec, cluster.profile)
        return core.resolve(cls, identity, pod.metadata.uid)

    for number in range(pods):
        wanted = claim(f"c{number}", requests)
        cluster.claim(wanted)
        cls = resolve(f"p{number}", f"c{number}")
        node = core.decide(cls)
        raw = {
            name: score
            for name, devices in by_node.items()
            if (score := reference_score(devices, used[name], wanted)) is not None
        }
        assert (node is None) is (not raw)
        if node is None:
            return
        plain = resolve(f"q{number}")
        assert core.decide(plain) is not None
        order, base = core._orders[cls], core._orders[plain]
        found = {core.columns.names[row]: order.score(row) for row in order.feasible_rows()}
        most = max(raw.values())
        expected = {
            name: (base.score(core.columns.row_of[name]) or 0) + (100 * score // most if most else 0)
            for name, score in raw.items()
        }
        assert found == expected and expected[node] == max(expected.values())
        core.place(f"uid-p{number}", cls, node)
        used[node].update(d.partition("/")[2] for d in cluster.devices_of(f"c{number}"))

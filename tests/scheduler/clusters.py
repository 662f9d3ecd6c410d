"""Random nodes and pods as JSON-like dictionaries, from few values so that they meet, and their typed views."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import strategies as st

from lakh.machinery.selectors import Selector, of_labels
from lakh.scheduler.views import Node, Pod

Json = dict[str, Any]
NEURON = "aws.amazon.com/neuron"
GPU = "nvidia.com/gpu"
MIB = 1 << 20
EFFECTS = ("NoSchedule", "NoExecute", "PreferNoSchedule")
KEYS = ("zone", "kind", "size")
VALUES = ("a", "b", "3", "10", "-1")


def node(name: str, **spec: Any) -> Json:
    """A node with 8 cpus, 16 GiB and 4 accelerators, unless said otherwise."""
    allocatable = {"cpu": "8000m", "memory": str(16384 * MIB), "pods": "110", NEURON: "4"}
    allocatable.update(spec.pop("allocatable", {}))
    labels = spec.pop("labels", {})
    return {
        "metadata": {"name": name, "labels": labels},
        "spec": spec,
        "status": {"allocatable": allocatable},
    }


def pod(name: str, requests: dict[str, str] | None = None, **spec: Any) -> Json:
    """A pod of one container."""
    metadata: Json = {"name": name, "namespace": "default", "uid": f"uid-{name}", "resourceVersion": "1"}
    metadata.update(spec.pop("metadata", {}))
    containers = spec.pop("containers", [{"resources": {"requests": requests or {}}}])
    return {"metadata": metadata, "spec": {"containers": containers, **spec}, "status": {"phase": "Pending"}}


def as_node(value: Json) -> Node:
    return msgspec.json.decode(msgspec.json.encode(value), type=Node)


def as_pod(value: Json) -> Pod:
    return msgspec.json.decode(msgspec.json.encode(value), type=Pod)


def selector_of(labels: dict[str, str]) -> Selector:
    return of_labels(labels)


taints = st.fixed_dictionaries(
    {"key": st.sampled_from(("dedicated", "gpu")), "effect": st.sampled_from(EFFECTS)},
    optional={"value": st.sampled_from(("x", "y"))},
)
labels = st.dictionaries(st.sampled_from(KEYS), st.sampled_from(VALUES), max_size=3)
quantities = st.fixed_dictionaries(
    {},
    optional={
        "cpu": st.sampled_from(("0", "100m", "1", "1500m", "4", "9")),
        "memory": st.integers(0, 40).map(lambda n: str(n * 777 * MIB)),
        NEURON: st.sampled_from(("0", "1", "4", "16")),
        GPU: st.sampled_from(("1", "8")),
        "ephemeral-storage": st.sampled_from(("0", str(5 * MIB))),
    },
)


@st.composite
def nodes(draw: st.DrawFn, name: str) -> Json:
    allocatable = draw(
        st.fixed_dictionaries(
            {"pods": st.sampled_from(("1", "3", "110"))},
            optional={
                "cpu": st.sampled_from(("0", "4", "8000m", "7919m")),
                "memory": st.sampled_from((str(16384 * MIB), str(31337 * MIB))),
                NEURON: st.sampled_from(("4", "16")),
                GPU: st.just("8"),
                "ephemeral-storage": st.just(str(12 * MIB)),
            },
        )
    )
    spec: Json = {"taints": draw(st.lists(taints, max_size=2))}
    if draw(st.integers(0, 4)) == 0:
        spec["unschedulable"] = True
    return {
        "metadata": {"name": name, "labels": draw(labels)},
        "spec": spec,
        "status": {"allocatable": allocatable},
    }


requirements = st.one_of(
    st.fixed_dictionaries(
        {
            "key": st.sampled_from(KEYS),
            "operator": st.sampled_from(("In", "NotIn")),
            "values": st.lists(st.sampled_from(VALUES), min_size=1, max_size=2),
        }
    ),
    st.fixed_dictionaries(
        {"key": st.sampled_from(KEYS), "operator": st.sampled_from(("Exists", "DoesNotExist"))}
    ),
    st.fixed_dictionaries(
        {
            "key": st.sampled_from(KEYS),
            "operator": st.sampled_from(("Gt", "Lt")),
            "values": st.lists(st.sampled_from(("3", "9")), min_size=1, max_size=1),
        }
    ),
)
name_fields = st.fixed_dictionaries(
    {
        "key": st.just("metadata.name"),
        "operator": st.sampled_from(("In", "NotIn")),
        "values": st.lists(st.sampled_from(("n0", "n1", "n2")), min_size=1, max_size=1),
    }
)
terms = st.fixed_dictionaries(
    {},
    optional={
        "matchExpressions": st.lists(requirements, max_size=2),
        "matchFields": st.lists(name_fields, max_size=1),
    },
)
affinities = st.fixed_dictionaries(
    {},
    optional={
        "requiredDuringSchedulingIgnoredDuringExecution": st.fixed_dictionaries(
            {"nodeSelectorTerms": st.lists(terms, max_size=2)}
        ),
        "preferredDuringSchedulingIgnoredDuringExecution": st.lists(
            st.fixed_dictionaries({"weight": st.integers(1, 100), "preference": terms}), max_size=3
        ),
    },
)
tolerations = st.one_of(
    st.just({"operator": "Exists"}),
    st.fixed_dictionaries(
        {"key": st.sampled_from(("dedicated", "gpu", "node.kubernetes.io/unschedulable"))},
        optional={
            "operator": st.sampled_from(("Equal", "Exists")),
            "value": st.sampled_from(("x", "y")),
            "effect": st.sampled_from(EFFECTS),
        },
    ),
)
ports = st.fixed_dictionaries(
    {"hostPort": st.sampled_from((80, 443))},
    optional={
        "protocol": st.sampled_from(("TCP", "UDP")),
        "hostIP": st.sampled_from(("0.0.0.0", "10.0.0.1", "10.0.0.2")),
    },
)


@st.composite
def pods(draw: st.DrawFn) -> Json:
    container: Json = {"resources": {"requests": draw(quantities)}}
    if draw(st.integers(0, 3)) == 0:
        container["ports"] = draw(st.lists(ports, max_size=2))
    spec: Json = {"containers": [container]}
    if draw(st.integers(0, 5)) == 0:
        spec["containers"].append({"resources": {"requests": draw(quantities)}})
    if draw(st.integers(0, 3)) == 0:
        spec["initContainers"] = [
            {
                "resources": {"requests": draw(quantities)},
                **({"restartPolicy": "Always"} if draw(st.booleans()) else {}),
            }
            for _ in range(draw(st.integers(1, 3)))
        ]
    if draw(st.integers(0, 5)) == 0:
        spec["overhead"] = draw(quantities)
    if draw(st.integers(0, 3)) == 0:
        spec["nodeSelector"] = draw(
            st.dictionaries(st.sampled_from(KEYS), st.sampled_from(VALUES), max_size=1)
        )
    if draw(st.integers(0, 2)) == 0:
        spec["affinity"] = {"nodeAffinity": draw(affinities)}
    if draw(st.booleans()):
        spec["tolerations"] = draw(st.lists(tolerations, max_size=2))
    return {"metadata": {"name": "p", "namespace": "default"}, "spec": spec, "status": {}}

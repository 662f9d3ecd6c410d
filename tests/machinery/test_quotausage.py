"""What objects count for in quotas; cases are those of upstream's evaluator tests (pkg/quota/v1/evaluator/core)."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import pytest

from lakh.machinery import quotausage as q
from lakh.machinery.times import parse

NOW = parse("2026-01-01T00:00:00Z")


def container(name: str = "c", limits: Any = None, always: bool = False, **requests: str) -> dict[str, Any]:
    policy = {"restartPolicy": "Always"} if always else {}
    return {"name": name, "resources": {"requests": requests, "limits": limits or {}}, **policy}


def pod(spec: dict[str, Any], status: dict[str, Any] | None = None, **metadata: Any) -> q.Pod:
    return msgspec.convert({"metadata": metadata, "spec": spec, "status": status or {}}, q.Pod)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param(
            {"initContainers": [container(cpu="1m")]},
            {"cpu": "1m", "requests.cpu": "1m"},
            id="init container cpu",
        ),
        pytest.param(
            {"initContainers": [container(limits={"memory": "1Gi", "ephemeral-storage": "2Gi"})]},
            {"limits.memory": "1Gi", "limits.ephemeral-storage": "2Gi"},
            id="init container limits",
        ),
        pytest.param(
            {"containers": [container(memory="1Mi", **{"hugepages-2Mi": "100Mi"})]},
            {
                "memory": "1Mi",
                "requests.memory": "1Mi",
                "hugepages-2Mi": "100Mi",
                "requests.hugepages-2Mi": "100Mi",
            },
            id="huge pages",
        ),
        pytest.param(
            {"containers": [container(**{"example.com/dongle": "3", "attachable-volumes-x": "1"})]},
            {"requests.example.com/dongle": "3"},
            id="extended resources are requests only",
        ),
        pytest.param(
            {
                "initContainers": [container(cpu="2", memory="100Mi"), container(cpu="1", memory="200Mi")],
                "containers": [container(cpu="1", memory="50Mi"), container(cpu="500m", memory="100Mi")],
            },
            {"cpu": "2", "requests.cpu": "2", "memory": "200Mi", "requests.memory": "200Mi"},
            id="one that starts, or all that run",
        ),
        pytest.param(
            {
                "initContainers": [container(cpu="1", always=True), container(cpu="3")],
                "containers": [container(cpu="2")],
            },
            {"cpu": "4", "requests.cpu": "4"},
            id="sidecars run beside what starts after them",
        ),
        pytest.param(
            {
                "overhead": {"cpu": "1", "memory": "1Gi"},
                "containers": [container(cpu="1", limits={"cpu": "2"})],
            },
            {
                "cpu": "2",
                "requests.cpu": "2",
                "memory": "1Gi",
                "requests.memory": "1Gi",
                "limits.cpu": "3",
            },
            id="overhead",
        ),
        pytest.param(
            {"resources": {"requests": {"cpu": "5"}}, "containers": [container(cpu="1", memory="1Gi")]},
            {"cpu": "5", "requests.cpu": "5", "memory": "1Gi", "requests.memory": "1Gi"},
            id="pod level resources",
        ),
    ],
)
def test_pods(spec: dict[str, Any], expected: dict[str, str]) -> None:
    assert q.pod_usage(pod(spec), NOW) == {"count/pods": "1", "pods": "1", **expected}


@pytest.mark.parametrize(
    ("status", "metadata", "charged"),
    [
        ({"phase": "Running"}, {}, True),
        ({"phase": "Failed"}, {}, False),
        ({"phase": "Succeeded"}, {}, False),
        ({}, {"deletionTimestamp": "2025-12-31T23:59:00Z", "deletionGracePeriodSeconds": 30}, False),
        ({}, {"deletionTimestamp": "2025-12-31T23:59:00Z", "deletionGracePeriodSeconds": 90}, True),
        ({}, {"deletionTimestamp": "2025-12-31T23:59:00Z"}, True),
    ],
)
def test_pods_that_have_ended_are_only_counted(
    status: dict[str, Any], metadata: dict[str, Any], charged: bool
) -> None:
    found = q.pod_usage(pod({"containers": [container(cpu="1")]}, status, **metadata), NOW)
    assert found["count/pods"] == "1"
    assert ("pods" in found) == ("requests.cpu" in found) == charged


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [([], "3"), ([{"type": "PodResizePending", "status": "True", "reason": "Infeasible"}], "2")],
)
def test_a_pod_that_is_resized(conditions: list[Any], expected: str) -> None:
    has = {"name": "c", "allocatedResources": {"cpu": "2"}, "resources": {"requests": {"cpu": "1"}}}
    resized = pod(
        {"containers": [container(cpu="3")]}, {"containerStatuses": [has], "conditions": conditions}
    )
    assert q.pod_usage(resized, NOW)["cpu"] == expected


TERM = {"topologyKey": "x", "namespaceSelector": {}}


@pytest.mark.parametrize(
    ("spec", "qos", "scopes"),
    [
        ({}, "BestEffort", {"BestEffort", "NotTerminating"}),
        ({"activeDeadlineSeconds": 0}, "Burstable", {"NotBestEffort", "Terminating"}),
        ({"priorityClassName": "high"}, "Guaranteed", {"NotBestEffort", "NotTerminating", "PriorityClass"}),
        (
            {"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [TERM]}}},
            "Burstable",
            {"NotBestEffort", "NotTerminating", "CrossNamespacePodAffinity"},
        ),
        (
            {
                "affinity": {
                    "podAntiAffinity": {
                        "preferredDuringSchedulingIgnoredDuringExecution": [
                            {"weight": 1, "podAffinityTerm": {"topologyKey": "x", "namespaces": ["a"]}}
                        ]
                    }
                }
            },
            "Burstable",
            {"NotBestEffort", "NotTerminating", "CrossNamespacePodAffinity"},
        ),
        (
            {
                "affinity": {
                    "podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "x"}]}
                }
            },
            "Burstable",
            {"NotBestEffort", "NotTerminating"},
        ),
    ],
)
def test_scopes_of_pods(spec: dict[str, Any], qos: str, scopes: set[str]) -> None:
    every = (
        "BestEffort",
        "NotBestEffort",
        "Terminating",
        "NotTerminating",
        "PriorityClass",
        "CrossNamespacePodAffinity",
        "VolumeAttributesClass",
    )
    found = {name for name in every if q.pod_matches(q.Scope(scopeName=name), pod(spec, {"qosClass": qos}))}
    assert found == scopes


@pytest.mark.parametrize(
    ("operator", "values", "high", "none"),
    [
        ("Exists", [], True, False),
        ("DoesNotExist", [], False, True),
        ("In", ["low", "high"], True, False),
        ("In", ["low"], False, False),
        ("NotIn", ["high"], False, True),
        ("NotIn", ["low"], True, True),
    ],
)
def test_classes_of_priority(operator: str, values: list[str], high: bool, none: bool) -> None:
    scope = q.Scope(scopeName="PriorityClass", operator=operator, values=values)
    assert q.pod_matches(scope, pod({"priorityClassName": "high"})) == high
    assert q.pod_matches(scope, pod({})) == none


@pytest.mark.parametrize(
    ("spec", "node_ports", "balancers"),
    [
        ({"type": "ClusterIP", "ports": [{}]}, "0", "0"),
        ({"type": "NodePort", "ports": [{}, {}]}, "2", "0"),
        ({"type": "LoadBalancer", "ports": [{}]}, "1", "1"),
        (
            {
                "type": "LoadBalancer",
                "ports": [{"nodePort": 31000}, {}],
                "allocateLoadBalancerNodePorts": False,
            },
            "1",
            "1",
        ),
    ],
)
def test_services(spec: dict[str, Any], node_ports: str, balancers: str) -> None:
    assert q.service_usage(msgspec.convert({"spec": spec}, q.Service)) == {
        "count/services": "1",
        "services": "1",
        "services.nodeports": node_ports,
        "services.loadbalancers": balancers,
    }


def claim(size: str = "10Gi", **parts: Any) -> q.Claim:
    spec = {"resources": {"requests": {"storage": size}}, **parts.pop("spec", {})}
    return msgspec.convert({"metadata": parts.pop("metadata", {}), "spec": spec, "status": parts}, q.Claim)


COUNTED = {"count/persistentvolumeclaims": "1", "persistentvolumeclaims": "1"}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (claim(), {"requests.storage": "10Gi"}),
        (
            claim(spec={"storageClassName": "gold"}),
            {
                "requests.storage": "10Gi",
                "gold.storageclass.storage.k8s.io/requests.storage": "10Gi",
                "gold.storageclass.storage.k8s.io/persistentvolumeclaims": "1",
            },
        ),
        (claim("1050m"), {"requests.storage": "2"}),
        (claim(allocatedResources={"storage": "20Gi"}), {"requests.storage": "20Gi"}),
        (claim(allocatedResources={"storage": "5Gi"}), {"requests.storage": "10Gi"}),
    ],
)
def test_claims(given: q.Claim, expected: dict[str, str]) -> None:
    assert q.claim_usage(given) == {**COUNTED, **expected}


def test_classes_of_attributes() -> None:
    given = claim(
        spec={"volumeAttributesClassName": "new"},
        modifyVolumeStatus={"targetVolumeAttributesClassName": "next"},
    )
    for name in ("new", "next"):
        assert q.claim_matches(
            q.Scope(scopeName="VolumeAttributesClass", operator="In", values=[name]), given
        )
    assert not q.claim_matches(q.Scope(scopeName="VolumeAttributesClass"), claim())
    assert not q.claim_matches(q.Scope(scopeName="BestEffort"), given)


def test_sums() -> None:
    sums: dict[str, Counter[str]] = {}
    pods = [pod({"containers": [container(cpu="500m", memory="1Gi")]})] * 3
    q.collect(pods, lambda one: q.pod_usage(one, NOW), q.pod_matches, (), sums)
    q.collect(
        pods, lambda one: q.pod_usage(one, NOW), q.pod_matches, [q.Scope(scopeName="Terminating")], sums
    )
    assert q.amounts(["pods", "cpu", "memory", "limits.cpu"], sums) == {
        "pods": "3",
        "cpu": "1500m",
        "memory": "3Gi",
        "limits.cpu": "0",
    }


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("requests.nvidia.com/gpu", "pods"),
        ("requests.hugepages-2Mi", "pods"),
        ("requests.storage", "claims"),
        ("gold.storageclass.storage.k8s.io/requests.storage", "claims"),
        ("gold.storageclass.storage.k8s.io/other", ""),
        ("nvidia.com/gpu", ""),
    ],
)
def test_whose_names_they_are(name: str, kind: str) -> None:
    assert (q.is_of_pods(name), q.is_of_claims(name)) == (kind == "pods", kind == "claims")


def test_what_is_counted() -> None:
    assert q.counted("secrets") == ("secrets", "")
    assert q.counted("count/deployments.apps") == ("deployments", "apps")
    assert q.counted("count/widgets.stable.example.com") == ("widgets", "stable.example.com")
    assert q.counted("things") is None

"""Services: defaults, findings, what is allocated and what an update keeps of it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from lakh.apis.core import services
from lakh.machinery import times

STRATEGY = services.ServiceStrategy()
NOW = times.parse("2026-01-01T01:00:00Z")


def service(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "web", "namespace": "default"}, "spec": {"ports": [{"port": 80}], **spec}}


def test_golden_defaults(create: Any) -> None:
    new, found = create("Service", service(type="NodePort", sessionAffinity="ClientIP"))
    assert found == []
    assert msgspec.to_builtins(new) == {
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "type": "NodePort",
            "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}],
            "sessionAffinity": "ClientIP",
            "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10800}},
            "externalTrafficPolicy": "Cluster",
            "internalTrafficPolicy": "Cluster",
            "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack",
        },
        "status": {"loadBalancer": {}},
    }


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, []),
        ({"ports": []}, ["spec.ports: Required value"]),
        ({"ports": [], "clusterIP": "None"}, []),
        (
            {"ports": [{"port": 1}, {"port": 2, "name": "b"}]},
            ["spec.ports[0].name: Required value"],
        ),
        (
            {"ports": [{"port": 1, "nodePort": 30000}]},
            ["spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"],
        ),
        (
            {"ports": [{"port": 0}]},
            [
                "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
                "spec.ports[0].targetPort: Invalid value: 0: must be between 1 and 65535, inclusive",
            ],
        ),
        (
            {"type": "Magic"},
            [
                'spec.type: Unsupported value: "Magic": supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort"'
            ],
        ),
        ({"type": "ExternalName", "ports": []}, ["spec.externalName: Required value"]),
        (
            {"externalTrafficPolicy": "Local"},
            [
                'spec.externalTrafficPolicy: Invalid value: "Local": may only be set for externally-accessible services'
            ],
        ),
        (
            {"type": "LoadBalancer", "clusterIP": "None"},
            [
                "spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for LoadBalancer services"
            ],
        ),
        (
            {"sessionAffinity": "Sticky"},
            ['spec.sessionAffinity: Unsupported value: "Sticky": supported values: "ClientIP", "None"'],
        ),
    ],
)
def test_findings(create: Any, spec: dict[str, Any], expected: list[str]) -> None:
    assert create("Service", service(**spec))[1] == expected


ALLOCATED = {"clusterIP": "10.96.0.5", "clusterIPs": ["10.96.0.5"]}


def test_allocations_are_kept(update: Any) -> None:
    old = service(**ALLOCATED, type="NodePort", ports=[{"port": 80, "nodePort": 30080}])
    new, found = update("Service", old, service(type="NodePort"))
    assert found == []
    assert (new.spec.clusterIP, new.spec.clusterIPs) == ("10.96.0.5", ["10.96.0.5"])
    assert new.spec.ports[0].nodePort == 30080


def test_the_cluster_ip_never_changes(update: Any) -> None:
    _, found = update("Service", service(**ALLOCATED), service(**{**ALLOCATED, "clusterIP": "10.96.0.6"}))
    assert found == ['spec.clusterIPs[0]: Invalid value: ["10.96.0.6"]: may not change once set']


def test_a_new_type_gives_back_what_it_cannot_have(update: Any) -> None:
    ports = [{"port": 80, "nodePort": 30080}]
    old = service(**ALLOCATED, type="LoadBalancer", ports=ports)
    patched = service(
        **ALLOCATED,
        type="ClusterIP",
        ports=ports,
        externalTrafficPolicy="Cluster",
        allocateLoadBalancerNodePorts=True,
    )
    new, found = update("Service", old, patched)
    assert found == []
    assert new.spec.ports[0].nodePort is None
    assert new.spec.externalTrafficPolicy is None
    external, found = update(
        "Service", old, service(**ALLOCATED, type="ExternalName", externalName="a.b", ports=ports)
    )
    assert found == []
    assert external.spec.clusterIP is None


@pytest.mark.parametrize(
    ("spec", "cluster_ip", "node_ports", "health"),
    [
        ({"type": "ClusterIP"}, True, False, False),
        ({"type": "ClusterIP", "clusterIP": "None"}, True, False, False),
        ({"type": "NodePort"}, True, True, False),
        ({"type": "LoadBalancer", "externalTrafficPolicy": "Local"}, True, True, True),
        ({"type": "LoadBalancer", "allocateLoadBalancerNodePorts": False}, True, False, False),
        ({"type": "ExternalName"}, False, False, False),
    ],
)
def test_needs(make: Any, spec: dict[str, Any], cluster_ip: bool, node_ports: bool, health: bool) -> None:
    obj = make("Service", service(**spec))
    assert services.needs_cluster_ip(obj) is cluster_ip
    assert services.needs_node_ports(obj) is node_ports
    assert services.needs_health_check_node_port(obj) is health


@pytest.mark.parametrize(
    ("spec", "status", "expected"),
    [
        ({"type": "ClusterIP", **ALLOCATED}, {}, ["10.96.0.5", "<none>", "80/TCP"]),
        ({"type": "ClusterIP", "clusterIP": "None"}, {}, ["None", "<none>", "80/TCP"]),
        ({"type": "LoadBalancer"}, {}, ["<none>", "<pending>", "80/TCP"]),
        (
            {"type": "LoadBalancer", "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}]},
            {"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}]}},
            ["<none>", "1.2.3.4", "80:30080/TCP"],
        ),
        ({"type": "ExternalName", "externalName": "a.b", "ports": []}, {}, ["<none>", "a.b", "<none>"]),
    ],
)
def test_cells(make: Any, spec: dict[str, Any], status: dict[str, Any], expected: list[str]) -> None:
    obj = make(
        "Service", {**service(**{"ports": [{"port": 80, "protocol": "TCP"}], **spec}), "status": status}
    )
    obj.metadata.creationTimestamp = "2026-01-01T00:59:00Z"
    assert STRATEGY.cells(obj, NOW) == ["web", spec["type"], *expected, "60s", "<none>"]

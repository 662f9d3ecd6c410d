"""Nodes."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from lakh.apis.core.nodes import NodeStrategy, node_roles
from lakh.machinery import times

STRATEGY = NodeStrategy()
NOW = times.parse("2026-01-01T01:00:00Z")
TAINT = {"key": "a", "value": "b", "effect": "NoSchedule"}


def node(spec: dict[str, Any] | None = None, status: dict[str, Any] | None = None) -> dict[str, Any]:
    obj: dict[str, Any] = {"metadata": {"name": "n"}, "spec": spec or {}}
    if status is not None:
        obj["status"] = status
    return obj


def test_golden_defaults(create: Any) -> None:
    new, found = create(
        "Node", node({"podCIDR": "10.0.0.0/24"}, {"capacity": {"cpu": 192, "memory": "2048Gi"}})
    )
    assert found == []
    assert msgspec.to_builtins(new) == {
        "metadata": {"name": "n"},
        "spec": {"podCIDR": "10.0.0.0/24", "podCIDRs": ["10.0.0.0/24"]},
        "status": {
            "capacity": {"cpu": "192", "memory": "2Ti"},
            "allocatable": {"cpu": "192", "memory": "2Ti"},
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 0}},
            "nodeInfo": dict.fromkeys(
                (
                    "architecture",
                    "bootID",
                    "containerRuntimeVersion",
                    "kernelVersion",
                    "kubeProxyVersion",
                    "kubeletVersion",
                    "machineID",
                    "operatingSystem",
                    "osImage",
                    "systemUUID",
                ),
                "",
            ),
        },
    }


@pytest.mark.parametrize(
    ("taints", "expected"),
    [
        ([TAINT], []),
        ([{**TAINT, "effect": ""}], ["metadata.taints[0].effect: Required value"]),
        (
            [{**TAINT, "effect": "Never"}],
            [
                'metadata.taints[0].effect: Unsupported value: "Never": supported values: '
                '"NoSchedule", "PreferNoSchedule", "NoExecute"'
            ],
        ),
        (
            [TAINT, TAINT],
            [
                'metadata.taints[1]: Duplicate value: {"Key":"a","Value":"b","Effect":"NoSchedule","TimeAdded":null}: '
                "taints must be unique by key and effect pair"
            ],
        ),
    ],
)
def test_taints(create: Any, taints: list[dict[str, str]], expected: list[str]) -> None:
    assert create("Node", node({"taints": taints}))[1] == expected


def test_pod_addresses_and_provider_are_set_once(update: Any) -> None:
    old = node({"podCIDRs": ["10.0.0.0/24"], "providerID": "a"})
    assert update("Node", node(), old)[1] == []
    assert update("Node", old, node())[1] == [
        'spec.podCIDRs: Forbidden: node updates may not change podCIDR except from "" to valid',
        'spec.providerID: Forbidden: node updates may not change providerID except from "" to valid',
    ]


def test_status_is_left_alone_by_updates(update: Any) -> None:
    new, found = update("Node", node(status={"capacity": {"cpu": "1"}}), node({"unschedulable": True}))
    assert found == []
    assert new.status.capacity == {"cpu": "1"}


@pytest.mark.parametrize(
    ("spec", "conditions", "expected"),
    [
        ({}, [], "Unknown"),
        ({}, [{"type": "Ready", "status": "True"}], "Ready"),
        ({}, [{"type": "Ready", "status": "Unknown"}], "NotReady"),
        ({"unschedulable": True}, [{"type": "Ready", "status": "True"}], "Ready,SchedulingDisabled"),
    ],
)
def test_status_cell(make: Any, spec: dict[str, Any], conditions: list[Any], expected: str) -> None:
    cells = STRATEGY.cells(make("Node", node(spec, {"conditions": conditions})), NOW)
    assert cells[1] == expected


def test_wide_row(make: Any) -> None:
    status = {
        "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}, {"type": "Hostname", "address": "n"}],
        "nodeInfo": {"kubeletVersion": "v1.36.0", "osImage": "Linux", "kernelVersion": "6.1"},
    }
    obj = make("Node", node(status=status))
    obj.metadata.labels = {"node-role.kubernetes.io/worker": ""}
    obj.metadata.creationTimestamp = "2026-01-01T00:00:00Z"
    assert STRATEGY.cells(obj, NOW) == [
        "n",
        "Unknown",
        "worker",
        "60m",
        "v1.36.0",
        "10.0.0.1",
        "<none>",
        "Linux",
        "6.1",
        "<unknown>",
    ]


def test_roles() -> None:
    assert node_roles({"node-role.kubernetes.io/b": "", "kubernetes.io/role": "a", "x": "y"}) == ["a", "b"]
    assert node_roles(None) == []


def test_unschedulable_is_selectable(make: Any) -> None:
    read = STRATEGY.selectable_fields["spec.unschedulable"]
    assert [read(make("Node", node(spec))) for spec in ({}, {"unschedulable": True})] == ["false", "true"]

"""Warnings about labels of nodes that have newer names, outside of pods."""

from __future__ import annotations

from typing import Any

import pytest

OLD_ZONE = 'deprecated since v1.17; use "topology.kubernetes.io/zone" instead'
OLD_OS = 'deprecated since v1.14; use "kubernetes.io/os" instead'

TABLE: list[tuple[str, str, dict[str, Any], list[str]]] = [
    (
        "GetWarningsForStorageClass",
        "storageclasses",
        {
            "provisioner": "example.com/p",
            "allowedTopologies": [
                {
                    "matchLabelExpressions": [
                        {"key": "zone", "values": ["a"]},
                        {"key": "failure-domain.beta.kubernetes.io/zone", "values": ["a"]},
                    ]
                }
            ],
        },
        [f"allowedTopologies[0].matchLabelExpressions[1].key: {OLD_ZONE}"],
    ),
    (
        "GetWarningsForNodeSelector",
        "csistoragecapacities",
        {
            "storageClassName": "c",
            "nodeTopology": {
                "matchLabels": {"beta.kubernetes.io/os": "linux", "zone": "a"},
                "matchExpressions": [{"key": "failure-domain.beta.kubernetes.io/zone", "operator": "Exists"}],
            },
        },
        [
            f"nodeTopology.matchLabels[beta.kubernetes.io/os]: {OLD_OS}",
            f"nodeTopology.matchExpressions[0].key: {OLD_ZONE}",
        ],
    ),
    (
        "GetWarningsForRuntimeClass",
        "runtimeclasses",
        {"handler": "h", "scheduling": {"nodeSelector": {"beta.kubernetes.io/os": "linux", "zone": "a"}}},
        [f"scheduling.nodeSelector: {OLD_OS}"],
    ),
    ("nothing to say", "storageclasses", {"provisioner": "example.com/p"}, []),
    ("nothing to say", "csistoragecapacities", {"storageClassName": "c"}, []),
    ("nothing to say", "runtimeclasses", {"handler": "h"}, []),
]


@pytest.mark.parametrize(("function", "plural", "obj", "expected"), TABLE)
def test_warnings(kind: Any, function: str, plural: str, obj: dict[str, Any], expected: list[str]) -> None:
    made = kind(plural).created(obj)
    assert kind(plural).strategy.warnings(made, None) == expected
    assert kind(plural).strategy.warnings(made, made) == expected

"""autoscaling/v2 against upstream's `pkg/apis/autoscaling/validation`."""

from __future__ import annotations

from typing import Any

import pytest

from tests.apis.groups.tables import Change, changed, findings, label_message

RESOURCE = {
    "type": "Resource",
    "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}},
}
METRIC = {"metric": {"name": "m"}, "target": {"type": "AverageValue", "averageValue": "1"}}
HPA: dict[str, Any] = {
    "spec": {
        "scaleTargetRef": {"kind": "Deployment", "name": "d"},
        "maxReplicas": 3,
        "metrics": [RESOURCE],
        "behavior": {"scaleUp": {}},
    }
}
M = "spec.metrics[0]"
TYPES = '"ContainerResource", "External", "Object", "Pods", "Resource"'

# validateHorizontalPodAutoscalerSpec and what it calls.
TABLE: list[tuple[str, Change, list[str]]] = [
    ("good", {}, []),
    (
        "validateHorizontalPodAutoscalerSpec",
        {"spec.minReplicas": 0},
        [
            "spec.minReplicas: Invalid value: 0: must be greater than or equal to 1",
            "spec.metrics: Forbidden: must specify at least one Object or External metric to support scaling to zero replicas",
        ],
    ),
    (
        "validateHorizontalPodAutoscalerSpec",
        {"spec.maxReplicas": 0},
        [
            "spec.maxReplicas: Invalid value: 0: must be greater than 0",
            "spec.maxReplicas: Invalid value: 0: must be greater than or equal to `minReplicas`",
        ],
    ),
    (
        "ValidateCrossVersionObjectReference",
        {"spec.scaleTargetRef": {"kind": "", "name": ".."}},
        [
            "spec.scaleTargetRef.kind: Required value",
            "spec.scaleTargetRef.name: Invalid value: \"..\": may not be '..'",
        ],
    ),
    (
        "validateMetricSpec",
        {f"{M}.type": ""},
        [
            f"{M}.type: Required value: must specify a metric source type",
            f'{M}.type: Unsupported value: "": supported values: {TYPES}',
            f'{M}.type: Unsupported value: "": supported values: {TYPES}',
        ],
    ),
    (
        "validateMetricSpec",
        {f"{M}.type": "Pods"},
        [f"{M}.pods: Required value: must populate information for the given metric source"],
    ),
    (
        "validateMetricSpec",
        {f"{M}.pods": METRIC},
        [f"{M}.pods: Forbidden: must populate the given metric source only"],
    ),
    (
        "validateResourceSource",
        {f"{M}.resource": {"name": "", "target": {"type": "Utilization"}}},
        [
            f"{M}.resource.name: Required value: must specify a resource name",
            f"{M}.resource.target.averageUtilization: Required value: must set either a target raw value or a target utilization",
        ],
    ),
    (
        "validateResourceSource",
        {f"{M}.resource.target.averageValue": "1"},
        [
            f"{M}.resource.target.averageValue: Forbidden: may not set both a target raw value and a target utilization"
        ],
    ),
    (
        "validateContainerResourceSource",
        {
            M: {
                "type": "ContainerResource",
                "containerResource": {
                    "name": "gpu",
                    "container": "C",
                    "target": {"type": "Utilization", "averageUtilization": 1},
                },
            }
        },
        [
            f'{M}.containerResource.name: Invalid value: "gpu": must be a standard resource type or fully qualified',
            f'{M}.containerResource.name: Invalid value: "gpu": must be a standard resource for containers',
            f"{M}.containerResource.container: {label_message('C')}",
        ],
    ),
    (
        "validatePodsSource",
        {M: {"type": "Pods", "pods": {"metric": {"name": ""}, "target": {"type": "Value"}}}},
        [
            f"{M}.pods.metric.name: Required value: must specify a metric name",
            f"{M}.pods.target.averageValue: Required value: must specify a positive target averageValue",
        ],
    ),
    (
        "validateObjectSource",
        {
            M: {
                "type": "Object",
                "object": {
                    "describedObject": {"kind": "K", "name": ""},
                    "metric": {"name": "m/n"},
                    "target": {"type": "Value"},
                },
            }
        },
        [
            f"{M}.object.describedObject.name: Required value",
            f"{M}.object.metric.name: Invalid value: \"m/n\": may not contain '/'",
            f"{M}.object.target.averageValue: Required value: must set either a target value or averageValue",
        ],
    ),
    (
        "validateExternalSource",
        {M: {"type": "External", "external": {"metric": {"name": "m"}, "target": {"type": "Value"}}}},
        [
            f"{M}.external.target.averageValue: Required value: must set either a target value for metric or a per-pod target"
        ],
    ),
    (
        "validateExternalSource",
        {M: {"type": "External", "external": {**METRIC, "target": {**METRIC["target"], "value": "1"}}}},
        [
            f"{M}.external.target.value: Forbidden: may not set both a target value for metric and a per-pod target"
        ],
    ),
    (
        "validateMetricTarget",
        {f"{M}.resource.target": {"type": "", "averageValue": "0", "value": "-1"}},
        [
            f"{M}.resource.target.type: Required value: must specify a metric target type",
            f'{M}.resource.target.type: Invalid value: "": must be either Utilization, Value, or AverageValue',
            f'{M}.resource.target.value: Invalid value: "-1": must be positive',
            f'{M}.resource.target.averageValue: Invalid value: "0": must be positive',
        ],
    ),
    (
        "validateScalingRules",
        {
            "spec.behavior.scaleUp": {
                "stabilizationWindowSeconds": 3601,
                "selectPolicy": "Some",
                "policies": [],
                "tolerance": "-1",
            }
        },
        [
            "spec.behavior.scaleUp.stabilizationWindowSeconds: Invalid value: 3601: must be less than or equal to 3600",
            'spec.behavior.scaleUp.selectPolicy: Unsupported value: "Some": supported values: "Disabled", "Max", "Min"',
            "spec.behavior.scaleUp.policies: Required value: must specify at least one Policy",
            'spec.behavior.scaleUp.tolerance: Invalid value: "-1": must be greater than or equal to 0',
        ],
    ),
    (
        "validateScalingPolicy",
        {"spec.behavior.scaleUp.policies": [{"type": "All", "value": 0, "periodSeconds": 1801}]},
        [
            'spec.behavior.scaleUp.policies[0].type: Unsupported value: "All": supported values: "Percent", "Pods"',
            "spec.behavior.scaleUp.policies[0].value: Invalid value: 0: must be greater than zero",
            "spec.behavior.scaleUp.policies[0].periodSeconds: Invalid value: 1801: must be less than or equal to 1800",
        ],
    ),
]


@pytest.mark.parametrize(("function", "change", "expected"), TABLE)
def test_autoscalers(kind: Any, function: str, change: Change, expected: list[str]) -> None:
    assert findings(kind("horizontalpodautoscalers/v2").create_findings(changed(HPA, change))) == expected


def test_who_scales_to_zero_may_go_on(kind: Any) -> None:
    """Mirrors ValidateHorizontalPodAutoscalerUpdate."""
    external = {"type": "External", "external": METRIC}
    zero = changed(HPA, {"spec.minReplicas": 0, "spec.metrics": [external]})
    hpas = kind("horizontalpodautoscalers/v2")
    assert hpas.update_findings(zero, changed(zero, {"spec.maxReplicas": 4})) == []
    assert len(hpas.update_findings(HPA, zero)) == 1

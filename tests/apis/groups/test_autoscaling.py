"""autoscaling: defaults and validation of v2, and v1 as a view that loses nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakh.apis.definitions import schema
from lakh.apis.groups.autoscaling import to_stored
from lakh.apis.groups.autoscaling_v1 import from_v2, to_v2

GetKind = Callable[[str], Any]
REFERENCE = {"kind": "Deployment", "name": "web", "apiVersion": "apps/v1"}
V2 = "horizontalpodautoscalers/v2"
V1 = "horizontalpodautoscalers/v1"


def _hpa(**fields: Any) -> dict[str, Any]:
    return {"spec": {"scaleTargetRef": REFERENCE, "maxReplicas": 5, **fields}}


def test_defaults(kind: GetKind) -> None:
    spec = kind(V2).created(_hpa(behavior={"scaleDown": {}})).spec
    assert spec.minReplicas == 1
    assert spec.metrics[0].resource.name == "cpu"
    assert spec.metrics[0].resource.target.averageUtilization == 80
    assert spec.behavior.scaleUp.stabilizationWindowSeconds == 0
    assert len(spec.behavior.scaleUp.policies) == 2
    assert spec.behavior.scaleDown.stabilizationWindowSeconds is None
    assert spec.behavior.scaleDown.policies[0].value == 100


@pytest.mark.parametrize(
    ("plain", "expected"),
    [
        (_hpa(), []),
        (
            _hpa(maxReplicas=0),
            [
                "spec.maxReplicas: Invalid value: 0: must be greater than 0",
                "spec.maxReplicas: Invalid value: 0: must be greater than or equal to `minReplicas`",
            ],
        ),
        (
            _hpa(scaleTargetRef={"kind": "Deployment", "name": ""}),
            ["spec.scaleTargetRef.name: Required value"],
        ),
        (
            _hpa(metrics=[{"type": "Resource"}]),
            [
                "spec.metrics[0].resource: Required value: must populate information for the given metric source"
            ],
        ),
        (
            _hpa(
                metrics=[
                    {
                        "type": "Resource",
                        "resource": {
                            "name": "cpu",
                            "target": {"type": "Utilization", "averageUtilization": 0},
                        },
                    }
                ]
            ),
            ["spec.metrics[0].resource.target.averageUtilization: Invalid value: 0: must be greater than 0"],
        ),
        (
            _hpa(behavior={"scaleUp": {"selectPolicy": "Best"}}),
            [
                'spec.behavior.scaleUp.selectPolicy: Unsupported value: "Best": supported values: "Disabled", "Max", '
                '"Min"'
            ],
        ),
    ],
)
def test_create_errors(kind: GetKind, plain: dict[str, Any], expected: list[str]) -> None:
    assert kind(V2).create_errors(plain) == expected


def test_v1_is_judged_as_v2(kind: GetKind) -> None:
    assert kind(V1).create_errors(_hpa(maxReplicas=0))[0].startswith("spec.maxReplicas: ")


def test_v1_cells_are_v2s(kind: GetKind) -> None:
    plain = {
        **_hpa(targetCPUUtilizationPercentage=50),
        "status": {"currentReplicas": 2, "desiredReplicas": 2, "currentCPUUtilizationPercentage": 40},
    }
    assert kind(V1).cells(plain) == ["x", "Deployment/web", "cpu: 40%/50%", "1", 5, 2, "<unknown>"]


def test_targets(kind: GetKind) -> None:
    metrics = [
        {
            "type": "Pods",
            "pods": {"metric": {"name": "m"}, "target": {"type": "AverageValue", "averageValue": 3}},
        },
        {
            "type": "External",
            "external": {"metric": {"name": "q"}, "target": {"type": "Value", "value": "1000"}},
        },
        {"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue"}}},
    ]
    assert kind(V2).cells(_hpa(metrics=metrics))[2] == "<unknown>/3, <unknown>/1k + 1 more..."


def test_v1_stores_the_default_target() -> None:
    stored = to_stored({"metadata": {"name": "x"}, **_hpa()})
    assert stored["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"] == 80


def test_broken_annotations_are_dropped() -> None:
    for text in ("{", "7", '[{"type": 7}]'):
        plain = {
            "metadata": {"name": "x", "annotations": {"autoscaling.alpha.kubernetes.io/metrics": text}},
            **_hpa(targetCPUUtilizationPercentage=50),
        }
        stored = to_stored(plain)
        assert "annotations" not in stored["metadata"]
        assert len(stored["spec"]["metrics"]) == 1


def test_clients_do_not_write_status_through_annotations(kind: GetKind) -> None:
    key = "autoscaling.alpha.kubernetes.io/conditions"
    obj = kind(V1).created({"metadata": {"annotations": {key: "[]", "mine": "1"}}, **_hpa()})
    assert obj.metadata.annotations == {"mine": "1"}


_WORD = st.text("abcxyz", min_size=1, max_size=5)
_QUANTITY = st.integers(1, 1000).map(str)
_UTILIZATION = st.integers(1, 100)
_SELECTOR = st.none() | st.fixed_dictionaries({"matchLabels": st.dictionaries(_WORD, _WORD, max_size=2)})


def _some(**values: Any) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


@st.composite
def _metric(draw: st.DrawFn, side: str) -> dict[str, Any]:
    source = draw(st.sampled_from(["resource", "containerResource", "pods", "object", "external"]))
    body: dict[str, Any] = {}
    if source in ("resource", "containerResource"):
        body["name"] = draw(st.sampled_from(["cpu", "memory"]))
        value = draw(
            st.builds(lambda u: {"averageUtilization": u}, _UTILIZATION)
            | st.builds(lambda q: {"averageValue": q}, _QUANTITY)
        )
        if source == "containerResource":
            body["container"] = draw(_WORD)
    else:
        body["metric"] = _some(name=draw(_WORD), selector=draw(_SELECTOR))
        name = "averageValue" if source == "pods" else draw(st.sampled_from(["value", "averageValue"]))
        value = {name: draw(_QUANTITY)}
        if source == "object":
            body["describedObject"] = REFERENCE
    if side == "target":
        value["type"] = {"averageUtilization": "Utilization", "averageValue": "AverageValue"}.get(
            next(iter(value)), "Value"
        )
    body[side] = value
    return {"type": source[0].upper() + source[1:], source: body}


def _only_last_cpu(metrics: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """v1 says the CPU target apart, which puts it behind the others."""

    def is_cpu(metric: dict[str, Any]) -> bool:
        resource = metric.get("resource", {})
        return resource.get("name") == "cpu" and "averageUtilization" in resource.get("target", {})

    others = [m for m in metrics if not (m["type"] == "Resource" and m["resource"]["name"] == "cpu")]
    return others + [m for m in metrics if is_cpu(m)][:1]


@given(
    st.lists(_metric("target"), min_size=1, max_size=4).map(_only_last_cpu).filter(bool),
    st.lists(_metric("current"), max_size=3),
    st.booleans(),
)
def test_nothing_is_lost_through_v1(
    metrics: list[dict[str, Any]], current: list[dict[str, Any]], behaves: bool
) -> None:
    struct = schema().struct("io.k8s.api.autoscaling.v2.HorizontalPodAutoscaler")
    original: dict[str, Any] = {
        "metadata": {"name": "x", "annotations": {"mine": "1"}},
        **_hpa(metrics=metrics),
        "status": {
            "desiredReplicas": 1,
            "conditions": [{"type": "AbleToScale", "status": "True"}],
            **({"currentMetrics": current} if current else {}),
        },
    }
    if behaves:
        policy = {"type": "Pods", "value": 4, "periodSeconds": 15}
        original["spec"]["behavior"] = {"scaleUp": {"selectPolicy": "Max", "policies": [policy]}}
    msgspec.convert(original, struct)
    older = from_v2(original)
    msgspec.convert(older, schema().struct("io.k8s.api.autoscaling.v1.HorizontalPodAutoscaler"))
    assert to_v2(older) == original

"""scheduling.k8s.io/v1alpha2: workloads and pod groups."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

GANG = {"schedulingPolicy": {"gang": {"minCount": 4}}}


def test_good_ones_pass(kind: Callable[[str], Any]) -> None:
    group = {"metadata": {"name": "g", "namespace": "default"}, "spec": dict(GANG)}
    assert kind("podgroups").create_errors(group) == []
    template = {"name": "workers", **GANG, "schedulingConstraints": {"topology": [{"key": "rack"}]}}
    workload = {
        "metadata": {"name": "w", "namespace": "default"},
        "spec": {"podGroupTemplates": [template, {"name": "driver", "schedulingPolicy": {"basic": {}}}]},
    }
    assert kind("workloads").create_errors(workload) == []


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"schedulingPolicy": {}}, "must specify one of: `basic`, `gang`"),
        ({"schedulingPolicy": {"basic": {}, "gang": {"minCount": 1}}}, "must specify exactly one of"),
        ({"schedulingPolicy": {"gang": {"minCount": 0}}}, "must be greater than or equal to 1"),
        ({**GANG, "disruptionMode": "All"}, 'supported values: "Pod", "PodGroup"'),
        ({**GANG, "schedulingConstraints": {"topology": [{"key": "a"}, {"key": "b"}]}}, "Too many: 2"),
        ({**GANG, "schedulingConstraints": {"topology": [{"key": "a b"}]}}, "name part must consist of"),
        ({}, "spec.schedulingPolicy: Required value"),
    ],
)
def test_bad_groups_are_refused(kind: Callable[[str], Any], spec: dict[str, Any], why: str) -> None:
    errors = kind("podgroups").create_errors(
        {"metadata": {"name": "g", "namespace": "default"}, "spec": spec}
    )
    assert any(why in str(error) for error in errors), errors


def test_templates_have_names_of_their_own(kind: Callable[[str], Any]) -> None:
    template = {"name": "a", **GANG}
    spec = {"podGroupTemplates": [template, template, {"name": "B", **GANG}]}
    errors = kind("workloads").create_errors(
        {"metadata": {"name": "w", "namespace": "default"}, "spec": spec}
    )
    assert [str(error).split(": ")[:2] for error in errors] == [
        ["spec.podGroupTemplates[1]", "Duplicate value"],
        ["spec.podGroupTemplates[2].name", "Invalid value"],
    ]

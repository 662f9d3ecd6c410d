"""LimitRanges, ResourceQuotas and nodes: what may stand in them (`ValidateLimitRange`, `ValidateResourceQuota`, `ValidateNode…`)."""

from __future__ import annotations

from typing import Any

import pytest

L = "spec.limits[0]"


def limits(**item: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "l", "namespace": "default"},
        "spec": {"limits": [{"type": "Container", **item}]},
    }


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ({"max": {"cpu": "2"}, "min": {"cpu": "1"}}, []),
        ({"type": "Node"}, [f'{L}.type: Invalid value: "Node": must be a standard limit type or fully qualified']),
        ({"max": {"disk": "1"}}, [
            f'{L}.max[disk]: Invalid value: "disk": must be a standard resource type or fully qualified',
            f'{L}.max[disk]: Invalid value: "disk": must be a standard resource for containers',
            f'{L}.default[disk]: Invalid value: "disk": must be a standard resource type or fully qualified',
            f'{L}.default[disk]: Invalid value: "disk": must be a standard resource for containers',
            f'{L}.defaultRequest[disk]: Invalid value: "disk": must be a standard resource type or fully qualified',
            f'{L}.defaultRequest[disk]: Invalid value: "disk": must be a standard resource for containers',
        ]),
        ({"type": "Pod", "max": {"cpu": "1"}, "min": {"cpu": "2"}}, [
            f'{L}.min[cpu]: Invalid value: "2": min value 2 is greater than max value 1'
        ]),
        ({"max": {"cpu": "1"}, "default": {"cpu": "2"}, "defaultRequest": {"cpu": "1"}}, [
            f'{L}.default[cpu]: Invalid value: "1": default value 2 is greater than max value 1'
        ]),
        ({"default": {"cpu": "1"}, "defaultRequest": {"cpu": "2"}}, [
            f'{L}.defaultRequest[cpu]: Invalid value: "2": default request value 2 is greater than default limit value 1'
        ]),
        ({"type": "Pod", "default": {"cpu": "1"}}, [f"{L}.default: Forbidden: may not be specified when `type` is 'Pod'"]),
        ({"maxLimitRequestRatio": {"cpu": "500m"}}, [
            f'{L}.maxLimitRequestRatio[cpu]: Invalid value: "500m": ratio 500m is less than 1'
        ]),
        ({"type": "Pod", "max": {"cpu": "2"}, "min": {"cpu": "1"}, "maxLimitRequestRatio": {"cpu": "3"}}, [
            f'{L}.maxLimitRequestRatio[cpu]: Invalid value: "3": ratio 3 is greater than max/min = 2.000000'
        ]),
        ({"type": "PersistentVolumeClaim", "max": {"cpu": "1"}}, [
            f"{L}.limits: Required value: either minimum or maximum storage value is required, but neither was provided"
        ]),
    ],
)  # fmt: skip
def test_limit_ranges(create: Any, item: dict[str, Any], expected: list[str]) -> None:
    assert create("LimitRange", limits(**item))[1] == expected


def test_limits_of_a_kind_once(create: Any) -> None:
    obj = limits(max={"cpu": "1"})
    obj["spec"]["limits"] *= 2
    assert create("LimitRange", obj)[1] == ['spec.limits[1].type: Duplicate value: "Container"']


def quota(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "q", "namespace": "default"}, "spec": {"hard": {"pods": "2"}, **spec}}


def selector(**expression: Any) -> dict[str, Any]:
    return {
        "scopeSelector": {
            "matchExpressions": [{"scopeName": "PriorityClass", "operator": "Exists", **expression}]
        }
    }


S = "spec.scopeSelector.matchExpressions"


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"hard": {"disk": "1"}}, [
            'spec.hard[disk]: Invalid value: "disk": must be a standard resource type or fully qualified',
            'spec.hard[disk]: Invalid value: "disk": must be a standard resource for quota',
        ]),
        ({"hard": {"pods": "1.5"}}, ['spec.hard[pods]: Invalid value: "1500m": must be an integer']),
        ({"hard": {"pods": "-1"}}, ['spec.hard[pods]: Invalid value: "-1": must be greater than or equal to 0']),
        ({"scopes": ["Some"]}, ['spec.scopes: Invalid value: ["Some"]: unsupported scope']),
        ({"scopes": ["Terminating", "NotTerminating"]}, [
            'spec.scopes: Invalid value: ["Terminating","NotTerminating"]: conflicting scopes'
        ]),
        ({"hard": {"services": "1"}, "scopes": ["NotBestEffort"]}, [
            'spec.scopes: Invalid value: ["NotBestEffort"]: unsupported scope applied to resource'
        ]),
        (selector(), []),
        (selector(operator="In"), [
            f"{S}.values: Required value: must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"
        ]),
        (selector(values=["a"]), [
            f"{S}.values: Invalid value: [\"a\"]: must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"
        ]),
        (selector(operator="Is"), [f'{S}.operator: Invalid value: "Is": not a valid selector operator']),
    ],
)  # fmt: skip
def test_quotas(create: Any, spec: dict[str, Any], expected: list[str]) -> None:
    assert create("ResourceQuota", quota(**spec))[1] == expected


def test_scopes_of_quotas_stay(update: Any) -> None:
    _, found = update("ResourceQuota", quota(), quota(scopes=["BestEffort"]))
    assert found == ['spec.scopes: Invalid value: ["BestEffort"]: field is immutable']


def node(status: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "n"}, "spec": spec, "status": status or {}}


TAINT = {"key": "k", "value": "v", "effect": "NoSchedule"}


# ValidateNode, validateNodeTaints
@pytest.mark.parametrize(
    ("obj", "expected"),
    [
        (node(taints=[TAINT, TAINT]), [
            'metadata.taints[1]: Duplicate value: {"Key":"k","Value":"v","Effect":"NoSchedule","TimeAdded":null}: taints must be '
            "unique by key and effect pair"
        ]),
        (node(taints=[{"key": "k"}]), ["metadata.taints[0].effect: Required value"]),
        (node(podCIDR="10.0.0.0/24", podCIDRs=["10.0.0.0/24", "10.0.1.0/24"]), [
            'spec.podCIDRs: Invalid value: ["10.0.0.0/24","10.0.1.0/24"]: may specify no more than one CIDR for each IP family'
        ]),
        (node(podCIDR="10.0.0.0/24", podCIDRs=["10.0.0.0/24", "fd00::/64"]), []),
        (node(podCIDR="10.0.0.1/24", podCIDRs=["10.0.0.1/24"]), [
            'spec.podCIDRs[0]: Invalid value: "10.0.0.1/24": must not have bits set beyond the prefix length'
        ]),
    ],
)  # fmt: skip
def test_nodes(create: Any, obj: dict[str, Any], expected: list[str]) -> None:
    assert create("Node", obj)[1] == expected


# ValidateNodeUpdate
@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (node(), node(podCIDR="10.0.0.0/24", podCIDRs=["10.0.0.0/24"], providerID="p"), []),
        (node(podCIDRs=["10.0.0.0/24"]), node(podCIDRs=["10.0.1.0/24"]), [
            'spec.podCIDRs: Forbidden: node updates may not change podCIDR except from "" to valid'
        ]),
        (node(providerID="p"), node(providerID="q"), [
            'spec.providerID: Forbidden: node updates may not change providerID except from "" to valid'
        ]),
        (node(), node(externalID="e"), ["spec.externalID: Forbidden: may not be updated"]),
    ],
)  # fmt: skip
def test_nodes_change(
    update: Any, before: dict[str, Any], after: dict[str, Any], expected: list[str]
) -> None:
    assert update("Node", before, after)[1] == expected


def test_status_of_nodes(update_status: Any) -> None:
    address = {"type": "InternalIP", "address": "10.0.0.1"}
    _, found = update_status("Node", node(), node({"addresses": [address, address]}))
    assert found == ['status.addresses[1]: Duplicate value: {"Type":"InternalIP","Address":"10.0.0.1"}']


# GetWarningsForNode; kubelets' dynamic configuration is dropped
def test_what_has_no_effect(warn: Any, create: Any) -> None:
    assert warn("Node", node(externalID="e")) == [
        "spec.externalID: this field is deprecated, and is unused by Kubernetes"
    ]
    new, _ = create(
        "Node", node(configSource={"configMap": {"name": "c", "namespace": "d", "kubeletConfigKey": "k"}})
    )
    assert new.spec.configSource is None

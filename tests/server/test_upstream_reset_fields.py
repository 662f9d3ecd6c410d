"""Nobody comes to own what an endpoint does not write: upstream's test/integration/apiserver/apply/reset_fields_test.go, of all kinds with status."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator
from typing import Any

import pytest

from ..golden.defaults import DEFAULTS
from .harness import Api

Pair = tuple[dict[str, Any], dict[str, Any]]


def condition(status: str, **more: str) -> dict[str, Any]:
    """A condition of an unknown type."""
    return {"conditions": [{"type": "MyStatus", "status": status, **more}]}


def noted(status: str) -> dict[str, Any]:
    """A condition as meta.k8s.io/v1 has it, whole."""
    return condition(status, reason="R", message="", lastTransitionTime="2020-01-01T00:00:00Z")


CONDITION: Pair = condition("True"), condition("False")
NOTED: Pair = noted("True"), noted("False")
CONTAINER = {"containers": [{"name": "c", "image": "another"}]}
POD_TEMPLATE = {"template": {"spec": CONTAINER}}

# By plural and version: another spec for it, and two that its status may be.
KINDS: dict[str, tuple[dict[str, Any], Pair]] = {
    "nodes v1": ({"spec": {"unschedulable": False}}, CONDITION),
    "persistentvolumeclaims v1": ({"spec": {"volumeName": "other"}}, CONDITION),
    "persistentvolumes v1": ({"spec": {"capacity": {"storage": "23M"}}}, ({"message": "a"}, {"message": "b"})),
    "pods v1": ({"spec": CONTAINER}, CONDITION),
    "replicationcontrollers v1": ({"spec": POD_TEMPLATE}, CONDITION),
    "resourcequotas v1": ({"spec": {"hard": {"pods": "25"}}}, ({"used": {"pods": "1"}}, {"used": {"pods": "2"}})),
    "services v1": ({"spec": {"clusterIP": "10.96.0.77"}}, NOTED),
    "daemonsets v1": ({"spec": POD_TEMPLATE}, CONDITION),
    "deployments v1": ({"spec": POD_TEMPLATE}, CONDITION),
    "replicasets v1": ({"spec": POD_TEMPLATE}, CONDITION),
    "statefulsets v1": ({"spec": POD_TEMPLATE}, CONDITION),
    "horizontalpodautoscalers v1": ({"spec": {"maxReplicas": 23}}, ({"currentReplicas": 5}, {"currentReplicas": 25})),
    "horizontalpodautoscalers v2": ({"spec": {"maxReplicas": 23}}, ({"currentReplicas": 5}, {"currentReplicas": 25})),
    "cronjobs v1": ({"spec": {"schedule": "1 * * * *"}}, ({"lastScheduleTime": "2020-01-01T00:00:00Z"}, {"lastScheduleTime": "2021-01-01T00:00:00Z"})),
    "jobs v1": ({"spec": {"parallelism": 7}}, ({"startTime": "2020-01-01T00:00:00Z", "active": 1}, {"startTime": "2020-01-01T00:00:00Z", "active": 2})),
    "ingresses v1": ({"spec": {"rules": [{"host": "other"}]}}, ({"loadBalancer": {"ingress": [{"ip": "127.0.0.1"}]}}, {"loadBalancer": {"ingress": [{"ip": "127.0.0.2"}]}})),
    "servicecidrs v1": ({"spec": {"cidrs": ["10.9.0.0/24"]}}, NOTED),
    "poddisruptionbudgets v1": ({"spec": {"selector": {"matchLabels": {"app": "other"}}}}, ({"currentHealthy": 5}, {"currentHealthy": 25})),
    "volumeattachments v1": ({"spec": {"nodeName": "other"}}, ({"attached": True}, {"attached": False})),
    "validatingadmissionpolicies v1": ({"spec": {"failurePolicy": "Ignore"}}, NOTED),
    "flowschemas v1": ({"spec": {"priorityLevelConfiguration": {"name": "other"}}}, CONDITION),
    "prioritylevelconfigurations v1": ({"spec": {"limited": {"limitResponse": {"type": "Reject", "queuing": None}}}}, CONDITION),
}  # fmt: skip


def merged(value: Any, change: Any) -> Any:
    """`value` with what `change` says."""
    if isinstance(value, dict) and isinstance(change, dict):
        return {**value, **{k: merged(value.get(k), v) for k, v in change.items()}}
    return change


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    api = await Api.start()
    yield api
    await api.stop()


def of_kind(name: str) -> Any:
    """The example of a kind."""
    plural, version = name.split()
    return next(d for d in DEFAULTS if d.plural == plural and d.api_version.rpartition("/")[2] == version)


@pytest.mark.parametrize("name", KINDS)
async def test_apply_reset_fields(api: Api, name: str) -> None:
    """TestApplyResetFields: one applies the spec, another the status, each with both in hand; then each in the other's place is a conflict."""
    example = of_kind(name)
    spec, (one, other) = KINDS[name]
    base = copy.deepcopy(example.object())
    # A field of the spec at least, else nobody manages anything.
    base.setdefault("spec", {"unschedulable": True})
    first, second = {**base, "status": one}, merged({**base, "status": other}, spec)
    path = f"{example.path}/{example.name}"
    answer = await api.apply(path, first, "fieldmanager1")
    assert answer.status == 201, answer
    answer = await api.apply(f"{path}/status", second, "fieldmanager2")
    assert answer.status == 200, answer
    owned = {e["manager"]: set(e["fieldsV1"]) - {"f:metadata"} for e in answer.json["metadata"]["managedFields"]}  # fmt: skip
    assert owned["fieldmanager1"] <= {"f:spec"}
    assert owned["fieldmanager2"] == {"f:status"}
    answer = await api.apply(path, second, "fieldmanager2")
    assert (answer.status, answer.json["reason"]) == (409, "Conflict"), answer
    answer = await api.apply(f"{path}/status", first, "fieldmanager1")
    assert (answer.status, answer.json["reason"]) == (409, "Conflict"), answer

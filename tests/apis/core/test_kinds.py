"""The smaller kinds of core/v1: findings, defaults, updates and rows."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest

from lakh.apis.core.events import EventStrategy
from lakh.apis.core.namespaces import NamespaceStrategy
from lakh.apis.core.storage import access_modes
from lakh.machinery import times

NOW = times.parse("2026-01-01T01:00:00Z")
META = {"name": "x", "namespace": "default"}


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


CONTAINERS = {"containers": [{"name": "c", "image": "a"}]}
TEMPLATE = {"metadata": {"labels": {"app": "x"}}, "spec": CONTAINERS}
CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
VOLUME = {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/x"}}
EVENT = {"involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"}}


@pytest.mark.parametrize(
    ("kind", "obj", "expected"),
    [
        ("ConfigMap", {"data": {"a.b": "c"}}, []),
        (
            "ConfigMap",
            {"data": {"a": "b"}, "binaryData": {"a": b64("c")}},
            ['data[a]: Invalid value: "a": duplicate of key present in binaryData'],
        ),
        (
            "ConfigMap",
            {"data": {"a": "x" * 2**20, "b": "y"}},
            ["[]: Too long: may not be more than 1048576 bytes"],
        ),
        ("Secret", {"stringData": {"a": "b"}}, []),
        (
            "Secret",
            {"data": {"a": "*"}},
            ['data[a]: Invalid value: "<secret contents redacted>": illegal base64 data'],
        ),
        (
            "Secret",
            {"type": "kubernetes.io/tls", "data": {"tls.crt": b64("x")}},
            ["data[tls.key]: Required value"],
        ),
        (
            "Secret",
            {"type": "kubernetes.io/service-account-token"},
            ["metadata.annotations[kubernetes.io/service-account.name]: Required value"],
        ),
        (
            "Secret",
            {"type": "kubernetes.io/basic-auth"},
            ["data[username]: Required value", "data[password]: Required value"],
        ),
        ("Event", EVENT, []),
        (
            "Event",
            {"involvedObject": {"namespace": "other"}},
            ['involvedObject.namespace: Invalid value: "other": does not match event.namespace'],
        ),
        (
            "Event",
            {
                **EVENT,
                "eventTime": "2026-01-01T00:00:00.000000Z",
                "reportingComponent": "a/b",
                "action": "A",
                "reason": "R",
            },
            ["reportingInstance: Required value"],
        ),
        (
            "Endpoints",
            {"subsets": [{"ports": [{"port": 1}]}]},
            ["subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`"],
        ),
        ("PersistentVolumeClaim", {"spec": CLAIM}, []),
        (
            "PersistentVolumeClaim",
            {"spec": {}},
            [
                "spec.accessModes: Required value: at least 1 access mode is required",
                "spec.resources[storage]: Required value",
            ],
        ),
        ("PersistentVolume", {"spec": VOLUME}, []),
        (
            "PersistentVolume",
            {"spec": {**VOLUME, "nfs": {"server": "a", "path": "/"}}},
            ["spec.nfs: Forbidden: may not specify more than 1 volume type"],
        ),
        ("PodTemplate", {"template": TEMPLATE}, []),
        ("ReplicationController", {"spec": {"template": TEMPLATE}}, []),
        (
            "ReplicationController",
            {"spec": {"selector": {"a": "b"}, "template": TEMPLATE}},
            [
                'spec.template.metadata.labels: Invalid value: {"app":"x"}: `selector` does not match template `labels`'
            ],
        ),
        ("LimitRange", {"spec": {"limits": [{"type": "Container", "max": {"cpu": "1"}}]}}, []),
        (
            "LimitRange",
            {"spec": {"limits": [{"type": "Pod", "max": {"cpu": "1"}, "min": {"cpu": "2"}}]}},
            ['spec.limits[0].min[cpu]: Invalid value: "2": min value 2 is greater than max value 1'],
        ),
        ("ResourceQuota", {"spec": {"hard": {"pods": "10", "count/jobs.batch": "5"}}}, []),
        (
            "ResourceQuota",
            {"spec": {"hard": {"pods": "1500m"}}},
            ['spec.hard[pods]: Invalid value: "1500m": must be an integer'],
        ),
        ("Binding", {"target": {"kind": "Node", "name": "n"}}, []),
        (
            "Binding",
            {"target": {"kind": "Pod", "name": ""}},
            [
                'target.kind: Unsupported value: "Pod": supported values: "Node", "<empty>"',
                "target.name: Required value",
            ],
        ),
        ("Namespace", {"metadata": {"name": "x"}}, []),
        ("ServiceAccount", {}, []),
    ],
)
def test_findings_on_create(create: Any, kind: str, obj: dict[str, Any], expected: list[str]) -> None:
    assert create(kind, dict(obj))[1] == expected


@pytest.mark.parametrize(
    ("kind", "old", "new", "expected"),
    [
        (
            "ConfigMap",
            {"immutable": True, "data": {"a": "b"}},
            {"data": {"a": "c"}},
            [
                "immutable: Forbidden: field is immutable when `immutable` is set",
                "data: Forbidden: field is immutable when `immutable` is set",
            ],
        ),
        (
            "Secret",
            {"type": "a"},
            {"type": "b"},
            ['type: Invalid value: "b": field is immutable'],
        ),
        (
            "PersistentVolumeClaim",
            {"spec": CLAIM},
            {"spec": {**CLAIM, "accessModes": ["ReadOnlyMany"]}},
            [
                "spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for "
                'bound claims\n- \taccessModes: ["ReadWriteOnce"],\n+ \taccessModes: ["ReadOnlyMany"],'
            ],
        ),
        ("PersistentVolumeClaim", {"spec": CLAIM}, {"spec": {**CLAIM, "volumeName": "pv"}}, []),
        (
            "PersistentVolume",
            {"spec": VOLUME},
            {"spec": {**VOLUME, "hostPath": {"path": "/y"}}},
            [
                'spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation\n- \thostPath: {"path":"/x","type":""},\n+ \thostPath: {"path":"/y","type":""},'
            ],
        ),
        (
            "ResourceQuota",
            {"spec": {"scopes": ["Terminating"]}},
            {"spec": {}},
            ["spec.scopes: Invalid value: null: field is immutable"],
        ),
    ],
)
def test_findings_on_update(
    update: Any, kind: str, old: dict[str, Any], new: dict[str, Any], expected: list[str]
) -> None:
    assert update(kind, dict(old), dict(new))[1] == expected


def test_strings_of_a_secret_become_data(create: Any) -> None:
    new, _ = create("Secret", {"metadata": dict(META), "data": {"a": b64("1")}, "stringData": {"b": "2"}})
    assert msgspec.to_builtins(new) == {
        "metadata": META,
        "type": "Opaque",
        "data": {"a": b64("1"), "b": b64("2")},
    }


def test_a_new_namespace_is_active_and_held(create: Any) -> None:
    new, _ = create("Namespace", {"metadata": {"name": "team"}})
    assert msgspec.to_builtins(new) == {
        "metadata": {"name": "team", "labels": {"kubernetes.io/metadata.name": "team"}},
        "spec": {"finalizers": ["kubernetes"]},
        "status": {"phase": "Active"},
    }


def test_updates_leave_the_finalizers_of_a_namespace(update: Any) -> None:
    new, _ = update("Namespace", {"metadata": {"name": "x"}}, {"metadata": {"name": "x"}, "spec": {}})
    assert new.spec.finalizers == ["kubernetes"]


def test_the_phase_of_a_namespace_follows_its_deletion(make: Any) -> None:
    strategy = NamespaceStrategy()
    obj = make("Namespace", {"metadata": {"name": "x"}, "status": {"phase": "Terminating"}})
    assert [str(f) for f in strategy.validate_status_update(obj, obj)] == [
        "status.Phase: Invalid value: \"Terminating\": may only be 'Active' if `deletionTimestamp` is empty"
    ]
    obj.metadata.deletionTimestamp = "2026-01-01T00:00:00Z"
    assert strategy.validate_status_update(obj, obj) == []


def test_a_replication_controller_takes_its_selector_from_the_template(create: Any) -> None:
    new, found = create("ReplicationController", {"metadata": dict(META), "spec": {"template": TEMPLATE}})
    assert found == []
    assert new.spec.replicas == 1
    assert new.spec.selector == new.metadata.labels == {"app": "x"}
    assert new.metadata.generation == 1


def test_container_limits_follow_the_maximum(create: Any) -> None:
    new, _ = create(
        "LimitRange", {"spec": {"limits": [{"type": "Container", "max": {"cpu": "2"}, "min": {"cpu": "1"}}]}}
    )
    (item,) = new.spec.limits
    assert item.default == item.defaultRequest == {"cpu": "2"}


def test_event_row(make: Any) -> None:
    event = make(
        "Event",
        {
            **EVENT,
            "type": "Warning",
            "reason": "FailedScheduling",
            "message": "no room\n",
            "count": 3,
            "firstTimestamp": "2026-01-01T00:00:00Z",
            "lastTimestamp": "2026-01-01T00:59:30Z",
            "source": {"component": "scheduler", "host": "h"},
        },
    )
    assert EventStrategy().cells(event, NOW) == [
        "30s",
        "Warning",
        "FailedScheduling",
        "pod/p",
        "",
        "scheduler, h",
        "no room",
        "60m",
        3,
        "x",
    ]
    fields = EventStrategy().selectable_fields
    assert fields["involvedObject.name"](event) == "p"
    assert fields["source"](event) == "scheduler"


@pytest.mark.parametrize(
    ("kind", "obj", "expected"),
    [
        ("ConfigMap", {"data": {"a": "b"}, "binaryData": {"c": ""}}, ["x", 2, "60m"]),
        ("Secret", {"type": "Opaque", "data": {"a": ""}}, ["x", "Opaque", 1, "60m"]),
        (
            "Endpoints",
            {
                "subsets": [
                    {
                        "addresses": [{"ip": f"10.0.0.{i}"} for i in range(1, 6)],
                        "ports": [{"port": 80}],
                    }
                ]
            },
            ["x", "10.0.0.1:80,10.0.0.2:80,10.0.0.3:80 + 2 more...", "60m"],
        ),
        (
            "PersistentVolumeClaim",
            {
                "spec": {"volumeName": "pv", "storageClassName": "fast", "volumeMode": "Filesystem"},
                "status": {
                    "phase": "Bound",
                    "capacity": {"storage": "1Gi"},
                    "accessModes": ["ReadWriteOnce"],
                },
            },
            ["x", "Bound", "pv", "1Gi", "RWO", "fast", "<unset>", "60m", "Filesystem"],
        ),
        (
            "PersistentVolume",
            {
                "spec": {
                    **VOLUME,
                    "claimRef": {"namespace": "a", "name": "b"},
                    "persistentVolumeReclaimPolicy": "Retain",
                },
                "status": {"phase": "Bound"},
            },
            ["x", "1Gi", "RWO", "Retain", "Bound", "a/b", "", "<unset>", "", "60m", "<unset>"],
        ),
        (
            "ResourceQuota",
            {"status": {"hard": {"pods": "5", "limits.cpu": "2"}, "used": {"pods": "1"}}},
            ["x", "pods: 1/5", "limits.cpu: 0/2", "60m"],
        ),
        (
            "ReplicationController",
            {"spec": {"replicas": 2, "template": TEMPLATE, "selector": {"app": "x"}}},
            ["x", 2, 0, 0, "60m", "c", "a", "app=x"],
        ),
        ("PodTemplate", {"template": TEMPLATE}, ["x", "c", "a", "app=x"]),
        (
            "ComponentStatus",
            {"conditions": [{"type": "Healthy", "status": "True", "message": "ok"}]},
            ["x", "Healthy", "ok", ""],
        ),
    ],
)
def test_rows(make: Any, strategy_of: Any, kind: str, obj: dict[str, Any], expected: list[Any]) -> None:
    new = make(kind, {"metadata": {"name": "x", "creationTimestamp": "2026-01-01T00:00:00Z"}, **obj})
    assert strategy_of(kind).cells(new, NOW) == expected


def test_access_modes_are_short_and_in_order() -> None:
    assert access_modes(["ReadWriteMany", "ReadWriteOnce", "ReadWriteMany"]) == "RWO,RWX"

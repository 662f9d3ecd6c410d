"""Endpoints, events, replication controllers, pod templates, bindings: tables of findings and warnings."""

from __future__ import annotations

from typing import Any

import pytest

E = "subsets[0]"
PORT = "must be between 1 and 65535, inclusive"


def endpoints(address: dict[str, Any], *ports: dict[str, Any]) -> dict[str, Any]:
    return {"subsets": [{"addresses": [address], "ports": list(ports)}]}


# validateEndpointSubsets, validateEndpointAddress, ValidateEndpointIP, validateEndpointPort
@pytest.mark.parametrize(
    ("obj", "expected"),
    [
        (endpoints({"ip": "10.0.0.1", "hostname": "a", "nodeName": "n"}, {"port": 80}), []),
        (endpoints({"ip": "127.0.0.1"}), [
            f'{E}.addresses[0].ip: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)'
        ]),
        (endpoints({"ip": "169.254.1.1"}), [
            f'{E}.addresses[0].ip: Invalid value: "169.254.1.1": may not be in the link-local range (169.254.0.0/16, fe80::/10)'
        ]),
        (endpoints({"ip": "224.0.0.1"}), [
            f'{E}.addresses[0].ip: Invalid value: "224.0.0.1": may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)'
        ]),
        (endpoints({"ip": "0.0.0.0"}), [f'{E}.addresses[0].ip: Invalid value: "0.0.0.0": may not be unspecified (0.0.0.0)']),
        (endpoints({"ip": "10.0.0.01"}), [f'{E}.addresses[0].ip: Invalid value: "10.0.0.01": must not have leading 0s']),
        (endpoints({"ip": "10.0.0.1"}, {"port": 1}, {"port": 2, "name": "b"}), [f"{E}.ports[0].name: Required value"]),
        (endpoints({"ip": "10.0.0.1"}, {"port": 0}), [f"{E}.ports[0].port: Invalid value: 0: {PORT}"]),
        (endpoints({"ip": "10.0.0.1"}, {"port": 1, "protocol": "ICMP"}), [
            f'{E}.ports[0].protocol: Unsupported value: "ICMP": supported values: "SCTP", "TCP", "UDP"'
        ]),
        (endpoints({"ip": "10.0.0.1"}, {"port": 1, "appProtocol": "a b"}), [
            f'{E}.ports[0].appProtocol: Invalid value: "a b": name part must consist of alphanumeric characters, '
            "'-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or "
            "'123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
        ]),
    ],
)  # fmt: skip
def test_endpoints(create: Any, obj: dict[str, Any], expected: list[str]) -> None:
    assert create("Endpoints", obj)[1] == expected


# endpointsWarnings
def test_warnings_about_endpoints(warn: Any) -> None:
    assert warn("Endpoints", endpoints({"ip": "10.0.0.1"})) == []
    assert warn("Endpoints", endpoints({"ip": "2001:DB8::1"})) == [
        f'{E}.addresses[0].ip: IPv6 address "2001:DB8::1" should be in RFC 5952 canonical format ("2001:db8::1")',
    ]


def event(namespace: str = "default", about: str = "default", **fields: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "e", "namespace": namespace},
        "involvedObject": {"namespace": about} if about else {},
        **fields,
    }


NEW = {
    "eventTime": "2026-01-01T00:00:00.000000Z",
    "reportingComponent": "a/b",
    "reportingInstance": "i",
    "action": "A",
    "reason": "R",
}
MISMATCH = "does not match event.namespace"


# legacyValidateEvent, which is all that core/v1 asks
@pytest.mark.parametrize(
    ("obj", "expected"),
    [
        (event(), []),
        (event(about=""), []),
        (event("kube-system", ""), [f'involvedObject.namespace: Invalid value: "": {MISMATCH}']),
        (event("kube-system", "", **NEW), []),
        (event("other", "", **NEW), [f'involvedObject.namespace: Invalid value: "": {MISMATCH}']),
        (event("other", "default", **NEW), []),
        (event("other", "default"), [f'involvedObject.namespace: Invalid value: "default": {MISMATCH}']),
        (event(**{**NEW, "reportingComponent": ""}), [
            "reportingComponent: Required value",
            'reportingComponent: Invalid value: "": name part must be non-empty',
            'reportingComponent: Invalid value: "": name part must consist of',
        ]),
        (event(**{**NEW, "reportingInstance": "i" * 129}), [
            'reportingInstance: Invalid value: "": can have at most 128 characters'
        ]),
        (event(**{**NEW, "action": ""}), ["action: Required value"]),
        (event(**{**NEW, "reason": "r" * 129}), ['reason: Invalid value: "": can have at most 128 characters']),
        (event(**NEW, message="m" * 1025), ['message: Invalid value: "": can have at most 1024 characters']),
        (event(message="m" * 1025), []),
    ],
)  # fmt: skip
def test_events(create: Any, obj: dict[str, Any], expected: list[str]) -> None:
    found = create("Event", obj)[1]
    assert len(found) == len(expected), found
    assert all(one.startswith(other) for one, other in zip(found, expected, strict=True)), found


LABELS = {"app": "x"}
POD = {"containers": [{"name": "c", "image": "i"}]}
OLD_LABEL = {**POD, "nodeSelector": {"beta.kubernetes.io/os": "linux"}}
SAID = 'nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use "kubernetes.io/os" instead'


def controller(pod: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "r", "namespace": "default"},
        "spec": {"selector": LABELS, "template": {"metadata": {"labels": LABELS}, "spec": pod}, **spec},
    }


# ValidateReplicationControllerSpec, ValidatePodTemplateSpecForRC
@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"replicas": -1}, ["spec.replicas: Invalid value: -1: must be greater than or equal to 0"]),
        ({"minReadySeconds": -1}, ["spec.minReadySeconds: Invalid value: -1: must be greater than or equal to 0"]),
        ({"selector": {"app": "other"}}, [
            'spec.template.metadata.labels: Invalid value: {"app":"x"}: `selector` does not match template `labels`'
        ]),
        ({"template": {"metadata": {"labels": LABELS}, "spec": {**POD, "restartPolicy": "Never"}}}, [
            'spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"'
        ]),
        ({"template": {"metadata": {"labels": LABELS}, "spec": {**POD, "activeDeadlineSeconds": 1}}}, [
            "spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in ReplicationController is not Supported"
        ]),
    ],
)  # fmt: skip
def test_controllers(create: Any, spec: dict[str, Any], expected: list[str]) -> None:
    assert create("ReplicationController", controller(POD, **spec))[1] == expected


# ValidateReplicationControllerStatusUpdate
@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({"replicas": 2, "readyReplicas": 2, "availableReplicas": 1}, []),
        ({"observedGeneration": -1}, ["status.observedGeneration: Invalid value: -1: must be greater than or equal to 0"]),
        ({"replicas": 1, "fullyLabeledReplicas": 2}, [
            "status.fullyLabeledReplicas: Invalid value: 2: cannot be greater than status.replicas"
        ]),
        ({"replicas": 3, "readyReplicas": 1, "availableReplicas": 2}, [
            "status.availableReplicas: Invalid value: 2: cannot be greater than readyReplicas"
        ]),
    ],
)  # fmt: skip
def test_status_of_controllers(update_status: Any, status: dict[str, Any], expected: list[str]) -> None:
    old = controller(POD)
    assert update_status("ReplicationController", old, {**old, "status": status})[1] == expected


def test_warnings_about_templates(warn: Any) -> None:
    assert warn("ReplicationController", controller(OLD_LABEL)) == [f"spec.template.spec.{SAID}"]
    template = {"metadata": {"name": "t", "namespace": "default"}, "template": {"spec": OLD_LABEL}}
    assert warn("PodTemplate", template) == [f"template.spec.{SAID}"]


# ValidatePodBinding
@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ({"kind": "Node", "name": "n"}, []),
        ({"name": "n"}, []),
        (
            {"kind": "Pod", "name": "n"},
            ['target.kind: Unsupported value: "Pod": supported values: "Node", "<empty>"'],
        ),
        ({"kind": "Node"}, ["target.name: Required value"]),
    ],
)
def test_bindings(create: Any, target: dict[str, Any], expected: list[str]) -> None:
    assert create("Binding", {"target": target})[1] == expected

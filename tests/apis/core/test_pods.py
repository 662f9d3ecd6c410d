"""Pods: golden defaults, findings, updates, deletion, and the row in kubectl's table."""

from __future__ import annotations

import copy
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakh.apis.core.pods import RESOURCES, UPDATABLE, PodStrategy
from lakh.apis.definitions import schema
from lakh.machinery import times

STRATEGY = PodStrategy()
POD = schema().struct("io.k8s.api.core.v1.Pod")
NOW = times.parse("2026-01-01T01:00:00Z")


def pod(spec: dict[str, Any] | None = None, container: dict[str, Any] | None = None) -> dict[str, Any]:
    first = {"name": "c", "image": "nginx:1", **(container or {})}
    return {
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"containers": [first], **(spec or {})},
    }


def test_golden_defaults(create: Any) -> None:
    new, found = create(
        "Pod",
        pod(
            {"volumes": [{"name": "v"}, {"name": "cm", "configMap": {"name": "x"}}]},
            {
                "image": "nginx",
                "ports": [{"containerPort": 80}],
                "resources": {"limits": {"cpu": "0.5", "aws.amazon.com/neuron": 16}},
                "livenessProbe": {"httpGet": {"port": 80}},
                "env": [{"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}],
            },
        ),
    )
    assert found == []
    assert msgspec.to_builtins(new) == {
        "metadata": {"name": "web", "namespace": "default", "generation": 1},
        "spec": {
            "containers": [
                {
                    "name": "c",
                    "image": "nginx",
                    "imagePullPolicy": "Always",
                    "ports": [{"containerPort": 80, "protocol": "TCP"}],
                    "resources": {
                        "limits": {"cpu": "500m", "aws.amazon.com/neuron": "16"},
                        "requests": {"cpu": "500m", "aws.amazon.com/neuron": "16"},
                    },
                    "livenessProbe": {
                        "httpGet": {"path": "/", "port": 80, "scheme": "HTTP"},
                        "timeoutSeconds": 1,
                        "periodSeconds": 10,
                        "successThreshold": 1,
                        "failureThreshold": 3,
                    },
                    "env": [
                        {
                            "name": "NODE",
                            "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "spec.nodeName"}},
                        }
                    ],
                    "terminationMessagePath": "/dev/termination-log",
                    "terminationMessagePolicy": "File",
                }
            ],
            "volumes": [
                {"name": "v", "emptyDir": {}},
                {"name": "cm", "configMap": {"name": "x", "defaultMode": 420}},
            ],
            "restartPolicy": "Always",
            "dnsPolicy": "ClusterFirst",
            "schedulerName": "default-scheduler",
            "securityContext": {},
            "terminationGracePeriodSeconds": 30,
            "enableServiceLinks": True,
        },
        "status": {"phase": "Pending", "qosClass": "Burstable"},
    }


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({}, "BestEffort"),
        ({"requests": {"cpu": "1"}}, "Burstable"),
        ({"limits": {"cpu": "1"}}, "Burstable"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}}, "Guaranteed"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}, "Burstable"),
        ({"limits": {"nvidia.com/gpu": "1"}}, "BestEffort"),
    ],
)
def test_quality_of_service(create: Any, resources: dict[str, Any], expected: str) -> None:
    new, found = create("Pod", pod(container={"resources": resources}))
    assert found == []
    assert new.status.qosClass == expected


def test_gated_pods_say_so(create: Any) -> None:
    new, found = create("Pod", pod({"schedulingGates": [{"name": "example.com/wait"}]}))
    assert found == []
    (condition,) = new.status.conditions
    assert (condition.type, condition.status, condition.reason) == (
        "PodScheduled",
        "False",
        "SchedulingGated",
    )
    assert STRATEGY.cells(new, NOW)[2] == "SchedulingGated"


def test_host_network_fills_in_host_ports(create: Any) -> None:
    new, found = create("Pod", pod({"hostNetwork": True}, {"ports": [{"containerPort": 80}]}))
    assert found == []
    assert new.spec.containers[0].ports[0].hostPort == 80


C = "spec.containers[0]"
LABEL_MESSAGE = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an "
    "alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
MOUNT = {"name": "v", "mountPath": "/m"}
SPREAD = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}


@pytest.mark.parametrize(
    ("spec", "container", "expected"),
    [
        ({}, {"name": ""}, [f"{C}.name: Required value"]),
        ({}, {"name": "A"}, [f'{C}.name: Invalid value: "A": {LABEL_MESSAGE}']),
        ({}, {"image": ""}, [f"{C}.image: Required value"]),
        (
            {},
            {"image": " nginx"},
            [f'{C}.image: Invalid value: " nginx": must not have leading or trailing whitespace'],
        ),
        ({"containers": []}, {}, ["spec.containers: Required value"]),
        (
            {"containers": [{"name": "a", "image": "i"}, {"name": "a", "image": "i"}]},
            {},
            ['spec.containers[1].name: Duplicate value: "a"'],
        ),
        (
            {},
            {"imagePullPolicy": "Sometimes"},
            [
                f'{C}.imagePullPolicy: Unsupported value: "Sometimes": supported values: "Always", "IfNotPresent", "Never"'
            ],
        ),
        (
            {},
            {"ports": [{"containerPort": 70000}]},
            [f"{C}.ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive"],
        ),
        ({}, {"ports": [{"name": "http"}]}, [f"{C}.ports[0].containerPort: Required value"]),
        (
            {},
            {"ports": [{"containerPort": 1, "hostPort": 5}, {"containerPort": 2, "hostPort": 5}]},
            [f'{C}.ports[1].hostPort: Duplicate value: "TCP//5"'],
        ),
        (
            {},
            {"ports": [{"containerPort": 1, "protocol": "ICMP"}]},
            [f'{C}.ports[0].protocol: Unsupported value: "ICMP": supported values: "SCTP", "TCP", "UDP"'],
        ),
        (
            {"hostNetwork": True},
            {"ports": [{"containerPort": 1, "hostPort": 2}]},
            [
                f"{C}.ports[0].hostPort: Invalid value: 2: must match `containerPort` when `hostNetwork` is true"
            ],
        ),
        ({}, {"env": [{"name": ""}]}, [f"{C}.env[0].name: Required value"]),
        (
            {},
            {"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.containers"}}}]},
            [
                f'{C}.env[0].valueFrom.fieldRef.fieldPath: Invalid value: "spec.containers": error converting fieldPath: '
                "field label not supported: spec.containers"
            ],
        ),
        (
            {},
            {"env": [{"name": "A", "value": "b", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]},
            [f'{C}.env[0].valueFrom: Invalid value: "": may not be specified when `value` is not empty'],
        ),
        ({}, {"volumeMounts": [MOUNT]}, [f'{C}.volumeMounts[0].name: Not found: "v"']),
        (
            {"volumes": [{"name": "v"}]},
            {"volumeMounts": [MOUNT, MOUNT]},
            [f'{C}.volumeMounts[1].mountPath: Invalid value: "/m": must be unique'],
        ),
        (
            {"volumes": [{"name": "v"}, {"name": "v"}]},
            {},
            ['spec.volumes[1].name: Duplicate value: "v"'],
        ),
        (
            {"volumes": [{"name": "v", "emptyDir": {}, "hostPath": {"path": "/"}}]},
            {},
            ["spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type"],
        ),
        (
            {"volumes": [{"name": "v", "secret": {}}]},
            {},
            ["spec.volumes[0].secret.secretName: Required value"],
        ),
        (
            {"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": ""}}]},
            {},
            ["spec.volumes[0].persistentVolumeClaim.claimName: Required value"],
        ),
        (
            {"restartPolicy": "Maybe"},
            {},
            [
                'spec.restartPolicy: Unsupported value: "Maybe": supported values: "Always", "OnFailure", "Never"'
            ],
        ),
        (
            {},
            {"livenessProbe": {"successThreshold": 2, "exec": {"command": ["true"]}}},
            [f"{C}.livenessProbe.successThreshold: Invalid value: 2: must be 1"],
        ),
        ({}, {"readinessProbe": {}}, [f"{C}.readinessProbe: Required value: must specify a handler type"]),
        (
            {"initContainers": [{"name": "i", "image": "x", "livenessProbe": {"exec": {"command": ["a"]}}}]},
            {},
            [
                "spec.initContainers[0].livenessProbe: Forbidden: may not be set for init containers without restartPolicy=Always"
            ],
        ),
        (
            {"initContainers": [{"name": "c", "image": "x"}]},
            {},
            ['spec.initContainers[0].name: Duplicate value: "c"'],
        ),
        (
            {"tolerations": [{"operator": "Equal", "value": "x"}]},
            {},
            [
                'spec.tolerations[0].operator: Invalid value: "Equal": operator must be Exists when `key` is empty, '
                'which means "match all values and all keys"'
            ],
        ),
        (
            {"tolerations": [{"key": "a", "effect": "NoSchedule", "tolerationSeconds": 5}]},
            {},
            [
                "spec.tolerations[0].effect: Invalid value: \"NoSchedule\": effect must be 'NoExecute' when `tolerationSeconds` is set"
            ],
        ),
        (
            {"topologySpreadConstraints": [{**SPREAD, "maxSkew": 0}]},
            {},
            ["spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero"],
        ),
        (
            {"topologySpreadConstraints": [SPREAD, SPREAD]},
            {},
            [
                "spec.topologySpreadConstraints[0].{topologyKey, whenUnsatisfiable}: Duplicate value: "
                '"{zone, DoNotSchedule}"'
            ],
        ),
        (
            {
                "affinity": {
                    "nodeAffinity": {
                        "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}
                    }
                }
            },
            {},
            [
                "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms: "
                "Required value: must have at least one node selector term"
            ],
        ),
        (
            {
                "affinity": {
                    "podAntiAffinity": {
                        "preferredDuringSchedulingIgnoredDuringExecution": [
                            {"weight": 101, "podAffinityTerm": {"topologyKey": "zone"}}
                        ]
                    }
                }
            },
            {},
            [
                "spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight: "
                "Invalid value: 101: must be in the range 1-100"
            ],
        ),
        (
            {"dnsPolicy": "None"},
            {},
            ["spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"],
        ),
        (
            {"activeDeadlineSeconds": 0},
            {},
            ["spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive"],
        ),
        ({"hostname": "A"}, {}, [f'spec.hostname: Invalid value: "A": {LABEL_MESSAGE}']),
        (
            {"shareProcessNamespace": True, "hostPID": True},
            {},
            [
                "spec.securityContext.shareProcessNamespace: Invalid value: true: ShareProcessNamespace and HostPID cannot both be enabled"
            ],
        ),
        (
            {"nodeName": "n", "schedulingGates": [{"name": "g"}]},
            {},
            ["spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared"],
        ),
        (
            {"overhead": {"cpu": "-1"}},
            {},
            ['spec.overhead.limits[cpu]: Invalid value: "-1": must be greater than or equal to 0'],
        ),
        (
            {"hostnameOverride": "x" * 65},
            {},
            ["spec.hostnameOverride: Too long: may not be more than 64 bytes"],
        ),
        (
            {"securityContext": {"seccompProfile": {"type": "Localhost"}}},
            {"securityContext": {"appArmorProfile": {"type": "Unconfined", "localhostProfile": "x"}}},
            [
                f'{C}.securityContext.appArmorProfile.localhostProfile: Invalid value: "x": '
                "can only be set when AppArmor type is Localhost",
                "spec.securityContext.seccompProfile.localhostProfile: Required value: must be set when seccomp type is Localhost",
            ],
        ),
        (
            {"securityContext": {"runAsUser": -1, "sysctls": [{"name": ""}]}},
            {},
            [
                "spec.securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive",
                "spec.securityContext.sysctls[0].name: Required value",
            ],
        ),
        (
            {},
            {"restartPolicyRules": [{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]},
            [f"{C}.restartPolicy: Required value: must specify restartPolicy when restart rules are used"],
        ),
        (
            {"imagePullSecrets": [{}]},
            {},
            [],
        ),
        (
            {
                "hostAliases": [{"ip": "10.0.0.1", "hostnames": ["a"]}],
                "readinessGates": [{"conditionType": "a/b"}],
            },
            {},
            [],
        ),
        (
            {"dnsConfig": {"nameservers": ["1.1.1.1", "2.2.2.2", "3.3.3.3", "4.4.4.4"]}},
            {},
            [
                'spec.dnsConfig.nameservers: Invalid value: ["1.1.1.1","2.2.2.2","3.3.3.3","4.4.4.4"]: '
                "must not have more than 3 nameservers"
            ],
        ),
        (
            {"resourceClaims": [{"name": "gpu"}]},
            {"resources": {"claims": [{"name": "other"}]}},
            [
                'spec.resourceClaims[0]: Invalid value: {"Name":"gpu","ResourceClaimName":null,"ResourceClaimTemplateName":null}: '
                "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`",
                f'{C}.resources.claims[0]: Not found: "other": must be one of the names in pod.spec.resourceClaims: gpu',
            ],
        ),
        (
            {"resources": {"limits": {"cpu": "1"}}},
            {"resources": {"requests": {"cpu": "2"}}},
            ['spec.resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1'],
        ),
        (
            {"hostUsers": False, "hostNetwork": True},
            {},
            ["spec.hostNetwork: Forbidden: when `hostUsers` is false"],
        ),
        (
            {"ephemeralContainers": [{"name": "e", "image": "x"}]},
            {},
            ["spec.ephemeralContainers: Forbidden: cannot be set on create"],
        ),
        (
            {},
            {"securityContext": {"privileged": True, "allowPrivilegeEscalation": False}},
            [
                f'{C}.securityContext: Invalid value: {{"allowPrivilegeEscalation":false,"privileged":true}}: '
                "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"
            ],
        ),
    ],
)
def test_findings_on_create(
    create: Any, spec: dict[str, Any], container: dict[str, Any], expected: list[str]
) -> None:
    _, found = create("Pod", pod(spec, container))
    assert found == expected


def test_sidecars_may_have_probes(create: Any) -> None:
    sidecar = {
        "name": "s",
        "image": "x",
        "restartPolicy": "Always",
        "startupProbe": {"tcpSocket": {"port": 1}},
    }
    _, found = create("Pod", pod({"initContainers": [sidecar]}))
    assert found == []


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({}, {"activeDeadlineSeconds": 5}, []),
        ({"activeDeadlineSeconds": 9}, {"activeDeadlineSeconds": 5}, []),
        (
            {"activeDeadlineSeconds": 5},
            {"activeDeadlineSeconds": 9},
            ["spec.activeDeadlineSeconds: Invalid value: 9: must be less than or equal to previous value"],
        ),
        (
            {"activeDeadlineSeconds": 5},
            {},
            [
                "spec.activeDeadlineSeconds: Invalid value: null: must not update from a positive integer to nil value"
            ],
        ),
        ({}, {"tolerations": [{"key": "a", "operator": "Exists"}]}, []),
        (
            {"tolerations": [{"key": "a", "operator": "Exists"}]},
            {},
            [
                "spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds"
            ],
        ),
        ({"terminationGracePeriodSeconds": -5}, {"terminationGracePeriodSeconds": 1}, []),
        ({"schedulingGates": [{"name": "g"}]}, {}, []),
        (
            {},
            {"schedulingGates": [{"name": "g"}]},
            [
                "spec.schedulingGates[0].name: Forbidden: only deletion is allowed, but found new scheduling gate 'g'"
            ],
        ),
        (
            {"schedulingGates": [{"name": "g"}]},
            {"schedulingGates": [{"name": "g"}], "nodeSelector": {"a": "b"}},
            [],
        ),
        (
            {},
            {"hostname": "h"},
            [
                f'spec: Forbidden: pod updates may not change fields other than {UPDATABLE}\n- \thostname: null,\n+ \thostname: "h",'
            ],
        ),
        (
            {},
            {"containers": [{"name": "c", "image": "a"}, {"name": "d", "image": "a"}]},
            ["spec.containers: Forbidden: pod updates may not add or remove containers"],
        ),
    ],
)
def test_updates(update: Any, before: dict[str, Any], after: dict[str, Any], expected: list[str]) -> None:
    _, found = update("Pod", pod(before), pod(after))
    assert found == expected


def test_images_may_change_and_are_counted(update: Any) -> None:
    new, found = update("Pod", pod(), pod(container={"image": "nginx:2"}))
    assert found == []
    assert new.metadata.generation == 2
    assert new.status.phase == "Pending"


def test_status_updates_leave_spec_owners_and_quality(make: Any) -> None:
    old = make("Pod", {**pod(), "status": {"phase": "Pending", "qosClass": "BestEffort"}})
    new = make("Pod", {**pod({"nodeName": "other"}), "status": {"phase": "Running", "podIP": "10.0.0.1"}})
    new.metadata.ownerReferences = []
    STRATEGY.prepare_for_status_update(new, old)
    assert STRATEGY.validate_status_update(new, old) == []
    assert new.spec is old.spec
    assert new.metadata.ownerReferences is None
    assert msgspec.to_builtins(new.status) == {
        "phase": "Running",
        "podIP": "10.0.0.1",
        "podIPs": [{"ip": "10.0.0.1"}],
        "qosClass": "BestEffort",
    }


@pytest.mark.parametrize(
    ("mappings", "claim", "expected"),
    [
        ([("c", "example.com/chip", "container-0-request-0")], "claim", []),
        (
            [],
            "",
            [
                "requestMappings: Required value: at least one request mapping is required",
                "resourceClaimName: Required value",
            ],
        ),
        (
            [("d", "example.com/chip", "r"), ("c", "example.com/other", "r")],
            "claim",
            [
                'requestMappings[0].containerName: Invalid value: "d": must match the name of an entry in '
                "spec.initContainers.name or spec.containers.name",
                'requestMappings[1].resourceName: Invalid value: "example.com/other": must match the extended resource '
                "name of an entry in spec.initContainers.resources.requests or spec.containers.resources.requests",
            ],
        ),
        (
            [("c", "example.com/chip", "r"), ("c", "example.com/chip", "r")],
            "claim",
            [
                'requestMappings[1].containerName: Duplicate value: "c"',
                'requestMappings[1].resourceName: Duplicate value: "example.com/chip"',
                'requestMappings[1].requestName: Duplicate value: "r"',
            ],
        ),
    ],
)
def test_the_claim_for_extended_resources(
    make: Any, mappings: list[tuple[str, str, str]], claim: str, expected: list[str]
) -> None:
    resources = {"requests": {"example.com/chip": "1"}, "limits": {"example.com/chip": "1"}}
    spec = {"containers": [{"name": "c", "image": "i", "resources": resources}]}
    fields = ("containerName", "resourceName", "requestName")
    status = {
        "resourceClaimName": claim,
        "requestMappings": [dict(zip(fields, mapping, strict=True)) for mapping in mappings],
    }
    old = make("Pod", pod(spec))
    new = make("Pod", {**pod(spec), "status": {"extendedResourceClaimStatus": status}})
    path = "status.extendedResourceClaimStatus."
    assert [str(f) for f in STRATEGY.validate_status_update(new, old)] == [path + text for text in expected]


def test_ended_containers_stay_ended(make: Any) -> None:
    ended = {"name": "c", "state": {"terminated": {"exitCode": 0}}}
    running = {"name": "c", "state": {"running": {}}}
    old = make("Pod", {**pod({"restartPolicy": "Never"}), "status": {"containerStatuses": [ended]}})
    new = make("Pod", {**pod({"restartPolicy": "Never"}), "status": {"containerStatuses": [running]}})
    assert [str(f) for f in STRATEGY.validate_status_update(new, old)] == [
        "status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state"
    ]


@pytest.mark.parametrize(
    ("spec", "phase", "requested", "expected"),
    [
        ({}, "Running", None, 0),
        ({"nodeName": "n"}, "Running", None, 30),
        ({"nodeName": "n"}, "Running", 5, 5),
        ({"nodeName": "n"}, "Running", 0, 0),
        ({"nodeName": "n"}, "Succeeded", None, 0),
        ({"nodeName": "n", "terminationGracePeriodSeconds": -3}, "Running", None, 1),
    ],
)
def test_grace_period(
    make: Any, spec: dict[str, Any], phase: str, requested: int | None, expected: int
) -> None:
    obj = make("Pod", {**pod(spec), "status": {"phase": phase}})
    STRATEGY.default(obj)
    assert STRATEGY.grace_period_seconds(obj, requested) == expected


def test_terms_and_selectable_fields(make: Any) -> None:
    obj = make("Pod", pod({"nodeName": "n", "hostNetwork": True}))
    assert STRATEGY.terms(obj) == ("spec.nodeName=n",)
    assert STRATEGY.terms(make("Pod", pod())) == ()
    values = {name: read(obj) for name, read in STRATEGY.selectable_fields.items()}
    assert values == {
        "spec.nodeName": "n",
        "spec.restartPolicy": "",
        "spec.schedulerName": "",
        "spec.serviceAccountName": "",
        "spec.hostNetwork": "true",
        "status.phase": "",
        "status.podIP": "",
        "status.podIPs": "",
        "status.nominatedNodeName": "",
    }


def state(name: str = "c", **fields: Any) -> dict[str, Any]:
    ready = fields.pop("ready", "running" in fields)
    extra = {k: fields.pop(k) for k in ("restartCount", "lastState", "started") if k in fields}
    return {"name": name, "ready": ready, "state": fields, **extra}


RUNNING = state(running={})
DONE = state(terminated={"exitCode": 0, "reason": "Completed"})
LAST = {"terminated": {"exitCode": 1, "finishedAt": "2026-01-01T00:55:00Z"}}
READY = [{"type": "Ready", "status": "True"}]
TWO = {"containers": [{"name": "c"}, {"name": "d"}]}
INIT = {"initContainers": [{"name": "i"}]}
SIDECAR = {"initContainers": [{"name": "i", "restartPolicy": "Always"}]}


@pytest.mark.parametrize(
    ("spec", "status", "deleted", "expected"),
    [
        ({}, {"phase": "Pending"}, False, ["0/1", "Pending", "0"]),
        ({}, {"phase": "Running", "containerStatuses": [RUNNING]}, False, ["1/1", "Running", "0"]),
        (
            {},
            {"phase": "Running", "containerStatuses": [{**RUNNING, "restartCount": 3, "lastState": LAST}]},
            False,
            ["1/1", "Running", "3 (5m ago)"],
        ),
        (
            {},
            {
                "phase": "Running",
                "containerStatuses": [state(waiting={"reason": "CrashLoopBackOff"}, restartCount=2)],
            },
            False,
            ["0/1", "CrashLoopBackOff", "2"],
        ),
        (
            {},
            {"phase": "Pending", "containerStatuses": [state(waiting={"reason": "ContainerCreating"})]},
            False,
            ["0/1", "ContainerCreating", "0"],
        ),
        ({}, {"phase": "Succeeded", "containerStatuses": [DONE]}, False, ["0/1", "Completed", "0"]),
        (
            {},
            {"phase": "Failed", "containerStatuses": [state(terminated={"exitCode": 3})]},
            False,
            ["0/1", "ExitCode:3", "0"],
        ),
        (
            {},
            {"phase": "Failed", "containerStatuses": [state(terminated={"exitCode": 137, "signal": 9})]},
            False,
            ["0/1", "Signal:9", "0"],
        ),
        ({}, {"phase": "Failed", "reason": "Evicted"}, False, ["0/1", "Evicted", "0"]),
        (
            TWO,
            {"phase": "Running", "containerStatuses": [DONE, {**RUNNING, "name": "d"}]},
            False,
            ["1/2", "NotReady", "0"],
        ),
        (
            TWO,
            {"phase": "Running", "containerStatuses": [DONE, {**RUNNING, "name": "d"}], "conditions": READY},
            False,
            ["1/2", "Running", "0"],
        ),
        ({}, {"phase": "Running", "containerStatuses": [RUNNING]}, True, ["1/1", "Terminating", "0"]),
        ({}, {"phase": "Succeeded", "containerStatuses": [DONE]}, True, ["0/1", "Completed", "0"]),
        ({}, {"phase": "Running", "reason": "NodeLost"}, True, ["0/1", "Unknown", "0"]),
        (
            INIT,
            {"phase": "Pending", "initContainerStatuses": [state("i", running={})]},
            False,
            ["0/1", "Init:0/1", "0"],
        ),
        (
            INIT,
            {
                "phase": "Pending",
                "initContainerStatuses": [state("i", terminated={"exitCode": 1, "reason": "Error"})],
            },
            False,
            ["0/1", "Init:Error", "0"],
        ),
        (
            INIT,
            {"phase": "Pending", "initContainerStatuses": [state("i", terminated={"exitCode": 2})]},
            False,
            ["0/1", "Init:ExitCode:2", "0"],
        ),
        (
            INIT,
            {
                "phase": "Pending",
                "initContainerStatuses": [
                    state("i", waiting={"reason": "CrashLoopBackOff"}, restartCount=4, lastState=LAST)
                ],
            },
            False,
            ["0/1", "Init:CrashLoopBackOff", "4 (5m ago)"],
        ),
        (
            INIT,
            {
                "phase": "Pending",
                "initContainerStatuses": [state("i", terminated={"exitCode": 0}, restartCount=1)],
                "containerStatuses": [state(waiting={"reason": "PodInitializing"})],
            },
            False,
            ["0/1", "PodInitializing", "0"],
        ),
        (
            SIDECAR,
            {
                "phase": "Running",
                "initContainerStatuses": [state("i", running={}, started=True, restartCount=2)],
                "containerStatuses": [RUNNING],
            },
            False,
            ["2/2", "Running", "2"],
        ),
    ],
)
def test_cells(
    make: Any, spec: dict[str, Any], status: dict[str, Any], deleted: bool, expected: list[str]
) -> None:
    obj = make("Pod", {**pod(spec), "status": status})
    obj.metadata.creationTimestamp = "2026-01-01T00:00:00Z"
    if deleted:
        obj.metadata.deletionTimestamp = "2026-01-01T00:59:00Z"
    cells = STRATEGY.cells(obj, NOW)
    assert len(cells) == len(STRATEGY.columns)
    assert cells == ["web", *expected, "60m", "<none>", "<none>", "<none>", "<none>"]


def test_wide_cells(make: Any) -> None:
    obj = make(
        "Pod",
        {
            **pod({"nodeName": "n1", "readinessGates": [{"conditionType": "a/b"}, {"conditionType": "a/c"}]}),
            "status": {
                "phase": "Running",
                "podIPs": [{"ip": "10.0.0.1"}],
                "nominatedNodeName": "n2",
                "conditions": [{"type": "a/b", "status": "True"}],
            },
        },
    )
    assert STRATEGY.cells(obj, NOW)[5:] == ["10.0.0.1", "n1", "n2", "1/2"]


def test_columns_are_upstreams() -> None:
    names = [(column.name, column.priority) for column in STRATEGY.columns]
    assert names == [
        ("Name", 0),
        ("Ready", 0),
        ("Status", 0),
        ("Restarts", 0),
        ("Age", 0),
        ("IP", 1),
        ("Node", 1),
        ("Nominated Node", 1),
        ("Readiness Gates", 1),
    ]
    assert RESOURCES[0].partition == "pods"


QUANTITIES = st.sampled_from(["1", "0.5", "100m", 2, "1Gi", "1024Mi", "1e3"])
RESOURCES_OF_A_CONTAINER = st.fixed_dictionaries(
    {},
    optional={
        side: st.dictionaries(st.sampled_from(["cpu", "memory", "nvidia.com/gpu"]), QUANTITIES)
        for side in ("limits", "requests")
    },
)
PROBES = st.sampled_from([{"httpGet": {"port": 1}}, {"grpc": {"port": 1}}, {"exec": {"command": ["a"]}}])
CONTAINERS = st.fixed_dictionaries(
    {"name": st.just("c"), "image": st.sampled_from(["a", "a:1", "b:latest", "c@x"])},
    optional={
        "resources": RESOURCES_OF_A_CONTAINER,
        "ports": st.lists(st.fixed_dictionaries({"containerPort": st.integers(1, 9)}), max_size=2),
        "livenessProbe": PROBES,
        "lifecycle": st.just({"preStop": {"httpGet": {"port": 1}}}),
        "env": st.lists(
            st.sampled_from(
                [
                    {"name": "A", "value": "b"},
                    {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                    {"name": "C", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
                ]
            )
        ),
    },
)
VOLUMES = st.lists(
    st.sampled_from(
        [
            {"name": "a"},
            {"name": "b", "secret": {"secretName": "s"}},
            {"name": "c", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}},
            {"name": "d", "hostPath": {"path": "/"}},
            {"name": "e", "emptyDir": {"sizeLimit": "1024Mi"}},
            {
                "name": "f",
                "downwardAPI": {"items": [{"path": "x", "fieldRef": {"fieldPath": "metadata.name"}}]},
            },
            {"name": "g", "image": {"reference": "x"}},
            {"name": "h", "iscsi": {"targetPortal": "x", "iqn": "y", "lun": 0}},
        ]
    ),
    unique_by=lambda volume: volume["name"],
)
PODS = st.fixed_dictionaries(
    {"containers": st.lists(CONTAINERS, min_size=1, max_size=2)},
    optional={
        "volumes": VOLUMES,
        "hostNetwork": st.booleans(),
        "serviceAccount": st.just("robot"),
        "resources": RESOURCES_OF_A_CONTAINER,
        "overhead": st.just({"cpu": "0.25"}),
        "initContainers": st.lists(CONTAINERS, max_size=1),
    },
)


@given(PODS)
def test_defaults_are_idempotent(spec: dict[str, Any]) -> None:
    obj = msgspec.convert({"metadata": {"name": "x"}, "spec": spec}, POD)
    STRATEGY.default(obj)
    once = msgspec.json.encode(obj)
    STRATEGY.default(obj)
    assert msgspec.json.encode(obj) == once


@given(PODS)
def test_a_stored_pod_updates_to_itself(spec: dict[str, Any]) -> None:
    old = msgspec.convert({"metadata": {"name": "x"}, "spec": spec}, POD)
    STRATEGY.default(old)
    STRATEGY.prepare_for_create(old)
    new = msgspec.convert(copy.deepcopy(msgspec.to_builtins(old)), POD)
    STRATEGY.default(new)
    STRATEGY.prepare_for_update(new, old)
    assert STRATEGY.validate_update(new, old) == []
    assert msgspec.json.encode(new) == msgspec.json.encode(old)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"hostNetwork": False}, {}),
        ({}, {"hostPID": False}),
        ({"hostname": ""}, {}),
        ({}, {"imagePullSecrets": []}),
        ({"nodeSelector": {}}, {}),
    ],
)
def test_absent_and_empty_mean_the_same(update: Any, before: dict[str, Any], after: dict[str, Any]) -> None:
    assert update("Pod", pod(before), pod(after))[1] == []


@pytest.mark.parametrize("requested", [None, 0, 5, -1])
@pytest.mark.parametrize("phase", ["Running", "Succeeded"])
@pytest.mark.parametrize(
    "spec", [{}, {"nodeName": "n1"}, {"nodeName": "n1", "terminationGracePeriodSeconds": 7}]
)
def test_a_delete_sees_in_its_view_what_the_whole_object_says(
    requested: int | None, phase: str, spec: dict[str, Any]
) -> None:
    metadata = {"uid": "u", "generation": 2, "finalizers": ["a/b"], "deletionGracePeriodSeconds": 3}
    stored = msgspec.json.encode(
        {"metadata": metadata, "spec": {**spec, "containers": []}, "status": {"phase": phase}}
    )
    whole, view = (msgspec.json.decode(stored, type=t) for t in (POD, STRATEGY.deletable_view))
    assert STRATEGY.grace_period_seconds(view, requested) == STRATEGY.grace_period_seconds(whole, requested)
    for field in view.metadata.__struct_fields__:
        assert getattr(view.metadata, field) == getattr(whole.metadata, field), field


def test_the_selectable_view_reads_what_the_whole_object_reads() -> None:
    stored = msgspec.json.encode(
        {
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {
                "nodeName": "n1",
                "restartPolicy": "Never",
                "schedulerName": "mine",
                "serviceAccountName": "robot",
                "hostNetwork": True,
                "containers": [],
            },
            "status": {"phase": "Running", "podIP": "10.0.0.1", "nominatedNodeName": "n2"},
        }
    )
    for value in (stored, b'{"metadata":{}}'):
        whole, view = (msgspec.json.decode(value, type=t) for t in (POD, STRATEGY.selectable_view))
        for field, read in STRATEGY.selectable_fields.items():
            assert read(view) == read(whole), field

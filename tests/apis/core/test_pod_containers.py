"""Containers of pods: environment, mounts, devices, restart rules, resizing, debugging containers, and resources of the whole pod."""

from __future__ import annotations

from typing import Any

import pytest

C = "spec.containers[0]"
NEEDED = "Required value"
ENV = f"{C}.env[0].valueFrom"
FROM = f"{C}.envFrom"
KEY = {"name": "f", "key": "KEY"}
VOLUMES = [
    {"name": "dir", "emptyDir": {}},
    {"name": "claim", "persistentVolumeClaim": {"claimName": "c"}},
    {"name": "host", "hostPath": {"path": "/a"}},
]
ONE_SOURCE = (
    "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
)


def pod(container: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "p", "namespace": "default"},
        "spec": {"containers": [{"name": "c", "image": "i", **container}], "volumes": VOLUMES, **spec},
    }


def mount(**fields: Any) -> dict[str, Any]:
    return {"volumeMounts": [{"name": "dir", "mountPath": "/m", **fields}]}


def file_key(**fields: Any) -> dict[str, Any]:
    ref = {"volumeName": "dir", "path": "env", "key": "KEY", **fields}
    return {"env": [{"name": "A", "valueFrom": {"fileKeyRef": ref}}]}


def rules(**fields: Any) -> dict[str, Any]:
    rule = {"action": "Restart", "exitCodes": {"operator": "In", "values": [3]}, **fields}
    return {"restartPolicy": "Never", "restartPolicyRules": [rule]}


# validateEnv, validateEnvVarValueFrom, validateSecretKeySelector, validateConfigMapKeySelector, validateFileKeySelector, ValidateEnvFrom
ENVIRONMENT: list[tuple[dict[str, Any], list[str]]] = [
    ({"env": [{"name": ""}]}, [f"{C}.env[0].name: {NEEDED}"]),
    ({"env": [{"name": "A", "valueFrom": {}}]}, [f'{ENV}: Invalid value: "": {ONE_SOURCE}']),
    (
        {"env": [{"name": "A", "value": "1", "valueFrom": {"secretKeyRef": KEY}}]},
        [f'{ENV}: Invalid value: "": may not be specified when `value` is not empty'],
    ),
    (
        {"env": [{"name": "A", "valueFrom": {"secretKeyRef": KEY, "configMapKeyRef": KEY}}]},
        [f'{ENV}: Invalid value: "": may not have more than one field specified at a time'],
    ),
    (
        {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "f"}}}]},
        [f"{ENV}.secretKeyRef.key: {NEEDED}"],
    ),
    (
        {"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": ""}}}]},
        [f"{ENV}.fieldRef.fieldPath: {NEEDED}"],
    ),
    (
        {"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.x"}}}]},
        [
            f'{ENV}.fieldRef.fieldPath: Invalid value: "spec.x": error converting fieldPath: field label not '
            "supported: spec.x"
        ],
    ),
    (
        {"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels"}}}]},
        [
            f'{ENV}.fieldRef.fieldPath: Unsupported value: "metadata.labels": supported values: "metadata.name", '
            '"metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName", "status.hostIP", '
            '"status.hostIPs", "status.podIP", "status.podIPs"'
        ],
    ),
    (
        {"env": [{"name": "A", "valueFrom": {"resourceFieldRef": {"resource": "limits.x"}}}]},
        [
            f'{ENV}.resourceFieldRef.resource: Unsupported value: "limits.x": supported values: "limits.cpu", '
            '"limits.ephemeral-storage", "limits.memory", "requests.cpu", "requests.ephemeral-storage", '
            '"requests.memory"'
        ],
    ),
    (file_key(), []),
    (file_key(key=""), [f"{ENV}.fileKeyRef.key: {NEEDED}"]),
    (file_key(path="/a"), [f'{ENV}.fileKeyRef.path: Invalid value: "/a": must be a relative path']),
    (file_key(volumeName="none"), [f'{ENV}.fileKeyRef.volumeName: Not found: "none"']),
    ({"envFrom": [{"configMapRef": {"name": "m"}, "prefix": "P_"}]}, []),
    ({"envFrom": [{"configMapRef": {"name": ""}}]}, [f"{FROM}[0].configMapRef.name: {NEEDED}"]),
    ({"envFrom": [{}]}, [f'{FROM}: Invalid value: "": must specify one of: `configMapRef` or `secretRef`']),
    (
        {"envFrom": [{"configMapRef": {"name": "m"}, "secretRef": {"name": "s"}}]},
        [f'{FROM}: Invalid value: "": may not have more than one field specified at a time'],
    ),
]
# ValidateVolumeMounts, validateMountPropagation, validateMountRecursiveReadOnly, ValidateVolumeDevices
STORAGE: list[tuple[dict[str, Any], list[str]]] = [
    (mount(name=""), [f"{C}.volumeMounts[0].name: {NEEDED}", f'{C}.volumeMounts[0].name: Not found: ""']),
    (mount(name="none"), [f'{C}.volumeMounts[0].name: Not found: "none"']),
    (mount(mountPath=""), [f"{C}.volumeMounts[0].mountPath: {NEEDED}"]),
    (
        {"volumeMounts": [{"name": "dir", "mountPath": "/m"}, {"name": "host", "mountPath": "/m"}]},
        [f'{C}.volumeMounts[1].mountPath: Invalid value: "/m": must be unique'],
    ),
    (mount(subPath="/a"), [f'{C}.volumeMounts.subPath: Invalid value: "/a": must be a relative path']),
    (
        mount(subPath="a", subPathExpr="b"),
        [
            f'{C}.volumeMounts[0].subPathExpr: Invalid value: "b": subPathExpr and subPath are mutually exclusive'
        ],
    ),
    (
        mount(mountPropagation="Bidirectional"),
        [
            f"{C}.volumeMounts.mountPropagation: Forbidden: Bidirectional mount propagation is available only to "
            "privileged containers"
        ],
    ),
    (
        mount(mountPropagation="x"),
        [
            f'{C}.volumeMounts.mountPropagation: Unsupported value: "x": supported values: "Bidirectional", '
            '"HostToContainer", "None"'
        ],
    ),
    (
        mount(recursiveReadOnly="Enabled"),
        [f"{C}.volumeMounts.recursiveReadOnly: Forbidden: may only be specified when readOnly is true"],
    ),
    (
        mount(recursiveReadOnly="Enabled", readOnly=True, mountPropagation="HostToContainer"),
        [
            f"{C}.volumeMounts.recursiveReadOnly: Forbidden: may only be specified when mountPropagation is None or "
            "not specified"
        ],
    ),
    (
        {"volumeDevices": [{"name": "dir", "devicePath": "/dev/x"}]},
        [
            f'{C}.volumeDevices[0].name: Invalid value: "dir": can only use volume source type of '
            "PersistentVolumeClaim or Ephemeral for block mode"
        ],
    ),
    (
        {"volumeDevices": [{"name": "claim", "devicePath": ""}]},
        [f"{C}.volumeDevices[0].devicePath: {NEEDED}"],
    ),
    (
        {"volumeDevices": [{"name": "claim", "devicePath": "/a/../b"}]},
        [
            f"{C}.volumeDevices[0].devicePath: Invalid value: \"/a/../b\": can not contain backsteps ('..')",
        ],
    ),
    (
        {
            "volumeMounts": [{"name": "claim", "mountPath": "/m"}],
            "volumeDevices": [{"name": "claim", "devicePath": "/d"}],
        },
        [
            f'{C}.volumeMounts[0].name: Invalid value: "claim": must not already exist in volumeDevices',
            f'{C}.volumeDevices[0].name: Invalid value: "claim": must not already exist in volumeMounts',
        ],
    ),
]
# validateContainerRestartPolicy, validateResizePolicy, validateContainerPorts, validatePullPolicy
BEHAVIOUR: list[tuple[dict[str, Any], list[str]]] = [
    (rules(), []),
    (rules(action="RestartAllContainers"), []),
    (
        rules(action="Stop"),
        [
            f'{C}.restartPolicyRules[0].action: Unsupported value: "Stop": supported values: "Restart", '
            '"RestartAllContainers"'
        ],
    ),
    (
        {"restartPolicyRules": rules()["restartPolicyRules"]},
        [f"{C}.restartPolicy: {NEEDED}: must specify restartPolicy when restart rules are used"],
    ),
    (
        {"restartPolicy": "Sometimes"},
        [
            f'{C}.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "Never", "OnFailure"'
        ],
    ),
    (rules(exitCodes=None), [f"{C}.restartPolicyRules[0].exitCodes: {NEEDED}: must be specified"]),
    (
        rules(exitCodes={"operator": "Is", "values": [1]}),
        [
            f'{C}.restartPolicyRules[0].exitCodes.operator: Unsupported value: "Is": supported values: "In", "NotIn"'
        ],
    ),
    (
        {"resizePolicy": [{"resourceName": "cpu", "restartPolicy": "NotRequired"}] * 2},
        [f'{C}.resizePolicy[1]: Duplicate value: "cpu"'],
    ),
    (
        {"resizePolicy": [{"resourceName": "disk", "restartPolicy": "NotRequired"}]},
        [f'{C}.resizePolicy: Unsupported value: "disk": supported values: "cpu", "memory"'],
    ),
    ({"ports": [{"containerPort": 0}]}, [f"{C}.ports[0].containerPort: {NEEDED}"]),
    (
        {"ports": [{"containerPort": 1, "protocol": "ICMP"}]},
        [f'{C}.ports[0].protocol: Unsupported value: "ICMP": supported values: "SCTP", "TCP", "UDP"'],
    ),
    (
        {"ports": [{"containerPort": 1, "hostPort": 5}, {"containerPort": 2, "hostPort": 5}]},
        [f'{C}.ports[1].hostPort: Duplicate value: "TCP//5"'],
    ),
    (
        {"imagePullPolicy": "x"},
        [f'{C}.imagePullPolicy: Unsupported value: "x": supported values: "Always", "IfNotPresent", "Never"'],
    ),
    (
        {"image": " i "},
        [f'{C}.image: Invalid value: " i ": must not have leading or trailing whitespace'],
    ),
]


@pytest.mark.parametrize(("container", "expected"), ENVIRONMENT + STORAGE + BEHAVIOUR)
def test_containers(create: Any, container: dict[str, Any], expected: list[str]) -> None:
    container = {k: v for k, v in container.items() if v is not None}
    for rule in container.get("restartPolicyRules", ()):
        if rule.get("exitCodes", 1) is None:
            del rule["exitCodes"]
    assert create("Pod", pod(container))[1] == expected


def test_resize_policy_of_pods_that_never_restart(create: Any) -> None:
    container = {"resizePolicy": [{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]}
    assert create("Pod", pod(container, restartPolicy="Never"))[1] == [
        f"{C}.resizePolicy: Invalid value: \"RestartContainer\": must be 'NotRequired' when `restartPolicy` is 'Never'"
    ]


def test_no_devices_for_pods_with_users_of_their_own(create: Any) -> None:
    container = {"volumeDevices": [{"name": "claim", "devicePath": "/dev/x"}]}
    assert create("Pod", pod(container))[1] == []
    assert create("Pod", pod(container, hostUsers=False))[1] == [
        f"{C}.volumeDevices: Forbidden: when `hostUsers` is false"
    ]


I = "spec.initContainers[0]"  # noqa: E741
INIT = "Forbidden: may not be set for init containers without restartPolicy=Always"


# validateInitContainers
@pytest.mark.parametrize(
    ("container", "expected"),
    [
        ({"name": "c"}, [f'{I}.name: Duplicate value: "c"']),
        ({"readinessProbe": {"tcpSocket": {"port": 1}}}, [f"{I}.readinessProbe: {INIT}"]),
        ({"lifecycle": {"preStop": {"exec": {"command": ["x"]}}}}, [f"{I}.lifecycle: {INIT}"]),
        ({"restartPolicy": "Always", "readinessProbe": {"tcpSocket": {"port": 1}}}, []),
        ({"restartPolicy": "Always", "startupProbe": {"tcpSocket": {"port": 0}}}, [
            f"{I}.startupProbe.tcpSocket.port: Invalid value: 0: must be between 1 and 65535, inclusive"
        ]),
        ({"restartPolicy": "Always", "livenessProbe": {"exec": {"command": ["x"]}, "successThreshold": 2}}, [
            f"{I}.livenessProbe.successThreshold: Invalid value: 2: must be 1"
        ]),
    ],
)  # fmt: skip
def test_init_containers(create: Any, container: dict[str, Any], expected: list[str]) -> None:
    init = {"name": "init", "image": "i", **container}
    assert create("Pod", pod({}, initContainers=[init]))[1] == expected


CLAIMS = [{"name": "gpu", "resourceClaimName": "x"}]
R = f"{C}.resources"


# ValidateContainerResourceRequirements, validateContainerResourceName, validateResourceClaimNames
@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({"claims": [{"name": "gpu"}]}, []),
        ({"claims": [{"name": "none"}]}, [
            f'{R}.claims[0]: Not found: "none": must be one of the names in pod.spec.resourceClaims: gpu'
        ]),
        ({"claims": [{"name": ""}]}, [f"{R}.claims[0]: {NEEDED}"]),
        ({"claims": [{"name": "gpu"}] * 2}, [f'{R}.claims[1]: Duplicate value: "gpu"']),
        ({"claims": [{"name": "gpu", "request": "a"}, {"name": "gpu", "request": "a"}]}, [
            f'{R}.claims[1]: Duplicate value: "gpu/a"'
        ]),
        ({"limits": {"cpu": "-1"}, "requests": {"cpu": "-1"}}, [
            f'{R}.limits[cpu]: Invalid value: "-1": must be greater than or equal to 0',
            f'{R}.requests[cpu]: Invalid value: "-1": must be greater than or equal to 0',
        ]),
        ({"limits": {"hugepages-2Mi": "4Mi"}}, [
            f"{R}: Forbidden: HugePages require cpu or memory"
        ]),
        ({"requests": {"example.com/x": "1"}}, [
            f"{R}.limits: {NEEDED}: Limit must be set for non overcommitable resources"
        ]),
        ({"limits": {"example.com/x": "1500m"}, "requests": {"example.com/x": "1500m"}}, [
            f'{R}.limits[example.com/x]: Invalid value: "1500m": must be an integer',
            f'{R}.requests[example.com/x]: Invalid value: "1500m": must be an integer',
        ]),
        ({"limits": {"cpu": "1"}, "requests": {"cpu": "2"}}, [
            f'{R}.requests: Invalid value: "2": must be less than or equal to cpu limit of 1'
        ]),
    ],
)  # fmt: skip
def test_resources(create: Any, resources: dict[str, Any], expected: list[str]) -> None:
    assert create("Pod", pod({"resources": resources}, resourceClaims=CLAIMS))[1] == expected


# validatePodResources, validatePodResourceConsistency; defaultHugePagePodLimits, defaultPodRequests
@pytest.mark.parametrize(
    ("whole", "own", "expected"),
    [
        ({"requests": {"cpu": "2"}}, {"requests": {"cpu": "1"}}, []),
        ({"requests": {"cpu": "1"}}, {"requests": {"cpu": "2"}}, [
            'spec.resources.requests[cpu]: Invalid value: "1": must be greater than or equal to aggregate container requests of 2'
        ]),
        ({"claims": [{"name": "gpu"}]}, {}, [
            "spec.resources.claims: Forbidden: claims cannot be set for Resources at pod-level"
        ]),
        ({"limits": {"example.com/x": "1"}}, {}, [
            'spec.resources.limits[example.com/x]: Unsupported value: "example.com/x": supported values: "cpu", '
            '"hugepages-", "memory"',
        ]),
        ({"limits": {"cpu": "1"}}, {"limits": {"cpu": "2"}, "requests": {"cpu": "1"}}, [
            'spec.resources.containers[0][cpu].limits: Invalid value: "2": must be less than or equal to pod limits of 1'
        ]),
    ],
)  # fmt: skip
def test_resources_of_pods(
    create: Any, whole: dict[str, Any], own: dict[str, Any], expected: list[str]
) -> None:
    assert create("Pod", pod({"resources": own}, resources=whole, resourceClaims=CLAIMS))[1] == expected


def test_defaults_of_resources_of_pods(create: Any) -> None:
    new, found = create(
        "Pod",
        pod(
            {"resources": {"requests": {"cpu": "1"}, "limits": {"hugepages-2Mi": "4Mi"}}},
            resources={"limits": {"cpu": "3", "memory": "1Gi"}},
        ),
    )
    assert found == []
    assert new.spec.resources.limits == {"cpu": "3", "memory": "1Gi", "hugepages-2Mi": "4Mi"}
    assert new.spec.resources.requests == {"cpu": "1", "memory": "1Gi", "hugepages-2Mi": "4Mi"}

"""Warnings about pod specs."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from lakh.apis import structs
from lakh.apis.podspec_warnings import pod_spec_warnings, pod_template_warnings

C = "spec.containers[0]"
TOKEN = {"serviceAccountToken": {"path": "t"}}
FILES = {"name": "c", "items": [{"key": "k", "path": "t"}]}


@pytest.mark.parametrize(
    ("spec", "container", "expected"),
    [
        ({}, {"env": [{"name": "A"}, {"name": "B"}], "resources": {"limits": {"memory": "1Gi"}}}, []),
        (
            {},
            {"env": [{"name": "A"}, {"name": "A"}]},
            [f'{C}.env[1]: hides previous definition of "A", which may be dropped when using apply'],
        ),
        (
            {},
            {"ports": [{"containerPort": 1, "name": "a"}, {"containerPort": 1, "name": "b"}]},
            [f"{C}.ports[1]: duplicate port definition with {C}.ports[0]"],
        ),
        (
            {},
            {"resources": {"requests": {"memory": "128m"}}},
            [f'{C}.resources.requests[memory]: fractional byte value "128m" is invalid, must be an integer'],
        ),
        (
            {"terminationGracePeriodSeconds": -1},
            {},
            [
                "spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1"
            ],
        ),
        (
            {"nodeSelector": {"beta.kubernetes.io/os": "linux"}},
            {},
            [
                'spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use "kubernetes.io/os" instead'
            ],
        ),
        (
            {"topologySpreadConstraints": [{"topologyKey": "failure-domain.beta.kubernetes.io/zone"}]},
            {},
            [
                "spec.topologySpreadConstraints[0].topologyKey: failure-domain.beta.kubernetes.io/zone is deprecated since "
                'v1.17; use "topology.kubernetes.io/zone" instead',
                "spec.topologySpreadConstraints[0].labelSelector: a null labelSelector results in matching no pod",
            ],
        ),
        (
            {
                "affinity": {
                    "podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "z"}]}
                }
            },
            {},
            [
                "spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].labelSelector: a null "
                "labelSelector results in matching no pod"
            ],
        ),
        (
            {"volumes": [{"name": "v", "gitRepo": {"repository": "r"}}]},
            {},
            ["spec.volumes[0].gitRepo: deprecated in v1.11, and disabled by default in v1.33+"],
        ),
        (
            {"volumes": [{"name": "v", "projected": {"sources": [TOKEN, {"configMap": FILES}]}}]},
            {},
            [
                'spec.volumes[0].projected.sources.configMap[0]: has duplicated path with ServiceAccountToken "t"'
            ],
        ),
        (
            {"hostAliases": [{"ip": "1.1.1.1"}, {"ip": "1.1.1.1"}]},
            {},
            ['spec.hostAliases[1].ip: duplicate ip "1.1.1.1"'],
        ),
        (
            {"imagePullSecrets": [{"name": "a"}, {"name": "a"}, {}]},
            {},
            [
                'spec.imagePullSecrets[1].name: duplicate name "a"',
                'spec.imagePullSecrets[2].name: invalid empty name ""',
            ],
        ),
        ({}, {"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "$(A):2"}]}, []),
        (
            {},
            {"ports": [{"containerPort": 1, "hostIP": "1.1.1.1"}]},
            [
                f"{C}.ports[0]: hostIP set without hostPort: {{Name: HostPort:0 ContainerPort:1 Protocol: HostIP:1.1.1.1}}"
            ],
        ),
        (
            {},
            {"ports": [{"containerPort": 1}, {"containerPort": 1, "hostPort": 5}]},
            [f"{C}.ports[1]: overlapping port definition with {C}.ports[0]"],
        ),
        (
            {},
            {
                "ports": [
                    {"containerPort": 1, "hostPort": 5, "hostIP": "1.1.1.1"},
                    {"containerPort": 1, "hostPort": 5},
                ]
            },
            [f"{C}.ports[1]: dangerously ambiguous port definition with {C}.ports[0]"],
        ),
        (
            {"dnsConfig": {"nameservers": ["2001:DB8::1"]}},
            {},
            [
                'spec.dnsConfig.nameservers[0]: IPv6 address "2001:DB8::1" should be in RFC 5952 canonical format ("2001:db8::1")'
            ],
        ),
    ],
)
def test_warnings(spec: dict[str, Any], container: dict[str, Any], expected: list[str]) -> None:
    plain = {"containers": [{"name": "c", **container}], **spec}
    assert pod_spec_warnings(msgspec.convert(plain, structs.core("PodSpec")), "spec") == expected


APPARMOR = "container.apparmor.security.beta.kubernetes.io/c"
SECCOMP = "seccomp.security.alpha.kubernetes.io/pod"


# podutil.GetWarningsForPodTemplate: annotations whose fields have come
@pytest.mark.parametrize(
    ("annotations", "context", "expected"),
    [
        ({"a": "b"}, {}, []),
        (
            {"scheduler.alpha.kubernetes.io/critical-pod": ""},
            {},
            [
                "t.metadata.annotations[scheduler.alpha.kubernetes.io/critical-pod]: non-functional in v1.16+; use the "
                '"priorityClassName" field instead'
            ],
        ),
        (
            {SECCOMP: "unconfined"},
            {},
            [
                f't.metadata.annotations[{SECCOMP}]: non-functional in v1.27+; use the "seccompProfile" field instead'
            ],
        ),
        ({SECCOMP: "unconfined"}, {"seccompProfile": {"type": "Unconfined"}}, []),
        (
            {APPARMOR: "unconfined"},
            {},
            [
                f't.metadata.annotations[{APPARMOR}]: deprecated since v1.30; use the "appArmorProfile" field instead'
            ],
        ),
        ({APPARMOR: "unconfined"}, {"appArmorProfile": {"type": "Unconfined"}}, []),
    ],
)
def test_annotations(annotations: dict[str, str], context: dict[str, Any], expected: list[str]) -> None:
    plain = {
        "metadata": {"annotations": annotations},
        "spec": {"containers": [{"name": "c"}], "securityContext": context},
    }
    assert pod_template_warnings(msgspec.convert(plain, structs.core("PodTemplateSpec")), "t") == expected

"""Services: addresses, load balancers, policies, updates, status and warnings (`ValidateService`, `ValidateServiceUpdate` and what they call)."""

from __future__ import annotations

from typing import Any

import pytest

ONCE = "may not change once set"
LB = "may only be used when `type` is 'LoadBalancer'"
RANGES = "service.beta.kubernetes.io/load-balancer-source-ranges"
HINTS, MODE = "service.kubernetes.io/topology-aware-hints", "service.kubernetes.io/topology-mode"
DUAL = {
    "clusterIP": "10.96.0.5",
    "clusterIPs": ["10.96.0.5", "fd00::5"],
    "ipFamilies": ["IPv4", "IPv6"],
    "ipFamilyPolicy": "PreferDualStack",
}


def service(annotations: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "web", "namespace": "default", "annotations": annotations or {}},
        "spec": {"ports": [{"port": 80}], **spec},
    }


@pytest.mark.parametrize(
    ("annotations", "spec", "expected"),
    [
        # ValidateServiceClusterIPsRelatedFields
        ({}, DUAL, []),
        ({}, {"clusterIP": "10.96.0.5", "clusterIPs": ["10.96.0.6"]}, [
            'spec.clusterIPs: Invalid value: ["10.96.0.6"]: first value must match `clusterIP`'
        ]),
        ({}, {"clusterIPs": ["10.96.0.6"]}, [
            'spec.clusterIPs: Invalid value: ["10.96.0.6"]: must be empty when `clusterIP` is not specified'
        ]),
        ({}, {"clusterIP": "None", "clusterIPs": ["None", "10.96.0.6"]}, [
            'spec.clusterIPs: Invalid value: ["None","10.96.0.6"]: \'None\' must be the first and only value'
        ]),
        ({}, {"clusterIP": "10.96.0.5", "clusterIPs": ["10.96.0.5", "10.96.0.6"]}, [
            'spec.clusterIPs: Invalid value: ["10.96.0.5","10.96.0.6"]: may specify no more than one IP for each IP family'
        ]),
        ({}, {**DUAL, "ipFamilies": ["IPv6", "IPv4"]}, [
            'spec.clusterIPs[0]: Invalid value: "10.96.0.5": expected an IPv6 value as indicated by `ipFamilies[0]`',
            'spec.clusterIPs[1]: Invalid value: "fd00::5": expected an IPv4 value as indicated by `ipFamilies[1]`',
        ]),
        ({}, {"ipFamilies": ["IPv4", "IPv4"]}, ['spec.ipFamilies[1]: Duplicate value: "IPv4"']),
        ({}, {"ipFamilies": ["IPv5"]}, ['spec.ipFamilies[0]: Unsupported value: "IPv5": supported values: "IPv4", "IPv6"']),
        ({}, {"ipFamilyPolicy": "Any"}, [
            'spec.ipFamilyPolicy: Unsupported value: "Any": supported values: "PreferDualStack", "RequireDualStack", "SingleStack"'
        ]),
        # externalIPs
        ({}, {"externalIPs": ["127.0.0.1"]}, [
            'spec.externalIPs[0]: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)'
        ]),
        ({}, {"externalIPs": ["1.2.3.04"]}, ['spec.externalIPs[0]: Invalid value: "1.2.3.04": must not have leading 0s']),
        # ports
        ({}, {"ports": [{"port": 80, "name": "a"}, {"port": 80, "name": "b", "targetPort": 9}]}, [
            'spec.ports[1]: Duplicate value: {"Name":"","Protocol":"TCP","AppProtocol":null,"Port":80,"TargetPort":0,"NodePort":0}'
        ]),
        ({}, {"ports": [{"port": 80, "name": "a"}, {"port": 81, "name": "a"}]}, ['spec.ports[1].name: Duplicate value: "a"']),
        ({}, {"type": "NodePort", "ports": [{"port": 80, "name": "a", "nodePort": 30001}, {"port": 81, "name": "b", "nodePort": 30001}]}, [
            "spec.ports[1].nodePort: Duplicate value: 30001"
        ]),
        # load balancers
        ({}, {"loadBalancerSourceRanges": ["10.0.0.0/8"]}, [f"spec.LoadBalancerSourceRanges: Forbidden: {LB}"]),
        ({}, {"type": "LoadBalancer", "loadBalancerSourceRanges": [" 10.0.0.0/8 ", "10.0.0.1/8"]}, [
            'spec.LoadBalancerSourceRanges[1]: Invalid value: "10.0.0.1/8": must not have bits set beyond the prefix length'
        ]),
        ({RANGES: "10.0.0.0/8"}, {}, [f"metadata.annotations[{RANGES}]: Forbidden: {LB}"]),
        ({}, {"allocateLoadBalancerNodePorts": True}, [f"spec.allocateLoadBalancerNodePorts: Forbidden: {LB}"]),
        ({}, {"loadBalancerClass": "example.com/c"}, [f"spec.loadBalancerClass: Forbidden: {LB}"]),
        ({}, {"healthCheckNodePort": 30009}, [
            "spec.healthCheckNodePort: Invalid value: 30009: may only be set when `type` is 'LoadBalancer' and "
            "`externalTrafficPolicy` is 'Local'"
        ]),
        # validateServiceTrafficDistribution, session affinity, topology annotations
        ({}, {"trafficDistribution": "PreferFar"}, [
            'spec.trafficDistribution: Unsupported value: "PreferFar": supported values: "PreferClose", "PreferSameNode", "PreferSameZone"'
        ]),
        # The default takes away what goes with no affinity.
        ({}, {"sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 1}}}, []),
        ({}, {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 86401}}}, [
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 86401: must be greater than 0 and less than 86400"
        ]),
        ({HINTS: "auto", MODE: "disabled"}, {}, [
            f'metadata.annotations[{MODE}]: Invalid value: "disabled": must match annotations[{HINTS}] when both are specified'
        ]),
        # ValidateServiceExternalNameFields
        ({}, {"type": "ExternalName", "externalName": "a.b.", "ports": []}, []),
        ({}, {"type": "ExternalName", "externalName": "a.b", "clusterIPs": ["10.96.0.5"], "ports": []}, [
            "spec.clusterIPs: Forbidden: may not be set for ExternalName services"
        ]),
    ],
)  # fmt: skip
def test_findings(
    create: Any, annotations: dict[str, str], spec: dict[str, Any], expected: list[str]
) -> None:
    assert create("Service", service(annotations, **spec))[1] == expected


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        # validateUpgradeDowngradeClusterIPs, validateUpgradeDowngradeIPFamilies
        (DUAL, {**DUAL, "clusterIPs": ["10.96.0.5", "fd00::6"]}, [
            f'spec.clusterIPs[1]: Invalid value: ["10.96.0.5","fd00::6"]: {ONCE}'
        ]),
        (DUAL, {**DUAL, "clusterIPs": ["10.96.0.5"], "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack"}, []),
        # validateServiceClusterIPsRelatedFields, loadBalancerClass
        ({"type": "LoadBalancer", "loadBalancerClass": "a.b/c"}, {"type": "LoadBalancer", "loadBalancerClass": "a.b/d"}, [
            f'spec.loadBalancerClass: Invalid value: "a.b/d": {ONCE}'
        ]),
    ],
)  # fmt: skip
def test_updates(update: Any, before: dict[str, Any], after: dict[str, Any], expected: list[str]) -> None:
    assert update("Service", service(**before), service(**after))[1] == expected


# ValidateLoadBalancerStatus
@pytest.mark.parametrize(
    ("kind", "ingress", "expected"),
    [
        ("LoadBalancer", {"ip": "203.0.113.1"}, []),
        ("ClusterIP", {"ip": "203.0.113.1"}, [
            "status.loadBalancer.ingress: Forbidden: may only be used when `spec.type` is 'LoadBalancer'"
        ]),
        ("LoadBalancer", {"ip": "x"}, ['status.loadBalancer.ingress[0].ip: Invalid value: "x": must be a valid IP address']),
        ("LoadBalancer", {"hostname": "1.2.3.4"}, [
            'status.loadBalancer.ingress[0].hostname: Invalid value: "1.2.3.4": must be a DNS name, not an IP address'
        ]),
        ("LoadBalancer", {"hostname": "a", "ipMode": "VIP"}, [
            'status.loadBalancer.ingress[0].ipMode: Forbidden: may not be specified when `ip` is not set'
        ]),
        ("LoadBalancer", {"ip": "203.0.113.1", "ipMode": "x"}, [
            'status.loadBalancer.ingress[0].ipMode: Unsupported value: "x": supported values: "Proxy", "VIP"'
        ]),
    ],
)  # fmt: skip
def test_status(update_status: Any, kind: str, ingress: dict[str, Any], expected: list[str]) -> None:
    old = service(type=kind)
    new = {**service(type=kind), "status": {"loadBalancer": {"ingress": [ingress]}}}
    _, found = update_status("Service", old, new)
    assert len(found) == len(expected), found
    assert all(one.startswith(other) for one, other in zip(found, expected, strict=True)), found


# GetWarningsForService
@pytest.mark.parametrize(
    ("annotations", "spec", "expected"),
    [
        ({}, {}, []),
        ({HINTS: "auto"}, {}, [f"annotation {HINTS} is deprecated, please use {MODE} instead"]),
        ({}, {"clusterIP": "None", "clusterIPs": ["None"], "sessionAffinity": "ClientIP", "externalIPs": ["1.2.3.4"]}, [
            "spec.externalIPs is ignored for headless services",
            "spec.SessionAffinity is ignored for headless services",
        ]),
        ({}, {"type": "LoadBalancer", "loadBalancerIP": "2001:DB8::1"}, [
            'spec.loadBalancerIP: IPv6 address "2001:DB8::1" should be in RFC 5952 canonical format ("2001:db8::1")'
        ]),
        ({}, {"externalName": "a.b"}, ['spec.externalName is ignored when spec.type is not "ExternalName"']),
        ({}, {"trafficDistribution": "PreferClose"}, [
            'spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"'
        ]),
    ],
)  # fmt: skip
def test_warnings(warn: Any, annotations: dict[str, str], spec: dict[str, Any], expected: list[str]) -> None:
    assert warn("Service", service(annotations, **spec)) == expected

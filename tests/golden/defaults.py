"""Of each kind an object that leaves out whatever has a default, and where upstream says what is filled in.

The answers were compared with those functions field by field; what the functions do not say (status, generation, names' labels) with the
`PrepareForCreate` of the kind's strategy. Declarative defaults are the `+default=` marks of k8s.io/api's types.go.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

CORE = "pkg/apis/core/v1/defaults.go"


@dataclass(frozen=True)
class Default:
    """A create: `path` is the collection, `source` the functions that were read."""

    path: str
    kind: str
    body: dict[str, Any]
    source: str
    name: str = "n"

    @property
    def api_version(self) -> str:
        return "/".join(self.path.split("/")[2:4]) if self.path.startswith("/apis") else "v1"

    @property
    def plural(self) -> str:
        return self.path.rpartition("/")[2]

    def object(self) -> dict[str, Any]:
        metadata = {"name": self.name, **self.body.get("metadata", {})}
        return {**self.body, "apiVersion": self.api_version, "kind": self.kind, "metadata": metadata}


def core(plural: str, kind: str, body: dict[str, Any], source: str, name: str = "n") -> Default:
    return Default(f"/api/v1/namespaces/default/{plural}", kind, body, source, name)


def core_cluster(plural: str, kind: str, body: dict[str, Any], source: str, name: str = "n") -> Default:
    return Default(f"/api/v1/{plural}", kind, body, source, name)


def grouped(api: str, plural: str, kind: str, body: dict[str, Any], source: str, name: str = "n") -> Default:
    return Default(f"/apis/{api}/namespaces/default/{plural}", kind, body, source, name)


def cluster(api: str, plural: str, kind: str, body: dict[str, Any], source: str, name: str = "n") -> Default:
    return Default(f"/apis/{api}/{plural}", kind, body, source, name)


PROBE = {"httpGet": {"port": 80}}
LABELS = {"app": "n"}
TEMPLATE: dict[str, Any] = {
    "metadata": {"labels": LABELS},
    "spec": {
        "containers": [
            {
                "name": "c",
                "image": "i",
                "ports": [{"containerPort": 80}],
                "resources": {"limits": {"cpu": "0.5"}},
            }
        ]
    },
}
ONCE: dict[str, Any] = {**TEMPLATE, "spec": {**TEMPLATE["spec"], "restartPolicy": "Never"}}
SELECTOR = {"matchLabels": LABELS}
RULES = [
    {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["deployments"]}
]
HOOKS = {
    "webhooks": [
        {
            "name": "n.example.com",
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
            "clientConfig": {"service": {"name": "s", "namespace": "default"}},
            "rules": RULES,
        }
    ]
}
CLAIM: dict[str, Any] = {
    "devices": {
        "requests": [
            {"name": "a", "exactly": {"deviceClassName": "c", "tolerations": [{"key": "k", "value": "v"}]}},
            {"name": "b", "firstAvailable": [{"name": "x", "deviceClassName": "c"}]},
            {"name": "d", "exactly": {"deviceClassName": "c", "allocationMode": "All"}},
        ]
    }
}
# A request for `CN=n`, signed with a key that was thrown away.
REQUEST = (
    "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlISE1HNENBUUF3RERFS01BZ0dBMVVFQXd3QmJqQlpNQk1HQnlx"
    "R1NNNDlBZ0VHQ0NxR1NNNDlBd0VIQTBJQQpCTklEbTQ5SGUwdXVRSTNtSkppaWhNUDIrSER3OEV2MVNzbWJLbnZFMGluSFpqbVo1"
    "VFpXYUY1ZkNCSHNnaFkvCld4VDU0RVVISFdNbERUK2ZVY1E1WFZXZ0FEQUtCZ2dxaGtqT1BRUURBZ05KQURCR0FpRUFvcGZOQVJW"
    "R0ZZZzcKSWJiMmtjQmNjdUxNSHR6TGpkWk9TYVppdGdrNmFVb0NJUUNXVGFhcWVDR2xsdVhLZjBsK1dUUlk5Y0RIR1BuMQpNNkRq"
    "N3FSd3Y1dzg0UT09Ci0tLS0tRU5EIENFUlRJRklDQVRFIFJFUVVFU1QtLS0tLQo="
)

VOLUMES: list[dict[str, Any]] = [
    {"name": "secret", "secret": {"secretName": "x"}},
    {"name": "config", "configMap": {"name": "x"}},
    {
        "name": "downward",
        "downwardAPI": {"items": [{"path": "p", "fieldRef": {"fieldPath": "metadata.name"}}]},
    },
    {
        "name": "projected",
        "projected": {
            "sources": [
                {"serviceAccountToken": {"path": "t"}},
                {"downwardAPI": {"items": [{"path": "p", "fieldRef": {"fieldPath": "metadata.name"}}]}},
            ]
        },
    },
    {"name": "host", "hostPath": {"path": "/x"}},
    {"name": "empty"},
    {"name": "image", "image": {"reference": "quay.io/x:latest"}},
    {"name": "iscsi", "iscsi": {"targetPortal": "1.2.3.4", "iqn": "iqn.2020-01.com.example:x", "lun": 0}},
    {"name": "rbd", "rbd": {"monitors": ["1.2.3.4"], "image": "x"}},
    {"name": "azure", "azureDisk": {"diskName": "d", "diskURI": "https://blob/d.vhd"}},
    {
        "name": "scale",
        "scaleIO": {"gateway": "g", "system": "s", "secretRef": {"name": "x"}, "volumeName": "v"},
    },
    {
        "name": "ephemeral",
        "ephemeral": {
            "volumeClaimTemplate": {
                "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1024Mi"}}}
            }
        },
    },
]

DEFAULTS: tuple[Default, ...] = (
    core(
        "pods",
        "Pod",
        {
            "spec": {
                "hostNetwork": True,
                "volumes": VOLUMES,
                "initContainers": [{"name": "i", "image": "host:5000/i"}],
                "containers": [
                    {
                        "name": "c",
                        "image": "nginx@sha256:" + "0" * 64,
                        "ports": [{"containerPort": 80}],
                        "livenessProbe": PROBE,
                        "readinessProbe": {"grpc": {"port": 5}},
                        "startupProbe": {"tcpSocket": {"port": 5}, "periodSeconds": 3},
                        "env": [
                            {"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                            {"name": "B", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
                        ],
                        "resources": {
                            "limits": {"cpu": "0.5", "memory": "1024Mi"},
                            "requests": {"cpu": "0.1"},
                        },
                        "lifecycle": {"preStop": {"httpGet": {"port": 1}}},
                    },
                    {"name": "d", "image": "nginx:1"},
                ],
            }
        },
        f"{CORE}: SetDefaults_Pod, _PodSpec, _Container, _Probe, _HTTPGetAction, _Volume and of each source, _ObjectFieldSelector, "
        "_ServiceAccountTokenProjection, _ResourceList; +default= of ContainerPort.protocol, GRPCAction.service and of "
        "iSCSI, RBD, azureDisk and scaleIO; pkg/registry/core/pod/strategy.go: PrepareForCreate; admission: Priority, "
        "DefaultTolerationSeconds, ServiceAccount",
    ),
    core(
        "pods",
        "Pod",
        {
            "spec": {
                "resources": {"limits": {"cpu": "2"}},
                "initContainers": [
                    {
                        "name": "s",
                        "image": "i",
                        "restartPolicy": "Always",
                        "resources": {"requests": {"memory": "100Mi"}},
                    },
                    {
                        "name": "i",
                        "image": "i",
                        "resources": {"requests": {"cpu": "700m", "memory": "300Mi"}},
                    },
                ],
                "containers": [
                    {
                        "name": "a",
                        "image": "i",
                        "resources": {"requests": {"cpu": "250m", "memory": "100Mi"}},
                    },
                    {
                        "name": "b",
                        "image": "i",
                        "resources": {"requests": {"cpu": "250m"}, "limits": {"hugepages-2Mi": "4Mi"}},
                    },
                ],
            }
        },
        f"{CORE}: defaultHugePagePodLimits, defaultPodRequests; component-helpers/resource: AggregateContainerRequests",
        name="levels",
    ),
    core(
        "services",
        "Service",
        {"spec": {"clusterIP": "None", "ports": [{"port": 80}]}},
        f"{CORE}: SetDefaults_Service; pkg/registry/core/service/storage/alloc.go: initIPFamilyFields",
    ),
    core(
        "services",
        "Service",
        {
            "spec": {
                "type": "LoadBalancer",
                "sessionAffinity": "ClientIP",
                "ports": [{"port": 80, "nodePort": 30080}],
            }
        },
        f"{CORE}: SetDefaults_Service",
        name="outside",
    ),
    core(
        "services",
        "Service",
        {"spec": {"type": "ExternalName", "externalName": "example.com"}},
        f"{CORE}: SetDefaults_Service; pkg/registry/core/service/storage/alloc.go: initIPFamilyFields",
        name="named",
    ),
    core(
        "secrets",
        "Secret",
        {"stringData": {"a": "b"}},
        f"{CORE}: SetDefaults_Secret; conversion.go: Convert_v1_Secret_To_core_Secret",
    ),
    core("configmaps", "ConfigMap", {"binaryData": {"a": "Yg=="}}, f"{CORE}: SetDefaults_ConfigMap"),
    core("serviceaccounts", "ServiceAccount", {}, f"{CORE} has none"),
    core(
        "endpoints",
        "Endpoints",
        {"subsets": [{"addresses": [{"ip": "10.1.2.3"}], "ports": [{"port": 80}]}]},
        f"{CORE}: SetDefaults_Endpoints",
    ),
    core(
        "limitranges",
        "LimitRange",
        {
            "spec": {
                "limits": [
                    {
                        "type": "Container",
                        "max": {"cpu": "2", "memory": "2Gi"},
                        "min": {"cpu": "0.1", "ephemeral-storage": "1"},
                    },
                    {"type": "Pod", "max": {"cpu": "2"}},
                ]
            }
        },
        f"{CORE}: SetDefaults_LimitRangeItem",
    ),
    core(
        "resourcequotas",
        "ResourceQuota",
        {"spec": {"hard": {"cpu": "0.5"}}},
        f"{CORE}: SetDefaults_ResourceList",
    ),
    core(
        "podtemplates",
        "PodTemplate",
        {"template": TEMPLATE},
        f"{CORE}: as pods' specs, without SetDefaults_Pod",
    ),
    core(
        "replicationcontrollers",
        "ReplicationController",
        {"spec": {"template": TEMPLATE}},
        f"{CORE}: SetDefaults_ReplicationController",
    ),
    core(
        "persistentvolumeclaims",
        "PersistentVolumeClaim",
        {
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "1024Mi"}},
                "dataSource": {"kind": "PersistentVolumeClaim", "name": "x"},
            }
        },
        f"{CORE}: SetDefaults_PersistentVolumeClaim, _PersistentVolumeClaimSpec; "
        "pkg/registry/core/persistentvolumeclaim/strategy.go: NormalizeDataSources",
    ),
    core(
        "events",
        "Event",
        {
            "involvedObject": {"namespace": "default", "kind": "Pod", "name": "p"},
            "firstTimestamp": "2020-01-02T03:04:05Z",
            "count": 1,
        },
        f"{CORE} has none",
    ),
    core_cluster(
        "namespaces",
        "Namespace",
        {},
        f"{CORE}: SetDefaults_Namespace, _NamespaceStatus; pkg/registry/core/namespace/strategy.go",
    ),
    core_cluster(
        "nodes",
        "Node",
        {"status": {"capacity": {"cpu": "0.5"}}},
        f"{CORE}: SetDefaults_NodeStatus, _ResourceList",
    ),
    core_cluster(
        "persistentvolumes",
        "PersistentVolume",
        {
            "spec": {
                "capacity": {"storage": "1024Mi"},
                "accessModes": ["ReadWriteOnce"],
                "hostPath": {"path": "/x"},
            }
        },
        f"{CORE}: SetDefaults_PersistentVolume, _HostPathVolumeSource",
    ),
    grouped(
        "apps/v1",
        "deployments",
        "Deployment",
        {"spec": {"selector": SELECTOR, "template": TEMPLATE}},
        "pkg/apis/apps/v1/defaults.go: SetDefaults_Deployment",
    ),
    grouped(
        "apps/v1",
        "replicasets",
        "ReplicaSet",
        {"spec": {"selector": SELECTOR, "template": TEMPLATE}},
        "pkg/apis/apps/v1/defaults.go: SetDefaults_ReplicaSet",
    ),
    grouped(
        "apps/v1",
        "daemonsets",
        "DaemonSet",
        {"spec": {"selector": SELECTOR, "template": TEMPLATE}},
        "pkg/apis/apps/v1/defaults.go: SetDefaults_DaemonSet; conversion.go: the deprecated template generation",
    ),
    grouped(
        "apps/v1",
        "statefulsets",
        "StatefulSet",
        {
            "spec": {
                "serviceName": "s",
                "selector": SELECTOR,
                "template": TEMPLATE,
                "volumeClaimTemplates": [
                    {
                        "metadata": {"name": "v"},
                        "spec": {
                            "accessModes": ["ReadWriteOnce"],
                            "resources": {"requests": {"storage": "1024Mi"}},
                        },
                    }
                ],
            }
        },
        f"pkg/apis/apps/v1/defaults.go: SetDefaults_StatefulSet; {CORE}: SetDefaults_PersistentVolumeClaim; "
        "conversion.go: apiVersion and kind of claims",
    ),
    grouped(
        "apps/v1",
        "controllerrevisions",
        "ControllerRevision",
        {"revision": 1, "data": {"a": 1}},
        "pkg/apis/apps/v1/defaults.go has none",
    ),
    grouped(
        "batch/v1",
        "jobs",
        "Job",
        {"spec": {"template": ONCE}},
        "pkg/apis/batch/v1/defaults.go: SetDefaults_Job; pkg/registry/batch/job/strategy.go: generateSelector",
    ),
    grouped(
        "batch/v1",
        "jobs",
        "Job",
        {
            "spec": {
                "template": ONCE,
                "completions": 2,
                "completionMode": "Indexed",
                "backoffLimitPerIndex": 1,
                "podFailurePolicy": {
                    "rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}]
                },
            }
        },
        "pkg/apis/batch/v1/defaults.go: SetDefaults_Job, _PodFailurePolicyOnPodConditionsPattern",
        name="indexed",
    ),
    grouped(
        "batch/v1",
        "cronjobs",
        "CronJob",
        {"spec": {"schedule": "0 0 * * *", "jobTemplate": {"spec": {"template": ONCE}}}},
        "pkg/apis/batch/v1/defaults.go: SetDefaults_CronJob",
    ),
    grouped(
        "autoscaling/v2",
        "horizontalpodautoscalers",
        "HorizontalPodAutoscaler",
        {
            "spec": {
                "maxReplicas": 3,
                "scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"},
                "behavior": {"scaleDown": {"stabilizationWindowSeconds": 60}},
            }
        },
        "pkg/apis/autoscaling/v2/defaults.go: SetDefaults_HorizontalPodAutoscaler, GenerateHPAScaleUpRules, GenerateHPAScaleDownRules",
    ),
    grouped(
        "autoscaling/v1",
        "horizontalpodautoscalers",
        "HorizontalPodAutoscaler",
        {
            "spec": {
                "maxReplicas": 3,
                "scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"},
            }
        },
        "pkg/apis/autoscaling/v1/defaults.go: SetDefaults_HorizontalPodAutoscaler; v2/defaults.go, for it is stored as v2",
    ),
    grouped(
        "policy/v1",
        "poddisruptionbudgets",
        "PodDisruptionBudget",
        {"spec": {"selector": SELECTOR}},
        "pkg/apis/policy/v1 has none",
    ),
    grouped(
        "networking.k8s.io/v1",
        "ingresses",
        "Ingress",
        {
            "spec": {
                "rules": [
                    {
                        "http": {
                            "paths": [
                                {
                                    "pathType": "Prefix",
                                    "path": "/",
                                    "backend": {"service": {"name": "s", "port": {"number": 1}}},
                                }
                            ]
                        }
                    }
                ]
            }
        },
        "pkg/apis/networking/v1/defaults.go has none of ingresses",
    ),
    cluster(
        "networking.k8s.io/v1",
        "ingressclasses",
        "IngressClass",
        {"spec": {"controller": "example.com/c", "parameters": {"kind": "K", "name": "x"}}},
        "pkg/apis/networking/v1/defaults.go: SetDefaults_IngressClass; pkg/registry/networking/ingressclass/strategy.go",
    ),
    grouped(
        "networking.k8s.io/v1",
        "networkpolicies",
        "NetworkPolicy",
        {
            "spec": {
                "podSelector": {},
                "egress": [{"ports": [{"port": 1}]}],
                "ingress": [{"ports": [{"port": "x"}]}],
            }
        },
        "pkg/apis/networking/v1/defaults.go: SetDefaults_NetworkPolicy, _NetworkPolicyPort",
    ),
    cluster(
        "networking.k8s.io/v1",
        "ipaddresses",
        "IPAddress",
        {"spec": {"parentRef": {"resource": "services", "name": "s", "namespace": "default"}}},
        "pkg/apis/networking/v1/defaults.go has none of addresses; pkg/registry/networking/ipaddress/strategy.go",
        name="10.96.0.9",
    ),
    cluster(
        "networking.k8s.io/v1",
        "servicecidrs",
        "ServiceCIDR",
        {"spec": {"cidrs": ["10.97.0.0/16"]}},
        "pkg/apis/networking/v1/defaults.go has none of ranges; pkg/registry/networking/servicecidr/strategy.go",
    ),
    grouped(
        "discovery.k8s.io/v1",
        "endpointslices",
        "EndpointSlice",
        {"addressType": "IPv4", "endpoints": [{"addresses": ["10.1.2.3"]}], "ports": [{"port": 80}]},
        "pkg/apis/discovery/v1/defaults.go: SetDefaults_EndpointPort",
    ),
    grouped(
        "events.k8s.io/v1",
        "events",
        "Event",
        {
            "eventTime": "2020-01-02T03:04:05.000000Z",
            "reportingController": "example.com/c",
            "reportingInstance": "i",
            "action": "Do",
            "reason": "Why",
            "type": "Normal",
            "regarding": {"kind": "Pod", "namespace": "default", "name": "p"},
        },
        "pkg/apis/events/v1 has none",
    ),
    grouped(
        "coordination.k8s.io/v1",
        "leases",
        "Lease",
        {"spec": {"holderIdentity": "h", "renewTime": "2020-01-02T03:04:05.000000Z"}},
        "pkg/apis/coordination/v1 has none; metav1.MicroTime: MarshalJSON",
    ),
    cluster(
        "rbac.authorization.k8s.io/v1",
        "clusterroles",
        "ClusterRole",
        {"rules": []},
        "pkg/apis/rbac/v1/defaults.go has none of roles",
    ),
    grouped(
        "rbac.authorization.k8s.io/v1",
        "rolebindings",
        "RoleBinding",
        {
            "roleRef": {"kind": "Role", "name": "r"},
            "subjects": [
                {"kind": "User", "name": "u"},
                {"kind": "Group", "name": "g"},
                {"kind": "ServiceAccount", "name": "s", "namespace": "default"},
            ],
        },
        "pkg/apis/rbac/v1/defaults.go: SetDefaults_RoleBinding, _Subject",
    ),
    cluster(
        "rbac.authorization.k8s.io/v1",
        "clusterrolebindings",
        "ClusterRoleBinding",
        {"roleRef": {"kind": "ClusterRole", "name": "r"}, "subjects": [{"kind": "User", "name": "u"}]},
        "pkg/apis/rbac/v1/defaults.go: SetDefaults_ClusterRoleBinding, _Subject",
    ),
    grouped(
        "rbac.authorization.k8s.io/v1",
        "roles",
        "Role",
        {"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]},
        "pkg/apis/rbac/v1/defaults.go has none of roles",
    ),
    cluster(
        "scheduling.k8s.io/v1",
        "priorityclasses",
        "PriorityClass",
        {"value": 5},
        "pkg/apis/scheduling/v1/defaults.go: SetDefaults_PriorityClass; pkg/registry/scheduling/priorityclass/strategy.go",
    ),
    cluster(
        "storage.k8s.io/v1",
        "storageclasses",
        "StorageClass",
        {"provisioner": "example.com/p"},
        "pkg/apis/storage/v1/defaults.go: SetDefaults_StorageClass",
    ),
    cluster(
        "storage.k8s.io/v1",
        "csidrivers",
        "CSIDriver",
        {"spec": {}},
        "pkg/apis/storage/v1/defaults.go: SetDefaults_CSIDriver",
    ),
    cluster(
        "storage.k8s.io/v1",
        "csinodes",
        "CSINode",
        {"spec": {"drivers": [{"name": "d", "nodeID": "i"}]}},
        "pkg/apis/storage/v1/defaults.go has none of nodes",
    ),
    grouped(
        "storage.k8s.io/v1",
        "csistoragecapacities",
        "CSIStorageCapacity",
        {"storageClassName": "c", "capacity": "1024Mi"},
        "pkg/apis/storage/v1/defaults.go has none of capacities",
    ),
    cluster(
        "storage.k8s.io/v1",
        "volumeattachments",
        "VolumeAttachment",
        {"spec": {"attacher": "example.com", "nodeName": "x", "source": {"persistentVolumeName": "x"}}},
        "pkg/apis/storage/v1/defaults.go has none of attachments; pkg/registry/storage/volumeattachment/strategy.go",
    ),
    cluster(
        "storage.k8s.io/v1",
        "volumeattributesclasses",
        "VolumeAttributesClass",
        {"driverName": "d", "parameters": {"a": "b"}},
        "pkg/apis/storage/v1/defaults.go has none of attribute classes",
    ),
    cluster(
        "node.k8s.io/v1",
        "runtimeclasses",
        "RuntimeClass",
        {"handler": "h", "overhead": {"podFixed": {"cpu": "0.1"}}},
        f"{CORE}: SetDefaults_ResourceList",
    ),
    cluster(
        "admissionregistration.k8s.io/v1",
        "validatingwebhookconfigurations",
        "ValidatingWebhookConfiguration",
        HOOKS,
        "pkg/apis/admissionregistration/v1/defaults.go: SetDefaults_ValidatingWebhook, _Rule, _ServiceReference",
    ),
    cluster(
        "admissionregistration.k8s.io/v1",
        "mutatingwebhookconfigurations",
        "MutatingWebhookConfiguration",
        HOOKS,
        "pkg/apis/admissionregistration/v1/defaults.go: SetDefaults_MutatingWebhook, _Rule, _ServiceReference",
    ),
    cluster(
        "admissionregistration.k8s.io/v1",
        "validatingadmissionpolicies",
        "ValidatingAdmissionPolicy",
        {"spec": {"matchConstraints": {"resourceRules": RULES}, "validations": [{"expression": "true"}]}},
        "pkg/apis/admissionregistration/v1/defaults.go: SetDefaults_ValidatingAdmissionPolicySpec, _MatchResources, _Rule",
    ),
    cluster(
        "admissionregistration.k8s.io/v1",
        "validatingadmissionpolicybindings",
        "ValidatingAdmissionPolicyBinding",
        {
            "spec": {
                "policyName": "p",
                "validationActions": ["Deny"],
                "matchResources": {"resourceRules": RULES},
            }
        },
        "pkg/apis/admissionregistration/v1/defaults.go: SetDefaults_MatchResources, _Rule",
    ),
    cluster(
        "admissionregistration.k8s.io/v1",
        "mutatingadmissionpolicies",
        "MutatingAdmissionPolicy",
        {
            "spec": {
                "reinvocationPolicy": "Never",
                "matchConstraints": {"resourceRules": RULES},
                "mutations": [
                    {
                        "patchType": "JSONPatch",
                        "jsonPatch": {"expression": '[JSONPatch{op: "remove", path: "/spec/paused"}]'},
                    }
                ],
            }
        },
        "pkg/apis/admissionregistration/v1/defaults.go: SetDefaults_MutatingAdmissionPolicySpec, _MatchResources, _Rule",
    ),
    cluster(
        "admissionregistration.k8s.io/v1",
        "mutatingadmissionpolicybindings",
        "MutatingAdmissionPolicyBinding",
        {"spec": {"policyName": "p"}},
        "pkg/apis/admissionregistration/v1/defaults.go has none of bindings without match resources",
    ),
    cluster(
        "apiextensions.k8s.io/v1",
        "customresourcedefinitions",
        "CustomResourceDefinition",
        {
            "spec": {
                "group": "example.com",
                "scope": "Namespaced",
                "names": {"plural": "hosts", "kind": "Host"},
                "versions": [
                    {
                        "name": "v1",
                        "served": True,
                        "storage": True,
                        "schema": {"openAPIV3Schema": {"type": "object"}},
                    }
                ],
            }
        },
        "apiextensions-apiserver/pkg/apis/apiextensions/v1/defaults.go: SetDefaults_CustomResourceDefinition; "
        "pkg/registry/customresourcedefinition/strategy.go",
        name="hosts.example.com",
    ),
    cluster(
        "apiregistration.k8s.io/v1",
        "apiservices",
        "APIService",
        {
            "spec": {
                "group": "example.com",
                "version": "v1",
                "groupPriorityMinimum": 10,
                "versionPriority": 10,
                "insecureSkipTLSVerify": True,
                "service": {"name": "s", "namespace": "default"},
            }
        },
        "kube-aggregator/pkg/apis/apiregistration/v1/defaults.go: SetDefaults_ServiceReference",
        name="v1.example.com",
    ),
    cluster(
        "flowcontrol.apiserver.k8s.io/v1",
        "flowschemas",
        "FlowSchema",
        {"spec": {"priorityLevelConfiguration": {"name": "p"}}},
        "pkg/apis/flowcontrol/v1/defaults.go: SetDefaults_FlowSchemaSpec",
    ),
    cluster(
        "flowcontrol.apiserver.k8s.io/v1",
        "prioritylevelconfigurations",
        "PriorityLevelConfiguration",
        {"spec": {"type": "Limited", "limited": {"limitResponse": {"type": "Queue", "queuing": {}}}}},
        "pkg/apis/flowcontrol/v1/defaults.go: SetDefaults_LimitedPriorityLevelConfiguration, _QueuingConfiguration",
    ),
    cluster(
        "certificates.k8s.io/v1",
        "certificatesigningrequests",
        "CertificateSigningRequest",
        {"spec": {"request": REQUEST, "signerName": "example.com/s", "usages": ["client auth"]}},
        "pkg/apis/certificates/v1/defaults.go has none; pkg/registry/certificates/certificates/strategy.go: PrepareForCreate",
    ),
    cluster(
        "resource.k8s.io/v1",
        "deviceclasses",
        "DeviceClass",
        {"spec": {}},
        "pkg/apis/resource/v1/defaults.go has none of classes",
    ),
    grouped(
        "resource.k8s.io/v1",
        "resourceclaims",
        "ResourceClaim",
        {"spec": CLAIM},
        "pkg/apis/resource/v1/defaults.go: SetDefaults_ExactDeviceRequest, _DeviceSubRequest; +default= of DeviceToleration.operator",
    ),
    grouped(
        "resource.k8s.io/v1",
        "resourceclaimtemplates",
        "ResourceClaimTemplate",
        {"spec": {"spec": CLAIM}},
        "pkg/apis/resource/v1/defaults.go: SetDefaults_ExactDeviceRequest, _DeviceSubRequest",
    ),
    cluster(
        "resource.k8s.io/v1",
        "resourceslices",
        "ResourceSlice",
        {
            "spec": {
                "driver": "d.example.com",
                "nodeName": "x",
                "pool": {"name": "x", "generation": 1, "resourceSliceCount": 1},
                "devices": [
                    {
                        "name": "a",
                        "taints": [{"key": "k", "effect": "NoSchedule"}],
                        "capacity": {"m": {"value": "1024Mi"}},
                    }
                ],
            }
        },
        "pkg/apis/resource/v1/defaults.go: SetDefaults_DeviceTaint",
    ),
)

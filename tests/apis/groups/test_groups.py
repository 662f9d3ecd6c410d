"""All groups at once: discovery data against what `kubectl api-resources` prints, and the invariants of every strategy."""

from __future__ import annotations

import msgspec
import pytest

from lakh.apis.definitions import schema
from lakh.apis.groups import RESOURCES
from lakh.apis.registry import ALL_VERBS, Registry, Resource

# NAME SHORTNAMES APIVERSION NAMESPACED KIND CATEGORIES; `-` for nothing. All verbs, or create only where marked.
GOLDEN = """
mutatingadmissionpolicies - admissionregistration.k8s.io/v1 false MutatingAdmissionPolicy api-extensions
mutatingadmissionpolicybindings - admissionregistration.k8s.io/v1 false MutatingAdmissionPolicyBinding api-extensions
mutatingwebhookconfigurations - admissionregistration.k8s.io/v1 false MutatingWebhookConfiguration api-extensions
validatingadmissionpolicies - admissionregistration.k8s.io/v1 false ValidatingAdmissionPolicy api-extensions
validatingadmissionpolicybindings - admissionregistration.k8s.io/v1 false ValidatingAdmissionPolicyBinding api-extensions
validatingwebhookconfigurations - admissionregistration.k8s.io/v1 false ValidatingWebhookConfiguration api-extensions
customresourcedefinitions crd,crds apiextensions.k8s.io/v1 false CustomResourceDefinition api-extensions
apiservices - apiregistration.k8s.io/v1 false APIService api-extensions
controllerrevisions - apps/v1 true ControllerRevision -
daemonsets ds apps/v1 true DaemonSet all
deployments deploy apps/v1 true Deployment all
replicasets rs apps/v1 true ReplicaSet all
statefulsets sts apps/v1 true StatefulSet all
selfsubjectreviews - authentication.k8s.io/v1 false SelfSubjectReview - create
tokenreviews - authentication.k8s.io/v1 false TokenReview - create
localsubjectaccessreviews - authorization.k8s.io/v1 true LocalSubjectAccessReview - create
selfsubjectaccessreviews - authorization.k8s.io/v1 false SelfSubjectAccessReview - create
selfsubjectrulesreviews - authorization.k8s.io/v1 false SelfSubjectRulesReview - create
subjectaccessreviews - authorization.k8s.io/v1 false SubjectAccessReview - create
horizontalpodautoscalers hpa autoscaling/v2 true HorizontalPodAutoscaler all
horizontalpodautoscalers hpa autoscaling/v1 true HorizontalPodAutoscaler all
cronjobs cj batch/v1 true CronJob all
jobs - batch/v1 true Job all
certificatesigningrequests csr certificates.k8s.io/v1 false CertificateSigningRequest -
leases - coordination.k8s.io/v1 true Lease -
endpointslices - discovery.k8s.io/v1 true EndpointSlice -
events ev events.k8s.io/v1 true Event -
flowschemas - flowcontrol.apiserver.k8s.io/v1 false FlowSchema -
prioritylevelconfigurations - flowcontrol.apiserver.k8s.io/v1 false PriorityLevelConfiguration -
ingressclasses - networking.k8s.io/v1 false IngressClass -
ingresses ing networking.k8s.io/v1 true Ingress -
ipaddresses ip networking.k8s.io/v1 false IPAddress -
networkpolicies netpol networking.k8s.io/v1 true NetworkPolicy -
servicecidrs - networking.k8s.io/v1 false ServiceCIDR -
runtimeclasses - node.k8s.io/v1 false RuntimeClass -
poddisruptionbudgets pdb policy/v1 true PodDisruptionBudget -
clusterrolebindings - rbac.authorization.k8s.io/v1 false ClusterRoleBinding -
clusterroles - rbac.authorization.k8s.io/v1 false ClusterRole -
rolebindings - rbac.authorization.k8s.io/v1 true RoleBinding -
roles - rbac.authorization.k8s.io/v1 true Role -
deviceclasses - resource.k8s.io/v1 false DeviceClass -
resourceclaims - resource.k8s.io/v1 true ResourceClaim -
resourceclaimtemplates - resource.k8s.io/v1 true ResourceClaimTemplate -
resourceslices - resource.k8s.io/v1 false ResourceSlice -
priorityclasses pc scheduling.k8s.io/v1 false PriorityClass -
podgroups - scheduling.k8s.io/v1alpha2 true PodGroup -
workloads - scheduling.k8s.io/v1alpha2 true Workload -
csidrivers - storage.k8s.io/v1 false CSIDriver -
csinodes - storage.k8s.io/v1 false CSINode -
csistoragecapacities - storage.k8s.io/v1 true CSIStorageCapacity -
storageclasses sc storage.k8s.io/v1 false StorageClass -
volumeattachments - storage.k8s.io/v1 false VolumeAttachment -
volumeattributesclasses vac storage.k8s.io/v1 false VolumeAttributesClass -
"""

SUBRESOURCES = {
    "approval": {"certificatesigningrequests"},
    "scale": {"deployments", "replicasets", "statefulsets"},
    "status": {
        "apiservices",
        "certificatesigningrequests",
        "cronjobs",
        "customresourcedefinitions",
        "daemonsets",
        "deployments",
        "flowschemas",
        "horizontalpodautoscalers",
        "ingresses",
        "jobs",
        "poddisruptionbudgets",
        "podgroups",
        "prioritylevelconfigurations",
        "replicasets",
        "resourceclaims",
        "servicecidrs",
        "statefulsets",
        "validatingadmissionpolicies",
        "volumeattachments",
    },
}


def _line(resource: Resource) -> str:
    words = [
        resource.plural,
        ",".join(resource.short_names) or "-",
        resource.api_version,
        str(resource.namespaced).lower(),
        resource.kind,
        ",".join(resource.categories) or "-",
    ]
    if resource.verbs != ALL_VERBS:
        words += resource.verbs
    return " ".join(words)


def test_discovery_is_upstreams() -> None:
    assert sorted(_line(r) for r in RESOURCES) == sorted(GOLDEN.split("\n")[1:-1])


def test_subresources_are_upstreams() -> None:
    for name, plurals in SUBRESOURCES.items():
        assert {r.plural for r in RESOURCES if name in r.subresources} == plurals, name
    assert {name for r in RESOURCES for name in r.subresources} == set(SUBRESOURCES)


def test_partitions() -> None:
    special = {r.api_version: r.partition for r in RESOURCES if r.partition != "default"}
    assert special == {"coordination.k8s.io/v1": "leases", "events.k8s.io/v1": "events"}


def test_views_name_what_they_are_views_of() -> None:
    views = {r.api_version: r for r in RESOURCES if r.stored_as is not None}
    assert {version: r.table for version, r in views.items()} == {
        "autoscaling/v1": "horizontalpodautoscalers.autoscaling",
        "events.k8s.io/v1": "events",
    }
    assert all(r.to_stored and r.from_stored for r in views.values())


def test_the_registry_takes_them_all() -> None:
    assert len(Registry(RESOURCES).all()) == len(RESOURCES)


@pytest.mark.parametrize("resource", RESOURCES, ids=repr)
def test_empty_objects_are_judged_not_crashed_on(resource: Resource) -> None:
    """Whatever a client leaves out, defaulting and validation answer with findings."""
    struct = schema().struct(resource.definition)
    plain = {"metadata": {"name": "x", "uid": "u"}}
    if resource.verbs != ALL_VERBS:
        plain["spec"] = {}
    if "spec" in plain and "spec" not in struct.__struct_fields__:
        del plain["spec"]
    obj = msgspec.convert(plain, struct)
    strategy = resource.strategy
    strategy.default(obj)
    strategy.prepare_for_create(obj)
    found = strategy.validate(obj)
    assert all(str(e) for e in found)
    again = msgspec.convert(msgspec.to_builtins(obj), struct)
    strategy.default(again)
    assert again == obj, "defaulting is idempotent"
    strategy.prepare_for_update(again, obj)
    strategy.validate_update(again, obj)
    strategy.validate_status_update(again, obj)
    strategy.warnings(obj, None)
    assert len(strategy.cells(obj, 0.0)) == len(strategy.columns)
    assert all(read(obj) is not None for read in strategy.selectable_fields.values())


@pytest.mark.parametrize("resource", [r for r in RESOURCES if r.strategy.has_status], ids=repr)
def test_new_objects_have_a_status(resource: Resource) -> None:
    obj = msgspec.convert({"metadata": {"name": "x"}}, schema().struct(resource.definition))
    resource.strategy.default(obj)
    resource.strategy.prepare_for_create(obj)
    assert obj.status is not None

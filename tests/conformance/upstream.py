"""Which of upstream's conformance tests need no container, and which test of ours does what each of them does.

`CATALOGUE` lists them by the part of upstream that owns them, with upstream's name (test/conformance/testdata/conformance.yaml) and, in a few
words, what is asked. A test of ours says with `covers` which it stands for. Entries of `LATER` are not claimed, with the reason.
`python -m tests.conformance.upstream > docs/conformance.md` writes the table; `test_upstream_catalogue.py` checks that it is up to date.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TypeVar

F = TypeVar("F", bound=Callable[..., object])

MODULES = (
    "test_upstream_apimachinery",
    "test_upstream_apps",
    "test_upstream_custom",
    "test_upstream_garbage",
    "test_upstream_quotas",
    "test_upstream_resources",
)

# Upstream name → the tests of ours that stand for it, as `module.py::test`.
COVERED: dict[str, list[str]] = {}


def covers(*names: str) -> Callable[[F], F]:
    """Marks a test as doing what these upstream tests do. Raises KeyError for a name that the catalogue does not have."""

    def mark(test: F) -> F:
        for name in names:
            if name not in _NAMES:
                raise KeyError(f"{name!r} is not in the catalogue")
            where = f"{test.__module__.rpartition('.')[2]}.py::{test.__qualname__.replace('.', '::')}"
            COVERED.setdefault(name, []).append(where)
        return test

    return mark


# Kinds whose test is the same: discovery, create, get, list, watch, update, patch, delete, deletecollection, and status where there is one.
OPERATIONS = "found in discovery; create, get, list, watch, update, patch, delete, deletecollection"

CATALOGUE: dict[str, dict[str, str]] = {
    "api-machinery": {
        "API priority and fairness should support FlowSchema API operations": OPERATIONS + "; status",
        "API priority and fairness should support PriorityLevelConfiguration API operations": OPERATIONS
        + "; status",
        "AdmissionWebhook should include webhook resources in discovery documents": "the group, its version and both resources are found",
        "AdmissionWebhook should be able to create and update mutating webhook configurations with match conditions": "matchConditions are kept and replaced",
        "AdmissionWebhook should be able to create and update validating webhook configurations with match conditions": "matchConditions are kept and replaced",
        "AdmissionWebhook should reject mutating webhook configurations with invalid match conditions": "an expression that does not compile is refused",
        "AdmissionWebhook should reject validating webhook configurations with invalid match conditions": "an expression that does not compile is refused",
        "AggregatedDiscovery should support aggregated discovery interface": "the built-in groups, versions and resources are all there",
        "AggregatedDiscovery should support aggregated discovery interface for CRDs": "a new definition is in the document",
        "AggregatedDiscovery should support raw aggregated discovery endpoint Accept headers": "v2 is answered to those who accept it",
        "AggregatedDiscovery should support raw aggregated discovery request for CRDs": "a new definition is in the raw document",
        "CustomResourceDefinition Watch watch on custom resource definition objects": "ADDED, MODIFIED and DELETED of custom resources",
        "CustomResourceDefinition resources creating/deleting custom resource definition objects works": "a definition is established and goes",
        "CustomResourceDefinition resources getting/updating/patching custom resource definition status sub-resource works": "conditions written through status are read back",
        "CustomResourceDefinition resources listing custom resource definition objects works": "ten are listed and deleted by label, others stay",
        "CustomResourceDefinition resources custom resource defaulting for requests and from storage works": "a default added later shows on stored objects",
        "CustomResourceDefinition resources should include custom resource definition resources in discovery documents": "group, version and resource are found",
        "CustomResourcePublishOpenAPI removes definition from spec when one version gets changed to not be served": "the version leaves OpenAPI",
        "CustomResourcePublishOpenAPI updates the published spec when one version gets renamed": "the new version is in OpenAPI, the old one is not",
        "CustomResourcePublishOpenAPI works for CRD preserving unknown fields at the schema root": "kubectl creates, applies and explains",
        "CustomResourcePublishOpenAPI works for CRD preserving unknown fields in an embedded object": "kubectl creates, applies and explains",
        "CustomResourcePublishOpenAPI works for CRD with validation schema": "kubectl refuses what the schema does, and explains it",
        "CustomResourcePublishOpenAPI works for CRD without validation schema": "kubectl creates, applies and explains",
        "CustomResourcePublishOpenAPI works for multiple CRDs of different groups": "both are in OpenAPI",
        "CustomResourcePublishOpenAPI works for multiple CRDs of same group and version but different kinds": "both are in OpenAPI",
        "CustomResourcePublishOpenAPI works for multiple CRDs of same group but different versions": "both are in OpenAPI",
        "Discovery should locate the groupVersion and a resource within each APIGroup": "every group lists resources",
        "Discovery should validate PreferredVersion for each APIGroup": "it is one of the group's versions",
        "FieldValidation should create/apply a CR with unknown fields for CRD with no validation schema": "accepted, Strict",
        "FieldValidation should create/apply a valid CR for CRD with validation schema": "accepted, Strict",
        "FieldValidation should create/apply an invalid CR with extra properties for CRD with validation schema": "refused by name of the field",
        "FieldValidation should detect duplicates in a CR when preserving unknown fields": "refused with the line of the key",
        "FieldValidation should detect unknown and duplicate fields of a typed object": "refused, both named in order",
        "FieldValidation should detect unknown metadata fields in both the root and embedded object of a CR": "refused, both named",
        "FieldValidation should detect unknown metadata fields of a typed object": "refused by name of the field",
        "Garbage collector should delete RS created by deployment when not orphaning": "Background",
        "Garbage collector should delete pods created by rc when not orphaning": "Background",
        "Garbage collector should keep the rc around until all its pods are deleted if the deleteOptions says so": "Foreground",
        "Garbage collector should not be blocked by dependency circle": "three pods that own one another go",
        "Garbage collector should not delete dependents that have both valid owner and owner that's waiting for dependents to be deleted": "shared pods stay",
        "Garbage collector should orphan RS created by deployment when deleteOptions.PropagationPolicy is Orphan": "the ReplicaSet stays, without an owner",
        "Garbage collector should orphan pods created by rc if delete options say so": "pods stay, without an owner",
        "Namespaces should apply a finalizer to a Namespace": "finalize sets and clears spec.finalizers",
        "Namespaces should apply an update to a Namespace": "a label by update",
        "Namespaces should apply changes to a namespace status": "conditions by patch and by update",
        "Namespaces should ensure that all pods are removed when a namespace is deleted": "pods go with it",
        "Namespaces should ensure that all services are removed when a namespace is deleted": "services go with it",
        "Namespaces should patch a Namespace": "a label by patch",
        "ResourceQuota should apply changes to a resourcequota status": "status.hard by update and patch, spec stays",
        "ResourceQuota should be able to update and delete ResourceQuota.": "hard limits are replaced",
        "ResourceQuota should manage the lifecycle of a ResourceQuota": "create, list, patch, deletecollection",
        "ResourceQuota should create a ResourceQuota and capture the life of a configMap.": "used follows it",
        "ResourceQuota should create a ResourceQuota and capture the life of a replica set.": "used follows it",
        "ResourceQuota should create a ResourceQuota and capture the life of a replication controller.": "used follows it",
        "ResourceQuota should create a ResourceQuota and capture the life of a secret.": "used follows it",
        "ResourceQuota should create a ResourceQuota and ensure its status is promptly calculated.": "hard and used are told",
        "ResourceQuota should verify ResourceQuota with best effort scope.": "each of two scopes counts its pods",
        "ResourceQuota should verify ResourceQuota with terminating scopes.": "each of two scopes counts its pods",
        "Servers with support for API chunking should return chunks of results for list calls": "pages of one state, with remainingItemCount",
        "Servers with support for API chunking should support continue listing from the last key if the original version has been compacted away, though the list is inconsistent": "410 carries a token that goes on",
        "Servers with support for Table transformation should return a 406 for a backend which does not implement metadata": "Table of a review",
        "ValidatingAdmissionPolicy should support ValidatingAdmissionPolicy API operations": OPERATIONS
        + "; status",
        "ValidatingAdmissionPolicy should support ValidatingAdmissionPolicyBinding API operations": OPERATIONS,
        "Watchers should be able to restart watching from the last resource version observed by the previous watch": "nothing is lost between",
        "Watchers should be able to start watching from a specific resource version": "only what came after",
        "Watchers should observe add, update, and delete watch notifications on configmaps": "each watcher its label",
        "Watchers should observe an object deletion if it stops meeting the requirements of the selector": "DELETED, and ADDED when it does again",
        "Watchers should receive events on concurrent watches in same order": "a watch from each event sees the same order",
        "server version should find the server version": "major and minor are integers",
    },
    "apps": {
        "ControllerRevision should manage the lifecycle of a ControllerRevision": "list, patch, create, delete, update, deletecollection",
        "CronJob should support CronJob API operations": OPERATIONS + "; status",
        "Daemon set should list and delete a collection of DaemonSets": "by label",
        "Daemon set should verify changes to a daemon set status": "read, update, patch of status",
        "Deployment should have a working scale subresource": "read, update, patch of scale",
        "Deployment should run the lifecycle of a Deployment": "create, patch, scale, status, list, delete, watched",
        "Deployment should validate Deployment Status endpoints": "read, update, patch of status",
        "DisruptionController Listing PodDisruptionBudgets for all namespaces should list and delete a collection of PodDisruptionBudgets": "by label",
        "DisruptionController should block an eviction until the PDB is updated to allow it": "429, then 201",
        "DisruptionController should create a PodDisruptionBudget": "create, update, patch, delete",
        "DisruptionController should observe PodDisruptionBudget status updated": "the controller counts the pods",
        "DisruptionController should update/patch PodDisruptionBudget status": "status by update and patch",
        "Job should adopt matching orphans and release non-matching pods": "owner references follow labels",
        "Job should apply changes to a job status": "read, update, patch of status",
        "Job should delete a job": "its pods go",
        "Job should manage the lifecycle of a job": "suspended job: patch, update, list, deletecollection",
        "ReplicaSet Replace and Patch tests": "scale by replace, patch",
        "ReplicaSet Replicaset should have a working scale subresource": "read, update, patch of scale",
        "ReplicaSet should adopt matching pods on creation and release no longer matching pods": "owner references follow labels",
        "ReplicaSet should list and delete a collection of ReplicaSets": "by label",
        "ReplicaSet should validate Replicaset Status endpoints": "read, update, patch of status",
        "ReplicationController should get and update a ReplicationController scale": "read and update of scale",
        "ReplicationController should test the lifecycle of a ReplicationController": "create, patch, status, scale, list, delete, watched",
        "StatefulSet should have a working scale subresource": "read, update, patch of scale",
        "StatefulSet should list, patch and delete a collection of StatefulSets": "by label",
        "StatefulSet should validate Statefulset Status endpoints": "read, update, patch of status",
    },
    "auth": {
        "Certificates API should support CSR API operations": OPERATIONS + "; approval, status",
        "ServiceAccounts should guarantee kube-root-ca.crt exist in any namespace": "made, made again, put right",
        "ServiceAccounts should allow opting out of API token automount": "the pod's word, then its service account's, then yes",
        "ServiceAccounts should run through the lifecycle of a ServiceAccount": "create, patch, list, delete, watched",
        "ServiceAccounts should update a ServiceAccount": "a field by update",
        "SubjectReview should support SubjectReview API operations": "what the reviews say of a service account, a client that impersonates it may do",
    },
    "instrumentation": {
        "Events API should delete a collection of events": "by label, events.k8s.io/v1",
        "Events API should ensure that an event can be fetched, patched, deleted, and listed": "events.k8s.io/v1",
        "Events should delete a collection of events": "by label, core",
        "Events should manage the lifecycle of an event": "create, list, patch, update, delete",
    },
    "network": {
        "EndpointSlice should have Endpoints and EndpointSlices pointing to API Server": "of the service kubernetes",
        "EndpointSlice should create and delete Endpoints and EndpointSlices for a Service with a selector specified": "they come and go with the service",
        "EndpointSlice should support creating EndpointSlice API operations": OPERATIONS,
        "EndpointSliceMirroring should mirror a custom Endpoints resource through create update and delete": "one slice that follows them and goes with them",
        "Ingress API should support creating Ingress API operations": OPERATIONS + "; status",
        "IngressClass API should support creating IngressClass API operations": OPERATIONS,
        "Services should be able to change the type from ClusterIP to ExternalName": "the address is released",
        "Services should be able to change the type from ExternalName to ClusterIP": "an address is given",
        "Services should be able to change the type from ExternalName to NodePort": "address and port are given",
        "Services should be able to change the type from NodePort to ExternalName": "address and port are released",
        "Services should complete a service status lifecycle": "status read, patched and updated, watched",
        "Services should delete a collection of services": "by label",
        "Services should find a service from listing all namespaces": "kubernetes in default",
        "Services should provide secure master service": "kubernetes serves https on 443",
        "Services should serve a basic endpoint from pods": "addresses follow the pods",
        "Services should test the lifecycle of an Endpoint": "create, update, patch, deletecollection, watched",
    },
    "node": {
        "ConfigMap should fail to create ConfigMap with empty key": "422",
        "ConfigMap should run through a ConfigMap lifecycle": "create, patch, list, deletecollection",
        "Lease lease API should be available": "create, get, update, patch, list, deletecollection, delete",
        "Node Lifecycle should run through the lifecycle of a node": "create, get, patch, list, update, delete",
        "PodTemplates should delete a collection of pod templates": "by label",
        "PodTemplates should replace a pod template": "an annotation by update",
        "PodTemplates should run the lifecycle of PodTemplates": "create, patch, list, delete",
        "Pods Extended Pods Set QOS Class should be set on Pods with matching resource requests and limits for memory and cpu": "Guaranteed",
        "Pods should be submitted and removed": "watched from creation to deletion",
        "Pods should be updated": "a label by update, found by it",
        "Pods should delete a collection of pods": "by label",
        "Pods should get a host IP": "of its node",
        "Pods should patch a pod status": "a message by patch",
        "Pods should run through the lifecycle of Pods and PodStatus": "create, patch, replace of status, delete",
        "RuntimeClass should reject a Pod requesting a deleted RuntimeClass": "403",
        "RuntimeClass should reject a Pod requesting a non-existent RuntimeClass": "403",
        "RuntimeClass should schedule a Pod requesting a RuntimeClass and initialize its Overhead": "overhead is copied",
        "RuntimeClass should schedule a Pod requesting a RuntimeClass without PodOverhead": "scheduled",
        "RuntimeClass should support RuntimeClasses API operations": OPERATIONS,
        "Secrets should fail to create secret due to empty secret key": "422",
        "Secrets should patch a secret": "create, list, patch, deletecollection",
        "Sysctls should reject invalid sysctls": "422, each named",
    },
    "scheduling": {
        "LimitRange should list, patch and delete a LimitRange by collection": "across namespaces, by label",
        "SchedulerPreemption PriorityClass endpoints verify PriorityClass endpoints can be operated with different HTTP methods": "value is immutable, the rest is not",
    },
    "storage": {
        "CSIInlineVolumes should run through the lifecycle of a CSIDriver": "create, patch, update, list, delete, deletecollection",
        "CSIInlineVolumes should support CSIVolumeSource in Pod API": "a pod with an inline volume",
        "CSINodes should run through the lifecycle of a csinode": "create, patch, update, list, delete, deletecollection",
        "CSIStorageCapacity should support CSIStorageCapacities API operations": OPERATIONS,
        "ConfigMap should be immutable if `immutable` field is set": "data and flag, not labels",
        "PersistentVolumes should apply changes to a pv/pvc status": "status by patch and update",
        "PersistentVolumes should run through the lifecycle of a PV and a PVC": "create, patch, update, list, delete, deletecollection",
        "Secrets should be immutable if `immutable` field is set": "data and flag, not labels",
        "StorageClasses should run through the lifecycle of a StorageClass": "create, patch, update, delete, deletecollection",
        "VolumeAttachment should apply changes to a volumeattachment status": "attached by patch and update",
        "VolumeAttachment should run through the lifecycle of a VolumeAttachment": "create, patch, update, list, delete, deletecollection",
    },
}

WEBHOOKS = "admission webhooks are stored, not called"
POLICIES = "admission policies are stored, not evaluated"
QUOTAS = "quotas are counted, not enforced"

LATER: dict[str, str] = {
    "AdmissionWebhook listing mutating webhooks should work": WEBHOOKS,
    "AdmissionWebhook listing validating webhooks should work": WEBHOOKS,
    "AdmissionWebhook patching/updating a mutating webhook should work": WEBHOOKS,
    "AdmissionWebhook patching/updating a validating webhook should work": WEBHOOKS,
    "AdmissionWebhook should be able to deny attaching pod": WEBHOOKS,
    "AdmissionWebhook should be able to deny custom resource creation, update and deletion": WEBHOOKS,
    "AdmissionWebhook should be able to deny pod and configmap creation": WEBHOOKS,
    "AdmissionWebhook should deny crd creation": WEBHOOKS,
    "AdmissionWebhook should honor timeout": WEBHOOKS,
    "AdmissionWebhook should mutate configmap": WEBHOOKS,
    "AdmissionWebhook should mutate custom resource": WEBHOOKS,
    "AdmissionWebhook should mutate custom resource with different stored version": WEBHOOKS,
    "AdmissionWebhook should mutate custom resource with pruning": WEBHOOKS,
    "AdmissionWebhook should mutate everything except 'skip-me' configmaps": WEBHOOKS,
    "AdmissionWebhook should mutate pod and apply defaults after mutation": WEBHOOKS,
    "AdmissionWebhook should not be able to mutate or prevent deletion of webhook configuration objects": WEBHOOKS,
    "AdmissionWebhook should unconditionally reject operations on fail closed webhook": WEBHOOKS,
    "Aggregator Should be able to support the 1.17 Sample API Server using the current Aggregator": "requests are not passed on to other API servers",
    "CustomResourceConversionWebhook should be able to convert a non homogeneous list of CRs": "needs a container with the webhook",
    "CustomResourceConversionWebhook should be able to convert from CR v1 to CR v2": "needs a container with the webhook",
    "ResourceQuota should create a ResourceQuota and capture the life of a pod.": QUOTAS,
    "ResourceQuota should create a ResourceQuota and capture the life of a service.": QUOTAS,
    "ValidatingAdmissionPolicy should allow expressions to refer variables.": POLICIES,
    "ValidatingAdmissionPolicy should validate against a Deployment": POLICIES,
    "ReplicationController should surface a failure condition on a common issue like exceeded quota": QUOTAS,
    "LimitRange should create a LimitRange with defaults and ensure pod has those defaults applied.": "limit ranges are stored, not applied",
    "ServiceAccounts should mount an API token into pods": "needs a container",
}

_NAMES = {name for tests in CATALOGUE.values() for name in tests}


def collect() -> None:
    """Fills `COVERED`."""
    for name in MODULES:
        importlib.import_module(f"tests.conformance.{name}")


def document() -> str:
    """docs/conformance.md."""
    collect()
    total = sum(len(tests) for tests in CATALOGUE.values())
    passed = sum(name in COVERED for tests in CATALOGUE.values() for name in tests)
    lines = [
        "# Conformance",
        "",
        "Upstream's conformance tests (`test/conformance/testdata/conformance.yaml`) that need no container, and the test of ours in",
        "`tests/conformance` that does what each of them does, against a running cluster with the official Python client, raw HTTP or",
        "kubectl. These are our own tests: upstream's binary has not been run. The table is made by",
        "`python -m tests.conformance.upstream > docs/conformance.md`, and a test keeps it up to date.",
        "",
        f"{passed} of {total} have a test of ours; {len(LATER)} more are named at the end, with what they wait for.",
        "Tests of DNS, networking between pods, volumes, probes, logs, `exec` and the like need containers and are not listed.",
        "",
    ]
    for sig, tests in CATALOGUE.items():
        lines += [f"## {sig}", "", "| upstream's test | what it asks | ours |", "| --- | --- | --- |"]
        for name, what in tests.items():
            where = ", ".join(f"`{w}`" for w in COVERED.get(name, ())) or "**no test yet**"
            lines.append(f"| {name} | {what} | {where} |")
        lines.append("")
    lines += ["## Not served yet", "", "| upstream's test | waits for |", "| --- | --- |"]
    lines += [f"| {name} | {why} |" for name, why in LATER.items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    from tests.conformance import upstream

    print(upstream.document(), end="")

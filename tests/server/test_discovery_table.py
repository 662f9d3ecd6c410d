"""What discovery says of every built-in resource, against upstream's recorded documents (api/discovery/*.json)."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from lakh.apis.catalogue import registry
from lakh.server.discovery import AGGREGATED_TYPE, Discovery

from .documents_client import body, request

# A line is a resource: its plural, `*` if it has no namespace, its kind, short names, categories, and what differs from ALL;
# the indented lines are its subresources: name, kind (its own if none is given) and verbs.
TABLE = """
v1
  bindings Binding verbs=create
  componentstatuses* ComponentStatus short=cs verbs=get,list
  configmaps ConfigMap short=cm
  endpoints Endpoints singular=endpoints short=ep
  events Event short=ev
  limitranges LimitRange short=limits
  namespaces* Namespace short=ns verbs=create,delete,get,list,patch,update,watch
    finalize Namespace update
    status
  nodes* Node short=no
    proxy NodeProxyOptions create,delete,get,patch,update
    status
  persistentvolumeclaims PersistentVolumeClaim short=pvc
    status
  persistentvolumes* PersistentVolume short=pv
    status
  pods Pod short=po categories=all
    attach PodAttachOptions create,get
    binding Binding create
    ephemeralcontainers
    eviction policy/v1/Eviction create
    exec PodExecOptions create,get
    log Pod get
    portforward PodPortForwardOptions create,get
    proxy PodProxyOptions create,delete,get,patch,update
    resize
    status
  podtemplates PodTemplate
  replicationcontrollers ReplicationController short=rc categories=all
    scale autoscaling/v1/Scale
    status
  resourcequotas ResourceQuota short=quota
    status
  secrets Secret
  serviceaccounts ServiceAccount short=sa
    token authentication.k8s.io/v1/TokenRequest create
  services Service short=svc categories=all
    proxy ServiceProxyOptions create,delete,get,patch,update
    status
admissionregistration.k8s.io/v1
  mutatingadmissionpolicies* MutatingAdmissionPolicy categories=api-extensions
  mutatingadmissionpolicybindings* MutatingAdmissionPolicyBinding categories=api-extensions
  mutatingwebhookconfigurations* MutatingWebhookConfiguration categories=api-extensions
  validatingadmissionpolicies* ValidatingAdmissionPolicy categories=api-extensions
    status
  validatingadmissionpolicybindings* ValidatingAdmissionPolicyBinding categories=api-extensions
  validatingwebhookconfigurations* ValidatingWebhookConfiguration categories=api-extensions
apiextensions.k8s.io/v1
  customresourcedefinitions* CustomResourceDefinition short=crd,crds categories=api-extensions
    status
apiregistration.k8s.io/v1
  apiservices* APIService categories=api-extensions
    status
apps/v1
  controllerrevisions ControllerRevision
  daemonsets DaemonSet short=ds categories=all
    status
  deployments Deployment short=deploy categories=all
    scale autoscaling/v1/Scale
    status
  replicasets ReplicaSet short=rs categories=all
    scale autoscaling/v1/Scale
    status
  statefulsets StatefulSet short=sts categories=all
    scale autoscaling/v1/Scale
    status
authentication.k8s.io/v1
  selfsubjectreviews* SelfSubjectReview verbs=create
  tokenreviews* TokenReview verbs=create
authorization.k8s.io/v1
  localsubjectaccessreviews LocalSubjectAccessReview verbs=create
  selfsubjectaccessreviews* SelfSubjectAccessReview verbs=create
  selfsubjectrulesreviews* SelfSubjectRulesReview verbs=create
  subjectaccessreviews* SubjectAccessReview verbs=create
autoscaling/v1
  horizontalpodautoscalers HorizontalPodAutoscaler short=hpa categories=all
    status
autoscaling/v2
  horizontalpodautoscalers HorizontalPodAutoscaler short=hpa categories=all
    status
batch/v1
  cronjobs CronJob short=cj categories=all
    status
  jobs Job categories=all
    status
certificates.k8s.io/v1
  certificatesigningrequests* CertificateSigningRequest short=csr
    approval
    status
coordination.k8s.io/v1
  leases Lease
discovery.k8s.io/v1
  endpointslices EndpointSlice
events.k8s.io/v1
  events Event short=ev
flowcontrol.apiserver.k8s.io/v1
  flowschemas* FlowSchema
    status
  prioritylevelconfigurations* PriorityLevelConfiguration
    status
networking.k8s.io/v1
  ingressclasses* IngressClass
  ingresses Ingress short=ing
    status
  ipaddresses* IPAddress short=ip
  networkpolicies NetworkPolicy short=netpol
  servicecidrs* ServiceCIDR
    status
node.k8s.io/v1
  runtimeclasses* RuntimeClass
policy/v1
  poddisruptionbudgets PodDisruptionBudget short=pdb
    status
rbac.authorization.k8s.io/v1
  clusterrolebindings* ClusterRoleBinding
  clusterroles* ClusterRole
  rolebindings RoleBinding
  roles Role
resource.k8s.io/v1
  deviceclasses* DeviceClass
  resourceclaims ResourceClaim
    status
  resourceclaimtemplates ResourceClaimTemplate
  resourceslices* ResourceSlice
scheduling.k8s.io/v1
  priorityclasses* PriorityClass short=pc
scheduling.k8s.io/v1alpha2
  podgroups PodGroup
    status
  workloads Workload
storage.k8s.io/v1
  csidrivers* CSIDriver
  csinodes* CSINode
  csistoragecapacities CSIStorageCapacity
  storageclasses* StorageClass short=sc
  volumeattachments* VolumeAttachment
    status
  volumeattributesclasses* VolumeAttributesClass short=vac
"""
ALL = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
BELOW = ["get", "patch", "update"]


def expected() -> dict[str, list[dict[str, Any]]]:
    """The table as the `resources` of plain documents, without hashes."""
    documents: dict[str, list[dict[str, Any]]] = {}
    version, parent = "", {}
    for line in TABLE.strip().splitlines():
        words = line.split()
        match len(line) - len(line.lstrip()):
            case 0:
                version = line
                documents[version] = []
            case 2:
                options = dict(word.split("=") for word in words[2:])
                parent = {
                    "name": words[0].rstrip("*"),
                    "singularName": options.get("singular", words[1].lower()),
                    "namespaced": not words[0].endswith("*"),
                    "kind": words[1],
                    "verbs": options["verbs"].split(",") if "verbs" in options else ALL,
                }
                for option, field in (("short", "shortNames"), ("categories", "categories")):
                    if option in options:
                        parent[field] = options[option].split(",")
                documents[version].append(parent)
            case _:
                *group, kind = words[1].split("/") if len(words) > 1 else [parent["kind"]]
                documents[version].append(
                    {
                        "name": f"{parent['name']}/{words[0]}",
                        "singularName": "",
                        "namespaced": parent["namespaced"],
                        "kind": kind,
                        "verbs": words[2].split(",") if len(words) > 2 else BELOW,
                        **dict(zip(("group", "version"), group, strict=False)),
                    }
                )
    return documents


EXPECTED = expected()


@pytest.fixture(scope="module")
def discovery() -> Discovery:
    return Discovery(registry())


def read(discovery: Discovery, path: str, accept: str = "") -> Any:
    answer = discovery.handle(request(path, accept=accept), path, {})
    assert answer is not None
    return msgspec.json.decode(body(answer))


@pytest.mark.parametrize("version", EXPECTED)
def test_resources_are_upstreams(discovery: Discovery, version: str) -> None:
    found = read(discovery, f"/apis/{version}" if "/" in version else f"/api/{version}")["resources"]
    hashed = {entry["name"] for entry in found if entry.pop("storageVersionHash", None)}
    assert {entry["name"]: entry for entry in found} == {entry["name"]: entry for entry in EXPECTED[version]}
    assert hashed == {entry["name"] for entry in EXPECTED[version] if "watch" in entry["verbs"]}


def test_nothing_is_served_beyond_the_table() -> None:
    assert {f"{r.group}/{r.version}".lstrip("/") for r in registry().all()} == set(EXPECTED)


def test_the_aggregated_form_says_the_same(discovery: Discovery) -> None:
    accept = AGGREGATED_TYPE.decode()
    groups = read(discovery, "/api", accept)["items"] + read(discovery, "/apis", accept)["items"]
    found: dict[str, list[dict[str, Any]]] = {}
    for group in groups:
        name = group["metadata"].get("name", "")
        for version in group["versions"]:
            listed = found.setdefault(f"{name}/{version['version']}".lstrip("/"), [])
            own = {"group": name, "version": version["version"]}
            for resource in version["resources"]:
                assert {k: resource["responseKind"][k] for k in own} == own
                listed.append(
                    _plain(resource, resource["resource"], resource["scope"], resource["singularResource"])
                )
                for below in resource.get("subresources", ()):
                    plain = _plain(
                        below, f"{resource['resource']}/{below['subresource']}", resource["scope"], ""
                    )
                    kind = {k: below["responseKind"][k] for k in own}
                    listed.append(plain | (kind if kind != own else {}))
    by_name = {v: {entry["name"]: entry for entry in listed} for v, listed in found.items()}
    assert by_name == {v: {entry["name"]: entry for entry in listed} for v, listed in EXPECTED.items()}


def _plain(entry: dict[str, Any], name: str, scope: str, singular: str) -> dict[str, Any]:
    """An entry of the aggregated form as the plain form has it."""
    return {
        "name": name,
        "singularName": singular,
        "namespaced": scope == "Namespaced",
        "kind": entry["responseKind"]["kind"],
        "verbs": entry["verbs"],
        **{field: entry[field] for field in ("shortNames", "categories") if field in entry},
    }

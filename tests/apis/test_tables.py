"""kubectl's tables against upstream's printers (pkg/printers/internalversion/printers.go and its callers): columns and cells."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from lakh.apis.catalogue import registry
from lakh.apis.definitions import schema
from lakh.apis.registry import Resource

# Columns with their type where it is no string; + means wide only. Kinds without a printer show when they were created.
CREATED = "Name, Created At:date"
NAMED = "Name, Age"
TEMPLATE = "Containers+, Images+"
COUNTED = f"Name, Desired:integer, Current:integer, Ready:integer, Age, {TEMPLATE}, Selector+"
EVENT = "Last Seen, Type, Reason, Object, Subobject+, Source+, Message, First Seen+, Count+, Name+"  # the name comes last
BINDING = "Name, Role, Age, Users+, Groups+, ServiceAccounts+"
WEBHOOKS = "Name, Webhooks:integer, Age"
POLICY_BINDING = "Name, PolicyName, ParamRef, Age"
AUTOSCALER = "Name, Reference, Targets, MinPods, MaxPods, Replicas, Age"
COLUMNS = {
    "/componentstatuses": "Name, Status, Message, Error",
    "/configmaps": "Name, Data, Age",
    "/endpoints": "Name, Endpoints, Age",
    "/events": EVENT,
    "/limitranges": CREATED,
    "/namespaces": "Name, Status, Age",
    "/nodes": "Name, Status, Roles, Age, Version, Internal-IP+, External-IP+, OS-Image+, Kernel-Version+, "
    "Container-Runtime+",
    "/persistentvolumeclaims": "Name, Status, Volume, Capacity, Access Modes, StorageClass, VolumeAttributesClass, "
    "Age, VolumeMode+",
    "/persistentvolumes": "Name, Capacity, Access Modes, Reclaim Policy, Status, Claim, StorageClass, "
    "VolumeAttributesClass, Reason, Age, VolumeMode+",
    "/pods": "Name, Ready, Status, Restarts, Age, IP+, Node+, Nominated Node+, Readiness Gates+",
    "/podtemplates": "Name, Containers, Images, Pod Labels",
    "/replicationcontrollers": COUNTED,
    "/resourcequotas": "Name, Request, Limit, Age",
    "/secrets": "Name, Type, Data, Age",
    "/serviceaccounts": "Name, Secrets, Age",
    "/services": "Name, Type, Cluster-IP, External-IP, Port(s), Age, Selector+",
    "admissionregistration.k8s.io/mutatingadmissionpolicies": "Name, Mutations:integer, ParamKind, Age",
    "admissionregistration.k8s.io/mutatingadmissionpolicybindings": POLICY_BINDING,
    "admissionregistration.k8s.io/mutatingwebhookconfigurations": WEBHOOKS,
    "admissionregistration.k8s.io/validatingadmissionpolicies": "Name, Validations:integer, ParamKind, Age",
    "admissionregistration.k8s.io/validatingadmissionpolicybindings": POLICY_BINDING,
    "admissionregistration.k8s.io/validatingwebhookconfigurations": WEBHOOKS,
    "apiextensions.k8s.io/customresourcedefinitions": CREATED,
    "apiregistration.k8s.io/apiservices": "Name, Service, Available, Age",
    "apps/controllerrevisions": "Name, Controller, Revision, Age",
    "apps/daemonsets": "Name, Desired:integer, Current:integer, Ready:integer, Up-to-date:integer, "
    f"Available:integer, Node Selector, Age, {TEMPLATE}, Selector+",
    "apps/deployments": f"Name, Ready, Up-to-date, Available, Age, {TEMPLATE}, Selector+",
    "apps/replicasets": COUNTED,
    "apps/statefulsets": f"Name, Ready, Age, {TEMPLATE}",
    "autoscaling/horizontalpodautoscalers": AUTOSCALER,
    "batch/cronjobs": "Name, Schedule, Timezone, Suspend:boolean, Active:integer, Last Schedule, Age, "
    f"{TEMPLATE}, Selector+",
    "batch/jobs": f"Name, Status, Completions, Duration, Age, {TEMPLATE}, Selector+",
    "certificates.k8s.io/certificatesigningrequests": "Name, Age, SignerName, Requestor, RequestedDuration, Condition",
    "coordination.k8s.io/leases": "Name, Holder, Age",
    "discovery.k8s.io/endpointslices": "Name, AddressType, Ports, Endpoints, Age",
    "events.k8s.io/events": EVENT,
    "flowcontrol.apiserver.k8s.io/flowschemas": "Name, PriorityLevel, MatchingPrecedence, DistinguisherMethod, Age, "
    "MissingPL",
    "flowcontrol.apiserver.k8s.io/prioritylevelconfigurations": "Name, Type, NominalConcurrencyShares, Queues, HandSize, "
    "QueueLengthLimit, Age",
    "networking.k8s.io/ingressclasses": "Name, Controller, Parameters, Age",
    "networking.k8s.io/ingresses": "Name, Class, Hosts, Address, Ports, Age",
    "networking.k8s.io/ipaddresses": "Name, ParentRef",
    "networking.k8s.io/networkpolicies": "Name, Pod-Selector, Age",
    "networking.k8s.io/servicecidrs": "Name, CIDRs, Age",
    "node.k8s.io/runtimeclasses": "Name, Handler, Age",
    "policy/poddisruptionbudgets": "Name, Min Available, Max Unavailable, Allowed Disruptions:integer, Age",
    "rbac.authorization.k8s.io/clusterrolebindings": BINDING,
    "rbac.authorization.k8s.io/clusterroles": CREATED,
    "rbac.authorization.k8s.io/rolebindings": BINDING,
    "rbac.authorization.k8s.io/roles": CREATED,
    "resource.k8s.io/deviceclasses": NAMED,
    "resource.k8s.io/resourceclaims": "Name, State, Age",
    "resource.k8s.io/resourceclaimtemplates": NAMED,
    "resource.k8s.io/resourceslices": "Name, Node, Driver, Pool, Age",
    # Upstream marks the last column as no wide one, and the server always prints wide.
    "scheduling.k8s.io/priorityclasses": "Name, Value:integer, Global-Default:boolean, Age, PreemptionPolicy",
    "storage.k8s.io/csidrivers": "Name, AttachRequired:boolean, PodInfoOnMount:boolean, StorageCapacity:boolean, "
    "TokenRequests, RequiresRepublish:boolean, Modes, Age",
    "storage.k8s.io/csinodes": "Name, Drivers:integer, Age",
    "storage.k8s.io/csistoragecapacities": "Name, StorageClassName, Capacity",
    "storage.k8s.io/storageclasses": "Name, Provisioner, ReclaimPolicy, VolumeBindingMode, AllowVolumeExpansion, Age",
    "storage.k8s.io/volumeattachments": "Name, Attacher, PV, Node, Attached:boolean, Age",
    "storage.k8s.io/volumeattributesclasses": "Name, DriverName, Age",
}

SHOWN = [r for r in registry().all() if "list" in r.verbs and "alpha" not in r.version]


def described(resource: Resource) -> str:
    return ", ".join(
        c.name + (f":{c.type}" if c.type != "string" else "") + "+" * c.priority
        for c in resource.strategy.columns
    )


@pytest.mark.parametrize("resource", SHOWN, ids=repr)
def test_columns_are_upstreams(resource: Resource) -> None:
    assert described(resource) == COLUMNS[f"{resource.group}/{resource.plural}"]


def test_every_kind_of_the_table_is_served() -> None:
    assert {f"{r.group}/{r.plural}" for r in SHOWN} == set(COLUMNS)


def test_names_are_marked_as_names() -> None:
    marked = {
        (r.plural, c.name)
        for r in SHOWN
        for c in r.strategy.columns
        if c.format == "name" and c.name != "Name"
    }
    assert marked == {("volumeattachments", "Attacher")}
    assert all(any(c.name == "Name" and c.format == "name" for c in r.strategy.columns) for r in SHOWN)


def shown(key: str, plain: dict[str, Any]) -> dict[str, Any]:
    """The cells of an object by their columns, at second 0 of an object of second 0."""
    group, _, plural = key.rpartition("/")
    resource = next(r for r in SHOWN if (r.group, r.plural) == (group, plural))
    metadata = {"name": "x", "creationTimestamp": "1970-01-01T00:00:00Z", **plain.get("metadata", {})}
    obj = msgspec.convert({**plain, "metadata": metadata}, schema().struct(resource.definition))
    resource.strategy.default(obj)
    cells = resource.strategy.cells(obj, 60.0)
    return dict(zip((c.name for c in resource.strategy.columns), cells, strict=True))


def ingress(*hosts: str) -> dict[str, Any]:
    return {"spec": {"rules": [{"host": host} if host else {} for host in hosts]}}


POINTS = {
    "loadBalancer": {
        "ingress": [{"ip": "10.0.0.9"}, {"hostname": "lb.example"}, {"ip": "10.0.0.10"}, {"ip": "10.0.0.9"}]
    }
}
SORTED = "10.0.0.10,10.0.0.9,lb.example"


@pytest.mark.parametrize(
    ("key", "plain", "cells"),
    [
        ("/configmaps", {"data": {"a": ""}, "binaryData": {"b": ""}}, {"Data": 2, "Age": "60s"}),
        ("/secrets", {"data": {"a": ""}}, {"Data": 1, "Type": "Opaque"}),
        ("/serviceaccounts", {"secrets": [{"name": "a"}]}, {"Secrets": 1}),
        ("/endpoints", {}, {"Endpoints": "<none>"}),
        ("/endpoints", {"subsets": [{"notReadyAddresses": [{"ip": "10.0.0.1"}]}]}, {"Endpoints": ""}),
        ("/endpoints", {"subsets": [{"addresses": [{"ip": "fd00::1"}]}]}, {"Endpoints": "fd00::1"}),
        (
            "/endpoints",
            {
                "subsets": [
                    {
                        "addresses": [{"ip": "fd00::1"}, {"ip": "10.0.0.1"}],
                        "ports": [{"port": 80}, {"port": 443}],
                    }
                ]
            },
            {"Endpoints": "[fd00::1]:80,10.0.0.1:80,[fd00::1]:443 + 1 more..."},
        ),
        (
            "/services",
            {"spec": {"type": "LoadBalancer", "externalIPs": ["1.2.3.4"]}, "status": POINTS},
            {"External-IP": f"{SORTED},1.2.3.4"},
        ),
        ("/services", {"spec": {"type": "LoadBalancer"}}, {"External-IP": "<pending>", "Selector": "<none>"}),
        (
            "networking.k8s.io/ingresses",
            {"status": POINTS},
            {"Address": SORTED, "Class": "<none>", "Ports": "80"},
        ),
        ("networking.k8s.io/ingresses", ingress("", ""), {"Hosts": "*"}),
        ("networking.k8s.io/ingresses", ingress("a", "b", "c"), {"Hosts": "a,b,c"}),
        ("networking.k8s.io/ingresses", ingress("a", "", "b", "c", ""), {"Hosts": "a,b,c + 2 more..."}),
        (
            "networking.k8s.io/ipaddresses",
            {"spec": {"parentRef": {"resource": "services", "namespace": "default", "name": "kubernetes"}}},
            {"ParentRef": "services/default/kubernetes"},
        ),
        (
            "discovery.k8s.io/endpointslices",
            {"ports": [], "endpoints": []},
            {"Ports": "<unset>", "Endpoints": "<unset>"},
        ),
        (
            "discovery.k8s.io/endpointslices",
            {
                "ports": [{"port": 80}, {"name": "web"}, {"name": ""}, {"port": 1}],
                "endpoints": [{"addresses": ["10.0.0.1", "10.0.0.2"]}, {"addresses": ["10.0.0.3"]}],
            },
            {"Ports": "80,web,* + 1 more...", "Endpoints": "10.0.0.1,10.0.0.2,10.0.0.3"},
        ),
        ("apps/deployments", {"spec": {"selector": {}}}, {"Selector": ""}),
        (
            "apps/deployments",
            {"spec": {"selector": {"matchExpressions": [{"key": "a", "operator": "Near"}]}}},
            {"Selector": "<invalid>"},
        ),
        ("apps/replicasets", {"spec": {"selector": {}}}, {"Selector": "<none>"}),
        ("flowcontrol.apiserver.k8s.io/flowschemas", {}, {"PriorityLevel": "", "MissingPL": "?"}),
        ("storage.k8s.io/csistoragecapacities", {}, {"Capacity": "<unset>"}),
        (
            "storage.k8s.io/volumeattributesclasses",
            {
                "metadata": {
                    "annotations": {"volumeattributesclass.alpha.kubernetes.io/is-default-class": "true"}
                }
            },
            {"Name": "x (default)"},
        ),
        (
            "admissionregistration.k8s.io/validatingadmissionpolicybindings",
            {
                "spec": {
                    "paramRef": {
                        "selector": {
                            "matchLabels": {"b": "2", "a": "1"},
                            "matchExpressions": [{"key": "c", "operator": "In", "values": ["d", "e"]}],
                        }
                    }
                }
            },
            {
                "ParamRef": "&LabelSelector{MatchLabels:map[string]string{a: 1,b: 2,},MatchExpressions:"
                "[]LabelSelectorRequirement{LabelSelectorRequirement{Key:c,Operator:In,Values:[d e],},},}"
            },
        ),
    ],
)
def test_cells_are_upstreams(key: str, plain: dict[str, Any], cells: dict[str, Any]) -> None:
    found = shown(key, plain)
    assert {name: found[name] for name in cells} == cells


@pytest.mark.parametrize(
    ("phase", "reasons"), [("Running", []), ("Succeeded", ["Succeeded"]), ("Failed", ["Failed"])]
)
def test_rows_of_ended_pods_say_so(phase: str, reasons: list[str]) -> None:
    pods = next(r for r in SHOWN if r.plural == "pods")
    pod = msgspec.convert(
        {"metadata": {"name": "x"}, "status": {"phase": phase}}, schema().struct(pods.definition)
    )
    conditions = pods.strategy.row_conditions(pod)
    assert [c["reason"] for c in conditions] == reasons
    assert all((c["type"], c["status"]) == ("Completed", "True") for c in conditions)

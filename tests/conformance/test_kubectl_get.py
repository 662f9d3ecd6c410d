"""kubectl that reads: get in all its forms, describe, explain, discovery, events, auth."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor

import pytest
import yaml

from . import manifests
from .cluster import Kubectl, eventually
from .conftest import NODES

pytestmark = pytest.mark.xdist_group("conformance")

POD_COLUMNS = ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]


def running(kubectl: Kubectl, *pods: str) -> None:
    kubectl("wait", "--for=condition=Ready", *(f"pod/{p}" for p in pods), "--timeout=240s")


def until_told(kubectl: Kubectl) -> None:
    """Waits for what is told of a pod that runs, by the scheduler and by its node: neither waits for the other."""
    reasons = {"Scheduled", "Pulled", "Created", "Started"}
    eventually(lambda: reasons <= {row[2] for row in kubectl("get", "events").rows}, "the pod's events")


class TestNodes:
    def test_columns(self, kubectl_everywhere: Kubectl) -> None:
        plain = kubectl_everywhere("get", "nodes")
        assert plain.header == ["NAME", "STATUS", "ROLES", "AGE", "VERSION"]
        assert len(plain.rows) == NODES
        assert plain.rows[0][0] == "trn2-00000"
        wide = kubectl_everywhere("get", "nodes", "-o", "wide")
        assert wide.header == [
            *plain.header,
            "INTERNAL-IP",
            "EXTERNAL-IP",
            "OS-IMAGE",
            "KERNEL-VERSION",
            "CONTAINER-RUNTIME",
        ]
        assert wide.rows[0][5:7] == ["172.16.0.1", "<none>"]

    def test_label_columns(self, kubectl_everywhere: Kubectl) -> None:
        output = kubectl_everywhere(
            "get", "nodes", "-L", "node.kubernetes.io/instance-type", "-L", "kubernetes.io/arch"
        )
        assert output.header[-2:] == ["INSTANCE-TYPE", "ARCH"]
        assert output.rows[0][-2:] == ["trn2.48xlarge", "amd64"]

    def test_formats(self, kubectl_everywhere: Kubectl) -> None:
        node = yaml.safe_load(kubectl_everywhere("get", "node", "trn2-00003", "-o", "yaml").stdout)
        assert (node["apiVersion"], node["kind"]) == ("v1", "Node")
        assert node["status"]["capacity"]["cpu"] == "192"
        # The DRA driver of `--devices` has the accelerators.
        assert "aws.amazon.com/neuron" not in node["status"]["capacity"]
        everything = kubectl_everywhere.json("get", "nodes")
        assert everything["kind"] == "List"
        assert {i["kind"] for i in everything["items"]} == {"Node"}
        assert everything["items"][3]["metadata"]["uid"] == node["metadata"]["uid"]
        names = kubectl_everywhere("get", "nodes", "-o", "name").lines
        assert names[0] == "node/trn2-00000"
        path = kubectl_everywhere("get", "nodes", "-o", "jsonpath={.items[*].metadata.name}").stdout
        assert path.split() == [n.removeprefix("node/") for n in names]
        columns = kubectl_everywhere(
            "get", "nodes", "-o", "custom-columns=NODE:.metadata.name,CPU:.status.capacity.cpu"
        )
        assert columns.header == ["NODE", "CPU"]
        assert columns.rows[0] == ["trn2-00000", "192"]
        template = kubectl_everywhere(
            "get", "node", "trn2-00000", "-o", "go-template={{.status.nodeInfo.architecture}}"
        )
        assert template.stdout == "amd64"

    def test_sorting(self, kubectl_everywhere: Kubectl) -> None:
        output = kubectl_everywhere(
            "get", "nodes", "--sort-by={.metadata.labels.topology\\.kubernetes\\.io/zone}"
        )
        assert output.header == ["NAME", "STATUS", "ROLES", "AGE", "VERSION"]
        zones = {
            n["metadata"]["name"]: n["metadata"]["labels"]["topology.kubernetes.io/zone"]
            for n in kubectl_everywhere.json("get", "nodes")["items"]
        }
        order = [zones[row[0]] for row in output.rows]
        assert order == sorted(order)

    def test_chunks(self, kubectl_everywhere: Kubectl) -> None:
        """--chunk-size pages through limit and continue."""
        output = kubectl_everywhere("get", "nodes", "--chunk-size=7", "-v=8")
        assert len(output.rows) == NODES
        assert output.stderr.count("continue=") >= 2

    def test_describe(self, kubectl_everywhere: Kubectl) -> None:
        output = kubectl_everywhere("describe", "node", "trn2-00001")
        assert not output.stderr
        for part in (
            r"^Name: +trn2-00001$",
            r"^Taints: +<none>$",
            r"^Unschedulable: +false$",
            r"^Lease:\n  HolderIdentity:  trn2-00001$",
            r"^  Ready +True .* KubeletReady ",
            r"^  cpu: +192$",
            r"^Non-terminated Pods:",
            r"^Allocated resources:",
        ):
            assert re.search(part, output.stdout, re.MULTILINE), f"{part} in\n{output}"
        assert "error" not in output.stdout.lower()

    def test_missing(self, kubectl_everywhere: Kubectl) -> None:
        output = kubectl_everywhere("get", "node", "nope", code=1)
        assert output.stderr == 'Error from server (NotFound): nodes "nope" not found\n'
        assert kubectl_everywhere("get", "node", "nope", "--ignore-not-found").stdout == ""


class TestPods:
    def test_lists(self, kubectl: Kubectl) -> None:
        kubectl("create", "-f", "-", input=[manifests.pod("a"), manifests.pod("b")])
        running(kubectl, "a", "b")
        plain = kubectl("get", "pods")
        assert plain.header == POD_COLUMNS
        assert [row[:4] for row in plain.rows] == [["a", "1/1", "Running", "0"], ["b", "1/1", "Running", "0"]]
        wide = kubectl("get", "pods", "-o", "wide")
        assert wide.header == [*POD_COLUMNS, "IP", "NODE", "NOMINATED NODE", "READINESS GATES"]
        assert wide.rows[0][6].startswith("trn2-")
        assert wide.rows[0][7:] == ["<none>", "<none>"]
        everywhere = kubectl("get", "pods", "-A")
        assert everywhere.header == ["NAMESPACE", *POD_COLUMNS]
        assert [kubectl.namespace, "a"] in [row[:2] for row in everywhere.rows]
        labels = kubectl("get", "pods", "--show-labels")
        assert labels.header == [*POD_COLUMNS, "LABELS"]
        assert labels.rows[0][-1] == "app=a"
        assert [r[0] for r in kubectl("get", "pods", "-l", "app=b").rows] == ["b"]
        assert [r[0] for r in kubectl("get", "pods", "-l", "app in (a,c),!x").rows] == ["a"]
        node = wide.rows[1][6]
        found = kubectl("get", "pods", f"--field-selector=spec.nodeName={node},metadata.name=b")
        assert [r[0] for r in found.rows] == ["b"]
        assert kubectl("get", "pods", "--field-selector=status.phase!=Running").stderr == (
            f"No resources found in {kubectl.namespace} namespace.\n"
        )
        refused = kubectl("get", "pods", "--field-selector=spec.hostname=b", code=1)
        assert refused.stderr == (
            'Error from server (BadRequest): Unable to find "/v1, Resource=pods" that match label selector "", field selector '
            '"spec.hostname=b": field label not supported: spec.hostname\n'
        )
        refused = kubectl("get", "pods", "-l", "app in a", code=1)
        assert refused.stderr.endswith(
            """field selector "": unable to parse requirement: found 'a' expected: '('\n"""
        )
        assert kubectl("get", "pods", "-o", "wide", "--no-headers").lines[0].startswith("a ")
        both = kubectl("get", "pods,configmaps")
        assert "pod/a" in both.stdout
        assert "configmap/kube-root-ca.crt" in both.stdout

    def test_describe(self, kubectl: Kubectl) -> None:
        kubectl("create", "-f", "-", input=manifests.pod("a"))
        running(kubectl, "a")
        until_told(kubectl)
        output = kubectl("describe", "pod", "a")
        assert not output.stderr
        for part in (
            r"^Name: +a$",
            r"^Service Account: +default$",
            r"^Node: +trn2-\d+/172\.16\.",
            r"^Status: +Running$",
            r"^IP: +10\.",
            r"^    State: +Running$",
            r"^    Ready: +True$",
            r"^  PodScheduled +True ",
            r"^QoS Class: +Burstable$",
            r"^  Normal +Scheduled +\S+ +default-scheduler +Successfully assigned \S+/a to trn2-",
            r"^  Normal +Started +\S+ +kubelet +",
        ):
            assert re.search(part, output.stdout, re.MULTILINE), f"{part} in\n{output}"

    def test_watch(self, kubectl: Kubectl) -> None:
        with kubectl.following("get", "pods", "-w", "--output-watch-events") as following:
            # It does not run before the watch has it, however long that takes.
            gated = json.dumps({"spec": {"schedulingGates": [{"name": "example.com/seen"}]}})
            kubectl("run", "web", "--image=nginx", f"--overrides={gated}")
            following.until("EVENT", "NAME", "READY", "STATUS", "RESTARTS", "AGE")
            following.until("ADDED", "web", "0/1", "SchedulingGated")
            kubectl(
                "patch", "pod", "web", "--type=json", "-p", '[{"op":"remove","path":"/spec/schedulingGates"}]'
            )
            following.until("MODIFIED", "web", "1/1", "Running")
            kubectl("delete", "pod", "web", "--wait=false")
            following.until("MODIFIED", "web", "Terminating")
            following.until("DELETED", "web")

    def test_managed_fields(self, kubectl: Kubectl) -> None:
        kubectl("run", "web", "--image=nginx")
        assert "managedFields" not in kubectl.json("get", "pod", "web")["metadata"]
        shown = json.loads(kubectl("get", "pod", "web", "-o", "json", "--show-managed-fields").stdout)
        entry = shown["metadata"]["managedFields"][0]
        assert (entry["manager"], entry["operation"], entry["apiVersion"]) == ("kubectl-run", "Update", "v1")
        assert entry["fieldsV1"]["f:metadata"]["f:labels"] == {".": {}, "f:run": {}}
        assert 'k:{"name":"web"}' in entry["fieldsV1"]["f:spec"]["f:containers"]

    def test_events(self, kubectl: Kubectl) -> None:
        kubectl("run", "web", "--image=nginx")
        running(kubectl, "web")
        until_told(kubectl)
        assert kubectl("get", "events").header == ["LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"]
        chosen = kubectl("get", "events", "--field-selector=involvedObject.name=web,reason=Scheduled")
        assert [row[3] for row in chosen.rows] == ["pod/web"]
        assert kubectl("events", "--for", "pod/web").header == [
            "LAST SEEN",
            "TYPE",
            "REASON",
            "OBJECT",
            "MESSAGE",
        ]

    def test_logs(self, kubectl: Kubectl) -> None:
        kubectl("run", "web", "--image=nginx")
        running(kubectl, "web")
        output = kubectl("logs", "web", code=None)
        assert output.stdout or output.stderr.startswith("Error from server")
        missing = kubectl("logs", "nope", code=1)
        assert 'pods "nope" not found' in missing.stderr


# Headers as the printers of v1.36 have them.
COLUMNS = {
    "configmaps": "NAME  DATA  AGE",
    "controllerrevisions": "NAME  CONTROLLER  REVISION  AGE",
    "cronjobs": "NAME  SCHEDULE  TIMEZONE  SUSPEND  ACTIVE  LAST SCHEDULE  AGE",
    "clusterroles": "NAME  CREATED AT",
    "clusterrolebindings": "NAME  ROLE  AGE",
    "customresourcedefinitions": "NAME  CREATED AT",
    "daemonsets": "NAME  DESIRED  CURRENT  READY  UP-TO-DATE  AVAILABLE  NODE SELECTOR  AGE",
    "deployments": "NAME  READY  UP-TO-DATE  AVAILABLE  AGE",
    "endpointslices": "NAME  ADDRESSTYPE  PORTS  ENDPOINTS  AGE",
    "horizontalpodautoscalers": "NAME  REFERENCE  TARGETS  MINPODS  MAXPODS  REPLICAS  AGE",
    "ingresses": "NAME  CLASS  HOSTS  ADDRESS  PORTS  AGE",
    "ingressclasses": "NAME  CONTROLLER  PARAMETERS  AGE",
    "jobs": "NAME  STATUS  COMPLETIONS  DURATION  AGE",
    "leases": "NAME  HOLDER  AGE",
    "limitranges": "NAME  CREATED AT",
    "namespaces": "NAME  STATUS  AGE",
    "networkpolicies": "NAME  POD-SELECTOR  AGE",
    "persistentvolumeclaims": (
        "NAME  STATUS  VOLUME  CAPACITY  ACCESS MODES  STORAGECLASS  VOLUMEATTRIBUTESCLASS  AGE"
    ),
    "persistentvolumes": (
        "NAME  CAPACITY  ACCESS MODES  RECLAIM POLICY  STATUS  CLAIM  STORAGECLASS  VOLUMEATTRIBUTESCLASS"
        "  REASON  AGE"
    ),
    "poddisruptionbudgets": "NAME  MIN AVAILABLE  MAX UNAVAILABLE  ALLOWED DISRUPTIONS  AGE",
    "priorityclasses": "NAME  VALUE  GLOBAL-DEFAULT  AGE  PREEMPTIONPOLICY",
    "replicasets": "NAME  DESIRED  CURRENT  READY  AGE",
    "replicationcontrollers": "NAME  DESIRED  CURRENT  READY  AGE",
    "resourcequotas": "NAME  REQUEST  LIMIT  AGE",
    "roles": "NAME  CREATED AT",
    "rolebindings": "NAME  ROLE  AGE",
    "runtimeclasses": "NAME  HANDLER  AGE",
    "secrets": "NAME  TYPE  DATA  AGE",
    "serviceaccounts": "NAME  SECRETS  AGE",
    "services": "NAME  TYPE  CLUSTER-IP  EXTERNAL-IP  PORT(S)  AGE",
    "statefulsets": "NAME  READY  AGE",
    "storageclasses": "NAME  PROVISIONER  RECLAIMPOLICY  VOLUMEBINDINGMODE  ALLOWVOLUMEEXPANSION  AGE",
    "validatingwebhookconfigurations": "NAME  WEBHOOKS  AGE",
}

ONE_OF_EACH = """
apiVersion: v1
kind: ConfigMap
metadata: {name: one}
data: {a: b}
---
apiVersion: apps/v1
kind: ControllerRevision
metadata: {name: one}
revision: 3
data: {a: b}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: one}
spec:
  schedule: "0 3 * * *"
  suspend: true
  jobTemplate:
    spec:
      template:
        spec: {restartPolicy: Never, containers: [{name: c, image: busybox}]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: conformance-one}
rules: [{apiGroups: [""], resources: [pods], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: conformance-one}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: conformance-one}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: jane}]
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: ones.conformance.example.com}
spec:
  group: conformance.example.com
  scope: Namespaced
  names: {plural: ones, singular: one, kind: One}
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: one}
spec:
  selector: {matchLabels: {app: one}}
  template:
    metadata: {labels: {app: one}}
    spec: {nodeSelector: {never: "true"}, containers: [{name: c, image: busybox}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: one}
spec:
  replicas: 0
  selector: {matchLabels: {app: one}}
  template:
    metadata: {labels: {app: one}}
    spec: {containers: [{name: c, image: busybox}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: one}
addressType: IPv4
endpoints: [{addresses: [10.0.0.1]}]
ports: [{port: 80}]
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: one}
spec:
  maxReplicas: 3
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: one}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: one}
spec:
  defaultBackend: {service: {name: one, port: {number: 80}}}
---
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: conformance-one}
spec: {controller: example.com/one}
---
apiVersion: batch/v1
kind: Job
metadata: {name: one}
spec:
  suspend: true
  template:
    spec: {restartPolicy: Never, containers: [{name: c, image: busybox}]}
---
apiVersion: coordination.k8s.io/v1
kind: Lease
metadata: {name: one}
spec: {holderIdentity: me}
---
apiVersion: v1
kind: LimitRange
metadata: {name: one}
spec: {limits: [{type: Container, max: {cpu: "4"}}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: one}
spec: {podSelector: {}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: one}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: conformance-one}
spec: {capacity: {storage: 1Gi}, accessModes: [ReadWriteOnce], hostPath: {path: /tmp/one}}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: one}
spec: {minAvailable: 1, selector: {matchLabels: {app: one}}}
---
apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata: {name: conformance-one}
value: 1000
---
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: one}
spec:
  replicas: 0
  selector: {matchLabels: {app: one}}
  template:
    metadata: {labels: {app: one}}
    spec: {containers: [{name: c, image: busybox}]}
---
apiVersion: v1
kind: ReplicationController
metadata: {name: one}
spec:
  replicas: 0
  selector: {app: one}
  template:
    metadata: {labels: {app: one}}
    spec: {containers: [{name: c, image: busybox}]}
---
apiVersion: v1
kind: ResourceQuota
metadata: {name: one}
spec: {hard: {pods: "12"}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: one}
rules: [{apiGroups: [""], resources: [pods], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: one}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: one}
subjects: [{kind: ServiceAccount, name: default, namespace: default}]
---
apiVersion: node.k8s.io/v1
kind: RuntimeClass
metadata: {name: conformance-one}
handler: runc
---
apiVersion: v1
kind: Secret
metadata: {name: one}
data: {password: c2VjcmV0}
---
apiVersion: v1
kind: Service
metadata: {name: one}
spec: {selector: {app: one}, ports: [{port: 80}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: one}
spec:
  replicas: 0
  serviceName: one
  selector: {matchLabels: {app: one}}
  template:
    metadata: {labels: {app: one}}
    spec: {containers: [{name: c, image: busybox}]}
---
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: conformance-one}
provisioner: example.com/one
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: conformance-one}
"""

# kubectl patches these each time, on any cluster: lists without merge keys that have got defaults, and a selector that is replaced.
ALWAYS_CONFIGURED = {"endpointslice.discovery.k8s.io", "limitrange", "poddisruptionbudget.policy"}
# Made by others than the manifest, or described by name only.
NOT_DESCRIBED = ("namespaces", "serviceaccounts", "customresourcedefinitions")


def test_one_of_each(kubectl: Kubectl) -> None:
    """Every kind is created, printed with its columns, described without an error, applied unchanged, and deleted."""
    created = kubectl("apply", "-f", "-", input=ONE_OF_EACH)
    assert len(created.lines) == ONE_OF_EACH.count("\nkind:"), created
    assert all(line.endswith(" created") for line in created.lines), created
    try:
        again = kubectl("apply", "-f", "-", input=ONE_OF_EACH)
        changed = {line.split("/")[0] for line in again.lines if not line.endswith(" unchanged")}
        assert changed == ALWAYS_CONFIGURED
        with ThreadPoolExecutor(4) as pool:
            shown = dict(zip(COLUMNS, pool.map(lambda kind: kubectl("get", kind), COLUMNS), strict=True))
            assert {k: "  ".join(o.header) for k, o in shown.items()} == COLUMNS
            described = pool.map(
                lambda kind: kubectl(
                    "describe", kind, "conformance-one" if "conformance-one" in shown[kind].stdout else "one"
                ),
                [k for k in COLUMNS if k not in NOT_DESCRIBED],
            )
            for output in described:
                assert re.match(r"Name: +(conformance-)?one\n", output.stdout), output
                assert not output.stderr, output
    finally:
        kubectl("delete", "-f", "-", "--timeout=240s", input=ONE_OF_EACH)


class TestDescribe:
    def test_workloads(self, kubectl: Kubectl) -> None:
        kubectl(
            "create", "-f", "-",
            input=[
                manifests.deployment("web", 2),
                manifests.service("web"),
                manifests.job("work", completions=2, parallelism=2),
                manifests.daemonset("agent"),
            ],
        )  # fmt: skip
        kubectl("rollout", "status", "deployment/web", "--timeout=240s")
        kubectl("wait", "--for=condition=Complete", "job/work", "--timeout=240s")
        expected = {
            "deployment": (
                "web",
                r"^Replicas: +2 desired \| 2 updated \| 2 total \| 2 available \| 0 unavailable$",
            ),
            "rs": ("", r"^Controlled By: +Deployment/web$"),
            "service": ("web", r"^Type: +ClusterIP$"),
            "job": ("work", r"^Pods Statuses: +0 Active \(0 Ready\) / 2 Succeeded / 0 Failed$"),
            "daemonset": ("agent", r"^Desired Number of Nodes Scheduled: +20$"),
        }
        for kind, (name, part) in expected.items():

            def described(kind: str = kind, name: str = name, part: str = part) -> bool:
                output = kubectl("describe", kind, *([name] if name else []))
                assert not output.stderr, output
                assert re.search(part, output.stdout, re.MULTILINE), f"{part} in\n{output}"
                return True

            eventually(described, f"describe {kind}")
        for kind, reason in (("deployment/web", "ScalingReplicaSet"), ("job/work", "SuccessfulCreate")):
            eventually(
                lambda kind=kind, reason=reason: reason in kubectl("describe", kind).stdout,  # type: ignore[misc]
                f"the event {reason}",
            )

    def test_namespace(self, kubectl: Kubectl) -> None:
        kubectl("create", "quota", "pods", "--hard=pods=5")
        output = kubectl("describe", "namespace", kubectl.namespace)
        assert f"kubernetes.io/metadata.name={kubectl.namespace}" in output.stdout
        assert re.search(r"^Status: +Active$", output.stdout, re.MULTILINE)
        assert "Resource Quotas" in output.stdout
        assert not output.stderr


class TestDiscovery:
    def test_resources(self, kubectl_everywhere: Kubectl) -> None:
        output = kubectl_everywhere("api-resources")
        assert output.header == ["NAME", "SHORTNAMES", "APIVERSION", "NAMESPACED", "KIND"]
        lines = [line.split() for line in output.lines]
        for line in (
            "pods po v1 true Pod",
            "nodes no v1 false Node",
            "deployments deploy apps/v1 true Deployment",
            "jobs batch/v1 true Job",
            "events ev events.k8s.io/v1 true Event",
            "horizontalpodautoscalers hpa autoscaling/v2 true HorizontalPodAutoscaler",
        ):
            assert line.split() in lines
        wide = kubectl_everywhere("api-resources", "--api-group=apps", "-o", "wide")
        assert wide.header[-2:] == ["VERBS", "CATEGORIES"]
        assert "create,delete,deletecollection,get,list,patch,update,watch" in wide.stdout
        names = kubectl_everywhere("api-resources", "--namespaced=false", "-o", "name").lines
        assert "nodes" in names
        assert "pods" not in names

    def test_versions(self, kubectl_everywhere: Kubectl) -> None:
        lines = kubectl_everywhere("api-versions").lines
        assert lines == sorted(lines)
        assert {"v1", "apps/v1", "batch/v1", "autoscaling/v1", "autoscaling/v2"} <= set(lines)
        version = kubectl_everywhere.json("version")
        assert version["serverVersion"]["major"] == "1"
        assert version["serverVersion"]["minor"] == "36"

    def test_cluster_info(self, kubectl_everywhere: Kubectl) -> None:
        output = kubectl_everywhere("cluster-info")
        assert "Kubernetes control plane" in output.stdout
        assert "is running at" in output.stdout

    def test_component_statuses(self, kubectl_everywhere: Kubectl) -> None:
        statuses = kubectl_everywhere("get", "componentstatuses")
        assert statuses.header == ["NAME", "STATUS", "MESSAGE", "ERROR"]
        assert ["etcd-0", "Healthy", "ok"] in statuses.rows
        assert {row[0] for row in statuses.rows} in (
            {"etcd-0"},
            {"scheduler", "controller-manager", "etcd-0"},
        )
        one = kubectl_everywhere.json("get", "cs", "etcd-0")
        assert one["conditions"] == [{"type": "Healthy", "status": "True", "message": "ok"}]
        missing = kubectl_everywhere("get", "cs", "etcd-7", code=1)
        assert "Component not found: etcd-7" in missing.stderr

    def test_explain(self, kubectl_everywhere: Kubectl) -> None:
        output = kubectl_everywhere("explain", "pod.spec.containers.resources")
        assert output.lines[:2] == ["KIND:       Pod", "VERSION:    v1"]
        assert "FIELD: resources <ResourceRequirements>" in output.stdout
        assert "DESCRIPTION:" in output.stdout
        assert re.search(r"^  limits\t<map\[string\]Quantity>$", output.stdout, re.MULTILINE)
        enumeration = kubectl_everywhere("explain", "deployment.spec.strategy.type")
        assert "GROUP:      apps" in enumeration.stdout
        assert "Recreate" in enumeration.stdout
        tree = kubectl_everywhere("explain", "job.spec", "--recursive")
        assert re.search(r"^ +backoffLimitPerIndex\t<integer>$", tree.stdout, re.MULTILINE)
        wrong = kubectl_everywhere("explain", "pod.spec.nope", code=1)
        assert wrong.stderr == 'error: field "nope" does not exist\n'
        older = kubectl_everywhere("explain", "hpa", "--api-version=autoscaling/v1")
        assert "VERSION:    v1" in older.stdout

    def test_raw(self, kubectl_everywhere: Kubectl) -> None:
        assert kubectl_everywhere("get", "--raw", "/readyz").stdout == "ok"
        assert "[+]ping ok" in kubectl_everywhere("get", "--raw", "/readyz?verbose").stdout
        groups = json.loads(kubectl_everywhere("get", "--raw", "/apis").stdout)
        assert groups["kind"] == "APIGroupList"
        node = json.loads(kubectl_everywhere("get", "--raw", "/api/v1/nodes/trn2-00000").stdout)
        assert node["kind"] == "Node"
        missing = kubectl_everywhere("get", "--raw", "/apis/nope/v1", code=1)
        assert (
            missing.stderr
            == "Error from server (NotFound): the server could not find the requested resource\n"
        )

    def test_unknown_kind(self, kubectl_everywhere: Kubectl) -> None:
        output = kubectl_everywhere("get", "unicorns", code=1)
        assert output.stderr == 'error: the server doesn\'t have a resource type "unicorns"\n'

    def test_top(self, kubectl_everywhere: Kubectl) -> None:
        for what in ("nodes", "pods"):
            assert kubectl_everywhere("top", what, code=1).stderr == "error: Metrics API not available\n"


class TestAuth:
    def test_whoami(self, kubectl_everywhere: Kubectl) -> None:
        output = kubectl_everywhere("auth", "whoami")
        assert output.header == ["ATTRIBUTE", "VALUE"]
        attributes = {row[0]: row[1] for row in output.rows}
        assert attributes["Username"]
        assert "system:authenticated" in attributes["Groups"]

    def test_can_i(self, kubectl_everywhere: Kubectl) -> None:
        assert kubectl_everywhere("auth", "can-i", "create", "pods").stdout == "yes\n"
        listed = kubectl_everywhere("auth", "can-i", "--list")
        assert listed.header == ["Resources", "Non-Resource URLs", "Resource Names", "Verbs"]

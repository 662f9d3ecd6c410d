"""kubectl that writes: create, apply (client-side, server-side, dry run, diff), edit, replace, patch, label, annotate, delete, wait."""

from __future__ import annotations

import json
import re
import threading
from typing import Any

import pytest

from . import manifests
from .cluster import Kubectl, eventually

pytestmark = pytest.mark.xdist_group("conformance")


class TestApply:
    def test_created_unchanged_configured(self, kubectl: Kubectl) -> None:
        def apply(image: str) -> str:
            return kubectl("apply", "-f", "-", input=manifests.deployment("web", 0, image)).stdout

        assert apply("nginx:1.27") == "deployment.apps/web created\n"
        assert apply("nginx:1.27") == "deployment.apps/web unchanged\n"
        assert apply("nginx:1.28") == "deployment.apps/web configured\n"
        live = kubectl.json("get", "deployment", "web")
        assert live["spec"]["template"]["spec"]["containers"][0]["image"] == "nginx:1.28"
        assert live["metadata"]["generation"] == 2
        last = json.loads(live["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"])
        assert last["spec"]["replicas"] == 0

    def test_removes_what_is_left_out(self, kubectl: Kubectl) -> None:
        kubectl("apply", "-f", "-", input=manifests.configmap("settings", a="1", b="2"))
        kubectl("apply", "-f", "-", input=manifests.configmap("settings", a="1"))
        assert kubectl.json("get", "configmap", "settings")["data"] == {"a": "1"}

    def test_prune(self, kubectl: Kubectl) -> None:
        def labelled(name: str) -> dict[str, object]:
            return {**manifests.configmap(name), "metadata": {"name": name, "labels": {"set": "x"}}}

        kubectl("apply", "-f", "-", input=[labelled("a"), labelled("b")])
        output = kubectl(
            "apply",
            "-f",
            "-",
            "--prune",
            "-l",
            "set=x",
            "--prune-allowlist=core/v1/ConfigMap",
            input=[labelled("a")],
        )
        assert "configmap/b pruned" in output.stdout

    def test_validation(self, kubectl: Kubectl) -> None:
        wrong = manifests.deployment("web")
        wrong["spec"]["replica"] = 3
        output = kubectl("apply", "-f", "-", input=wrong, code=1)
        assert 'strict decoding error: unknown field "spec.replica"' in output.stderr
        assert kubectl("get", "deployments").stdout == ""
        mistyped = manifests.deployment("web")
        mistyped["spec"]["replicas"] = "three"
        output = kubectl("apply", "-f", "-", input=mistyped, code=1)
        assert "spec.replicas" in output.stderr
        invalid = manifests.deployment("web")
        invalid["spec"]["selector"] = {"matchLabels": {"app": "other"}}
        output = kubectl("apply", "-f", "-", input=invalid, code=1)
        assert output.stderr.startswith('The Deployment "web" is invalid: ')
        assert "`selector` does not match template `labels`" in output.stderr

    def test_dry_run(self, kubectl: Kubectl) -> None:
        output = kubectl(
            "apply", "-f", "-", "--dry-run=server", "-o", "json", input=manifests.deployment("web")
        )
        made = json.loads(output.stdout)
        assert made["spec"]["strategy"]["type"] == "RollingUpdate"
        assert made["metadata"]["uid"]
        assert kubectl("get", "deployments").stdout == ""
        said = kubectl("apply", "-f", "-", "--dry-run=server", input=manifests.deployment("web"))
        assert said.stdout == "deployment.apps/web created (server dry run)\n"

    def test_diff(self, kubectl: Kubectl) -> None:
        kubectl("apply", "-f", "-", input=manifests.deployment("web", 0))
        # A status that is written while kubectl compares is a difference.
        eventually(
            lambda: kubectl("diff", "-f", "-", input=manifests.deployment("web", 0), code=None).code == 0,
            "nothing differs",
        )
        different = kubectl("diff", "-f", "-", input=manifests.deployment("web", 0, "nginx:1.28"), code=1)
        assert re.search(r"^-\s+- image: nginx:1.27$", different.stdout, re.MULTILINE), different
        assert re.search(r"^\+\s+- image: nginx:1.28$", different.stdout, re.MULTILINE)
        assert re.search(r"^\+  generation: 2$", different.stdout, re.MULTILINE)

    def test_set_last_applied(self, kubectl: Kubectl) -> None:
        kubectl("apply", "-f", "-", input=manifests.configmap("settings", a="1"))
        shown = kubectl("apply", "view-last-applied", "configmap/settings", "-o", "json")
        assert json.loads(shown.stdout)["data"] == {"a": "1"}


class TestServerSideApply:
    def test_conflict(self, kubectl: Kubectl) -> None:
        def apply(manager: str, value: str, *more: str, code: int = 0) -> str:
            output = kubectl(
                "apply", "--server-side", f"--field-manager={manager}", *more, "-f", "-",
                input=manifests.configmap("settings", shared=value, **{manager: "mine"}), code=code,
            )  # fmt: skip
            return output.stderr if code else output.stdout

        assert apply("one", "1") == "configmap/settings serverside-applied\n"
        refused = apply("two", "2", code=1)
        assert refused.startswith('error: Apply failed with 1 conflict: conflict with "one": .data.shared\n')
        assert apply("two", "2", "--force-conflicts") == "configmap/settings serverside-applied\n"
        live = json.loads(kubectl("get", "cm", "settings", "-o", "json", "--show-managed-fields").stdout)
        assert live["data"] == {"shared": "2", "one": "mine", "two": "mine"}
        owned = {m["manager"]: m["fieldsV1"]["f:data"] for m in live["metadata"]["managedFields"]}
        assert owned["one"] == {"f:one": {}}
        assert owned["two"] == {"f:shared": {}, "f:two": {}}
        # What a manager leaves out goes when nobody else has it.
        kubectl(
            "apply", "--server-side", "--field-manager=one", "-f", "-", input=manifests.configmap("settings")
        )
        assert kubectl.json("get", "cm", "settings")["data"] == {"shared": "2", "two": "mine"}

    def test_conflict_with_client_side(self, kubectl: Kubectl) -> None:
        kubectl("apply", "-f", "-", input=manifests.deployment("web", 0, "nginx:1.27"))
        refused = kubectl(
            "apply", "--server-side", "--field-manager=ci", "-f", "-",
            input=manifests.deployment("web", 0, "nginx:1.28"), code=1,
        )  # fmt: skip
        assert 'conflict with "kubectl-client-side-apply" using apps/v1' in refused.stderr
        assert '.spec.template.spec.containers[name="web"].image' in refused.stderr
        # kubectl's own server-side apply takes over from its client-side one.
        kubectl("apply", "--server-side", "-f", "-", input=manifests.deployment("web", 0, "nginx:1.28"))
        live = json.loads(kubectl("get", "deploy", "web", "-o", "json", "--show-managed-fields").stdout)
        managers = {(m["manager"], m["operation"]) for m in live["metadata"]["managedFields"]}
        assert ("kubectl", "Apply") in managers
        assert ("kubectl-client-side-apply", "Update") not in managers

    def test_two_versions_of_a_kind(self, kubectl: Kubectl) -> None:
        """Who applied one version is in the way of who applies the other, by the fields that both of them mean."""

        def autoscaler(version: str, **spec: Any) -> dict[str, Any]:
            target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "none"}
            return {
                "apiVersion": f"autoscaling/{version}",
                "kind": "HorizontalPodAutoscaler",
                "metadata": {"name": "h"},
                "spec": {"maxReplicas": 3, "scaleTargetRef": target, **spec},
            }

        cpu = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}
        newer = autoscaler("v2", metrics=[{"type": "Resource", "resource": cpu}])
        older = autoscaler("v1", targetCPUUtilizationPercentage=60)
        kubectl("apply", "--server-side", "--field-manager=two", "-f", "-", input=newer)
        apply = ("apply", "--server-side", "--field-manager=one", "-f", "-")
        refused = kubectl(*apply, input=older, code=1)
        assert 'conflict with "two": .spec.metrics' in refused.stderr
        kubectl(*apply, "--force-conflicts", input=older)
        live = json.loads(kubectl("get", "hpa", "h", "-o", "json", "--show-managed-fields").stdout)
        assert live["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"] == 60
        fields = {m["manager"]: (m["apiVersion"], m["fieldsV1"]) for m in live["metadata"]["managedFields"]}
        assert fields["one"][0] == "autoscaling/v1"
        assert "f:targetCPUUtilizationPercentage" in fields["one"][1]["f:spec"]
        assert fields["two"][0] == "autoscaling/v2" and "f:metrics" not in fields["two"][1]["f:spec"]

    def test_unchanged_writes_nothing(self, kubectl: Kubectl) -> None:
        kubectl("apply", "--server-side", "-f", "-", input=manifests.configmap("settings", a="1"))
        first = kubectl.json("get", "cm", "settings")["metadata"]["resourceVersion"]
        kubectl("apply", "--server-side", "-f", "-", input=manifests.configmap("settings", a="1"))
        assert kubectl.json("get", "cm", "settings")["metadata"]["resourceVersion"] == first

    def test_dry_run_and_diff(self, kubectl: Kubectl) -> None:
        output = kubectl(
            "apply",
            "--server-side",
            "--dry-run=server",
            "-f",
            "-",
            input=manifests.configmap("settings", a="1"),
        )
        assert output.stdout == "configmap/settings serverside-applied (server dry run)\n"
        kubectl("get", "cm", "settings", code=1)
        kubectl("apply", "--server-side", "-f", "-", input=manifests.configmap("settings", a="1"))
        diff = kubectl(
            "diff", "--server-side", "-f", "-", input=manifests.configmap("settings", a="2"), code=1
        )
        assert re.search(r'^\+  a: "2"$', diff.stdout, re.MULTILINE)


class TestEdit:
    def test_edit(self, kubectl: Kubectl) -> None:
        kubectl("apply", "-f", "-", input=manifests.deployment("web", 0))
        output = kubectl("edit", "deployment", "web", env={"KUBE_EDITOR": "sed -i s/nginx:1.27/nginx:1.28/"})
        assert output.stdout == "deployment.apps/web edited\n"
        live = kubectl.json("get", "deploy", "web")
        assert live["spec"]["template"]["spec"]["containers"][0]["image"] == "nginx:1.28"

    def test_no_change(self, kubectl: Kubectl) -> None:
        kubectl("apply", "-f", "-", input=manifests.configmap("settings", a="1"))
        output = kubectl("edit", "configmap", "settings", env={"KUBE_EDITOR": "true"})
        assert output.stderr == "Edit cancelled, no changes made.\n"

    def test_refused_edit_is_shown_and_saved(self, kubectl: Kubectl) -> None:
        kubectl("apply", "-f", "-", input=manifests.deployment("web", 0))
        output = kubectl(
            "edit", "deployment", "web", env={"KUBE_EDITOR": "sed -i s/maxSurge:.*/maxSurge:-25%/"}, code=1
        )
        assert "A copy of your changes has been stored to" in output.stderr
        assert kubectl.json("get", "deploy", "web")["spec"]["strategy"]["rollingUpdate"]["maxSurge"] == "25%"

    def test_status(self, kubectl: Kubectl) -> None:
        kubectl("create", "-f", "-", input=manifests.deployment("web", 0, paused=True))
        output = kubectl(
            "edit", "deployment", "web", "--subresource=status",
            env={"KUBE_EDITOR": "sed -i s/.*observedGeneration:.*/\\ \\ observedGeneration:\\ 1/"}, code=None,
        )  # fmt: skip
        assert "error" not in output.stderr.lower(), output


class TestCreate:
    def test_generators(self, kubectl: Kubectl) -> None:
        """The generators send protobuf."""
        for arguments, said in (
            (("configmap", "settings", "--from-literal=a=1"), "configmap/settings created"),
            (("secret", "generic", "token", "--from-literal=a=1"), "secret/token created"),
            (("serviceaccount", "robot"), "serviceaccount/robot created"),
            (("deployment", "web", "--image=nginx", "--replicas=0"), "deployment.apps/web created"),
            (("service", "clusterip", "web", "--tcp=80"), "service/web created"),
            (("job", "once", "--image=busybox", "--", "true"), "job.batch/once created"),
            (
                ("cronjob", "often", "--image=busybox", "--schedule=0 3 * * *"),
                "cronjob.batch/often created",
            ),
            (("quota", "pods", "--hard=pods=100"), "resourcequota/pods created"),
            (
                ("role", "reader", "--verb=get", "--resource=pods"),
                "role.rbac.authorization.k8s.io/reader created",
            ),
            (
                ("rolebinding", "reader", "--role=reader", "--user=jane"),
                "rolebinding.rbac.authorization.k8s.io/reader created",
            ),
            (
                ("poddisruptionbudget", "web", "--selector=app=web", "--min-available=1"),
                "poddisruptionbudget.policy/web created",
            ),
            (
                ("ingress", "web", "--rule=example.com/*=web:80"),
                "ingress.networking.k8s.io/web created",
            ),
        ):
            assert kubectl("create", *arguments).stdout == said + "\n"
        token = kubectl("create", "token", "robot").stdout.strip()
        assert token.count(".") == 2
        assert kubectl.json("get", "secret", "token")["data"] == {"a": "MQ=="}

    def test_namespace(self, kubectl: Kubectl) -> None:
        name = f"{kubectl.namespace}-more"
        assert kubectl("create", "namespace", name).stdout == f"namespace/{name} created\n"
        again = kubectl("create", "namespace", name, code=1)
        assert again.stderr == f'Error from server (AlreadyExists): namespaces "{name}" already exists\n'
        assert kubectl("delete", "namespace", name).stdout == f'namespace "{name}" deleted\n'
        assert "not found" in kubectl("get", "namespace", name, code=1).stderr

    def test_run_and_expose(self, kubectl: Kubectl) -> None:
        assert kubectl("run", "web", "--image=nginx", "--port=80").stdout == "pod/web created\n"
        assert (
            kubectl("expose", "pod", "web", "--port=8080", "--target-port=80").stdout
            == "service/web exposed\n"
        )
        service = kubectl.json("get", "service", "web")
        assert service["spec"]["selector"] == {"run": "web"}
        assert service["spec"]["ports"] == [{"port": 8080, "protocol": "TCP", "targetPort": 80}]
        kubectl("create", "-f", "-", input=manifests.deployment("api", 0))
        assert kubectl("autoscale", "deployment", "api", "--min=1", "--max=3", "--cpu-percent=80").code == 0
        assert kubectl("get", "hpa", "api").rows[0][1] == "Deployment/api"

    def test_errors(self, kubectl: Kubectl) -> None:
        bad = kubectl("create", "configmap", "Not_A_Name", code=1)
        assert "a lowercase RFC 1123 subdomain must consist of" in bad.stderr
        lost = kubectl.within("nowhere")("create", "-f", "-", input=manifests.configmap("a"), code=1)
        assert (
            lost.stderr
            == 'Error from server (NotFound): error when creating "STDIN": namespaces "nowhere" not found\n'
        )
        unknown = kubectl(
            "create",
            "-f",
            "-",
            input={"apiVersion": "zoo/v1", "kind": "Unicorn", "metadata": {"name": "a"}},
            code=1,
        )
        assert 'no matches for kind "Unicorn" in version "zoo/v1"' in unknown.stderr
        generated = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "many-"}}
        names = {kubectl("create", "-f", "-", "-o", "name", input=generated).stdout for _ in range(2)}
        assert len(names) == 2
        assert all(re.fullmatch(r"configmap/many-[a-z0-9]{5}\n", n) for n in names)


class TestChange:
    def test_label_and_annotate(self, kubectl: Kubectl) -> None:
        kubectl("create", "-f", "-", input=manifests.configmap("a"))
        assert kubectl("label", "cm", "a", "tier=gold").stdout == "configmap/a labeled\n"
        refused = kubectl("label", "cm", "a", "tier=iron", code=1)
        assert "'tier' already has a value (gold), and --overwrite is false" in refused.stderr
        kubectl("label", "cm", "a", "tier=iron", "--overwrite")
        assert kubectl("label", "cm", "a", "tier=iron").stdout == "configmap/a not labeled\n"
        assert kubectl("get", "cm", "-l", "tier=iron", "-o", "name").stdout == "configmap/a\n"
        assert kubectl("label", "cm", "a", "tier-").stdout == "configmap/a unlabeled\n"
        assert kubectl("annotate", "cm", "a", "note=hello world").stdout == "configmap/a annotated\n"
        assert kubectl.json("get", "cm", "a")["metadata"]["annotations"] == {"note": "hello world"}
        invalid = kubectl("label", "cm", "a", "x=-", code=1)
        assert "a valid label must be an empty string or consist of" in invalid.stderr

    def test_patch(self, kubectl: Kubectl) -> None:
        kubectl("create", "-f", "-", input=manifests.deployment("web", 0))

        def patch(kind: str, body: object, code: int = 0) -> str:
            output = kubectl(
                "patch", "deployment", "web", f"--type={kind}", "-p", json.dumps(body), code=code
            )
            return output.stdout + output.stderr

        def containers() -> list[dict[str, object]]:
            found: list[dict[str, object]] = kubectl.json("get", "deploy", "web")["spec"]["template"]["spec"][
                "containers"
            ]
            return found

        sidecar = {"spec": {"template": {"spec": {"containers": [{"name": "side", "image": "busybox"}]}}}}
        assert patch("strategic", sidecar) == "deployment.apps/web patched\n"
        assert [c["name"] for c in containers()] == ["side", "web"]
        assert patch("strategic", sidecar) == "deployment.apps/web patched (no change)\n"
        gone = {"spec": {"template": {"spec": {"containers": [{"name": "side", "$patch": "delete"}]}}}}
        patch("strategic", gone)
        assert [c["name"] for c in containers()] == ["web"]
        patch("merge", {"metadata": {"labels": {"app": None, "new": "1"}}})
        assert kubectl.json("get", "deploy", "web")["metadata"]["labels"] == {"new": "1"}
        patch(
            "json", [{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "nginx:2"}]
        )
        assert containers()[0]["image"] == "nginx:2"
        refused = patch("json", [{"op": "test", "path": "/spec/replicas", "value": 9}], code=1)
        # kubectl shows no more of a failed test than this, whatever the server is.
        assert refused == (
            "The request is invalid: the server rejected our request due to an error in our request\n"
        )
        immutable = patch("merge", {"spec": {"selector": {"matchLabels": {"app": "x"}}}}, code=1)
        assert "field is immutable" in immutable
        kubectl(
            "patch", "deploy", "web", "--subresource=scale", "--type=merge", "-p", '{"spec":{"replicas":1}}'
        )
        assert kubectl.json("get", "deploy", "web")["spec"]["replicas"] == 1

    def test_replace(self, kubectl: Kubectl) -> None:
        kubectl("create", "-f", "-", input=manifests.configmap("a", x="1"))
        live = kubectl.json("get", "cm", "a")
        live["data"] = {"y": "2"}
        assert kubectl("replace", "-f", "-", input=live).stdout == "configmap/a replaced\n"
        assert kubectl.json("get", "cm", "a")["data"] == {"y": "2"}
        stale = kubectl("replace", "-f", "-", input=live, code=1)
        assert (
            'Operation cannot be fulfilled on configmaps "a": the object has been modified; please apply your '
            "changes to the latest version and try again"
        ) in stale.stderr
        forced = kubectl("replace", "--force", "-f", "-", input=manifests.configmap("a", z="3"))
        assert forced.stdout == 'configmap "a" deleted\nconfigmap/a replaced\n'
        missing = kubectl("replace", "-f", "-", input=manifests.configmap("nope"), code=1)
        assert 'configmaps "nope" not found' in missing.stderr


class TestDelete:
    def test_names_labels_all(self, kubectl: Kubectl) -> None:
        kubectl("create", "-f", "-", input=[manifests.pod(n) for n in ("a", "b", "c", "d")])
        assert kubectl("delete", "pod", "a").stdout == 'pod "a" deleted\n'
        assert kubectl("delete", "pod", "-l", "app=b").stdout == 'pod "b" deleted\n'
        assert sorted(kubectl("delete", "pods", "--all").lines) == ['pod "c" deleted', 'pod "d" deleted']
        assert kubectl("get", "pods").stdout == ""
        missing = kubectl("delete", "pod", "a", code=1)
        assert missing.stderr == 'Error from server (NotFound): pods "a" not found\n'
        assert kubectl("delete", "pod", "a", "--ignore-not-found").code == 0
        assert kubectl("delete", "pods", "--all").stdout == "No resources found\n"

    def test_force(self, kubectl: Kubectl) -> None:
        kubectl("create", "-f", "-", input=manifests.pod("a", nodeName="no-such-node"))
        output = kubectl("delete", "pod", "a", "--grace-period=0", "--force")
        assert output.stdout == 'pod "a" force deleted\n'
        assert "Immediate deletion does not wait for confirmation" in output.stderr
        assert kubectl("get", "pods").stdout == ""

    def test_graceful(self, kubectl: Kubectl) -> None:
        """A pod that takes long to stop is Terminating as long."""
        slow = manifests.pod("a")
        slow["metadata"]["annotations"]["lakh.dev/stop-seconds"] = "300"
        kubectl("create", "-f", "-", input=slow)
        kubectl("wait", "--for=condition=Ready", "pod/a")
        kubectl("delete", "pod", "a", "--wait=false", "--grace-period=200")
        live = kubectl.json("get", "pod", "a")
        assert live["metadata"]["deletionGracePeriodSeconds"] == 200
        assert kubectl("get", "pods").rows[0][2] == "Terminating"
        kubectl("delete", "pod", "a", "--grace-period=1", "--timeout=240s")
        kubectl("get", "pod", "a", code=1)

    @pytest.mark.parametrize("policy", ["background", "foreground", "orphan"])
    def test_cascade(self, kubectl: Kubectl, policy: str) -> None:
        kubectl("create", "-f", "-", input=manifests.deployment("web", 2))
        kubectl("rollout", "status", "deployment/web", "--timeout=240s")
        kubectl("delete", "deployment", "web", f"--cascade={policy}", "--timeout=240s")
        if policy == "orphan":
            sets = kubectl.json("get", "rs")["items"]
            assert len(sets) == 1
            assert "ownerReferences" not in sets[0]["metadata"]
            assert len(kubectl("get", "pods").rows) == 2
            return
        if policy == "foreground":
            assert kubectl("get", "rs").stdout == ""
        eventually(lambda: kubectl("get", "rs,pods").stdout == "", "the dependents are gone")

    def test_finalizers_hold(self, kubectl: Kubectl) -> None:
        held = manifests.configmap("a")
        held["metadata"]["finalizers"] = ["example.com/hold"]
        kubectl("create", "-f", "-", input=held)
        kubectl("delete", "cm", "a", "--wait=false")
        assert kubectl.json("get", "cm", "a")["metadata"]["deletionTimestamp"]
        late = kubectl("wait", "--for=delete", "cm/a", "--timeout=1s", code=1)
        assert "timed out waiting for the condition on configmaps/a" in late.stderr
        kubectl("patch", "cm", "a", "--type=json", "-p", '[{"op":"remove","path":"/metadata/finalizers"}]')
        kubectl("get", "cm", "a", code=1)

    def test_namespace_takes_everything(self, kubectl: Kubectl) -> None:
        name = f"{kubectl.namespace}-gone"
        inside = kubectl.within(name)
        kubectl("create", "namespace", name)
        eventually(lambda: inside("get", "sa", "default", code=None).code == 0, "the ServiceAccount")
        inside("create", "-f", "-", input=[manifests.deployment("web", 2), manifests.configmap("a")])
        inside("rollout", "status", "deployment/web", "--timeout=240s")
        kubectl("delete", "namespace", name, "--timeout=240s")
        assert "not found" in kubectl("get", "namespace", name, code=1).stderr
        assert kubectl("get", "pods", "-A", f"--field-selector=metadata.namespace={name}").stdout == ""


class TestWait:
    def test_conditions(self, kubectl: Kubectl) -> None:
        kubectl("create", "-f", "-", input=manifests.pod("a"))
        assert kubectl("wait", "--for=condition=Ready", "pod/a").stdout == "pod/a condition met\n"
        assert (
            kubectl("wait", "--for=jsonpath={.status.phase}=Running", "pod/a").stdout
            == "pod/a condition met\n"
        )
        late = kubectl("wait", "--for=condition=Ready=false", "pod/a", "--timeout=1s", code=1)
        assert late.stderr == "error: timed out waiting for the condition on pods/a\n"
        kubectl("delete", "pod", "a", "--wait=false")
        kubectl("wait", "--for=delete", "pod/a", "--timeout=240s")
        kubectl("get", "pod", "a", code=1)

    def test_create(self, kubectl: Kubectl) -> None:
        found: list[str] = []
        waiter = threading.Thread(
            target=lambda: found.append(
                kubectl("wait", "--for=create", "cm/later", "--timeout=240s", code=None).stdout
            )
        )
        waiter.start()
        kubectl("create", "configmap", "later")
        waiter.join()
        assert found == ["configmap/later condition met\n"]

"""kubectl on workloads: rollouts, scaling, Jobs, DaemonSets, StatefulSets."""

from __future__ import annotations

import re
import time

import pytest

from . import manifests
from .cluster import Kubectl, eventually
from .conftest import NODES

pytestmark = pytest.mark.xdist_group("conformance")


def image(kubectl: Kubectl, name: str = "web") -> str:
    found: str = kubectl(
        "get", "deploy", name, "-o", "jsonpath={.spec.template.spec.containers[0].image}"
    ).stdout
    return found


class TestDeployments:
    def test_rollout(self, kubectl: Kubectl) -> None:
        kubectl("apply", "-f", "-", input=manifests.deployment("web", 3))
        done = kubectl("rollout", "status", "deployment/web", "--timeout=240s")
        assert done.lines[-1] == 'deployment "web" successfully rolled out'
        assert kubectl("get", "deploy", "web").rows[0][:4] == ["web", "3/3", "3", "3"]
        wide = kubectl("get", "deploy,rs", "-o", "wide")
        assert wide.header[-3:] == ["CONTAINERS", "IMAGES", "SELECTOR"]

        assert (
            kubectl("set", "image", "deployment/web", "web=nginx:1.28").stdout
            == "deployment.apps/web image updated\n"
        )
        kubectl("annotate", "deployment/web", "kubernetes.io/change-cause=newer nginx")
        kubectl("rollout", "status", "deployment/web", "--timeout=240s")
        sets = {r[0]: r[1:4] for r in kubectl("get", "rs").rows}
        assert sorted(sets.values()) == [["0", "0", "0"], ["3", "3", "3"]]
        images = kubectl("get", "pods", "-o", "jsonpath={.items[*].spec.containers[0].image}").stdout.split()
        assert images.count("nginx:1.28") == 3

        # The rollout may have ended before it was told why.
        eventually(
            lambda: (
                [
                    line.split(maxsplit=1)
                    for line in kubectl("rollout", "history", "deployment/web").lines[2:4]
                ]
                == [["1", "<none>"], ["2", "newer nginx"]]
            ),
            "the revisions say why",
        )
        history = kubectl("rollout", "history", "deployment/web")
        assert history.lines[:2] == ["deployment.apps/web ", "REVISION  CHANGE-CAUSE"]
        old = kubectl("rollout", "history", "deployment/web", "--revision=1")
        assert re.search(r"^    Image:\s+nginx:1.27$", old.stdout, re.MULTILINE), old

        assert kubectl("rollout", "undo", "deployment/web").stdout == "deployment.apps/web rolled back\n"
        kubectl("rollout", "status", "deployment/web", "--timeout=240s")
        assert image(kubectl) == "nginx:1.27"
        revisions = [
            line.split()[0] for line in kubectl("rollout", "history", "deployment/web").lines[2:] if line
        ]
        assert revisions == ["2", "3"]
        kubectl("rollout", "undo", "deployment/web", "--to-revision=2")
        assert image(kubectl) == "nginx:1.28"
        wrong = kubectl("rollout", "undo", "deployment/web", "--to-revision=99", code=1)
        assert wrong.stderr == "error: unable to find specified revision 99 in history\n"

    def test_restart_pause_resume(self, kubectl: Kubectl) -> None:
        kubectl("apply", "-f", "-", input=manifests.deployment("web", 2))
        kubectl("rollout", "status", "deployment/web", "--timeout=240s")
        before = set(kubectl("get", "pods", "-o", "name").lines)
        assert kubectl("rollout", "restart", "deployment/web").stdout == "deployment.apps/web restarted\n"
        kubectl("rollout", "status", "deployment/web", "--timeout=240s")
        eventually(
            lambda: not before & set(kubectl("get", "pods", "-o", "name").lines), "the old pods are gone"
        )
        assert kubectl("rollout", "pause", "deployment/web").stdout == "deployment.apps/web paused\n"
        again = kubectl("rollout", "pause", "deployment/web", code=1)
        assert again.stderr == 'error: deployments.apps "web" is already paused\n'
        kubectl("set", "image", "deployment/web", "web=nginx:1.28")
        why = "0 out of 2 new replicas have been updated"
        eventually(lambda: why in kubectl("rollout", "status", "deployment/web", "--watch=false").stdout)
        assert "DeploymentPaused" in kubectl("describe", "deployment", "web").stdout
        assert kubectl("rollout", "resume", "deployment/web").stdout == "deployment.apps/web resumed\n"
        kubectl("rollout", "status", "deployment/web", "--timeout=240s")

    def test_scale(self, kubectl: Kubectl) -> None:
        kubectl("apply", "-f", "-", input=manifests.deployment("web", 1))
        assert kubectl("scale", "deployment/web", "--replicas=4").stdout == "deployment.apps/web scaled\n"
        kubectl("wait", "--for=jsonpath={.status.readyReplicas}=4", "deployment/web", "--timeout=240s")
        refused = kubectl("scale", "deployment/web", "--replicas=2", "--current-replicas=9", code=1)
        assert refused.stderr == "error: Expected replicas to be 9, was 4\n"
        kubectl("scale", "deployment/web", "--replicas=0")
        eventually(lambda: kubectl("get", "pods").stdout == "", "the pods are gone")
        eventually(
            lambda: kubectl("get", "deploy", "web").rows[0][:4] == ["web", "0/0", "0", "0"], "all is counted"
        )

    def test_stuck_rollout(self, kubectl: Kubectl) -> None:
        """A rollout that cannot go on says so."""
        stuck = manifests.deployment("web", 1, progressDeadlineSeconds=1)
        stuck["spec"]["template"]["spec"]["nodeSelector"] = {"no": "where"}
        kubectl("apply", "-f", "-", input=stuck)
        output = kubectl("rollout", "status", "deployment/web", "--timeout=240s", code=1)
        assert 'error: deployment "web" exceeded its progress deadline' in output.stderr
        eventually(
            lambda: "FailedScheduling" in kubectl("get", "events").stdout, "the event FailedScheduling"
        )
        pods = kubectl("get", "pods")
        assert pods.rows[0][1:3] == ["0/1", "Pending"]
        assert f"0/{NODES} nodes are available" in kubectl("describe", "pods").stdout

    def test_proportions(self, kubectl: Kubectl) -> None:
        """A rolling update never has fewer than the allowed pods available."""
        kubectl("apply", "-f", "-", input=manifests.deployment("web", 8))
        kubectl("rollout", "status", "deployment/web", "--timeout=240s")
        kubectl("set", "image", "deployment/web", "web=nginx:1.28")
        low = 8
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            live = kubectl.json("get", "deploy", "web")
            status = live["status"]
            low = min(low, status.get("availableReplicas", 0))
            assert status.get("replicas", 0) <= 10
            if (
                status.get("observedGeneration") == live["metadata"]["generation"]
                and status.get("updatedReplicas")
                == status.get("availableReplicas")
                == status.get("replicas")
                == 8
            ):
                break
        assert low >= 6


class TestJobs:
    def test_indexed(self, kubectl: Kubectl) -> None:
        kubectl(
            "create", "-f", "-",
            input=manifests.job("work", completions=4, parallelism=2, completionMode="Indexed"),
        )  # fmt: skip
        assert (
            kubectl("wait", "--for=condition=Complete", "job/work", "--timeout=240s").stdout
            == "job.batch/work condition met\n"
        )
        output = kubectl("get", "jobs")
        assert output.header == ["NAME", "STATUS", "COMPLETIONS", "DURATION", "AGE"]
        assert output.rows[0][:3] == ["work", "Complete", "4/4"]
        assert "Completed Indexes:  0-3" in kubectl("describe", "job", "work").stdout
        pods = kubectl.json("get", "pods", "-l", "batch.kubernetes.io/job-name=work")["items"]
        indexes = {p["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"] for p in pods}
        assert indexes == {"0", "1", "2", "3"}
        assert all(re.fullmatch(r"work-[0-3]-[a-z0-9]{5}", p["metadata"]["name"]) for p in pods)
        assert {row[2] for row in kubectl("get", "pods").rows} == {"Completed"}
        eventually(
            lambda: "finalizers" not in kubectl("get", "pods", "-o", "json").stdout,
            "all pods are accounted for",
        )

    def test_failing(self, kubectl: Kubectl) -> None:
        kubectl("create", "-f", "-", input=manifests.job("bad", exit_code=3, backoffLimit=0))
        kubectl("wait", "--for=condition=Failed", "job/bad", "--timeout=240s")
        live = kubectl.json("get", "job", "bad")
        failed = next(c for c in live["status"]["conditions"] if c["type"] == "Failed")
        assert failed["reason"] == "BackoffLimitExceeded"
        assert live["status"]["failed"] == 1
        assert kubectl("get", "jobs").rows[0][:3] == ["bad", "Failed", "0/1"]
        assert kubectl("get", "pods").rows[0][2] == "Error"
        pod = kubectl.json("get", "pods")["items"][0]
        assert pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 3

    def test_time_to_live(self, kubectl: Kubectl) -> None:
        kubectl("create", "-f", "-", input=manifests.job("short", ttlSecondsAfterFinished=1))
        kubectl("wait", "--for=delete", "job/short", "--timeout=240s")
        eventually(lambda: kubectl("get", "pods").stdout == "", "its pods are gone")

    def test_suspend_and_resume(self, kubectl: Kubectl) -> None:
        kubectl(
            "create", "-f", "-", input=manifests.job("work", run_seconds="600", suspend=True, parallelism=2)
        )
        kubectl("wait", "--for=condition=Suspended", "job/work", "--timeout=240s")
        assert kubectl("get", "jobs").rows[0][1] == "Suspended"
        assert kubectl("get", "pods").stdout == ""
        kubectl("patch", "job", "work", "-p", '{"spec":{"suspend":false}}')
        kubectl("wait", "--for=jsonpath={.status.ready}=2", "job/work", "--timeout=240s")
        kubectl("patch", "job", "work", "-p", '{"spec":{"suspend":true}}')
        eventually(lambda: kubectl("get", "pods").stdout == "", "the pods are gone")

    def test_deadline(self, kubectl: Kubectl) -> None:
        kubectl("create", "-f", "-", input=manifests.job("slow", run_seconds="600", activeDeadlineSeconds=1))
        kubectl("wait", "--for=condition=Failed", "job/slow", "--timeout=240s")
        conditions = kubectl.json("get", "job", "slow")["status"]["conditions"]
        assert any(c["reason"] == "DeadlineExceeded" for c in conditions)

    def test_cron(self, kubectl: Kubectl) -> None:
        """A job made by hand from a CronJob belongs to it."""
        template = {"spec": manifests.job("x")["spec"]}
        kubectl(
            "create", "-f", "-",
            input={
                "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "often"},
                "spec": {"schedule": "0 0 1 1 *", "jobTemplate": template},
            },
        )  # fmt: skip
        assert kubectl("create", "job", "now", "--from=cronjob/often").stdout == "job.batch/now created\n"
        kubectl("wait", "--for=condition=Complete", "job/now", "--timeout=240s")
        owner = kubectl.json("get", "job", "now")["metadata"]["ownerReferences"][0]
        assert (owner["kind"], owner["name"]) == ("CronJob", "often")

    def test_job_without_its_pods(self, kubectl: Kubectl) -> None:
        """kubectl deletes jobs with their pods."""
        kubectl("create", "-f", "-", input=manifests.job("work", run_seconds="600"))
        kubectl("wait", "--for=jsonpath={.status.ready}=1", "job/work", "--timeout=240s")
        kubectl("delete", "job", "work")
        eventually(lambda: kubectl("get", "pods").stdout == "", "the pods are gone")


class TestDaemonSets:
    def test_one_a_node(self, kubectl: Kubectl) -> None:
        kubectl("apply", "-f", "-", input=manifests.daemonset("agent"))
        done = kubectl("rollout", "status", "daemonset/agent", "--timeout=240s")
        assert done.lines[-1] == 'daemon set "agent" successfully rolled out'
        row = kubectl("get", "ds").rows[0]
        assert row[:6] == ["agent", *[str(NODES)] * 5]
        nodes = kubectl("get", "pods", "-o", "jsonpath={.items[*].spec.nodeName}").stdout.split()
        assert len(set(nodes)) == len(nodes) == NODES
        kubectl(
            "patch", "ds", "agent", "-p", '{"spec":{"template":{"spec":{"nodeSelector":{"no":"where"}}}}}'
        )
        eventually(lambda: kubectl("get", "pods").stdout == "", "no node fits")


class TestStatefulSets:
    def test_in_order(self, kubectl: Kubectl) -> None:
        db = manifests.deployment("db", 3)
        db["kind"] = "StatefulSet"
        db["spec"]["serviceName"] = "db"
        kubectl("apply", "-f", "-", input=db)
        kubectl("rollout", "status", "statefulset/db", "--timeout=240s")
        assert [row[0] for row in kubectl("get", "pods").rows] == ["db-0", "db-1", "db-2"]
        assert kubectl("get", "sts").rows[0][:2] == ["db", "3/3"]
        kubectl("scale", "sts/db", "--replicas=1")
        eventually(lambda: kubectl("get", "pods", "-o", "name").lines == ["pod/db-0"], "db-0 alone is left")

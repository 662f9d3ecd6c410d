"""kubectl on nodes: taint, cordon, drain with evictions and disruption budgets, a node that dies."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from . import manifests
from .cluster import Kubectl, Output, eventually

pytestmark = pytest.mark.xdist_group("conformance")


@pytest.fixture
def node(kubectl: Kubectl) -> Iterator[str]:
    """A node to do things to; schedulable again afterwards."""
    name = "trn2-00007"
    yield name
    kubectl("uncordon", name)


def on_node(name: str, node: str, **spec: object) -> dict[str, object]:
    """A pod that the scheduler can place on one node only."""
    return manifests.pod(name, nodeSelector={"kubernetes.io/hostname": node}, **spec)


class TestTaints:
    def test_taint(self, kubectl: Kubectl, node: str) -> None:
        assert kubectl("taint", "node", node, "dedicated=ml:NoSchedule").stdout == f"node/{node} tainted\n"
        assert "dedicated=ml:NoSchedule" in kubectl("describe", "node", node).stdout
        again = kubectl("taint", "node", node, "dedicated=ml:NoSchedule", code=1)
        assert "already has dedicated taint(s) with same effect(s) and --overwrite is false" in again.stderr
        tolerant = on_node("tolerant", node, tolerations=[{"key": "dedicated", "operator": "Exists"}])
        kubectl("create", "-f", "-", input=[on_node("shy", node), tolerant])
        kubectl("wait", "--for=condition=Ready", "pod/tolerant", "--timeout=240s")
        assert kubectl.json("get", "pod", "shy")["status"]["phase"] == "Pending"
        assert kubectl("taint", "node", node, "dedicated-").stdout == f"node/{node} untainted\n"
        kubectl("wait", "--for=condition=Ready", "pod/shy", "--timeout=240s")

    def test_no_execute(self, kubectl: Kubectl, node: str) -> None:
        kubectl("create", "-f", "-", input=on_node("a", node))
        kubectl("wait", "--for=condition=Ready", "pod/a", "--timeout=240s")
        kubectl("taint", "node", node, "broken=yes:NoExecute")
        try:
            kubectl("wait", "--for=delete", "pod/a", "--timeout=240s")
        finally:
            kubectl("taint", "node", node, "broken-")


class TestDrain:
    def test_cordon(self, kubectl: Kubectl, node: str) -> None:
        assert kubectl("cordon", node).stdout == f"node/{node} cordoned\n"
        assert kubectl("cordon", node).stdout == f"node/{node} already cordoned\n"
        assert kubectl("get", "node", node).rows[0][1] == "Ready,SchedulingDisabled"
        assert "Unschedulable:      true" in kubectl("describe", "node", node).stdout
        kubectl("create", "-f", "-", input=on_node("a", node))
        kubectl(
            "wait", "--for=jsonpath={.status.conditions[0].reason}=Unschedulable", "pod/a", "--timeout=240s"
        )
        assert kubectl("uncordon", node).stdout == f"node/{node} uncordoned\n"
        kubectl("wait", "--for=condition=Ready", "pod/a", "--timeout=240s")

    def test_drain(self, kubectl: Kubectl, node: str) -> None:
        """kubectl sends evictions as protobuf."""
        web = manifests.deployment("web", 2)
        web["spec"]["template"]["spec"]["affinity"] = {
            "nodeAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution": [
                    {
                        "weight": 100,
                        "preference": {
                            "matchExpressions": [
                                {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
                            ]
                        },
                    }
                ]
            }
        }
        kubectl(
            "create", "-f", "-",
            input=[web, manifests.daemonset("agent", nodeSelector={"kubernetes.io/hostname": node}), on_node("bare", node)],
        )  # fmt: skip
        kubectl("rollout", "status", "deployment/web", "--timeout=240s")
        kubectl("rollout", "status", "daemonset/agent", "--timeout=240s")
        kubectl("wait", "--for=condition=Ready", "pod/bare", "--timeout=240s")
        refused = kubectl("drain", node, code=1)
        assert "cannot delete DaemonSet-managed Pods (use --ignore-daemonsets to ignore)" in refused.stderr
        assert "cannot delete Pods that declare no controller (use --force to override)" in refused.stderr
        output = kubectl("drain", node, "--ignore-daemonsets", "--force", "--timeout=240s")
        assert output.lines[-1] == f"node/{node} drained"
        assert "pod/bare evicted" in output.lines
        left = kubectl("get", "pods", f"--field-selector=spec.nodeName={node}", "-o", "name").lines
        assert [p for p in left if not p.startswith("pod/agent-")] == []
        assert len(left) == 1
        kubectl("rollout", "status", "deployment/web", "--timeout=240s")

    def test_disruption_budget(self, kubectl: Kubectl, node: str) -> None:
        """A budget holds a drain back until it allows it."""
        kubectl("create", "-f", "-", input=on_node("a", node))
        kubectl("create", "pdb", "one", "--selector=app=a", "--min-available=1")
        kubectl("wait", "--for=condition=Ready", "pod/a", "--timeout=240s")
        eventually(
            lambda: kubectl.json("get", "pdb", "one").get("status", {}).get("currentHealthy") == 1,
            "the budget counts its pod",
        )
        assert kubectl("get", "pdb").rows[0][1:4] == ["1", "N/A", "0"]
        done: list[Output] = []
        drain = threading.Thread(
            target=lambda: done.append(
                kubectl("drain", node, "--force", "--ignore-daemonsets", "--timeout=240s", code=None)
            )
        )
        drain.start()
        eventually(
            lambda: kubectl.json("get", "node", node)["spec"].get("unschedulable"), "the drain has begun"
        )
        kubectl("patch", "pdb", "one", "-p", '{"spec":{"minAvailable":0}}')
        drain.join()
        assert done[0].code == 0, done[0]
        kubectl("get", "pod", "a", code=1)


@pytest.mark.slow
def test_dead_node(kubectl: Kubectl) -> None:
    """A node that falls silent becomes NotReady and loses its pods to others."""
    node = "trn2-00019"
    web = manifests.deployment("web", 1)
    web["spec"]["template"]["spec"]["tolerations"] = [
        {
            "key": f"node.kubernetes.io/{k}",
            "operator": "Exists",
            "effect": "NoExecute",
            "tolerationSeconds": 1,
        }
        for k in ("not-ready", "unreachable")
    ]
    web["spec"]["template"]["spec"]["affinity"] = {
        "nodeAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {
                    "weight": 100,
                    "preference": {
                        "matchExpressions": [
                            {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
                        ]
                    },
                }
            ]
        }
    }
    kubectl("create", "-f", "-", input=web)
    kubectl("rollout", "status", "deployment/web", "--timeout=240s")
    assert kubectl("get", "pods", "-o", "wide").rows[0][6] == node
    kubectl("annotate", "node", node, "lakh.dev/silent=true")
    try:
        kubectl("wait", "--for=condition=Ready=Unknown", f"node/{node}", "--timeout=240s")
        assert kubectl("get", "node", node).rows[0][1] == "NotReady"
        described = kubectl("describe", "node", node).stdout
        assert "node.kubernetes.io/unreachable:NoExecute" in described
        assert "NodeStatusUnknown" in described
        eventually(
            lambda: any(
                r[2] == "Running" and r[6] != node for r in kubectl("get", "pods", "-o", "wide").rows
            ),
            "a pod runs elsewhere",
        )
    finally:
        kubectl("annotate", "node", node, "lakh.dev/silent-")
    kubectl("wait", "--for=condition=Ready", f"node/{node}", "--timeout=240s")
    eventually(
        lambda: "unreachable" not in kubectl("describe", "node", node).stdout.split("Conditions:")[0],
        "no taints",
    )

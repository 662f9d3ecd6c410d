"""What a simulated kubelet does about a resize, and about ephemeral containers."""

from __future__ import annotations

from typing import Any

from lakh.machinery import strategic
from lakh.nodes import pods, steps

from .test_pods import NODE, Life, manifest

ALLOCATABLE = {"cpu": "4", "memory": "8Gi"}


class Resized(Life):
    """A pod on a node of a size."""

    def step(self) -> pods.Plan:
        plan = steps.step(self.view, "172.16.0.1", "10.0.0.2", self.now, self.seen, ALLOCATABLE)
        if plan.status is not None:
            self.pod = strategic.apply(self.pod, {"status": plan.status}, NODE)
        self.events += [reason for _, reason, _ in plan.events]
        return plan

    def change(self, **spec: Any) -> None:
        self.pod["spec"] = {**self.pod["spec"], **spec}
        self.pod["metadata"]["generation"] += 1

    def conditions(self) -> dict[str, Any]:
        return {c["type"]: c for c in self.status["conditions"]}


def running(**container: Any) -> Resized:
    life = Resized(manifest(containers=[{"name": "c", "image": "i", **container}]))
    life.now += 10
    life.step()
    assert life.status["phase"] == "Running"
    return life


def of(cpu: str, memory: str = "1Gi") -> dict[str, Any]:
    return {"requests": {"cpu": cpu, "memory": memory}, "limits": {"cpu": "2", "memory": memory}}


def test_resources_of_a_running_container_are_reported() -> None:
    status = running(resources=of("1")).container()
    assert status["allocatedResources"] == {"cpu": "1", "memory": "1Gi"}
    assert status["resources"] == of("1")
    assert running().container()["resources"] == {}


def test_a_resize_is_allocated_then_actuated() -> None:
    life = running(resources=of("1"))
    life.change(containers=[{"name": "c", "image": "i", "resources": of("2")}])
    life.step()
    assert life.container()["allocatedResources"]["cpu"] == "2"
    assert life.container()["resources"]["requests"]["cpu"] == "1"
    assert life.conditions()["PodResizeInProgress"]["status"] == "True"
    assert life.status["observedGeneration"] == 2
    life.step()
    assert life.container()["resources"] == of("2")
    assert "PodResizeInProgress" not in life.conditions()
    assert life.container()["restartCount"] == 0
    assert life.step().status is None


def test_limits_alone_are_actuated() -> None:
    life = running(resources=of("1"))
    more = {**of("1"), "limits": {"cpu": "3", "memory": "1Gi"}}
    life.change(containers=[{"name": "c", "image": "i", "resources": more}])
    life.step()
    life.step()
    assert life.container()["resources"] == more
    assert life.step().status is None


def test_a_policy_may_ask_for_a_restart() -> None:
    policy = [{"resourceName": "memory", "restartPolicy": "RestartContainer"}]
    life = running(resources=of("1"), resizePolicy=policy)
    bigger = {"name": "c", "image": "i", "resources": of("1", "2Gi"), "resizePolicy": policy}
    life.change(containers=[bigger])
    life.step()
    life.step()
    assert life.container()["restartCount"] == 1
    assert life.container()["resources"] == of("1", "2Gi")
    assert life.step().status is None


def test_what_the_node_can_never_hold_is_infeasible() -> None:
    life = running(resources=of("1"))
    life.change(containers=[{"name": "c", "image": "i", "resources": of("5")}])
    life.step()
    pending = life.conditions()["PodResizePending"]
    assert (pending["status"], pending["reason"]) == ("True", "Infeasible")
    assert pending["message"] == "Node didn't have enough capacity: cpu, requested: 5000, capacity: 4000"
    assert life.container()["allocatedResources"]["cpu"] == "1"
    assert life.step().status is None
    life.change(containers=[{"name": "c", "image": "i", "resources": of("2")}])
    life.step()
    assert "PodResizePending" not in life.conditions()
    life.step()
    assert life.container()["resources"] == of("2")


def test_ephemeral_containers_are_started_once() -> None:
    life = running()
    life.change(ephemeralContainers=[{"name": "debug", "image": "busybox"}])
    life.step()
    (status,) = life.status["ephemeralContainerStatuses"]
    assert status["name"] == "debug" and "running" in status["state"]
    assert life.events.count("Started") == 2
    life.change(ephemeralContainers=[{"name": "debug", "image": "busybox"}, {"name": "two", "image": "b"}])
    life.step()
    assert [s["name"] for s in life.status["ephemeralContainerStatuses"]] == ["debug", "two"]
    assert life.status["ephemeralContainerStatuses"][0] == status
    assert life.step().status is None


def test_pods_of_a_template_share_their_containers() -> None:
    one, two = running(resources=of("1")).view, running(resources=of("1")).view
    pods.share(None, one)
    pods.share(None, two)
    assert one.spec.containers is two.spec.containers
    pods.share_status(one)
    pods.share_status(two)
    assert one.status is not None and one.status is two.status

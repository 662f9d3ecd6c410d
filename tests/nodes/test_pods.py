from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakh.apis.definitions import schema
from lakh.machinery import strategic, times
from lakh.nodes import pods, steps

AT = 1_800_000_000.0
NODE = schema().node("io.k8s.api.core.v1.Pod")
ORDER = ("Pending", "Running", "Succeeded", "Failed")


def manifest(annotations: dict[str, Any] | None = None, count: int = 1, **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {
            "name": "p",
            "namespace": "default",
            "uid": "u-1",
            "generation": 1,
            "annotations": {
                f"lakh.dev/{k.replace('_', '-')}": str(v) for k, v in (annotations or {}).items()
            },
        },
        "spec": {
            "nodeName": "n1",
            "containers": [{"name": f"c{i}", "image": "busybox"} for i in range(count)],
            **spec,
        },
        "status": {"phase": "Pending"},
    }


class Life:
    """A pod of a kubelet, with a clock of its own."""

    def __init__(self, pod: dict[str, Any]) -> None:
        self.pod = pod
        self.now = self.seen = AT
        self.phases = ["Pending"]
        self.events: list[str] = []
        self.removed = False

    @property
    def view(self) -> pods.PodView:
        return msgspec.convert(self.pod, pods.PodView)

    @property
    def status(self) -> dict[str, Any]:
        return self.pod["status"]

    def container(self, index: int = 0) -> dict[str, Any]:
        return self.status["containerStatuses"][index]

    def condition(self, kind: str) -> dict[str, Any]:
        return next(c for c in self.status["conditions"] if c["type"] == kind)

    def step(self) -> pods.Plan:
        plan = steps.step(self.view, "172.16.0.1", "10.0.0.2", self.now, self.seen)
        if plan.status is not None:
            self.pod = strategic.apply(self.pod, {"status": plan.status}, NODE)
            phase = self.status["phase"]
            if phase != self.phases[-1]:
                self.phases.append(phase)
                self.seen = self.now
        self.events += [reason for _, reason, _ in plan.events]
        self.removed = self.removed or plan.remove
        return plan

    def go(self, seconds: float = 0.0, steps: int = 1000) -> Life:
        """Does what a kubelet does until nothing is due for `seconds`."""
        end = self.now + seconds
        for _ in range(steps):
            plan = self.step()
            if self.removed or plan.again_seconds is None or self.now + plan.again_seconds > end:
                break
            self.now += max(plan.again_seconds, 0.001)
        self.now = max(self.now, end)
        return self

    def delete(self, grace: int = 30) -> Life:
        metadata = self.pod["metadata"]
        metadata["deletionTimestamp"] = times.of_seconds(self.now + grace)
        metadata["deletionGracePeriodSeconds"] = grace
        self.seen = self.now
        return self


def running(annotations: dict[str, Any] | None = None, count: int = 1, **spec: Any) -> Life:
    life = Life(manifest({"start_seconds": 0, **(annotations or {})}, count, **spec))
    life.step()
    assert life.phases == ["Pending", "Running"]
    return life


def test_a_pod_starts_after_its_time() -> None:
    life = Life(manifest({"start_seconds": 3}))
    assert life.step().again_seconds == 3
    assert life.status == {"phase": "Pending"}
    life.go(3.0)
    assert life.phases == ["Pending", "Running"]
    assert life.status["podIP"] == "10.0.0.2" and life.status["hostIP"] == "172.16.0.1"
    assert life.condition("Ready")["status"] == "True"
    assert life.events == ["Pulled", "Created", "Started"]
    assert life.step() == pods.NOTHING, "it runs for ever"


@pytest.mark.parametrize("text", ["nonsense", "nan", "inf", "-1", ""])
def test_annotations_that_make_no_sense(text: str) -> None:
    life = Life(
        manifest({"start_seconds": text, "run_seconds": text, "exit_code": text}, restartPolicy="Never")
    )
    assert life.go(20.0).phases == ["Pending", "Running", "Succeeded"]


@pytest.mark.parametrize(
    ("code", "phase", "reason"), [(0, "Succeeded", "PodCompleted"), (3, "Failed", "PodFailed")]
)
def test_a_never_pod_ends_once(code: int, phase: str, reason: str) -> None:
    life = running({"run_seconds": 7, "exit_code": code}, restartPolicy="Never").go(6.5)
    assert life.phases[-1] == "Running"
    life.go(1.0)
    assert life.phases == ["Pending", "Running", phase]
    assert life.container()["state"]["terminated"]["exitCode"] == code
    assert life.container()["restartCount"] == 0
    assert life.condition("Ready")["status"] == "False" and life.condition("Ready")["reason"] == reason
    assert life.condition("Initialized")["status"] == "True"
    assert life.step() == pods.NOTHING


def test_on_failure_restarts_only_failures() -> None:
    assert running({"run_seconds": 1}, restartPolicy="OnFailure").go(5.0).phases[-1] == "Succeeded"
    failing = running({"run_seconds": 1, "exit_code": 1}, restartPolicy="OnFailure").go(60.0)
    assert failing.phases[-1] == "Running" and failing.container()["restartCount"] >= 2


@pytest.mark.parametrize(
    ("restarts", "ran", "seconds"),
    [(0, 1, 0), (1, 1, 10), (2, 1, 20), (3, 1, 40), (5, 1, 160), (6, 1, 300), (99, 1, 300), (6, 600, 0)],
)
def test_backoff_doubles_and_is_capped(restarts: int, ran: float, seconds: float) -> None:
    assert pods.backoff_seconds(restarts, ran) == seconds


def test_crash_loop() -> None:
    life = running({"run_seconds": 1, "exit_code": 1})
    starts = [life.now]
    while len(starts) < 9:
        before = life.container()["restartCount"]
        plan = life.step()
        if life.container()["restartCount"] > before:
            starts.append(life.now)
        if life.container()["state"].get("waiting"):
            waiting = life.container()["state"]["waiting"]
            assert waiting["reason"] == "CrashLoopBackOff"
            assert life.container()["lastState"]["terminated"]["exitCode"] == 1
            assert life.condition("Ready")["reason"] == "ContainersNotReady"
            assert life.condition("Ready")["message"] == "containers with unready status: [c0]"
        elif life.container()["restartCount"]:
            assert life.condition("Ready")["status"] == "True"
            assert "reason" not in life.condition("Ready")
        assert plan.again_seconds is not None
        life.now += plan.again_seconds
    gaps = [b - a for a, b in pairwise(starts)]
    assert gaps == [1, 11, 21, 41, 81, 161, 301, 301]
    assert waiting["message"] == "back-off 5m0s restarting failed container=c0 pod=p_default(u-1)"


def test_ready_says_since_when() -> None:
    life = running({"run_seconds": 1, "exit_code": 1}, count=2).go(2.0)
    assert life.condition("Ready")["status"] == "False" or life.container()["restartCount"] == 1
    since = life.condition("Ready")["lastTransitionTime"]
    life.go(5.0)
    assert life.condition("Ready")["status"] == "False"
    assert life.condition("Ready")["lastTransitionTime"] >= since
    since = life.condition("Ready")["lastTransitionTime"]
    life.go(2.0)
    assert life.condition("Ready")["lastTransitionTime"] == since


def test_init_containers_and_sidecars() -> None:
    life = running(
        {"run_seconds": 2},
        restartPolicy="Never",
        initContainers=[{"name": "setup"}, {"name": "proxy", "restartPolicy": "Always"}],
    )
    setup, proxy = life.status["initContainerStatuses"]
    assert setup["state"]["terminated"]["reason"] == "Completed" and setup["ready"]
    assert proxy["state"]["running"] and proxy["ready"]
    assert life.events.count("Started") == 3
    life.go(5.0)
    setup, proxy = life.status["initContainerStatuses"]
    assert life.phases[-1] == "Succeeded"
    assert proxy["state"]["terminated"]["exitCode"] == 0, "a sidecar ends with its pod"


def test_host_network() -> None:
    assert running(hostNetwork=True).status["podIP"] == "172.16.0.1"


@pytest.mark.parametrize("annotations", [{}, {"run_seconds": 100}, {"run_seconds": 1, "exit_code": 1}])
def test_active_deadline(annotations: dict[str, Any]) -> None:
    life = running(annotations, activeDeadlineSeconds=30)
    assert life.go(29.0).phases[-1] == "Running"
    life.go(2.0)
    assert life.phases[-1] == "Failed" and life.status["reason"] == "DeadlineExceeded"
    assert life.container()["state"].get("terminated")
    assert not life.container()["state"].get("waiting")


@pytest.mark.parametrize("phase", ORDER)
def test_deletion_in_each_phase(phase: str) -> None:
    pod = manifest({"stop_seconds": 5})
    life = Life(pod) if phase != "Running" else running({"stop_seconds": 5})
    life.status["phase"] = phase
    life.delete()
    plan = life.step()
    if phase == "Running":
        assert not plan.remove and plan.again_seconds == 5
        life.go(5.0)
        assert life.container()["state"]["terminated"]["exitCode"] == pods.TERMINATED_BY_SIGNAL
    else:
        assert plan.status is None
    assert life.removed


def test_stopping_takes_no_longer_than_the_grace_period() -> None:
    life = running({"stop_seconds": 500}).delete(grace=2)
    assert life.step().again_seconds == 2
    assert running({"stop_seconds": 500}).delete(grace=0).step().remove


@given(
    policy=st.sampled_from(["Always", "OnFailure", "Never", None]),
    run_seconds=st.none() | st.floats(0, 100),
    code=st.integers(0, 255),
    count=st.integers(1, 3),
    deadline=st.none() | st.integers(1, 300),
    pauses=st.lists(st.floats(0, 100), max_size=12),
    deleted=st.none() | st.integers(0, 12),
)
def test_phases_only_move_forward(
    policy: str | None,
    run_seconds: float | None,
    code: int,
    count: int,
    deadline: int | None,
    pauses: list[float],
    deleted: int | None,
) -> None:
    annotations = {"exit_code": code} | ({} if run_seconds is None else {"run_seconds": run_seconds})
    spec = {"restartPolicy": policy, "activeDeadlineSeconds": deadline}
    life = Life(manifest(annotations, count, **{k: v for k, v in spec.items() if v is not None}))
    restarts = [0] * count
    for number, pause in enumerate(pauses):
        if number == deleted:
            life.delete()
        # A fleet that is started again sees the pod anew; it goes on where the API says.
        if number % 3 == 2 and life.phases[-1] != "Pending":
            life.pod = msgspec.json.decode(msgspec.json.encode(life.pod))
        life.go(pause, steps=50)
        assert len(life.status.get("containerStatuses", [])) in (0, count), "the list is replaced whole"
        for index, status in enumerate(life.status.get("containerStatuses", ())):
            states = [k for k, v in status["state"].items() if v]
            assert len(states) == 1, "a container is in exactly one state"
            assert status["ready"] == (states == ["running"])
            assert status["restartCount"] >= restarts[index]
            restarts[index] = status["restartCount"]
        if life.removed:
            break
    ranks = [ORDER.index(p) for p in life.phases]
    assert ranks == sorted(ranks) and len(life.phases) <= 3
    if policy == "Never":
        assert restarts == [0] * count

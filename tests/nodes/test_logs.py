"""Simulated logs: what a container has written, and what of it is asked for."""

from __future__ import annotations

from typing import Any

import pytest

from lakh.machinery import times
from lakh.nodes import logs

from .test_pods import AT, Life, manifest


def running(**annotations: Any) -> Life:
    life = Life(manifest(annotations))
    life.now += 10
    life.step()
    return life


def texts(life: Life, **more: Any) -> list[str]:
    return [line.text for line in logs.lines(life.view, "c0", **more)[0]]


STARTED = "c0: started on n1 (a simulated node runs no image)"


def test_a_container_that_waits_has_none() -> None:
    with pytest.raises(
        logs.LogError, match='container "c0" in pod "p" is waiting to start: ContainerCreating'
    ):
        logs.lines(Life(manifest()).view, "c0")
    with pytest.raises(logs.LogError) as e:
        logs.lines(Life(manifest()).view, "other")
    assert e.value.code == 404


def test_its_start_its_own_lines_and_its_end() -> None:
    life = running(log="one\ntwo", run_seconds=5, exit_code=3)
    life.pod["spec"]["restartPolicy"] = "Never"
    assert texts(life) == [STARTED, "one", "two"]
    assert logs.lines(life.view, "c0")[1] is True
    life.now += 6
    life.step()
    assert texts(life) == [STARTED, "one", "two", "c0: exited with code 3"]
    assert logs.lines(life.view, "c0")[1] is False


def test_the_run_before() -> None:
    life = running(run_seconds=5, exit_code=1)
    with pytest.raises(logs.LogError, match="previous terminated container"):
        logs.lines(life.view, "c0", previous=True)
    life.pod["spec"]["restartPolicy"] = "Always"
    life.now += 6
    life.step()
    assert life.container()["restartCount"] == 1
    assert texts(life, previous=True) == [STARTED, "c0: exited with code 1"]
    assert texts(life) == [STARTED]
    # Between two runs, the last one's.
    life.now += 6
    life.step()
    assert "waiting" in life.container()["state"]
    assert texts(life)[-1] == "c0: exited with code 1"


def test_which_lines() -> None:
    found = [logs.Line(times.of_seconds(AT + n), f"line {n}") for n in range(5)]
    assert logs.chosen(found, {}, AT) == found
    assert logs.chosen(found, {"tailLines": "2"}, AT) == found[3:]
    assert logs.chosen(found, {"tailLines": "0"}, AT) == []
    assert logs.chosen(found, {"sinceTime": found[3].at}, AT) == found[3:]
    assert logs.chosen(found, {"sinceSeconds": "2"}, AT + 5) == found[3:]
    assert logs.text(found[:1], True) == b"2027-01-15T08:00:00Z line 0\n"
    assert logs.text(found[:2], False) == b"line 0\nline 1\n"

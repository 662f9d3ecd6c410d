"""Requests that the random clusters do not make: pod-level requests, odd quantities."""

from __future__ import annotations

from typing import Any

import pytest

from lakh.scheduler.requests import pod_requests

from .clusters import MIB, as_pod, pod


def requests(**spec: Any) -> tuple[dict[str, int], int, int]:
    return pod_requests(as_pod(pod("p", **spec)).spec)


def containers(*each: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"resources": {"requests": of}} for of in each]


def test_quantities_are_rounded_up() -> None:
    found, _, _ = requests(
        containers=containers({"cpu": "0.0001", "memory": "1500m", "a.b/c": 2, "hugepages-2Mi": "4Mi"})
    )
    assert found == {"cpu": 1, "memory": 2, "a.b/c": 2, "hugepages-2Mi": 4 * MIB}


def test_pod_level_requests_replace_those_of_containers() -> None:
    each = containers({"cpu": "3", "a.b/c": "1"}, {})
    found, cpu, memory = requests(
        containers=each, resources={"requests": {"cpu": "1"}}, overhead={"cpu": "250m"}
    )
    assert found == {"cpu": 1250, "a.b/c": 1}
    assert (cpu, memory) == (1250, 400 * MIB)


def test_a_sidecar_counts_with_what_runs_beside_it() -> None:
    init = [
        {"resources": {"requests": {"cpu": "2"}}},
        {"resources": {"requests": {"cpu": "1"}}, "restartPolicy": "Always"},
        {"resources": {"requests": {"cpu": "4"}}},
    ]
    assert requests(containers=containers({"cpu": "3"}), initContainers=init)[0] == {"cpu": 5000}
    assert requests(containers=containers({"cpu": "9"}), initContainers=init)[0] == {"cpu": 10_000}


def test_containers_without_requests_count_for_scores() -> None:
    assert requests(containers=containers({}, {"cpu": "0"})) == ({"cpu": 0}, 100, 400 * MIB)


def test_no_quantity_is_an_error() -> None:
    with pytest.raises(ValueError, match="quantities must match"):
        requests(containers=containers({"cpu": "many"}))

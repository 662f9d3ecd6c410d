"""kube-scheduler's filters and scores once more, as plainly as can be: loops over dictionaries, exact fractions of nothing, no columns.

Nodes and pods are JSON-like dictionaries. `evaluate` is what the fast path is compared with. Quantities here are plain integers in
strings (cpu as `Nm`), so that no parser is shared with the code under test.
"""

from __future__ import annotations

import math
from typing import Any

Json = dict[str, Any]


def amount(resource: str, text: str) -> int:
    if resource == "cpu":
        return int(text[:-1]) if text.endswith("m") else 1000 * int(text)
    return int(text)


# Requests


def container_requests(container: Json, defaults: dict[str, int]) -> dict[str, int]:
    requests = container.get("resources", {}).get("requests", {})
    found = {name: amount(name, text) for name, text in requests.items()}
    return {**defaults, **found}


def pod_requests(pod: Json, defaults: dict[str, int]) -> dict[str, int]:
    spec = pod["spec"]
    names = set(defaults)
    everything = [*spec.get("containers", []), *spec.get("initContainers", [])]
    for container in everything:
        names |= set(container_requests(container, {}))
    names |= set(spec.get("overhead", {}))
    result = {}
    for name in names:
        running = sum(container_requests(c, defaults).get(name, 0) for c in spec.get("containers", []))
        sidecars = 0
        peak = 0
        for container in spec.get("initContainers", []):
            need = container_requests(container, defaults).get(name, 0)
            if container.get("restartPolicy") == "Always":
                sidecars += need
                peak = max(peak, sidecars)
            else:
                peak = max(peak, need + sidecars)
        overhead = amount(name, spec["overhead"][name]) if name in spec.get("overhead", {}) else 0
        result[name] = max(running + sidecars, peak) + overhead
    return result


def scoring_requests(pod: Json) -> dict[str, int]:
    return pod_requests(pod, {"cpu": 100, "memory": 200 * 1024 * 1024})


def node_use(pods: list[Json], requests: Any) -> dict[str, int]:
    total: dict[str, int] = {}
    for pod in pods:
        for name, value in requests(pod).items():
            total[name] = total.get(name, 0) + value
    return total


def allocatable(node: Json) -> dict[str, int]:
    return {name: amount(name, text) for name, text in node["status"].get("allocatable", {}).items()}


# Filters


def tolerated(tolerations: list[Json], taint: Json) -> bool:
    for toleration in tolerations:
        if toleration.get("effect") and toleration["effect"] != taint["effect"]:
            continue
        if toleration.get("key") and toleration["key"] != taint["key"]:
            continue
        if toleration.get("operator", "Equal") == "Exists":
            return True
        if toleration.get("value", "") == taint.get("value", ""):
            return True
    return False


def requirement_holds(requirement: Json, labels: dict[str, str]) -> bool:
    value = labels.get(requirement["key"])
    values = requirement.get("values", [])
    match requirement["operator"]:
        case "In":
            return value is not None and value in values
        case "NotIn":
            return value is None or value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt" | "Lt" as operator:
            try:
                number, bound = int(value or ""), int(values[0])
            except ValueError:
                return False
            return number > bound if operator == "Gt" else number < bound
    raise AssertionError(requirement)


def term_holds(term: Json, node: Json) -> bool:
    expressions, fields = term.get("matchExpressions", []), term.get("matchFields", [])
    if not expressions and not fields:
        return False
    labels = node["metadata"].get("labels", {})
    names = {"metadata.name": node["metadata"]["name"]}
    return all(requirement_holds(r, labels) for r in expressions) and all(
        requirement_holds(r, names) for r in fields
    )


def node_affinity(pod: Json) -> Json:
    found: Json = pod["spec"].get("affinity", {}).get("nodeAffinity", {})
    return found


def affinity_holds(pod: Json, node: Json) -> bool:
    labels = node["metadata"].get("labels", {})
    if any(labels.get(key) != value for key, value in pod["spec"].get("nodeSelector", {}).items()):
        return False
    required = node_affinity(pod).get("requiredDuringSchedulingIgnoredDuringExecution")
    return required is None or any(term_holds(term, node) for term in required.get("nodeSelectorTerms", []))


def host_ports(pod: Json) -> list[tuple[str, int, str]]:
    return [
        (port.get("protocol", "TCP"), port["hostPort"], port.get("hostIP", "0.0.0.0"))
        for container in pod["spec"].get("containers", [])
        for port in container.get("ports", [])
        if port.get("hostPort")
    ]


def ports_conflict(pod: Json, others: list[Json]) -> bool:
    for protocol, port, ip in host_ports(pod):
        for other in others:
            for other_protocol, other_port, other_ip in host_ports(other):
                same = protocol == other_protocol and port == other_port
                if same and (ip == other_ip or "0.0.0.0" in (ip, other_ip)):
                    return True
    return False


def refusal(pod: Json, node: Json, pods: list[Json]) -> list[str]:
    """Why the node refuses the pod: the reasons of the first filter that does; empty when it is feasible."""
    tolerations = pod["spec"].get("tolerations", [])
    cordon = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
    if node["spec"].get("unschedulable") and not tolerated(tolerations, cordon):
        return ["node(s) were unschedulable"]
    for taint in node["spec"].get("taints", []):
        if taint["effect"] in ("NoSchedule", "NoExecute") and not tolerated(tolerations, taint):
            return ["node(s) had untolerated taint(s)"]
    if not affinity_holds(pod, node):
        return ["node(s) didn't match Pod's node affinity/selector"]
    if ports_conflict(pod, pods):
        return ["node(s) didn't have free ports for the requested pod ports"]
    room, used = allocatable(node), node_use(pods, lambda p: pod_requests(p, {}))
    reasons = []
    if len(pods) + 1 > room.get("pods", 0):
        reasons.append("Too many pods")
    for name, need in pod_requests(pod, {}).items():
        if need > 0 and need > room.get(name, 0) - used.get(name, 0):
            reasons.append(f"Insufficient {name}")
    return reasons


# Scores


def least_allocated(pod: Json, node: Json, pods: list[Json]) -> int:
    room, used, need = allocatable(node), node_use(pods, scoring_requests), scoring_requests(pod)
    score = weight = 0
    for name in ("cpu", "memory"):
        capacity = room.get(name, 0)
        if capacity == 0:
            continue
        requested = used.get(name, 0) + need.get(name, 0)
        score += 0 if requested > capacity else (capacity - requested) * 100 // capacity
        weight += 1
    return score // weight if weight else 0


def balance(use: dict[str, int], room: dict[str, int]) -> int:
    fractions = [
        min(float(use.get(name, 0)) / float(room[name]), 1.0) for name in ("cpu", "memory") if room.get(name)
    ]
    deviation = abs((fractions[0] - fractions[1]) / 2) if len(fractions) == 2 else 0.0
    return math.trunc((1 - deviation) * 100)


def balanced_allocation(pod: Json, node: Json, pods: list[Json]) -> int:
    need = pod_requests(pod, {})
    if not need.get("cpu") and not need.get("memory"):
        return 0
    room, used = allocatable(node), node_use(pods, lambda p: pod_requests(p, {}))
    after = {name: used.get(name, 0) + need.get(name, 0) for name in ("cpu", "memory")}
    return 50 + (50 + balance(after, room) - balance(used, room)) // 2


def soft_taints(pod: Json, node: Json) -> int:
    tolerations = [
        t for t in pod["spec"].get("tolerations", []) if t.get("effect", "") in ("", "PreferNoSchedule")
    ]
    return sum(
        taint["effect"] == "PreferNoSchedule" and not tolerated(tolerations, taint)
        for taint in node["spec"].get("taints", [])
    )


def preferred(pod: Json, node: Json) -> int:
    terms = node_affinity(pod).get("preferredDuringSchedulingIgnoredDuringExecution", [])
    return sum(term["weight"] for term in terms if term_holds(term["preference"], node))


def evaluate(pod: Json, nodes: list[Json], placed: dict[str, list[Json]]) -> dict[str, int]:
    """Feasible nodes with their total scores."""
    feasible = [node for node in nodes if not refusal(pod, node, placed.get(node["metadata"]["name"], []))]
    most_taints = max((soft_taints(pod, node) for node in feasible), default=0)
    most_preferred = max((preferred(pod, node) for node in feasible), default=0)
    scores = {}
    for node in feasible:
        name = node["metadata"]["name"]
        pods = placed.get(name, [])
        total = least_allocated(pod, node, pods) + balanced_allocation(pod, node, pods)
        total += 3 * (100 - 100 * soft_taints(pod, node) // most_taints if most_taints else 100)
        total += 2 * (100 * preferred(pod, node) // most_preferred if most_preferred else 0)
        scores[name] = total
    return scores

"""kube-scheduler's filters and scores once more, as plainly as can be: loops over dictionaries, exact fractions of nothing, no columns.

Nodes and pods are JSON-like dictionaries. `evaluate` is what the fast path is compared with. Quantities here are plain integers in
strings (cpu as `Nm`), so that no parser is shared with the code under test.
"""

from __future__ import annotations

import fractions
import itertools
import math
from typing import Any

Json = dict[str, Any]

# Profiles, as they are written in a KubeSchedulerConfiguration

WEIGHTS = {
    "TaintToleration": 3,
    "NodeAffinity": 2,
    "NodeResourcesFit": 1,
    "PodTopologySpread": 2,
    "InterPodAffinity": 2,
    "NodeResourcesBalancedAllocation": 1,
    "ImageLocality": 1,
}
DEFAULT: Json = {}


def is_on(profile: Json, point: str, plugin: str) -> bool:
    at, every = (profile.get("plugins", {}).get(where, {}) for where in (point, "multiPoint"))

    def listed(where: Json, how: str) -> set[str]:
        return {one["name"] for one in where.get(how, [])}

    if plugin in listed(at, "enabled"):
        return True
    if listed(at, "disabled") & {plugin, "*"}:
        return False
    return plugin in listed(every, "enabled") or not listed(every, "disabled") & {plugin, "*"}


def weight_of(profile: Json, plugin: str) -> int:
    if not is_on(profile, "score", plugin):
        return 0
    for where in ("score", "multiPoint"):
        for one in profile.get("plugins", {}).get(where, {}).get("enabled", []):
            if one["name"] == plugin:
                return int(one.get("weight") or 1)
    return WEIGHTS[plugin]


def args_of(profile: Json, plugin: str) -> Json:
    for one in profile.get("pluginConfig", []):
        if one["name"] == plugin:
            found: Json = one["args"]
            return found
    return {}


def amount(resource: str, text: str) -> int:
    if resource == "cpu":
        return int(text[:-1]) if text.endswith("m") else 1000 * int(text)
    return int(text)


# Requests


def container_requests(
    container: Json, defaults: dict[str, int], status: Json | None = None
) -> dict[str, int]:
    requests = container.get("resources", {}).get("requests", {})
    found = {name: amount(name, text) for name, text in requests.items()}
    if status is not None:
        by_name = {one["name"]: one for one in status.get("containerStatuses", []) if "resources" in one}
        one = by_name.get(container.get("name"))
        if one is not None:
            if any(c.get("reason") == "Infeasible" for c in status.get("conditions", [])):
                found = {}
            for held in (one["resources"].get("requests", {}), one.get("allocatedResources", {})):
                for name, text in held.items():
                    found[name] = max(found.get(name, 0), amount(name, text))
    return {**defaults, **found}


def pod_requests(pod: Json, defaults: dict[str, int]) -> dict[str, int]:
    spec = pod["spec"]
    names = set(defaults)
    everything = [*spec.get("containers", []), *spec.get("initContainers", [])]
    for container in everything:
        names |= set(container_requests(container, {}, pod["status"]))
    names |= set(spec.get("overhead", {}))
    result = {}
    for name in names:
        running = sum(
            container_requests(c, defaults, pod["status"]).get(name, 0) for c in spec.get("containers", [])
        )
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


def refusal(pod: Json, node: Json, pods: list[Json], profile: Json = DEFAULT) -> list[str]:
    """Why the node refuses the pod: the reasons of the first filter that does; empty when it is feasible."""
    tolerations = pod["spec"].get("tolerations", [])
    cordon = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
    cordoned = node["spec"].get("unschedulable") and is_on(profile, "filter", "NodeUnschedulable")
    if cordoned and not tolerated(tolerations, cordon):
        return ["node(s) were unschedulable"]
    for taint in node["spec"].get("taints", []) if is_on(profile, "filter", "TaintToleration") else []:
        if taint["effect"] in ("NoSchedule", "NoExecute") and not tolerated(tolerations, taint):
            return ["node(s) had untolerated taint(s)"]
    if is_on(profile, "filter", "NodeAffinity"):
        added = args_of(profile, "NodeAffinity").get("addedAffinity", {})
        enforced = added.get("requiredDuringSchedulingIgnoredDuringExecution")
        if enforced is not None and not any(term_holds(t, node) for t in enforced["nodeSelectorTerms"]):
            return ["node(s) didn't match scheduler-enforced node affinity"]
        if not affinity_holds(pod, node):
            return ["node(s) didn't match Pod's node affinity/selector"]
    if is_on(profile, "filter", "NodePorts") and ports_conflict(pod, pods):
        return ["node(s) didn't have free ports for the requested pod ports"]
    if not is_on(profile, "filter", "NodeResourcesFit"):
        return []
    args = args_of(profile, "NodeResourcesFit")
    room, used = allocatable(node), node_use(pods, lambda p: pod_requests(p, {}))
    reasons = []
    if len(pods) + 1 > room.get("pods", 0):
        reasons.append("Too many pods")
    for name, need in pod_requests(pod, {}).items():
        if "/" in name and (
            name in args.get("ignoredResources", [])
            or name.split("/")[0] in args.get("ignoredResourceGroups", [])
        ):
            continue
        if need > 0 and need > room.get(name, 0) - used.get(name, 0) and not delegated(name, node):
            reasons.append(f"Insufficient {name}")
    return reasons


def delegated(name: str, node: Json) -> bool:
    """Whether devices serve the resource on the node: `backed` is what a DeviceClass stands behind, `chips` how many of its devices the node has."""
    return name == node.get("backed") and not allocatable(node).get(name)


def chips_held(pods: list[Json]) -> set[str]:
    return {chip for pod in pods for chip in pod.get("held", [])}


def devices_refusal(pod: Json, node: Json, pods: list[Json]) -> str | None:
    free = {f"chip-{number}" for number in range(node.get("chips", 0))} - chips_held(pods)
    containers = {name: value for name, value in pod["spec"].items() if name != "overhead"}
    for name, need in pod_requests({**pod, "spec": containers}, {}).items():
        if need > 0 and delegated(name, node) and need > len(free):
            return "cannot allocate all claims"
    return None


def capacity_and_use(name: str, node: Json, pods: list[Json], used: dict[str, int]) -> tuple[int, int]:
    """What is scored: the node's own, else its devices."""
    if delegated(name, node):
        chips = {f"chip-{number}" for number in range(node.get("chips", 0))}
        return len(chips), len(chips & chips_held(pods))
    return allocatable(node).get(name, 0), used.get(name, 0)


# Scores


def counts_for(name: str, need: dict[str, int]) -> bool:
    """Extended resources count for pods that ask for them."""
    return name in ("cpu", "memory", "ephemeral-storage") or ("/" in name and need.get(name, 0) > 0)


def broken_line(shape: list[Json], percent: int) -> int:
    points = [(point["utilization"], 10 * point["score"]) for point in shape]
    if percent <= points[0][0]:
        return points[0][1]
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        if percent <= x1:
            return y0 + math.trunc(fractions.Fraction((y1 - y0) * (percent - x0), x1 - x0))
    return points[-1][1]


def fit_score(pod: Json, node: Json, pods: list[Json], profile: Json) -> int:
    strategy = args_of(profile, "NodeResourcesFit").get("scoringStrategy", {"type": "LeastAllocated"})
    resources = strategy.get("resources") or [{"name": "cpu"}, {"name": "memory"}]
    need, plain = scoring_requests(pod), pod_requests(pod, {})
    used, plain_used = node_use(pods, scoring_requests), node_use(pods, lambda p: pod_requests(p, {}))
    total = weights = 0
    for one in resources:
        name, weight = one["name"], one.get("weight") or 1
        defaulted = name in ("cpu", "memory")
        capacity, requested = capacity_and_use(name, node, pods, used if defaulted else plain_used)
        if capacity == 0 or not counts_for(name, plain):
            continue
        requested += (need if defaulted else plain).get(name, 0)
        if strategy["type"] == "LeastAllocated":
            score = max(0, capacity - requested) * 100 // capacity
        elif strategy["type"] == "MostAllocated":
            score = min(requested, capacity) * 100 // capacity
        else:
            percent = min(requested, capacity) * 100 // capacity
            score = broken_line(strategy["requestedToCapacityRatio"]["shape"], percent)
            if score == 0:
                continue
        total += score * weight
        weights += weight
    if not weights:
        return 0
    if strategy["type"] == "RequestedToCapacityRatio":
        return math.floor(fractions.Fraction(total, weights) + fractions.Fraction(1, 2))
    return total // weights


def balance(use: dict[str, int], room: dict[str, int], names: list[str]) -> int:
    shares = [min(float(use.get(name, 0)) / float(room[name]), 1.0) for name in names if room.get(name)]
    deviation = 0.0
    if len(shares) == 2:
        deviation = abs((shares[0] - shares[1]) / 2)
    elif len(shares) > 2:
        total = squares = 0.0
        for share in shares:
            total += share
        for share in shares:
            squares += (share - total / len(shares)) * (share - total / len(shares))
        deviation = math.sqrt(squares / len(shares))
    return math.trunc((1 - deviation) * 100)


def balanced_allocation(pod: Json, node: Json, pods: list[Json], profile: Json) -> int:
    need = pod_requests(pod, {})
    given = args_of(profile, "NodeResourcesBalancedAllocation").get("resources")
    resources = [one["name"] for one in given or [{"name": "cpu"}, {"name": "memory"}]]
    if not any(need.get(name) for name in resources):
        return 0
    resources = [name for name in resources if counts_for(name, need)]
    used = node_use(pods, lambda p: pod_requests(p, {}))
    amounts = {name: capacity_and_use(name, node, pods, used) for name in resources}
    room, used = ({name: pair[side] for name, pair in amounts.items()} for side in (0, 1))
    after = {name: used.get(name, 0) + need.get(name, 0) for name in resources}
    return 50 + (50 + balance(after, room, resources) - balance(used, room, resources)) // 2


def image_score(pod: Json, node: Json, nodes: list[Json]) -> int:
    containers = [*pod["spec"].get("containers", []), *pod["spec"].get("initContainers", [])]

    def has(one: Json, image: str) -> int | None:
        for known in one["status"].get("images", []):
            if image in known["names"]:
                return int(known["sizeBytes"])
        return None

    total = 0
    for container in containers:
        image = container.get("image", "")
        if ":" not in image.split("/")[-1]:
            image += ":latest"
        size = has(node, image)
        if size is not None:
            spread = float(sum(has(other, image) is not None for other in nodes)) / float(len(nodes))
            total += math.trunc(float(size) * spread)
    low, high = 23 * 1024 * 1024, 1000 * 1024 * 1024 * len(containers)
    return 100 * (min(max(total, low), high) - low) // (high - low)


def soft_taints(pod: Json, node: Json) -> int:
    tolerations = [
        t for t in pod["spec"].get("tolerations", []) if t.get("effect", "") in ("", "PreferNoSchedule")
    ]
    return sum(
        taint["effect"] == "PreferNoSchedule" and not tolerated(tolerations, taint)
        for taint in node["spec"].get("taints", [])
    )


def preferred(pod: Json, node: Json, profile: Json = DEFAULT) -> int:
    added = args_of(profile, "NodeAffinity").get("addedAffinity", {})
    terms = [
        *added.get("preferredDuringSchedulingIgnoredDuringExecution", []),
        *node_affinity(pod).get("preferredDuringSchedulingIgnoredDuringExecution", []),
    ]
    return sum(term["weight"] for term in terms if term_holds(term["preference"], node))


# Other pods: PodTopologySpread and InterPodAffinity

HOSTNAME = "kubernetes.io/hostname"
ZONE = "topology.kubernetes.io/zone"


class Cluster:
    """What the plugins that look at other pods need: all nodes, placed pods by node, namespaces' labels, services."""

    def __init__(
        self,
        nodes: list[Json],
        placed: dict[str, list[Json]],
        namespaces: dict[str, dict[str, str]] | None = None,
        services: list[Json] | None = None,
    ) -> None:
        self.nodes, self.namespaces, self.services = nodes, namespaces or {}, services or []
        self.on = {node["metadata"]["name"]: placed.get(node["metadata"]["name"], []) for node in nodes}

    def pods(self) -> list[tuple[Json, Json]]:
        return [(pod, node) for node in self.nodes for pod in self.on[node["metadata"]["name"]]]


def labels_of(thing: Json) -> dict[str, str]:
    found: dict[str, str] = thing["metadata"].get("labels") or {}
    return found


def selects(selector: Json | None, labels: dict[str, str]) -> bool:
    if selector is None:
        return False
    return all(labels.get(k) == v for k, v in selector.get("matchLabels", {}).items()) and all(
        requirement_holds(r, labels) for r in selector.get("matchExpressions", [])
    )


def term_selects(term: Json, owner: Json, pod: Json, cluster: Cluster) -> bool:
    names = term.get("namespaces", [])
    if not names and "namespaceSelector" not in term:
        names = [owner["metadata"]["namespace"]]
    namespace = pod["metadata"]["namespace"]
    if namespace not in names and not selects(
        term.get("namespaceSelector"), cluster.namespaces.get(namespace, {})
    ):
        return False
    return selects(term.get("labelSelector"), labels_of(pod))


def pod_terms(pod: Json, part: str) -> tuple[list[Json], list[tuple[int, Json]]]:
    affinity = pod["spec"].get("affinity", {}).get(part, {})
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution", [])
    preferred = affinity.get("preferredDuringSchedulingIgnoredDuringExecution", [])
    return required, [(p["weight"], p["podAffinityTerm"]) for p in preferred]


def same_domain(key: str, one: Json, other: Json) -> bool:
    return key in labels_of(one) and labels_of(one)[key] == labels_of(other).get(key)


def interpod_refusal(pod: Json, node: Json, cluster: Cluster) -> str | None:
    required, _ = pod_terms(pod, "podAffinity")
    if required:
        if any(term["topologyKey"] not in labels_of(node) for term in required):
            return "node(s) didn't match pod affinity rules"
        matching = [
            at for other, at in cluster.pods() if all(term_selects(t, pod, other, cluster) for t in required)
        ]
        near = all(any(same_domain(t["topologyKey"], node, at) for at in matching) for t in required)
        somewhere = any(t["topologyKey"] in labels_of(at) for t in required for at in matching)
        own = all(term_selects(t, pod, pod, cluster) for t in required)
        if not near and (somewhere or not own):
            return "node(s) didn't match pod affinity rules"
    for term in pod_terms(pod, "podAntiAffinity")[0]:
        for other, at in cluster.pods():
            if same_domain(term["topologyKey"], node, at) and term_selects(term, pod, other, cluster):
                return "node(s) didn't match pod anti-affinity rules"
    for other, at in cluster.pods():
        for term in pod_terms(other, "podAntiAffinity")[0]:
            if same_domain(term["topologyKey"], node, at) and term_selects(term, other, pod, cluster):
                return "node(s) didn't satisfy existing pods anti-affinity rules"
    return None


def interpod_score(pod: Json, node: Json, cluster: Cluster, profile: Json = DEFAULT) -> int:
    score = 0
    args = args_of(profile, "InterPodAffinity")
    own = any(pod_terms(pod, part)[1] for part in ("podAffinity", "podAntiAffinity"))
    if args.get("ignorePreferredTermsOfExistingPods") and not own:
        return 0
    for other, at in cluster.pods():
        for part, sign in (("podAffinity", 1), ("podAntiAffinity", -1)):
            for weight, term in pod_terms(pod, part)[1]:
                if same_domain(term["topologyKey"], node, at) and term_selects(term, pod, other, cluster):
                    score += sign * weight
            theirs = list(pod_terms(other, part)[1])
            if sign == 1:
                hard = args.get("hardPodAffinityWeight", 1)
                theirs += [(hard, term) for term in pod_terms(other, part)[0]]
            for weight, term in theirs:
                if same_domain(term["topologyKey"], node, at) and term_selects(term, other, pod, cluster):
                    score += sign * weight
    return score


def constraints(pod: Json, when: str, cluster: Cluster, profile: Json = DEFAULT) -> tuple[list[Json], bool]:
    """Spread constraints with their selectors completed; and whether nodes need all labels to be scored."""
    found = pod["spec"].get("topologySpreadConstraints", [])
    args = args_of(profile, "PodTopologySpread")
    listed = args.get("defaultingType") == "List"
    if not found and (listed or when == "ScheduleAnyway"):
        merged: dict[str, str] = {}
        for service in cluster.services:
            wanted = service["spec"]["selector"]
            if service["metadata"]["namespace"] == pod["metadata"]["namespace"] and all(
                labels_of(pod).get(k) == v for k, v in wanted.items()
            ):
                merged.update(wanted)
        selector = {"matchLabels": merged}
        defaults = [
            {"topologyKey": HOSTNAME, "maxSkew": 3, "labelSelector": selector},
            {"topologyKey": ZONE, "maxSkew": 5, "labelSelector": selector},
        ]
        if listed:
            defaults = [
                {**one, "labelSelector": selector}
                for one in args.get("defaultConstraints", [])
                if one["whenUnsatisfiable"] == when
            ]
        return (defaults if merged else []), listed
    result = []
    for constraint in found:
        if constraint["whenUnsatisfiable"] == when:
            selector = constraint.get("labelSelector")
            own = {k: labels_of(pod)[k] for k in constraint.get("matchLabelKeys", []) if k in labels_of(pod)}
            if selector is not None:
                selector = {
                    **selector,
                    "matchExpressions": [
                        *selector.get("matchExpressions", []),
                        *({"key": k, "operator": "In", "values": [v]} for k, v in own.items()),
                    ],
                }
            result.append({**constraint, "labelSelector": selector})
    return result, True


def included(constraint: Json, pod: Json, node: Json) -> bool:
    if constraint.get("nodeAffinityPolicy", "Honor") == "Honor" and not affinity_holds(pod, node):
        return False
    return constraint.get("nodeTaintsPolicy", "Ignore") == "Ignore" or all(
        taint["effect"] not in ("NoSchedule", "NoExecute")
        or tolerated(pod["spec"].get("tolerations", []), taint)
        for taint in node["spec"].get("taints", [])
    )


def matching_pods(constraint: Json, pod: Json, node: Json, cluster: Cluster) -> int:
    return sum(
        other["metadata"]["namespace"] == pod["metadata"]["namespace"]
        and not other["metadata"].get("deletionTimestamp")
        and selects(constraint["labelSelector"], labels_of(other))
        for other in cluster.on[node["metadata"]["name"]]
    )


def domain_counts(constraint: Json, pod: Json, nodes: list[Json], cluster: Cluster) -> dict[str, int]:
    counts: dict[str, int] = {}
    for node in nodes:
        if included(constraint, pod, node):
            value = labels_of(node).get(constraint["topologyKey"], "")
            counts[value] = counts.get(value, 0) + matching_pods(constraint, pod, node, cluster)
    return counts


def spread_refusal(pod: Json, node: Json, cluster: Cluster, profile: Json = DEFAULT) -> str | None:
    hard, _ = constraints(pod, "DoNotSchedule", cluster, profile)
    labelled = [n for n in cluster.nodes if all(c["topologyKey"] in labels_of(n) for c in hard)]
    for constraint in hard:
        reason = "node(s) didn't match pod topology spread constraints"
        value = labels_of(node).get(constraint["topologyKey"])
        if value is None:
            return reason + " (missing required label)"
        counts = domain_counts(constraint, pod, labelled, cluster)
        lowest = min(counts.values(), default=0)
        if len(counts) < constraint.get("minDomains", 1):
            lowest = 0
        own = selects(constraint["labelSelector"], labels_of(pod))
        if counts.get(value, 0) + own - lowest > constraint["maxSkew"]:
            return reason
    return None


def spread_scores(
    pod: Json, feasible: list[Json], cluster: Cluster, profile: Json = DEFAULT
) -> dict[str, int]:
    soft, require_all = constraints(pod, "ScheduleAnyway", cluster, profile)
    if not soft:
        return {}
    has_all = [n for n in cluster.nodes if all(c["topologyKey"] in labels_of(n) for c in soft)]
    counted = has_all if require_all else cluster.nodes
    scored = [n for n in feasible if not require_all or n in has_all]
    raw: dict[str, int] = {}
    for node in scored:
        total = 0.0
        for constraint in soft:
            key = constraint["topologyKey"]
            if key not in labels_of(node):
                continue
            if key == HOSTNAME:
                size, count = len(scored), matching_pods(constraint, pod, node, cluster)
            else:
                size = len({labels_of(n).get(key, "") for n in scored})
                count = domain_counts(constraint, pod, counted, cluster).get(labels_of(node)[key], 0)
            total += count * math.log(size + 2) + (constraint["maxSkew"] - 1)
        raw[node["metadata"]["name"]] = math.floor(total + 0.5)
    if not raw:
        return {}
    low, high = min(raw.values()), max(raw.values())
    return {name: 100 * (high + low - value) // high if high else 100 for name, value in raw.items()}


def others_refusal(pod: Json, node: Json, cluster: Cluster, profile: Json = DEFAULT) -> str | None:
    """What the plugins that look at other pods say."""
    found = None
    if is_on(profile, "filter", "PodTopologySpread"):
        found = spread_refusal(pod, node, cluster, profile)
    if found is None and is_on(profile, "filter", "InterPodAffinity"):
        found = interpod_refusal(pod, node, cluster)
    if found is None:
        found = devices_refusal(pod, node, cluster.on.get(node["metadata"]["name"], []))
    return found


def evaluate(
    pod: Json,
    nodes: list[Json],
    placed: dict[str, list[Json]],
    cluster: Cluster | None = None,
    profile: Json = DEFAULT,
) -> dict[str, int]:
    """Feasible nodes with their total scores."""
    feasible = [
        node for node in nodes if not refusal(pod, node, placed.get(node["metadata"]["name"], []), profile)
    ]
    if cluster is not None:
        feasible = [node for node in feasible if not others_refusal(pod, node, cluster, profile)]
    most_taints = max((soft_taints(pod, node) for node in feasible), default=0)
    most_preferred = max((preferred(pod, node, profile) for node in feasible), default=0)
    spread = spread_scores(pod, feasible, cluster, profile) if cluster else {}
    interpod = [interpod_score(pod, node, cluster, profile) for node in feasible] if cluster else []
    weight = {plugin: weight_of(profile, plugin) for plugin in WEIGHTS}
    scores = {}
    for index, node in enumerate(feasible):
        name = node["metadata"]["name"]
        pods = placed.get(name, [])
        taints, liked = soft_taints(pod, node), preferred(pod, node, profile)
        by_plugin = {
            "NodeResourcesFit": fit_score(pod, node, pods, profile),
            "NodeResourcesBalancedAllocation": balanced_allocation(pod, node, pods, profile),
            "ImageLocality": image_score(pod, node, nodes),
            "TaintToleration": 100 - 100 * taints // most_taints if most_taints else 100,
            "NodeAffinity": 100 * liked // most_preferred if most_preferred else 0,
            "PodTopologySpread": spread.get(name, 0),
        }
        if interpod and max(interpod) > min(interpod):
            difference = float(max(interpod) - min(interpod))
            by_plugin["InterPodAffinity"] = int(100.0 * ((interpod[index] - min(interpod)) / difference))
        scores[name] = sum(weight[plugin] * score for plugin, score in by_plugin.items())
    return scores

"""The flow schemas and priority levels that every cluster has from its first start: upstream's mandatory and suggested ones."""

from __future__ import annotations

from typing import Any

AUTO_UPDATE = "apf.kubernetes.io/autoupdate-spec"
EVERYBODY = ("group", "system:unauthenticated"), ("group", "system:authenticated")
_MANAGER = ("user", "system:kube-controller-manager")
_SCHEDULER = ("user", "system:kube-scheduler")
_SYSTEM_ACCOUNTS = ("account", "*")
_ALL: list[dict[str, Any]] = [
    {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": True, "namespaces": ["*"]}
]
_ALL_URLS: list[dict[str, Any]] = [{"verbs": ["*"], "nonResourceURLs": ["*"]}]

# name, shares, lendable percent, queues, hand size, queue length. Without queues what finds no seat is rejected.
LEVELS = (
    ("catch-all", 5, 0, 0, 0, 0),
    ("system", 30, 33, 64, 6, 50),
    ("node-high", 40, 25, 64, 6, 50),
    ("leader-election", 10, 0, 16, 4, 50),
    ("workload-high", 40, 50, 128, 6, 50),
    ("workload-low", 100, 90, 128, 6, 50),
    ("global-default", 20, 50, 128, 6, 50),
)


def levels() -> list[dict[str, Any]]:
    """PriorityLevelConfigurations, without apiVersion and kind."""
    found: list[dict[str, Any]] = [
        _object("exempt", {"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}})
    ]
    for name, shares, lendable, queues, hand, length in LEVELS:
        response: dict[str, Any] = {"type": "Reject"}
        if queues:
            queuing = {"queues": queues, "handSize": hand, "queueLengthLimit": length}
            response = {"type": "Queue", "queuing": queuing}
        limited = {
            "nominalConcurrencyShares": shares,
            "lendablePercent": lendable,
            "limitResponse": response,
        }
        found.append(_object(name, {"type": "Limited", "limited": limited}))
    return found


def schemas() -> list[dict[str, Any]]:
    """FlowSchemas, without apiVersion and kind."""
    election = [
        _resources(("get", "create", "update"), "coordination.k8s.io", ("leases",), ["*"]),
    ]
    endpoint_accounts = [
        ("account", f"{n}-controller") for n in ("endpoint", "endpointslice", "endpointslicemirroring")
    ]
    everything = {"resourceRules": _ALL, "nonResourceRules": _ALL_URLS}
    probes = [{"verbs": ["get"], "nonResourceURLs": ["/healthz", "/readyz", "/livez"]}]
    endpoints = [
        _resources(("get", "create", "update"), "", ("endpoints",), ["*"]),
        _resources(("get", "create", "update"), "discovery.k8s.io", ("endpointslices",), ["*"]),
    ]
    nodes = [
        _resources(("*",), "", ("nodes", "nodes/status"), [], cluster=True),
        _resources(("*",), "coordination.k8s.io", ("leases",), ["*"]),
    ]
    return [
        _schema("exempt", "exempt", 1, "", [("group", "system:masters")], everything),
        _schema("probes", "exempt", 2, "", EVERYBODY, {"nonResourceRules": probes}),
        _schema(
            "system-leader-election",
            "leader-election",
            100,
            "ByUser",
            [_MANAGER, _SCHEDULER, _SYSTEM_ACCOUNTS],
            {"resourceRules": election},
        ),
        _schema(
            "endpoint-controller",
            "workload-high",
            150,
            "ByUser",
            [_MANAGER, *endpoint_accounts],
            {"resourceRules": endpoints},
        ),
        _schema(
            "workload-leader-election",
            "leader-election",
            200,
            "ByUser",
            [_SYSTEM_ACCOUNTS],
            {"resourceRules": election},
        ),
        _schema(
            "system-node-high",
            "node-high",
            400,
            "ByUser",
            [("group", "system:nodes")],
            {"resourceRules": nodes},
        ),
        _schema("system-nodes", "system", 500, "ByUser", [("group", "system:nodes")], everything),
        _schema("kube-controller-manager", "workload-high", 800, "ByNamespace", [_MANAGER], everything),
        _schema("kube-scheduler", "workload-high", 800, "ByNamespace", [_SCHEDULER], everything),
        _schema(
            "kube-system-service-accounts",
            "workload-high",
            900,
            "ByNamespace",
            [_SYSTEM_ACCOUNTS],
            everything,
        ),
        _schema(
            "service-accounts",
            "workload-low",
            9000,
            "ByUser",
            [("group", "system:serviceaccounts")],
            everything,
        ),
        _schema("global-default", "global-default", 9900, "ByUser", EVERYBODY, everything),
        _schema("catch-all", "catch-all", 10_000, "ByUser", EVERYBODY, everything),
    ]


def _object(name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"name": name, "annotations": {AUTO_UPDATE: "true"}}, "spec": spec}


def _resources(
    verbs: tuple[str, ...], group: str, plurals: tuple[str, ...], namespaces: list[str], cluster: bool = False
) -> dict[str, Any]:
    rule: dict[str, Any] = {"verbs": list(verbs), "apiGroups": [group], "resources": list(plurals)}
    if cluster:
        rule["clusterScope"] = True
    if namespaces:
        rule["namespaces"] = namespaces
    return rule


def _schema(
    name: str, level: str, precedence: int, distinguisher: str, subjects: Any, rules: dict[str, Any]
) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "priorityLevelConfiguration": {"name": level},
        "matchingPrecedence": precedence,
        "rules": [{"subjects": [_subject(kind, who) for kind, who in subjects], **rules}],
    }
    if distinguisher:
        spec["distinguisherMethod"] = {"type": distinguisher}
    return _object(name, spec)


def _subject(kind: str, name: str) -> dict[str, Any]:
    if kind == "account":
        return {"kind": "ServiceAccount", "serviceAccount": {"name": name, "namespace": "kube-system"}}
    return {"kind": kind.capitalize(), kind: {"name": name}}

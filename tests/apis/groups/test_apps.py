"""apps/v1 against upstream's defaults, wordings and tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

GetKind = Callable[[str], Any]

POD = {"containers": [{"name": "c", "image": "i"}]}
TEMPLATE = {"metadata": {"labels": {"app": "web"}}, "spec": POD}
SELECTOR = {"matchLabels": {"app": "web"}}


def _spec(**fields: Any) -> dict[str, Any]:
    return {"spec": {"selector": SELECTOR, "template": TEMPLATE, **fields}}


def test_deployment_defaults(kind: GetKind) -> None:
    spec = kind("deployments").created(_spec()).spec
    assert spec.replicas == 1
    assert spec.revisionHistoryLimit == 10
    assert spec.progressDeadlineSeconds == 600
    assert spec.strategy.type == "RollingUpdate"
    assert spec.strategy.rollingUpdate.maxSurge == "25%"
    assert spec.strategy.rollingUpdate.maxUnavailable == "25%"
    assert spec.template.spec.restartPolicy == "Always"


def test_stateful_set_defaults(kind: GetKind) -> None:
    claim = {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}
    spec = kind("statefulsets").created(_spec(volumeClaimTemplates=[claim])).spec
    assert spec.podManagementPolicy == "OrderedReady"
    assert spec.updateStrategy.rollingUpdate.partition == 0
    assert spec.persistentVolumeClaimRetentionPolicy.whenDeleted == "Retain"
    assert spec.volumeClaimTemplates[0].status.phase == "Pending"
    assert spec.volumeClaimTemplates[0].kind == "PersistentVolumeClaim"


MISMATCH = "spec.template.metadata.labels: Invalid value: {}: `selector` does not match template `labels`"
BAD = [
    ("deployments", _spec(), []),
    (
        "deployments",
        _spec(replicas=-1),
        ["spec.replicas: Invalid value: -1: must be greater than or equal to 0"],
    ),
    (
        "deployments",
        _spec(selector={"matchLabels": {"app": "other"}}),
        [MISMATCH.format('{"app":"web"}')],
    ),
    (
        "deployments",
        _spec(selector=None),
        ["spec.selector: Required value", MISMATCH.format('{"app":"web"}')],
    ),
    (
        "deployments",
        _spec(selector={}),
        ["spec.selector: Invalid value: {}: empty selector is invalid for deployment"],
    ),
    (
        "deployments",
        _spec(strategy={"type": "Sideways"}),
        [
            'spec.strategy: Unsupported value: {"Type":"Sideways","RollingUpdate":null}: supported values: "Recreate", "RollingUpdate"'
        ],
    ),
    (
        "deployments",
        _spec(strategy={"type": "Recreate", "rollingUpdate": {}}),
        ["spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'"],
    ),
    (
        "deployments",
        _spec(strategy={"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}),
        ["spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0"],
    ),
    (
        "deployments",
        _spec(strategy={"rollingUpdate": {"maxUnavailable": "101%"}}),
        ['spec.strategy.rollingUpdate.maxUnavailable: Invalid value: "101%": must not be greater than 100%'],
    ),
    (
        "deployments",
        _spec(strategy={"rollingUpdate": {"maxSurge": "many"}}),
        [
            'spec.strategy.rollingUpdate.maxSurge: Invalid value: "many": a valid percent string must be a numeric '
            "string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')"
        ],
    ),
    (
        "deployments",
        _spec(progressDeadlineSeconds=10, minReadySeconds=10),
        ["spec.progressDeadlineSeconds: Invalid value: 10: must be greater than minReadySeconds"],
    ),
    (
        "deployments",
        _spec(template={**TEMPLATE, "spec": {**POD, "restartPolicy": "Never"}}),
        ['spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"'],
    ),
    (
        "replicasets",
        _spec(template={**TEMPLATE, "spec": {**POD, "activeDeadlineSeconds": 5}}),
        [
            "spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in ReplicaSet is not Supported"
        ],
    ),
    (
        "daemonsets",
        _spec(selector={}),
        ["spec.selector: Invalid value: {}: empty selector is invalid for daemonset"],
    ),
    (
        "daemonsets",
        _spec(updateStrategy={"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}}),
        [
            "spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: 1: may not be set when maxUnavailable is "
            "non-zero"
        ],
    ),
    (
        "daemonsets",
        _spec(updateStrategy={"rollingUpdate": {"maxUnavailable": 0}}),
        ["spec.updateStrategy.rollingUpdate.maxUnavailable: Required value: cannot be 0 when maxSurge is 0"],
    ),
    (
        "statefulsets",
        _spec(podManagementPolicy="Chaotic"),
        ["spec.podManagementPolicy: Invalid value: \"Chaotic\": must be 'OrderedReady' or 'Parallel'"],
    ),
    (
        "statefulsets",
        _spec(updateStrategy={"type": "OnDelete", "rollingUpdate": {"partition": 1}}),
        [
            'spec.updateStrategy.rollingUpdate: Invalid value: {"partition":1}: only allowed for updateStrategy '
            "'RollingUpdate'"
        ],
    ),
    (
        "controllerrevisions",
        {"revision": -1},
        [
            "data: Required value: data is mandatory",
            "revision: Invalid value: -1: must be greater than or equal to 0",
        ],
    ),
]


@pytest.mark.parametrize(("plural", "plain", "expected"), BAD)
def test_create_errors(kind: GetKind, plural: str, plain: dict[str, Any], expected: list[str]) -> None:
    assert kind(plural).create_errors(plain) == expected


@pytest.mark.parametrize("plural", ["deployments", "replicasets", "daemonsets"])
def test_selectors_never_change(kind: GetKind, plural: str) -> None:
    labels = {"app": "web", "tier": "front"}
    template = {**TEMPLATE, "metadata": {"labels": labels}}
    errors = kind(plural).update_errors(
        _spec(template=template), _spec(template=template, selector={"matchLabels": labels})
    )
    assert errors == [
        'spec.selector: Invalid value: {"matchLabels":{"app":"web","tier":"front"}}: field is immutable'
    ]


def test_stateful_sets_change_in_few_fields(kind: GetKind) -> None:
    sets = kind("statefulsets")
    assert sets.update_errors(_spec(), _spec(replicas=3, minReadySeconds=1)) == []
    (error,) = sets.update_errors(_spec(), _spec(serviceName="other"))
    assert error.startswith("spec: Forbidden: updates to statefulset spec for fields other than 'replicas', ")


def test_generation_counts_specs_and_annotations(kind: GetKind) -> None:
    deployments = kind("deployments")
    old = deployments.created(_spec())
    assert old.metadata.generation == 1
    for changed, generation in (
        (_spec(), 1),
        (_spec(replicas=2), 2),
        ({**_spec(), "metadata": {"annotations": {"a": "b"}}}, 2),
    ):
        new = deployments.decode(changed)
        deployments.strategy.prepare_for_update(new, old)
        assert new.metadata.generation == generation


def test_daemon_sets_count_template_generations(kind: GetKind) -> None:
    sets = kind("daemonsets")
    key = "deprecated.daemonset.template.generation"
    old = sets.created(_spec())
    assert old.metadata.annotations == {key: "1"}
    new = sets.decode(_spec(template={**TEMPLATE, "spec": {**POD, "hostNetwork": True}}))
    sets.strategy.prepare_for_update(new, old)
    assert new.metadata.annotations == {key: "2"}


def test_status_counts_are_consistent(kind: GetKind) -> None:
    sets = kind("replicasets")
    obj = sets.decode({**_spec(), "status": {"replicas": 1, "readyReplicas": 2, "availableReplicas": -1}})
    assert [str(e) for e in sets.strategy.validate_status_update(obj, obj)] == [
        "status.availableReplicas: Invalid value: -1: must be greater than or equal to 0",
        "status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas",
    ]


def test_cells(kind: GetKind) -> None:
    meta = {"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"}}
    now = 1767225600 + 300.0
    status = {"replicas": 3, "readyReplicas": 2, "updatedReplicas": 3, "availableReplicas": 2}
    plain = {**meta, **_spec(replicas=3), "status": status}
    assert kind("deployments").cells(plain, now) == ["x", "2/3", 3, 2, "5m", "c", "i", "app=web"]
    status = {"replicas": 3, "readyReplicas": 2}
    plain = {**meta, **_spec(replicas=3), "status": status}
    assert kind("replicasets").cells(plain, now) == ["x", 3, 3, 2, "5m", "c", "i", "app=web"]
    assert kind("statefulsets").cells(plain, now) == ["x", "2/3", "5m", "c", "i"]
    numbers = {
        "desiredNumberScheduled": 5,
        "currentNumberScheduled": 4,
        "numberReady": 3,
        "updatedNumberScheduled": 2,
        "numberAvailable": 1,
        "numberMisscheduled": 0,
    }
    pod = {**POD, "nodeSelector": {"b": "2", "a": "1"}}
    plain = {**meta, **_spec(template={**TEMPLATE, "spec": pod}), "status": numbers}
    cells = kind("daemonsets").cells(plain, now)
    assert cells == ["x", 5, 4, 3, 2, 1, "a=1,b=2", "5m", "c", "i", "app=web"]
    owner = {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "ds", "uid": "u", "controller": True}
    revision = {"metadata": {"ownerReferences": [owner]}, "revision": 7, "data": {}}
    assert kind("controllerrevisions").cells(revision) == ["x", "daemonset.apps/ds", 7, "<unknown>"]


def test_names(kind: GetKind) -> None:
    assert kind("statefulsets").strategy.validate_name("a.b") == ["must not contain dots"]
    assert kind("deployments").strategy.validate_name("a.b") == []
    obj = kind("deployments").created({**_spec(), "metadata": {"name": "a.b"}})
    (warning,) = kind("deployments").strategy.warnings(obj, None)
    assert warning.endswith("a DNS label is recommended: [must not contain dots]")

"""apps/v1: Deployments, ReplicaSets, DaemonSets, StatefulSets and ControllerRevisions.

DaemonSets and StatefulSets are in `apps_sets`. Defaults, validation and immutability are upstream's `apis/apps/v1/defaults.go`, `apis/apps/validation` and the strategies of `registry/apps`.
Selectors never change after creation; a StatefulSet's spec changes in a few fields only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lakh.apis import meta
from lakh.apis.groups import printing
from lakh.apis.groups.apps_sets import DaemonSetStrategy, StatefulSetStrategy
from lakh.apis.groups.base import GroupStrategy, child, declare
from lakh.apis.groups.printing import CONTAINERS_COLUMN, IMAGES_COLUMN
from lakh.apis.groups.workloads import (
    ABOVE_REPLICAS,
    DEFAULT_REVISION_HISTORY_LIMIT,
    SELECTOR_COLUMN,
    changed_template_warnings,
    count,
    hostname_warnings,
    int_or_percent_value,
    shown_strategy,
    validate_at_most_100_percent,
    validate_collision_count,
    validate_counts,
    validate_int_or_percent,
    validate_not_above,
    validate_runs_forever,
    validate_selected_template,
    validate_selector,
)
from lakh.apis.podspec import default_pod_template
from lakh.apis.registry import AGE_COLUMN, NAME_COLUMN, Column, Resource, Scale
from lakh.machinery.errors import (
    FieldError,
    forbidden_field,
    invalid_value,
    not_supported,
    required,
)

GROUP = "apps"
VERSION = "v1"

DEFAULT_PROGRESS_DEADLINE_SECONDS = 600

# Deployments have words of their own for no selector and for a wrong one.
_UNSELECTED = {printing.NONE: "", printing.ERROR: "<invalid>"}


class DeploymentStrategy(GroupStrategy):
    """Deployments."""

    has_status = True
    generation = True
    resets: Mapping[str, tuple[str, ...]] = {"status": ("metadata.labels",)}
    status_keeps = ("labels",)
    columns = (
        NAME_COLUMN,
        Column("Ready", description="Number of the pod with ready state"),
        Column("Up-to-date", description="Number of pods that have the desired template spec."),
        Column("Available", description="Number of available pods."),
        AGE_COLUMN,
        CONTAINERS_COLUMN,
        IMAGES_COLUMN,
        SELECTOR_COLUMN,
    )

    def default(self, obj: Any) -> None:
        """One replica, rolling updates by a quarter, ten revisions kept, ten minutes to progress."""
        spec = child(obj, "spec")
        if spec.replicas is None:
            spec.replicas = 1
        strategy = child(spec, "strategy")
        if not strategy.type:
            strategy.type = "RollingUpdate"
        if strategy.type == "RollingUpdate":
            rolling = child(strategy, "rollingUpdate")
            if rolling.maxUnavailable is None:
                rolling.maxUnavailable = "25%"
            if rolling.maxSurge is None:
                rolling.maxSurge = "25%"
        if spec.revisionHistoryLimit is None:
            spec.revisionHistoryLimit = DEFAULT_REVISION_HISTORY_LIMIT
        if spec.progressDeadlineSeconds is None:
            spec.progressDeadlineSeconds = DEFAULT_PROGRESS_DEADLINE_SECONDS
        default_pod_template(spec.template)

    def prepare_for_update(self, new: Any, old: Any) -> None:
        """Annotations are part of what the generation counts: rollouts copy them."""
        super().prepare_for_update(new, old)
        if new.metadata.generation == old.metadata.generation and (new.metadata.annotations or {}) != (
            old.metadata.annotations or {}
        ):
            new.metadata.generation = (old.metadata.generation or 0) + 1

    def validate(self, obj: Any) -> list[FieldError]:
        """A whole Deployment."""
        spec = obj.spec
        found: list[FieldError] = []
        meta.non_negative(spec.replicas, "spec.replicas", found)
        validate_selector(spec.selector, "empty selector is invalid for deployment", found)
        validate_selected_template(spec, found)
        validate_runs_forever(spec.template, "ReplicaSet", found)
        _validate_deployment_strategy(spec.strategy, "spec.strategy", found)
        meta.non_negative(spec.minReadySeconds, "spec.minReadySeconds", found)
        meta.non_negative(spec.revisionHistoryLimit, "spec.revisionHistoryLimit", found)
        deadline = spec.progressDeadlineSeconds
        if deadline is not None:
            meta.non_negative(deadline, "spec.progressDeadlineSeconds", found)
            if deadline <= (spec.minReadySeconds or 0):
                found.append(
                    invalid_value(
                        "spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds"
                    )
                )
        return found

    def validate_update(self, new: Any, old: Any) -> list[FieldError]:
        """The selector stays."""
        found = self.validate(new)
        meta.immutable(new.spec.selector, old.spec.selector, "spec.selector", found)
        return found

    def validate_status_update(self, new: Any, old: Any) -> list[FieldError]:
        """Counts are consistent."""
        found: list[FieldError] = []
        status = new.status
        if status is None:
            return found
        parts = ("updatedReplicas", "readyReplicas", "availableReplicas")
        validate_counts(
            status,
            (
                "observedGeneration",
                "replicas",
                *parts,
                "unavailableReplicas",
                "terminatingReplicas",
                "collisionCount",
            ),
            found,
        )
        validate_not_above(status, parts, "replicas", ABOVE_REPLICAS, found)
        validate_not_above(
            status,
            ("availableReplicas",),
            "readyReplicas",
            "cannot be greater than readyReplicas",
            found,
        )
        validate_collision_count(new, old, found)
        return found

    def warnings(self, obj: Any, old: Any | None) -> list[str]:
        """Names that make surprising hostnames, and those of a template that is new."""
        found = hostname_warnings(obj.metadata.name or "") if old is None else []
        return found + changed_template_warnings(obj, old)

    def cells(self, obj: Any, now: float) -> list[Any]:
        """As `kubectl get deployments` shows it."""
        spec, status = obj.spec, obj.status
        containers, images = printing.containers_and_images(spec.template)
        selector = printing.label_selector(spec.selector)
        return [
            obj.metadata.name,
            f"{count(status, 'readyReplicas')}/{spec.replicas or 0}",
            count(status, "updatedReplicas"),
            count(status, "availableReplicas"),
            printing.age(obj, now),
            containers,
            images,
            _UNSELECTED.get(selector, selector),
        ]


def _validate_deployment_strategy(strategy: Any, path: str, found: list[FieldError]) -> None:
    match strategy.type:
        case "Recreate":
            if strategy.rollingUpdate is not None:
                found.append(
                    forbidden_field(
                        f"{path}.rollingUpdate",
                        "may not be specified when strategy `type` is 'Recreate'",
                    )
                )
        case "RollingUpdate":
            rolling = strategy.rollingUpdate
            where = f"{path}.rollingUpdate"
            validate_int_or_percent(rolling.maxUnavailable, f"{where}.maxUnavailable", found)
            validate_int_or_percent(rolling.maxSurge, f"{where}.maxSurge", found)
            unavailable = int_or_percent_value(rolling.maxUnavailable)
            if unavailable == 0 and int_or_percent_value(rolling.maxSurge) == 0:
                found.append(
                    invalid_value(
                        f"{where}.maxUnavailable",
                        rolling.maxUnavailable,
                        "may not be 0 when `maxSurge` is 0",
                    )
                )
            validate_at_most_100_percent(rolling.maxUnavailable, f"{where}.maxUnavailable", found)
        case _:
            shown = shown_strategy(strategy)
            found.append(not_supported(path, shown, ("Recreate", "RollingUpdate"), as_given=True))


_REPLICA_SET_FIELDS: Mapping[str, Callable[[Any], str]] = {
    "status.replicas": lambda obj: str(count(obj.status, "replicas")),
}


class ReplicaSetStrategy(GroupStrategy):
    """ReplicaSets."""

    has_status = True
    generation = True
    columns = (
        NAME_COLUMN,
        Column("Desired", "integer", description="Number of desired pods."),
        Column("Current", "integer", description="Most recently observed number of replicas."),
        Column("Ready", "integer", description="Number of pods with a Ready condition."),
        AGE_COLUMN,
        CONTAINERS_COLUMN,
        IMAGES_COLUMN,
        SELECTOR_COLUMN,
    )
    selectable_fields = _REPLICA_SET_FIELDS

    def default(self, obj: Any) -> None:
        """One replica."""
        spec = child(obj, "spec")
        if spec.replicas is None:
            spec.replicas = 1
        default_pod_template(spec.template)

    def validate(self, obj: Any) -> list[FieldError]:
        """A whole ReplicaSet."""
        spec = obj.spec
        found: list[FieldError] = []
        meta.non_negative(spec.replicas, "spec.replicas", found)
        meta.non_negative(spec.minReadySeconds, "spec.minReadySeconds", found)
        validate_selector(spec.selector, "empty selector is invalid for deployment", found)
        validate_selected_template(spec, found)
        validate_runs_forever(spec.template, "ReplicaSet", found)
        return found

    def validate_update(self, new: Any, old: Any) -> list[FieldError]:
        """The selector stays."""
        found = self.validate(new)
        meta.immutable(new.spec.selector, old.spec.selector, "spec.selector", found)
        return found

    def validate_status_update(self, new: Any, old: Any) -> list[FieldError]:
        """Counts are consistent."""
        found: list[FieldError] = []
        status = new.status
        if status is None:
            return found
        parts = ("fullyLabeledReplicas", "readyReplicas", "availableReplicas")
        validate_counts(status, ("replicas", *parts, "terminatingReplicas", "observedGeneration"), found)
        validate_not_above(status, parts, "replicas", ABOVE_REPLICAS, found)
        validate_not_above(
            status,
            ("availableReplicas",),
            "readyReplicas",
            "cannot be greater than readyReplicas",
            found,
        )
        return found

    def warnings(self, obj: Any, old: Any | None) -> list[str]:
        """Names that make surprising hostnames, and those of a template that is new."""
        found = hostname_warnings(obj.metadata.name or "") if old is None else []
        return found + changed_template_warnings(obj, old)

    def cells(self, obj: Any, now: float) -> list[Any]:
        """As `kubectl get replicasets` shows it."""
        spec, status = obj.spec, obj.status
        containers, images = printing.containers_and_images(spec.template)
        return [
            obj.metadata.name,
            spec.replicas or 0,
            count(status, "replicas"),
            count(status, "readyReplicas"),
            printing.age(obj, now),
            containers,
            images,
            printing.label_selector(spec.selector),
        ]


class ControllerRevisionStrategy(GroupStrategy):
    """ControllerRevisions: snapshots of templates that controllers keep."""

    columns = (
        NAME_COLUMN,
        Column("Controller", description="Controller of the object"),
        Column("Revision", description="Revision indicates the revision of the state."),
        AGE_COLUMN,
    )

    def validate(self, obj: Any) -> list[FieldError]:
        """A whole ControllerRevision."""
        found: list[FieldError] = []
        if obj.data is None:
            found.append(required("data", "data is mandatory"))
        meta.non_negative(obj.revision, "revision", found)
        return found

    def validate_update(self, new: Any, old: Any) -> list[FieldError]:
        """The data stays."""
        found = self.validate(new)
        meta.immutable(new.data, old.data, "data", found)
        return found

    def cells(self, obj: Any, now: float) -> list[Any]:
        """As `kubectl get controllerrevisions` shows it."""
        return [
            obj.metadata.name,
            printing.controller(obj),
            obj.revision or 0,
            printing.age(obj, now),
        ]


def _workload(plural: str, kind: str, strategy: GroupStrategy, short: str, scale: Scale | None) -> Resource:
    return declare(
        GROUP,
        VERSION,
        plural,
        kind,
        strategy,
        namespaced=True,
        short_names=(short,),
        categories=("all",),
        scale=scale,
    )


RESOURCES = (
    declare(
        GROUP,
        VERSION,
        "controllerrevisions",
        "ControllerRevision",
        ControllerRevisionStrategy(),
        namespaced=True,
    ),
    _workload("daemonsets", "DaemonSet", DaemonSetStrategy(), "ds", None),
    _workload("deployments", "Deployment", DeploymentStrategy(), "deploy", Scale()),
    _workload("replicasets", "ReplicaSet", ReplicaSetStrategy(), "rs", Scale()),
    _workload("statefulsets", "StatefulSet", StatefulSetStrategy(), "sts", Scale()),
)

"""The two kinds of apps/v1 whose pods are not interchangeable: DaemonSets (one a node) and StatefulSets (one an ordinal)."""

from __future__ import annotations

from typing import Any

from lakh.apis import meta
from lakh.apis.groups import printing
from lakh.apis.groups.base import GroupStrategy, child
from lakh.apis.groups.printing import CONTAINERS_COLUMN, IMAGES_COLUMN
from lakh.apis.groups.workloads import (
    ABOVE_REPLICAS,
    DEFAULT_REVISION_HISTORY_LIMIT,
    SELECTOR_COLUMN,
    changed_template_warnings,
    count,
    int_or_percent_value,
    selector_is_valid,
    shown_strategy,
    validate_at_most_100_percent,
    validate_collision_count,
    validate_counts,
    validate_int_or_percent,
    validate_not_above,
    validate_runs_forever,
    validate_selector,
    validate_template_labels,
)
from lakh.apis.podspec import (
    default_pod_template,
    validate_pod_template,
    validate_template_metadata,
)
from lakh.apis.podspec_warnings import claim_spec_warnings
from lakh.apis.registry import AGE_COLUMN, NAME_COLUMN, Column
from lakh.apis.resourcelists import canonicalise
from lakh.machinery import gonumbers, names
from lakh.machinery.errors import (
    FieldError,
    forbidden_field,
    invalid_value,
    not_supported,
    required,
)

# apps/v1 has no templateGeneration field; it lives in this annotation.
TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"


class DaemonSetStrategy(GroupStrategy):
    """DaemonSets."""

    has_status = True
    generation = True
    columns = (
        NAME_COLUMN,
        Column("Desired", "integer", description="Number of nodes that should run the daemon pod."),
        Column("Current", "integer", description="Number of nodes that run a daemon pod and should."),
        Column("Ready", "integer", description="Number of nodes with a ready daemon pod."),
        Column("Up-to-date", "integer", description="Number of nodes with an updated daemon pod."),
        Column("Available", "integer", description="Number of nodes with an available daemon pod."),
        Column("Node Selector", description="Labels that a node must have for the pod to fit on it."),
        AGE_COLUMN,
        CONTAINERS_COLUMN,
        IMAGES_COLUMN,
        SELECTOR_COLUMN,
    )

    def default(self, obj: Any) -> None:
        """Rolling updates, one node at a time; ten revisions kept."""
        spec = child(obj, "spec")
        strategy = child(spec, "updateStrategy")
        if not strategy.type:
            strategy.type = "RollingUpdate"
        if strategy.type == "RollingUpdate":
            rolling = child(strategy, "rollingUpdate")
            if rolling.maxUnavailable is None:
                rolling.maxUnavailable = 1
            if rolling.maxSurge is None:
                rolling.maxSurge = 0
        if spec.revisionHistoryLimit is None:
            spec.revisionHistoryLimit = DEFAULT_REVISION_HISTORY_LIMIT
        default_pod_template(spec.template)
        if TEMPLATE_GENERATION not in (obj.metadata.annotations or {}):
            # Whoever leaves it out says 0, and becomes its manager.
            obj.metadata.annotations = {**(obj.metadata.annotations or {}), TEMPLATE_GENERATION: "0"}

    def prepare_for_create(self, obj: Any) -> None:
        """The first template generation."""
        super().prepare_for_create(obj)
        obj.metadata.annotations = {**(obj.metadata.annotations or {}), TEMPLATE_GENERATION: "1"}

    def prepare_for_update(self, new: Any, old: Any) -> None:
        """Counts the template generation."""
        super().prepare_for_update(new, old)
        text = (old.metadata.annotations or {}).get(TEMPLATE_GENERATION, "")
        generation = int(text) if gonumbers.is_uint(text) else 1
        if new.spec.template != old.spec.template:
            generation += 1
        new.metadata.annotations = {**(new.metadata.annotations or {}), TEMPLATE_GENERATION: str(generation)}

    def validate(self, obj: Any) -> list[FieldError]:
        """A whole DaemonSet."""
        spec = obj.spec
        found = meta.validate_label_selector(spec.selector, "spec.selector")
        if not found:
            validate_template_labels(spec, found)
        if spec.selector is not None and meta.is_empty_selector(spec.selector):
            found.append(
                invalid_value("spec.selector", spec.selector, "empty selector is invalid for daemonset")
            )
        found += validate_pod_template(spec.template, "spec.template")
        validate_runs_forever(spec.template, "DaemonSet", found)
        meta.non_negative(spec.minReadySeconds, "spec.minReadySeconds", found)
        _validate_daemon_update(spec.updateStrategy, "spec.updateStrategy", found)
        meta.non_negative(spec.revisionHistoryLimit, "spec.revisionHistoryLimit", found)
        return found

    def validate_update(self, new: Any, old: Any) -> list[FieldError]:
        """The selector stays."""
        found = self.validate(new)
        meta.immutable(new.spec.selector, old.spec.selector, "spec.selector", found)
        return found

    def validate_status_update(self, new: Any, old: Any) -> list[FieldError]:
        """Counts are not negative."""
        found: list[FieldError] = []
        if new.status is None:
            return found
        validate_counts(
            new.status,
            (
                "currentNumberScheduled",
                "numberMisscheduled",
                "desiredNumberScheduled",
                "numberReady",
                "observedGeneration",
                "updatedNumberScheduled",
                "numberAvailable",
                "numberUnavailable",
                "collisionCount",
            ),
            found,
        )
        validate_collision_count(new, old, found)
        return found

    def warnings(self, obj: Any, old: Any | None) -> list[str]:
        """Those of the template, when it is new."""
        return changed_template_warnings(obj, old)

    def cells(self, obj: Any, now: float) -> list[Any]:
        """As `kubectl get daemonsets` shows it."""
        spec, status = obj.spec, obj.status
        containers, images = printing.containers_and_images(spec.template)
        pod = spec.template.spec if spec.template is not None else None
        return [
            obj.metadata.name,
            count(status, "desiredNumberScheduled"),
            count(status, "currentNumberScheduled"),
            count(status, "numberReady"),
            count(status, "updatedNumberScheduled"),
            count(status, "numberAvailable"),
            printing.labels(pod.nodeSelector if pod is not None else None),
            printing.age(obj, now),
            containers,
            images,
            printing.label_selector(spec.selector),
        ]


def _validate_daemon_update(strategy: Any, path: str, found: list[FieldError]) -> None:
    if strategy.type == "OnDelete":
        return
    if strategy.type != "RollingUpdate":
        shown = shown_strategy(strategy)
        found.append(not_supported(path, shown, ("RollingUpdate", "OnDelete"), as_given=True))
        return
    rolling = strategy.rollingUpdate
    where = f"{path}.rollingUpdate"
    for name in ("maxUnavailable", "maxSurge"):
        validate_int_or_percent(getattr(rolling, name), f"{where}.{name}", found)
    for name in ("maxUnavailable", "maxSurge"):
        validate_at_most_100_percent(getattr(rolling, name), f"{where}.{name}", found)
    unavailable = int_or_percent_value(rolling.maxUnavailable) != 0
    surge = int_or_percent_value(rolling.maxSurge) != 0
    if unavailable and surge:
        found.append(
            invalid_value(
                f"{where}.maxSurge", rolling.maxSurge, "may not be set when maxUnavailable is non-zero"
            )
        )
    elif not unavailable and not surge:
        found.append(required(f"{where}.maxUnavailable", "cannot be 0 when maxSurge is 0"))


# What of a StatefulSet's spec an update may change.
_MUTABLE = (
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
)
_IMMUTABLE_STATEFULSET = (
    "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
    "'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
)


class StatefulSetStrategy(GroupStrategy):
    """StatefulSets."""

    has_status = True
    generation = True
    status_zeros = ("availableReplicas",)
    columns = (
        NAME_COLUMN,
        Column("Ready", description="Number of the pod with ready state"),
        AGE_COLUMN,
        CONTAINERS_COLUMN,
        IMAGES_COLUMN,
    )

    def validate_name(self, name: str) -> list[str]:
        """Pods take the name into their hostnames: a DNS label."""
        return names.dns_label(name)

    def default(self, obj: Any) -> None:
        """Ordered, rolling, volumes kept, one replica, ten revisions."""
        spec = child(obj, "spec")
        if not spec.podManagementPolicy:
            spec.podManagementPolicy = "OrderedReady"
        strategy = child(spec, "updateStrategy")
        if not strategy.type:
            strategy.type = "RollingUpdate"
            child(strategy, "rollingUpdate")
        if strategy.type == "RollingUpdate" and strategy.rollingUpdate is not None:
            if strategy.rollingUpdate.partition is None:
                strategy.rollingUpdate.partition = 0
            if strategy.rollingUpdate.maxUnavailable is None:
                strategy.rollingUpdate.maxUnavailable = 1
        retention = child(spec, "persistentVolumeClaimRetentionPolicy")
        if not retention.whenDeleted:
            retention.whenDeleted = "Retain"
        if not retention.whenScaled:
            retention.whenScaled = "Retain"
        if spec.replicas is None:
            spec.replicas = 1
        if spec.revisionHistoryLimit is None:
            spec.revisionHistoryLimit = DEFAULT_REVISION_HISTORY_LIMIT
        default_pod_template(spec.template)
        for claim in spec.volumeClaimTemplates or ():
            claim.apiVersion, claim.kind = "v1", "PersistentVolumeClaim"
            status = child(claim, "status")
            if not status.phase:
                status.phase = "Pending"
            claim_spec = child(claim, "spec")
            if claim_spec.volumeMode is None:
                claim_spec.volumeMode = "Filesystem"
            resources = child(claim_spec, "resources")
            canonicalise(resources.requests or {})
            canonicalise(resources.limits or {})

    def validate(self, obj: Any) -> list[FieldError]:
        """A whole StatefulSet."""
        spec = obj.spec
        found: list[FieldError] = []
        if spec.podManagementPolicy not in ("OrderedReady", "Parallel"):
            found.append(
                invalid_value(
                    "spec.podManagementPolicy",
                    spec.podManagementPolicy,
                    "must be 'OrderedReady' or 'Parallel'",
                )
            )
        _validate_stateful_update(spec.updateStrategy, "spec.updateStrategy", found)
        retention = spec.persistentVolumeClaimRetentionPolicy
        for name in ("whenDeleted", "whenScaled"):
            value = getattr(retention, name)
            if value not in ("Retain", "Delete"):
                found.append(
                    not_supported(
                        f"spec.persistentVolumeClaimRetentionPolicy.{name}",
                        value,
                        ("Retain", "Delete"),
                        as_given=True,
                    )
                )
        meta.non_negative(spec.replicas, "spec.replicas", found)
        meta.non_negative(spec.minReadySeconds, "spec.minReadySeconds", found)
        if spec.ordinals is not None:
            meta.non_negative(spec.ordinals.start, "spec.ordinals.start", found)
        validate_selector(spec.selector, "empty selector is invalid for statefulset", found)
        # The spec of the pods is left to the pods: their mounts may name claims that are made for each of them.
        if not selector_is_valid(spec.selector):
            found.append(invalid_value("spec.selector", spec.selector, ""))
        else:
            if spec.selector is None or not meta.is_empty_selector(spec.selector):
                validate_template_labels(spec, found)
            if spec.template is not None:
                found += validate_template_metadata(spec.template, "spec.template")
        validate_runs_forever(spec.template, "StatefulSet", found)
        return found

    def warnings(self, obj: Any, old: Any | None) -> list[str]:
        """Those of the template and of the claims, when they are new; history that never ends."""
        found = changed_template_warnings(obj, old)
        if old is None or obj.metadata.generation != old.metadata.generation:
            for index, claim in enumerate(obj.spec.volumeClaimTemplates or ()):
                if claim.spec is not None:
                    found += claim_spec_warnings(claim.spec, f"spec.volumeClaimTemplates[{index}].spec")
        if (obj.spec.revisionHistoryLimit or 0) < 0:
            found.append(
                "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended"
            )
        return found

    def validate_update(self, new: Any, old: Any) -> list[FieldError]:
        """Few fields may change."""
        found = self.validate(new)
        changed = any(
            getattr(new.spec, name) != getattr(old.spec, name)
            for name in new.spec.__struct_fields__
            if name not in _MUTABLE
        )
        if changed:
            found.append(forbidden_field("spec", _IMMUTABLE_STATEFULSET))
        return found

    def validate_status_update(self, new: Any, old: Any) -> list[FieldError]:
        """Counts are consistent."""
        found: list[FieldError] = []
        status = new.status
        if status is None:
            return found
        parts = ("readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas")
        validate_counts(status, ("replicas", *parts, "observedGeneration", "collisionCount"), found)
        validate_not_above(status, parts, "replicas", ABOVE_REPLICAS, found)
        validate_not_above(
            status,
            ("availableReplicas",),
            "readyReplicas",
            "cannot be greater than status.readyReplicas",
            found,
        )
        validate_collision_count(new, old, found)
        return found

    def cells(self, obj: Any, now: float) -> list[Any]:
        """As `kubectl get statefulsets` shows it."""
        containers, images = printing.containers_and_images(obj.spec.template)
        return [
            obj.metadata.name,
            f"{count(obj.status, 'readyReplicas')}/{obj.spec.replicas or 0}",
            printing.age(obj, now),
            containers,
            images,
        ]


def _validate_stateful_update(strategy: Any, path: str, found: list[FieldError]) -> None:
    rolling = strategy.rollingUpdate
    match strategy.type:
        case "OnDelete":
            if rolling is not None:
                found.append(
                    invalid_value(
                        f"{path}.rollingUpdate",
                        rolling,
                        "only allowed for updateStrategy 'RollingUpdate'",
                    )
                )
        case "RollingUpdate":
            if rolling is not None:
                where = f"{path}.rollingUpdate"
                meta.non_negative(rolling.partition, f"{where}.partition", found)
                if rolling.maxUnavailable is not None:
                    most = f"{where}.maxUnavailable"
                    validate_int_or_percent(rolling.maxUnavailable, most, found)
                    if int_or_percent_value(rolling.maxUnavailable) == 0:
                        found.append(invalid_value(most, rolling.maxUnavailable, "cannot be 0"))
                    validate_at_most_100_percent(rolling.maxUnavailable, most, found)
        case _:
            found.append(invalid_value(path, strategy, "must be 'RollingUpdate' or 'OnDelete'"))

"""PodTemplates and ReplicationControllers."""

from __future__ import annotations

from typing import Any

from lakh.apis import structs
from lakh.apis.core.base import declare
from lakh.apis.groups.printing import (
    CONTAINERS_COLUMN,
    IMAGES_COLUMN,
    age,
    containers_and_images,
    labels,
)
from lakh.apis.groups.workloads import (
    ABOVE_REPLICAS,
    changed_template_warnings,
    hostname_warnings,
    validate_counts,
    validate_not_above,
    validate_runs_forever,
)
from lakh.apis.meta import non_negative
from lakh.apis.podspec import default_pod_template, validate_pod_template
from lakh.apis.podspec_warnings import pod_template_warnings
from lakh.apis.registry import AGE_COLUMN, NAME_COLUMN, Column, Resource, Scale, Strategy
from lakh.machinery.errors import FieldError, invalid_value, required

_ReplicationControllerSpec = structs.core("ReplicationControllerSpec")
_ReplicationControllerStatus = structs.core("ReplicationControllerStatus")


class PodTemplateStrategy(Strategy):
    """PodTemplates."""

    generation = True
    columns = (
        NAME_COLUMN,
        Column("Containers", description="Names of each container in the template."),
        Column("Images", description="Images referenced by each container in the template."),
        Column("Pod Labels", description="The labels for the pod template."),
    )

    def default(self, obj: Any) -> None:
        """Those of the template."""
        default_pod_template(obj.template)

    def validate(self, obj: Any) -> list[FieldError]:
        """The template."""
        return validate_pod_template(obj.template, "template")

    def warnings(self, obj: Any, old: Any | None) -> list[str]:
        """Those of the template."""
        return pod_template_warnings(obj.template, "template")

    def cells(self, obj: Any, now: float) -> list[Any]:
        """As `kubectl get podtemplates` shows it."""
        meta = obj.template.metadata if obj.template is not None else None
        return [
            obj.metadata.name,
            *containers_and_images(obj.template),
            labels(meta.labels if meta is not None else None),
        ]


_SELECTABLE = {"status.replicas": lambda rc: str((rc.status and rc.status.replicas) or 0)}


class ReplicationControllerStrategy(Strategy):
    """ReplicationControllers."""

    has_status = True
    generation = True
    default_propagation = "Orphan"
    columns = (
        NAME_COLUMN,
        Column("Desired", "integer", description="How many pods there should be."),
        Column("Current", "integer", description="How many pods there are."),
        Column("Ready", "integer", description="How many pods are ready."),
        AGE_COLUMN,
        CONTAINERS_COLUMN,
        IMAGES_COLUMN,
        Column("Selector", priority=1, description="Labels of the pods that it counts."),
    )
    selectable_fields = _SELECTABLE

    def default(self, obj: Any) -> None:
        """One replica; labels and selector from the template."""
        spec = obj.spec
        if spec is None:
            spec = obj.spec = _ReplicationControllerSpec()
        if spec.replicas is None:
            spec.replicas = 1
        template = spec.template
        if template is not None:
            template_labels = template.metadata.labels if template.metadata is not None else None
            if template_labels:
                if not spec.selector:
                    spec.selector = dict(template_labels)
                if not obj.metadata.labels:
                    obj.metadata.labels = dict(template_labels)
            default_pod_template(template)

    def prepare_for_create(self, obj: Any) -> None:
        """A new one has no pods."""
        super().prepare_for_create(obj)
        obj.status = _ReplicationControllerStatus(replicas=0)

    def validate(self, obj: Any) -> list[FieldError]:
        """Replicas, selector, and a template that the selector selects."""
        found: list[FieldError] = []
        spec = obj.spec
        non_negative(spec.minReadySeconds, "spec.minReadySeconds", found)
        if not spec.selector:
            found.append(required("spec.selector"))
        non_negative(spec.replicas, "spec.replicas", found)
        template = spec.template
        if template is None:
            found.append(required("spec.template"))
            return found
        have = (template.metadata and template.metadata.labels) or {}
        if spec.selector and not spec.selector.items() <= have.items():
            found.append(
                invalid_value(
                    "spec.template.metadata.labels", have, "`selector` does not match template `labels`"
                )
            )
        found.extend(validate_pod_template(template, "spec.template"))
        validate_runs_forever(template, "ReplicationController", found)
        return found

    def validate_status_update(self, new: Any, old: Any) -> list[FieldError]:
        """Counts are consistent (`ValidateReplicationControllerStatus`)."""
        found: list[FieldError] = []
        status = new.status
        if status is None:
            return found
        parts = ("fullyLabeledReplicas", "readyReplicas", "availableReplicas")
        validate_counts(status, ("replicas", *parts, "observedGeneration"), found)
        validate_not_above(status, parts, "replicas", ABOVE_REPLICAS, found)
        validate_not_above(
            status, ("availableReplicas",), "readyReplicas", "cannot be greater than readyReplicas", found
        )
        return found

    def warnings(self, obj: Any, old: Any | None) -> list[str]:
        """Names that make surprising hostnames, and those of a template that is new."""
        found = hostname_warnings(obj.metadata.name or "") if old is None else []
        return found + changed_template_warnings(obj, old)

    def cells(self, obj: Any, now: float) -> list[Any]:
        """As `kubectl get rc -o wide` shows it."""
        spec, status = obj.spec, obj.status or _ReplicationControllerStatus()
        return [
            obj.metadata.name,
            spec.replicas or 0,
            status.replicas or 0,
            status.readyReplicas or 0,
            age(obj, now),
            *containers_and_images(spec.template),
            labels(spec.selector),
        ]


RESOURCES: tuple[Resource, ...] = (
    declare("podtemplates", "PodTemplate", PodTemplateStrategy()),
    declare(
        "replicationcontrollers",
        "ReplicationController",
        ReplicationControllerStrategy(),
        short_names=("rc",),
        categories=("all",),
        scale=Scale(),
    ),
)

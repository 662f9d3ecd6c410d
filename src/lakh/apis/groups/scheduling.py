"""scheduling.k8s.io: priority classes (v1) and the two that every cluster has; workloads and pod groups (v1alpha2).

A PodGroup is a gang when its policy says so: its pods (`spec.schedulingGroup`) are bound when `minCount` of them can be. A Workload is the
template that controllers make pod groups from. Their specs never change.
"""

from __future__ import annotations

from typing import Any

from lakh.apis import meta
from lakh.apis.conditions import validate_conditions
from lakh.apis.definitions import schema
from lakh.apis.groups import printing
from lakh.apis.groups.base import GroupStrategy, declare
from lakh.apis.registry import AGE_COLUMN, NAME_COLUMN, Column
from lakh.machinery import names
from lakh.machinery.errors import (
    FieldError,
    duplicate,
    forbidden_field,
    invalid_value,
    not_supported,
    required,
    too_many,
)

GROUP = "scheduling.k8s.io"

HIGHEST_USER_DEFINABLE_PRIORITY = 1_000_000_000
SYSTEM_PREFIX = "system-"

# The server makes these on start when they are missing.
SYSTEM_PRIORITY_CLASSES: tuple[dict[str, Any], ...] = (
    {
        "metadata": {"name": "system-node-critical"},
        "value": 2 * HIGHEST_USER_DEFINABLE_PRIORITY + 1000,
        "description": "Used for system critical pods that must not be moved from their current node.",
    },
    {
        "metadata": {"name": "system-cluster-critical"},
        "value": 2 * HIGHEST_USER_DEFINABLE_PRIORITY,
        "description": "Used for system critical pods that must run in the cluster, but can be moved to another "
        "node if necessary.",
    },
)
_SYSTEM_VALUES: dict[str, int] = {c["metadata"]["name"]: c["value"] for c in SYSTEM_PRIORITY_CLASSES}


class PriorityClassStrategy(GroupStrategy):
    """Priority classes."""

    columns = (
        NAME_COLUMN,
        Column("Value", "integer", description="The integer value of this priority class."),
        Column("Global-Default", "boolean", description="Whether it is the default of pods without a class."),
        AGE_COLUMN,
        Column("PreemptionPolicy", description="Whether its pods preempt pods of lower priority."),
    )

    def default(self, obj: Any) -> None:
        """Value zero, preempting."""
        if obj.value is None:
            obj.value = 0
        if obj.preemptionPolicy is None:
            obj.preemptionPolicy = "PreemptLowerPriority"

    def prepare_for_create(self, obj: Any) -> None:
        """The first generation, which nothing counts on."""
        super().prepare_for_create(obj)
        obj.metadata.generation = 1

    def validate(self, obj: Any) -> list[FieldError]:
        """A whole priority class."""
        found: list[FieldError] = []
        name = obj.metadata.name or ""
        if name.startswith(SYSTEM_PREFIX):
            error = _unknown_system_class(name, obj.value, bool(obj.globalDefault))
            if error:
                found.append(
                    forbidden_field(
                        "metadata.name",
                        f"priority class names with '{SYSTEM_PREFIX}' prefix are reserved for system use only. "
                        f"error: {error}",
                    )
                )
        elif obj.value > HIGHEST_USER_DEFINABLE_PRIORITY:
            found.append(
                forbidden_field(
                    "value",
                    f"maximum allowed value of a user defined priority is {HIGHEST_USER_DEFINABLE_PRIORITY}",
                )
            )
        if obj.preemptionPolicy not in ("Never", "PreemptLowerPriority"):
            found.append(
                not_supported("preemptionPolicy", obj.preemptionPolicy, ("Never", "PreemptLowerPriority"))
            )
        return found

    def validate_update(self, new: Any, old: Any) -> list[FieldError]:
        """Value and preemption policy stay."""
        found: list[FieldError] = []
        if new.value != (old.value or 0):
            found.append(forbidden_field("value", "may not be changed in an update."))
        meta.immutable(new.preemptionPolicy, old.preemptionPolicy, "preemptionPolicy", found)
        return found

    def permanent(self, name: str) -> str:
        """The system's classes stay."""
        return "this is a system priority class and cannot be deleted" if name in _SYSTEM_VALUES else ""

    def cells(self, obj: Any, now: float) -> list[Any]:
        """As `kubectl get priorityclasses` shows it."""
        return [
            obj.metadata.name,
            obj.value or 0,
            bool(obj.globalDefault),
            printing.age(obj, now),
            obj.preemptionPolicy or "",
        ]


def _unknown_system_class(name: str, value: int, global_default: bool) -> str:
    expected = _SYSTEM_VALUES.get(name)
    if expected is None:
        return f"{name} is not a known system priority class"
    if value != expected:
        return f"value of {name} PriorityClass must be {expected}"
    if global_default:
        return f"globalDefault of {name} PriorityClass must be false"
    return ""


MAX_TEMPLATES = 8
MAX_TOPOLOGY_CONSTRAINTS = 1
DISRUPTION_MODES = ("Pod", "PodGroup")


def _default_group(spec: Any) -> None:
    if spec.disruptionMode is None:
        spec.disruptionMode = "Pod"


def _validate_group(spec: Any, path: str, found: list[FieldError]) -> None:
    """What a pod group and its template have in common."""
    policy = spec.schedulingPolicy
    if policy is None:
        found.append(required(f"{path}.schedulingPolicy"))
    else:
        chosen = [name for name in ("basic", "gang") if getattr(policy, name) is not None]
        if not chosen:
            found.append(
                invalid_value(f"{path}.schedulingPolicy", "", "must specify one of: `basic`, `gang`")
            )
        elif len(chosen) > 1:
            found.append(
                invalid_value(
                    f"{path}.schedulingPolicy",
                    "{" + ", ".join(chosen) + "}",
                    "must specify exactly one of: `basic`, `gang`",
                )
            )
        if policy.gang is not None and (policy.gang.minCount or 0) < 1:
            found.append(
                invalid_value(
                    f"{path}.schedulingPolicy.gang.minCount",
                    policy.gang.minCount or 0,
                    "must be greater than or equal to 1",
                )
            )
    if spec.disruptionMode not in DISRUPTION_MODES:
        found.append(not_supported(f"{path}.disruptionMode", spec.disruptionMode, DISRUPTION_MODES))
    topology = (spec.schedulingConstraints.topology if spec.schedulingConstraints else None) or ()
    field = f"{path}.schedulingConstraints.topology"
    if len(topology) > MAX_TOPOLOGY_CONSTRAINTS:
        found.append(too_many(field, len(topology), MAX_TOPOLOGY_CONSTRAINTS))
    for index, constraint in enumerate(topology):
        for message in names.qualified_name(constraint.key or ""):
            found.append(invalid_value(f"{field}[{index}].key", constraint.key or "", message))


_REFERENCE = "io.k8s.api.scheduling.v1alpha2.TypedLocalObjectReference"


def _validate_controller(reference: Any, path: str, found: list[FieldError]) -> None:
    """The object that a workload belongs to; what is missing is found by the schema."""
    if reference is None:
        return
    if reference.apiGroup:
        meta.report(names.dns_subdomain(reference.apiGroup), f"{path}.apiGroup", reference.apiGroup, found)
    for name in ("kind", "name"):
        value = getattr(reference, name)
        if value:
            meta.report(names.path_segment_name(value), f"{path}.{name}", value, found)


class WorkloadStrategy(GroupStrategy):
    """Workloads."""

    generation = True

    def default(self, obj: Any) -> None:
        """Templates are disrupted pod by pod."""
        super().default(obj)
        for template in obj.spec.podGroupTemplates or ():
            _default_group(template)

    def validate(self, obj: Any) -> list[FieldError]:
        """A whole workload."""
        found = super().validate(obj)
        templates = obj.spec.podGroupTemplates or ()
        path = "spec.podGroupTemplates"
        if obj.spec.podGroupTemplates is not None and not templates:
            found.append(required(path))
        if len(templates) > MAX_TEMPLATES:
            found.append(too_many(path, len(templates), MAX_TEMPLATES))
        seen: set[str] = set()
        for index, template in enumerate(templates):
            name = template.name or ""
            if name in seen:
                found.append(duplicate(f"{path}[{index}]", name))
            seen.add(name)
            if name:
                meta.report(names.dns_label(name), f"{path}[{index}].name", name, found)
            if template.schedulingPolicy is not None:
                _validate_group(template, f"{path}[{index}]", found)
        _validate_controller(obj.spec.controllerRef, "spec.controllerRef", found)
        return found

    def validate_update(self, new: Any, old: Any) -> list[FieldError]:
        """The templates stay; a controller may be named and forgotten, not changed."""
        found: list[FieldError] = []
        meta.immutable(
            new.spec.podGroupTemplates, old.spec.podGroupTemplates, "spec.podGroupTemplates", found
        )
        controller, before = new.spec.controllerRef, old.spec.controllerRef
        if controller is not None and before is None:
            found += meta.required_fields(controller, schema().node(_REFERENCE), "spec.controllerRef")
            _validate_controller(controller, "spec.controllerRef", found)
        elif controller is not None and not meta.same(controller, before):
            found.append(invalid_value("spec.controllerRef", None, "field cannot be modified once set"))
        return found


class PodGroupStrategy(GroupStrategy):
    """Pod groups."""

    has_status = True
    generation = True

    def default(self, obj: Any) -> None:
        """Disrupted pod by pod."""
        super().default(obj)
        _default_group(obj.spec)

    def validate(self, obj: Any) -> list[FieldError]:
        """A whole pod group."""
        found = super().validate(obj)
        if obj.spec.schedulingPolicy is not None:
            _validate_group(obj.spec, "spec", found)
        return found

    def validate_update(self, new: Any, old: Any) -> list[FieldError]:
        """The spec stays."""
        found: list[FieldError] = []
        meta.immutable(new.spec, old.spec, "spec", found)
        return found

    def validate_status_update(self, new: Any, old: Any) -> list[FieldError]:
        """Whole conditions."""
        found: list[FieldError] = []
        if new.status is not None:
            validate_conditions(new.status.conditions, "status.conditions", found)
        return found


RESOURCES = (
    declare(
        GROUP,
        "v1",
        "priorityclasses",
        "PriorityClass",
        PriorityClassStrategy(),
        namespaced=False,
        short_names=("pc",),
    ),
    declare(GROUP, "v1alpha2", "podgroups", "PodGroup", PodGroupStrategy(), namespaced=True),
    declare(GROUP, "v1alpha2", "workloads", "Workload", WorkloadStrategy(), namespaced=True),
)

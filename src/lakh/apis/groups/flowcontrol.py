"""flowcontrol.apiserver.k8s.io/v1: flow schemas and priority levels, kept and shown for the clients that manage them."""

from __future__ import annotations

from typing import Any

from lakh.apis.groups import printing
from lakh.apis.groups.base import METADATA_RESETS, GroupStrategy, child, declare
from lakh.apis.registry import AGE_COLUMN, NAME_COLUMN, STATUS_METADATA, Column
from lakh.machinery.errors import (
    FieldError,
    forbidden_field,
    invalid_value,
    not_supported,
    required,
)

GROUP = "flowcontrol.apiserver.k8s.io"
VERSION = "v1"

# Upstream's defaults and bounds.
DEFAULT_MATCHING_PRECEDENCE = 1000
MAX_MATCHING_PRECEDENCE = 10_000
DEFAULT_CONCURRENCY_SHARES = 30
DEFAULT_HAND_SIZE = 8
DEFAULT_QUEUES = 64
DEFAULT_QUEUE_LENGTH_LIMIT = 50

_SUBJECTS = {"User": "user", "Group": "group", "ServiceAccount": "serviceAccount"}


class FlowSchemaStrategy(GroupStrategy):
    """Flow schemas."""

    has_status = True
    resets = METADATA_RESETS
    status_keeps = STATUS_METADATA
    generation = True
    columns = (
        NAME_COLUMN,
        Column("PriorityLevel", description="The priority level that handles matching requests."),
        Column("MatchingPrecedence", description="Lower numbers are tried first."),
        Column("DistinguisherMethod", description="How flows are told apart."),
        AGE_COLUMN,
        Column("MissingPL", description="Whether the priority level is missing."),
    )

    def default(self, obj: Any) -> None:
        """The usual precedence."""
        spec = child(obj, "spec")
        if not spec.matchingPrecedence:
            spec.matchingPrecedence = DEFAULT_MATCHING_PRECEDENCE

    def validate(self, obj: Any) -> list[FieldError]:
        """A whole schema."""
        spec = obj.spec
        found: list[FieldError] = []
        precedence = spec.matchingPrecedence
        if precedence <= 0:
            found.append(invalid_value("spec.matchingPrecedence", precedence, "must be a positive value"))
        if precedence > MAX_MATCHING_PRECEDENCE:
            found.append(
                invalid_value(
                    "spec.matchingPrecedence",
                    precedence,
                    f"must not be greater than {MAX_MATCHING_PRECEDENCE}",
                )
            )
        level = spec.priorityLevelConfiguration
        if level is None or not level.name:
            found.append(required("spec.priorityLevelConfiguration.name", "must reference a priority level"))
        method = spec.distinguisherMethod
        if method is not None and method.type not in ("ByNamespace", "ByUser"):
            found.append(not_supported("spec.distinguisherMethod", method, ("ByNamespace", "ByUser")))
        for index, rule in enumerate(spec.rules or ()):
            _validate_rule(rule, f"spec.rules[{index}]", found)
        return found

    def cells(self, obj: Any, now: float) -> list[Any]:
        """As `kubectl get flowschemas` shows it."""
        spec, status = obj.spec, obj.status
        level, method = spec.priorityLevelConfiguration, spec.distinguisherMethod
        conditions = (status.conditions if status is not None else None) or ()
        dangling = next((c.status for c in conditions if c.type == "Dangling"), "?")
        return [
            obj.metadata.name,
            (level.name if level is not None else None) or "",
            spec.matchingPrecedence or 0,
            (method.type if method is not None else None) or printing.NONE,
            printing.age(obj, now),
            dangling,
        ]


def _validate_rule(rule: Any, path: str, found: list[FieldError]) -> None:
    if not rule.subjects:
        found.append(required(f"{path}.subjects", "subjects must contain at least one value"))
    for index, subject in enumerate(rule.subjects or ()):
        where = f"{path}.subjects[{index}]"
        name = _SUBJECTS.get(subject.kind or "")
        if name is None:
            found.append(not_supported(f"{where}.kind", subject.kind or "", _SUBJECTS))
        elif getattr(subject, name) is None:
            found.append(
                required(f"{where}.{name}", f"{name} is required when subject kind is '{subject.kind}'")
            )
        for kind, other in _SUBJECTS.items():
            if other != name and getattr(subject, other) is not None and name is not None:
                found.append(
                    forbidden_field(
                        f"{where}.{other}", f"{other} is forbidden when subject kind is not '{kind}'"
                    )
                )
    if not rule.resourceRules and not rule.nonResourceRules:
        found.append(required(path, "at least one of resourceRules and nonResourceRules has to be non-empty"))


class PriorityLevelConfigurationStrategy(GroupStrategy):
    """Priority levels."""

    has_status = True
    resets = METADATA_RESETS
    status_keeps = STATUS_METADATA
    generation = True
    columns = (
        NAME_COLUMN,
        Column("Type", description="Whether requests are limited."),
        Column("NominalConcurrencyShares", description="The share of the server's concurrency."),
        Column("Queues", description="Number of queues."),
        Column("HandSize", description="Number of queues dealt to a flow."),
        Column("QueueLengthLimit", description="Longest queue."),
        AGE_COLUMN,
    )

    def default(self, obj: Any) -> None:
        """Thirty shares, 64 queues of fifty, hands of eight."""
        spec = child(obj, "spec")
        if spec.exempt is not None:
            _fill(spec.exempt, nominalConcurrencyShares=0, lendablePercent=0)
        limited = spec.limited
        if limited is None:
            return
        _fill(limited, nominalConcurrencyShares=DEFAULT_CONCURRENCY_SHARES, lendablePercent=0)
        queuing = limited.limitResponse.queuing if limited.limitResponse is not None else None
        if queuing is not None:
            _fill(
                queuing,
                handSize=DEFAULT_HAND_SIZE,
                queues=DEFAULT_QUEUES,
                queueLengthLimit=DEFAULT_QUEUE_LENGTH_LIMIT,
            )

    def validate(self, obj: Any) -> list[FieldError]:
        """A whole level."""
        spec = obj.spec
        found: list[FieldError] = []
        match spec.type:
            case "Exempt":
                if spec.limited is not None:
                    found.append(forbidden_field("spec.limited", "must be nil if the type is not Limited"))
            case "Limited":
                if spec.exempt is not None:
                    found.append(forbidden_field("spec.exempt", "must be nil if the type is Limited"))
                if spec.limited is None:
                    found.append(required("spec.limited", "must not be empty when type is Limited"))
                else:
                    _validate_limited(spec.limited, "spec.limited", found)
            case _:
                found.append(not_supported("spec.type", spec.type or "", ("Exempt", "Limited")))
        return found

    def cells(self, obj: Any, now: float) -> list[Any]:
        """As `kubectl get prioritylevelconfigurations` shows it."""
        spec = obj.spec
        shares: Any = printing.NONE
        queues: Any = printing.NONE
        hand: Any = printing.NONE
        length: Any = printing.NONE
        if spec.limited is not None:
            shares = spec.limited.nominalConcurrencyShares
            response = spec.limited.limitResponse
            queuing = response.queuing if response is not None else None
            if queuing is not None:
                queues, hand, length = queuing.queues, queuing.handSize, queuing.queueLengthLimit
        return [
            obj.metadata.name,
            spec.type or "",
            shares,
            queues,
            hand,
            length,
            printing.age(obj, now),
        ]


def _fill(struct: Any, **defaults: int) -> None:
    for name, value in defaults.items():
        if getattr(struct, name) is None:
            setattr(struct, name, value)


def _validate_limited(limited: Any, path: str, found: list[FieldError]) -> None:
    shares = limited.nominalConcurrencyShares
    if shares < 0:
        found.append(
            invalid_value(f"{path}.nominalConcurrencyShares", shares, "must be a non-negative integer")
        )
    if not 0 <= limited.lendablePercent <= 100:
        found.append(
            invalid_value(
                f"{path}.lendablePercent",
                limited.lendablePercent,
                "must be between 0 and 100, inclusive",
            )
        )
    response = limited.limitResponse
    where = f"{path}.limitResponse"
    kind = response.type if response is not None else None
    if kind == "Reject":
        if response.queuing is not None:
            found.append(
                forbidden_field(
                    f"{where}.queuing", "must be nil if limited.limitResponse.type is not Limited"
                )
            )
    elif kind == "Queue":
        if response.queuing is None:
            found.append(
                required(f"{where}.queuing", "must not be empty if limited.limitResponse.type is Limited")
            )
            return
        for name in ("queueLengthLimit", "queues", "handSize"):
            value = getattr(response.queuing, name)
            if value <= 0:
                found.append(invalid_value(f"{where}.queuing.{name}", value, "must be positive"))
        if response.queuing.handSize > response.queuing.queues:
            found.append(
                invalid_value(
                    f"{where}.queuing.handSize",
                    response.queuing.handSize,
                    f"should not be greater than queues ({response.queuing.queues})",
                )
            )
    else:
        found.append(not_supported(f"{where}.type", kind or "", ("Queue", "Reject")))


RESOURCES = (
    declare(GROUP, VERSION, "flowschemas", "FlowSchema", FlowSchemaStrategy(), namespaced=False),
    declare(
        GROUP,
        VERSION,
        "prioritylevelconfigurations",
        "PriorityLevelConfiguration",
        PriorityLevelConfigurationStrategy(),
        namespaced=False,
    ),
)

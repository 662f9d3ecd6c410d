"""flowcontrol.apiserver.k8s.io/v1: flow schemas and priority levels, kept and shown for the clients that manage them."""

from __future__ import annotations

import copy
import math
from functools import lru_cache
from typing import Any

import msgspec

from lakh.apis import flowdefaults, meta
from lakh.apis.definitions import schema
from lakh.apis.groups import printing
from lakh.apis.groups.base import METADATA_RESETS, GroupStrategy, child, declare
from lakh.apis.registry import AGE_COLUMN, NAME_COLUMN, STATUS_METADATA, Column
from lakh.machinery import names
from lakh.machinery.errors import (
    FieldError,
    duplicate,
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

MAX_QUEUES = 10_000_000
MAX_HASH_BITS = 60
EXEMPT = "exempt"
# Schemas and levels that are always there, as they are.
MANDATORY = (EXEMPT, "catch-all")

_DEFINITIONS = "io.k8s.api.flowcontrol.v1"
_METHODS = ("ByNamespace", "ByUser")
_VERBS = frozenset(
    ("create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch")
)
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
        """A whole schema; the mandatory ones are as they are."""
        spec, name = obj.spec, obj.metadata.name or ""
        found: list[FieldError] = []
        precedence, path = spec.matchingPrecedence, "spec.matchingPrecedence"
        if precedence <= 0:
            found.append(invalid_value(path, precedence, "must be a positive value"))
        if precedence > MAX_MATCHING_PRECEDENCE:
            why = f"must not be greater than {MAX_MATCHING_PRECEDENCE}"
            found.append(invalid_value(path, precedence, why))
        if precedence == 1 and name != EXEMPT:
            why = "only the schema named 'exempt' may have matchingPrecedence 1"
            found.append(invalid_value(path, precedence, why))
        method = spec.distinguisherMethod
        if method is not None and method.type not in _METHODS:
            found.append(not_supported("spec.distinguisherMethod.type", method, _METHODS))
        level = (spec.priorityLevelConfiguration.name if spec.priorityLevelConfiguration else None) or ""
        path = "spec.priorityLevelConfiguration.name"
        if not level:
            found.append(required(path, "must reference a priority level"))
        else:
            meta.report(names.dns_subdomain(level), path, level, found)
        for index, rule in enumerate(spec.rules or ()):
            _validate_rule(rule, f"spec.rules[{index}]", found)
        fixed = _fixed(f"{_DEFINITIONS}.FlowSchema", name)
        if fixed is not None and not meta.same(spec, fixed.spec):
            found.append(invalid_value("spec", spec, f"spec of '{name}' must equal the fixed value"))
        return found

    def validate_status_update(self, new: Any, old: Any) -> list[FieldError]:
        """Conditions with a type, each once."""
        return _validate_conditions(new.status)

    @staticmethod
    def row_order(obj: Any) -> tuple[int, str]:
        """Schemas stand in the order in which they are tried."""
        return obj.spec.matchingPrecedence or 0, obj.metadata.name or ""

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


@lru_cache(maxsize=4)
def _fixed(definition: str, name: str) -> Any:
    """The mandatory object of a name, defaulted; None when there is none."""
    if name not in MANDATORY:
        return None
    schemas = definition.endswith("FlowSchema")
    plain = next(
        o
        for o in (flowdefaults.schemas() if schemas else flowdefaults.levels())
        if o["metadata"]["name"] == name
    )
    obj = msgspec.convert(plain, schema().struct(definition))
    (FlowSchemaStrategy() if schemas else PriorityLevelConfigurationStrategy()).default(obj)
    return obj


def _validate_conditions(status: Any) -> list[FieldError]:
    found: list[FieldError] = []
    seen: set[str] = set()
    for index, condition in enumerate((status.conditions if status is not None else None) or ()):
        path, kind = f"status.conditions[{index}].type", condition.type or ""
        if kind in seen:
            found.append(duplicate(path, kind))
        seen.add(kind)
        if not kind:
            found.append(required(path, "must not be empty"))
    return found


def _validate_rule(rule: Any, path: str, found: list[FieldError]) -> None:
    if not rule.subjects:
        found.append(required(f"{path}.subjects", "subjects must contain at least one value"))
    for index, subject in enumerate(rule.subjects or ()):
        _validate_subject(subject, f"{path}.subjects[{index}]", found)
    if not rule.resourceRules and not rule.nonResourceRules:
        found.append(required(path, "at least one of resourceRules and nonResourceRules has to be non-empty"))
    for index, part in enumerate(rule.resourceRules or ()):
        _validate_resource_rule(part, f"{path}.resourceRules[{index}]", found)
    for index, part in enumerate(rule.nonResourceRules or ()):
        where = f"{path}.nonResourceRules[{index}]"
        _validate_verbs(part.verbs or [], f"{where}.verbs", found)
        _validate_urls(part.nonResourceURLs or [], f"{where}.nonResourceURLs", found)


def _validate_subject(subject: Any, path: str, found: list[FieldError]) -> None:
    field = _SUBJECTS.get(subject.kind or "")
    if field is None:
        found.append(not_supported(f"{path}.kind", subject.kind or "", _SUBJECTS))
        return
    who, where = getattr(subject, field), f"{path}.{field}"
    if who is None:
        found.append(required(where, f"{field} is required when subject kind is '{subject.kind}'"))
    else:
        if not who.name:
            found.append(required(f"{where}.name"))
        elif field == "serviceAccount" and who.name != "*":
            meta.report(names.dns_subdomain(who.name), f"{where}.name", who.name, found)
        if field == "serviceAccount" and not who.namespace:
            found.append(required(f"{where}.namespace", "must specify namespace for service account"))
        elif field == "serviceAccount":
            meta.report(names.dns_label(who.namespace), f"{where}.namespace", who.namespace, found)
    for kind, other in _SUBJECTS.items():
        if other != field and getattr(subject, other) is not None:
            why = f"{other} is forbidden when subject kind is not '{kind}'"
            found.append(forbidden_field(f"{path}.{other}", why))


def _alone(values: list[str], what: str, path: str, found: list[FieldError]) -> bool:
    """Whether there is a wildcard, which must be alone."""
    if "*" not in values:
        return False
    if len(values) > 1:
        found.append(invalid_value(path, values, f"if '*' is present, must not specify other {what}"))
    return True


def _validate_verbs(verbs: list[str], path: str, found: list[FieldError]) -> None:
    if not verbs:
        found.append(required(path, "verbs must contain at least one value"))
    elif not _alone(verbs, "verbs", path, found) and not set(verbs) <= _VERBS:
        found.append(not_supported(path, verbs, _VERBS))


def _validate_resource_rule(rule: Any, path: str, found: list[FieldError]) -> None:
    _validate_verbs(rule.verbs or [], f"{path}.verbs", found)
    for name, one, what in (
        ("apiGroups", "api group", "api groups"),
        ("resources", "resource", "resources"),
    ):
        values = getattr(rule, name) or []
        if not values:
            found.append(required(f"{path}.{name}", f"resource rules must supply at least one {one}"))
        else:
            _alone(values, what, f"{path}.{name}", found)
    namespaces, path = rule.namespaces or [], f"{path}.namespaces"
    if not namespaces and not rule.clusterScope:
        why = "resource rules that are not cluster scoped must supply at least one namespace"
        found.append(required(path, why))
    elif not _alone(namespaces, "namespaces", path, found):
        for index, name in enumerate(namespaces):
            for message in names.dns_label(name):
                why = f"each member of this list must be '*' or a DNS-1123 label; {message}"
                found.append(invalid_value(f"{path}[{index}]", name, why))


def _validate_urls(urls: list[str], path: str, found: list[FieldError]) -> None:
    if not urls:
        found.append(required(path, "nonResourceURLs must contain at least one value"))
    elif not _alone(urls, "non-resource URLs", path, found):
        for index, url in enumerate(urls):
            why = _url_error(url)
            if why:
                found.append(invalid_value(f"{path}[{index}]", url, why))


def _url_error(url: str) -> str:
    if not url:
        return "must not be empty"
    if url == "/":
        return ""
    if not url.startswith("/"):
        return "must start with slash"
    if " " in url:
        return "must not contain white-space"
    if "//" in url:
        return "must not contain double slash"
    if url.count("*") > 1 or ("*" in url and not url.endswith("/*")):
        return "wildcard can only do suffix matching"
    return ""


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
        """A whole level; of the mandatory ones only what is exempt may change."""
        spec, name = obj.spec, obj.metadata.name or ""
        found: list[FieldError] = []
        if (name == EXEMPT) != (spec.type == "Exempt"):
            why = "type must be 'Exempt' if and only if name is 'exempt'"
            found.append(invalid_value("spec.type", spec.type or "", why))
        match spec.type:
            case "Exempt":
                if spec.limited is not None:
                    found.append(forbidden_field("spec.limited", "must be nil if the type is not Limited"))
                if spec.exempt is not None:
                    _validate_shares(spec.exempt, "spec.exempt", found)
            case "Limited":
                if spec.exempt is not None:
                    found.append(forbidden_field("spec.exempt", "must be nil if the type is Limited"))
                if spec.limited is None:
                    found.append(required("spec.limited", "must not be empty when type is Limited"))
                else:
                    _validate_limited(spec.limited, "spec.limited", found)
            case _:
                found.append(not_supported("spec.type", spec.type or "", ("Exempt", "Limited")))
        fixed = _fixed(f"{_DEFINITIONS}.PriorityLevelConfiguration", name)
        if fixed is not None:
            change, but = copy.copy(spec), ""
            if name == EXEMPT:
                change.exempt, but = fixed.spec.exempt, " except the 'spec.exempt' field"
            if not meta.same(change, fixed.spec):
                found.append(invalid_value("spec", spec, f"spec of '{name}'{but} must equal the fixed value"))
        return found

    def validate_status_update(self, new: Any, old: Any) -> list[FieldError]:
        """Conditions with a type, each once."""
        return _validate_conditions(new.status)

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


def _validate_shares(level: Any, path: str, found: list[FieldError]) -> None:
    shares, lendable = level.nominalConcurrencyShares, level.lendablePercent
    if shares < 0:
        why = "must be a non-negative integer"
        found.append(invalid_value(f"{path}.nominalConcurrencyShares", shares, why))
    if not 0 <= lendable <= 100:
        why = "must be between 0 and 100, inclusive"
        found.append(invalid_value(f"{path}.lendablePercent", lendable, why))


def _validate_limited(limited: Any, path: str, found: list[FieldError]) -> None:
    _validate_shares(limited, path, found)
    borrowing = limited.borrowingLimitPercent
    if borrowing is not None and borrowing < 0:
        why = "if specified, must be a non-negative integer"
        found.append(invalid_value(f"{path}.borrowingLimitPercent", borrowing, why))
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
        _validate_queuing(response.queuing, f"{where}.queuing", found)
    else:
        found.append(not_supported(f"{where}.type", kind or "", ("Queue", "Reject")))


def _validate_queuing(queuing: Any, path: str, found: list[FieldError]) -> None:
    """Queues and hands that shuffle sharding can deal from 60 bits."""
    length, queues, hand = queuing.queueLengthLimit, queuing.queues, queuing.handSize
    if length <= 0:
        found.append(invalid_value(f"{path}.queueLengthLimit", length, "must be positive"))
    if queues <= 0:
        found.append(invalid_value(f"{path}.queues", queues, "must be positive"))
    elif queues > MAX_QUEUES:
        found.append(invalid_value(f"{path}.queues", queues, f"must not be greater than {MAX_QUEUES}"))
    if hand <= 0:
        found.append(invalid_value(f"{path}.handSize", hand, "must be positive"))
    elif hand > queues:
        why = f"should not be greater than queues ({queues})"
        found.append(invalid_value(f"{path}.handSize", hand, why))
    elif math.ceil(math.log2(queues) * hand) > MAX_HASH_BITS:
        why = (
            f"required entropy bits of deckSize {queues} and handSize {hand} should not be greater than "
            f"{MAX_HASH_BITS}"
        )
        found.append(invalid_value(f"{path}.handSize", hand, why))


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

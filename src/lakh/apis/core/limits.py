"""LimitRanges and ResourceQuotas: what a namespace may ask for."""

from __future__ import annotations

import uuid
from typing import Any

from lakh.apis import structs
from lakh.apis.core.base import declare
from lakh.apis.groups.printing import age
from lakh.apis.meta import IMMUTABLE, check_label_key, report
from lakh.apis.registry import AGE_COLUMN, NAME_COLUMN, Column, Resource, Strategy
from lakh.apis.resourcelists import (
    canonicalise,
    check_amount,
    check_container_resource_name,
    check_resource_name,
    is_overcommit_allowed,
    is_standard_quota,
    milli,
)
from lakh.machinery import quantity
from lakh.machinery.errors import (
    FieldError,
    duplicate,
    forbidden_field,
    invalid_value,
    required,
)

_LimitRangeSpec = structs.core("LimitRangeSpec")
_ResourceQuotaSpec = structs.core("ResourceQuotaSpec")
_ResourceQuotaStatus = structs.core("ResourceQuotaStatus")

LIMIT_TYPES = ("Container", "PersistentVolumeClaim", "Pod")
SCOPES = (
    "BestEffort",
    "CrossNamespacePodAffinity",
    "NotBestEffort",
    "NotTerminating",
    "PriorityClass",
    "Terminating",
    "VolumeAttributesClass",
)
_SIDES = ("max", "min", "default", "defaultRequest", "maxLimitRequestRatio")


class LimitRangeStrategy(Strategy):
    """LimitRanges."""

    allow_create_on_update = True
    columns = (NAME_COLUMN, Column("Created At", "date", "", AGE_COLUMN.description))

    def unnamed(self) -> str:
        """A random one, whatever `generateName` says (the strategy's PrepareForCreate)."""
        return str(uuid.uuid4())

    def default(self, obj: Any) -> None:
        """For containers a default limit is at most the maximum, a default request the limit."""
        for item in (obj.spec and obj.spec.limits) or ():
            for side in _SIDES:
                amounts = getattr(item, side)
                if amounts:
                    canonicalise(amounts)
            if item.type != "Container":
                continue
            item.default = {**(item.max or {}), **(item.default or {})}
            item.defaultRequest = {
                **(item.min or {}),
                **item.default,
                **(item.defaultRequest or {}),
            }

    def validate(self, obj: Any) -> list[FieldError]:
        """Each kind of limit once, minimum ≤ default request ≤ default ≤ maximum."""
        found: list[FieldError] = []
        seen: set[str] = set()
        spec = obj.spec or _LimitRangeSpec()
        for index, item in enumerate(spec.limits or ()):
            where = f"spec.limits[{index}]"
            kind = item.type or ""
            messages = check_label_key(kind)
            if messages:
                report(messages, f"{where}.type", kind, found)
            elif "/" not in kind and kind not in LIMIT_TYPES:
                found.append(
                    invalid_value(f"{where}.type", kind, "must be a standard limit type or fully qualified")
                )
            if kind in seen:
                found.append(duplicate(f"{where}.type", kind))
            seen.add(kind)
            _validate_limits(item, where, found)
        return found


# What is compared, and what is said of it: where it is reported, which value is shown, the lesser, the greater, the words.
_ORDERS = (
    ("min", "min", "min", "max", "min value {} is greater than max value {}"),
    (
        "defaultRequest",
        "defaultRequest",
        "min",
        "defaultRequest",
        "min value {} is greater than default request value {}",
    ),
    (
        "defaultRequest",
        "defaultRequest",
        "defaultRequest",
        "max",
        "default request value {} is greater than max value {}",
    ),
    (
        "defaultRequest",
        "defaultRequest",
        "defaultRequest",
        "default",
        "default request value {} is greater than default limit value {}",
    ),
    ("default", "min", "min", "default", "min value {} is greater than default value {}"),
    ("default", "max", "default", "max", "default value {} is greater than max value {}"),
)


def _validate_limits(item: Any, path: str, found: list[FieldError]) -> None:
    check = check_container_resource_name if item.type in ("Container", "Pod") else check_resource_name

    def take(side: str) -> dict[str, Any]:
        amounts = getattr(item, side) or {}
        for name in amounts:
            report(check(name), f"{path}.{side}[{name}]", name, found)
        return amounts

    sides = {"max": take("max"), "min": take("min"), "default": {}, "defaultRequest": {}}
    for side in ("default", "defaultRequest"):
        if item.type != "Pod":
            sides[side] = take(side)
        elif getattr(item, side):
            found.append(forbidden_field(f"{path}.{side}", "may not be specified when `type` is 'Pod'"))
    if (
        item.type == "PersistentVolumeClaim"
        and "storage" not in sides["min"]
        and "storage" not in sides["max"]
    ):
        found.append(
            required(
                f"{path}.limits",
                "either minimum or maximum storage value is required, but neither was provided",
            )
        )
    ratios = take("maxLimitRequestRatio")
    for name in sorted({n for amounts in (*sides.values(), ratios) for n in amounts}):
        values = {side: amounts.get(name) for side, amounts in sides.items()}
        for side, shown, lesser, greater, what in _ORDERS:
            low, high = values[lesser], values[greater]
            if low is not None and high is not None and (milli(low) or 0) > (milli(high) or 0):
                found.append(invalid_value(f"{path}.{side}[{name}]", values[shown], what.format(low, high)))
        ratio = ratios.get(name)
        if ratio is not None:
            _validate_ratio(ratio, values, f"{path}.maxLimitRequestRatio[{name}]", found)
        use, ask = values["default"], values["defaultRequest"]
        if (
            not is_overcommit_allowed(name)
            and use is not None
            and ask is not None
            and milli(use) != milli(ask)
        ):
            found.append(
                invalid_value(
                    f"{path}.defaultRequest[{name}]",
                    ask,
                    f"default value {use} must equal to defaultRequest value {ask} in {name}",
                )
            )


def _validate_ratio(ratio: Any, values: dict[str, Any], path: str, found: list[FieldError]) -> None:
    value = milli(ratio) or 0
    if value < 1000:
        found.append(invalid_value(path, ratio, f"ratio {ratio} is less than 1"))
    low, high = values["min"], values["max"]
    if low is not None and high is not None and milli(low):
        limit = (milli(high) or 0) / (milli(low) or 1)
        if value / 1000 > limit:
            found.append(invalid_value(path, ratio, f"ratio {ratio} is greater than max/min = {limit:f}"))


class ResourceQuotaStrategy(Strategy):
    """ResourceQuotas."""

    has_status = True
    columns = (
        NAME_COLUMN,
        Column("Request", description="What is asked for, of what may be asked for."),
        Column("Limit", description="What is limited to, of what may be limited to."),
        AGE_COLUMN,
    )

    def default(self, obj: Any) -> None:
        """Canonical amounts."""
        if obj.spec is None:
            obj.spec = _ResourceQuotaSpec()
        if obj.spec.hard:
            canonicalise(obj.spec.hard)
        if obj.status is not None:
            for side in ("hard", "used"):
                if getattr(obj.status, side):
                    canonicalise(getattr(obj.status, side))

    def prepare_for_create(self, obj: Any) -> None:
        """A new quota has counted nothing."""
        obj.status = _ResourceQuotaStatus()

    def validate(self, obj: Any) -> list[FieldError]:
        """Amounts and scopes (`ValidateResourceQuota`)."""
        found: list[FieldError] = []
        spec = obj.spec
        _validate_quota_amounts(spec.hard, "spec.hard", found)
        if spec.scopes:
            _validate_scopes(spec, found)
        if spec.scopeSelector is not None:
            _validate_scope_selector(spec, found)
        return found

    def validate_update(self, new: Any, old: Any) -> list[FieldError]:
        """Scopes stay."""
        found = self.validate(new)
        if set(new.spec.scopes or ()) != set(old.spec.scopes or ()):
            found.append(invalid_value("spec.scopes", new.spec.scopes, IMMUTABLE))
        return found

    def validate_status_update(self, new: Any, old: Any) -> list[FieldError]:
        """Amounts."""
        found: list[FieldError] = []
        if new.status is not None:
            _validate_quota_amounts(new.status.hard, "status.hard", found)
            _validate_quota_amounts(new.status.used, "status.used", found)
        return found

    def warnings(self, obj: Any, old: Any | None) -> list[str]:
        """A new quota that lets more be asked for than used (`WarningsOnCreate`)."""
        hard = obj.spec.hard
        return _quota_warnings(hard) if old is None and hard else []

    def cells(self, obj: Any, now: float) -> list[Any]:
        """As `kubectl get quota` shows it."""
        requests: list[str] = []
        limits: list[str] = []
        status = obj.status or _ResourceQuotaStatus()
        used = status.used or {}
        for name, hard in sorted((status.hard or {}).items()):
            side = limits if name.startswith("limits.") else requests
            side.append(f"{name}: {used.get(name, '0')}/{hard}")
        return [obj.metadata.name, ", ".join(requests), ", ".join(limits), age(obj, now)]


def _quota_warnings(hard: dict[str, Any]) -> list[str]:
    found = []
    for name in ("cpu", "memory", "storage", "ephemeral-storage"):
        asked, limit = f"requests.{name}", f"limits.{name}"
        if asked not in hard and name in ("cpu", "memory"):
            asked = name
        if asked in hard and limit in hard and quantity.compare(hard[asked], hard[limit]) > 0:
            found.append(f"ResourceQuota {asked} ({hard[asked]}) should be less than {limit} ({hard[limit]})")
    return found


def _validate_quota_amounts(amounts: dict[str, Any] | None, path: str, found: list[FieldError]) -> None:
    for name, value in (amounts or {}).items():
        where = f"{path}[{name}]"
        report(check_resource_name(name), where, name, found)
        if "/" not in name and not is_standard_quota(name):
            found.append(invalid_value(where, name, "must be a standard resource for quota"))
        report(check_amount(name, value, False), where, value, found)


_POD_COUNT = frozenset(("pods",))
_POD_COMPUTE = frozenset(("cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu", "requests.memory"))
_PODS = _POD_COUNT | _POD_COMPUTE
# What can be counted within a scope; scopes of their own making (any other) count everything.
_COUNTED = {
    "BestEffort": _POD_COUNT,
    "NotBestEffort": _PODS,
    "Terminating": _PODS,
    "NotTerminating": _PODS,
    "PriorityClass": _PODS,
    "CrossNamespacePodAffinity": _PODS,
    "VolumeAttributesClass": frozenset(("persistentvolumeclaims", "requests.storage")),
}
_OPPOSITES = (frozenset(("BestEffort", "NotBestEffort")), frozenset(("Terminating", "NotTerminating")))
_EXISTS_ONLY = frozenset(
    ("BestEffort", "NotBestEffort", "Terminating", "NotTerminating", "CrossNamespacePodAffinity")
)


def _wrong_resources(scope: str, spec: Any) -> int:
    """How many of the limited resources a scope cannot count."""
    counted = _COUNTED.get(scope)
    if counted is None:
        return 0
    return sum(is_standard_quota(name) and name not in counted for name in spec.hard or ())


def _validate_scopes(spec: Any, found: list[FieldError]) -> None:
    path, scopes = "spec.scopes", spec.scopes
    for scope in scopes:
        if scope not in SCOPES:
            found.append(invalid_value(path, scopes, "unsupported scope"))
        for _ in range(_wrong_resources(scope, spec)):
            found.append(invalid_value(path, scopes, "unsupported scope applied to resource"))
    for pair in _OPPOSITES:
        if pair <= set(scopes):
            found.append(invalid_value(path, scopes, "conflicting scopes"))


def _validate_scope_selector(spec: Any, found: list[FieldError]) -> None:
    # Upstream reports all expressions at the list.
    path = "spec.scopeSelector.matchExpressions"
    scopes: set[str] = set()
    for item in spec.scopeSelector.matchExpressions or ():
        scope, operator, values = item.scopeName or "", item.operator or "", item.values or []
        if scope not in SCOPES:
            found.append(invalid_value(f"{path}.scopeName", scope, "unsupported scope"))
        for _ in range(_wrong_resources(scope, spec)):
            found.append(invalid_value(path, spec.scopeSelector, "unsupported scope applied to resource"))
        if scope in _EXISTS_ONLY and operator != "Exists":
            found.append(
                invalid_value(
                    f"{path}.operator",
                    operator,
                    "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, "
                    "ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity",
                )
            )
        if operator in ("In", "NotIn"):
            if not values:
                found.append(
                    required(
                        f"{path}.values",
                        "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector",
                    )
                )
        elif operator in ("Exists", "DoesNotExist"):
            if values:
                found.append(
                    invalid_value(
                        f"{path}.values",
                        values,
                        "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector",
                    )
                )
        else:
            found.append(invalid_value(f"{path}.operator", operator, "not a valid selector operator"))
        scopes.add(scope)
    for pair in _OPPOSITES:
        if pair <= scopes:
            found.append(invalid_value(path, spec.scopes, "conflicting scopes"))


RESOURCES: tuple[Resource, ...] = (
    declare("limitranges", "LimitRange", LimitRangeStrategy(), short_names=("limits",)),
    declare("resourcequotas", "ResourceQuota", ResourceQuotaStrategy(), short_names=("quota",)),
)

"""LimitRanges and ResourceQuotas: what a namespace may ask for."""

from __future__ import annotations

from typing import Any

from lakh.apis import structs
from lakh.apis.core.base import declare
from lakh.apis.groups.printing import age
from lakh.apis.meta import immutable, report
from lakh.apis.registry import AGE_COLUMN, NAME_COLUMN, Column, Resource, Strategy
from lakh.apis.resourcelists import (
    canonicalise,
    check_amount,
    check_resource_name,
    is_extended,
    milli,
    validate_quantities,
)
from lakh.machinery.errors import (
    FieldError,
    duplicate,
    forbidden_field,
    invalid_value,
    not_supported,
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

    columns = (NAME_COLUMN, Column("Created At", "date", "", AGE_COLUMN.description))

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
            if not kind:
                found.append(required(f"{where}.type"))
            elif "/" not in kind and kind not in LIMIT_TYPES:
                found.append(
                    invalid_value(f"{where}.type", kind, "must be a standard limit type or fully qualified")
                )
            if kind in seen:
                found.append(duplicate(f"{where}.type", kind))
            seen.add(kind)
            if kind == "Pod":
                for side in ("default", "defaultRequest"):
                    if getattr(item, side):
                        found.append(
                            forbidden_field(f"{where}.{side}", "may not be specified when `type` is 'Pod'")
                        )
            _validate_limits(item, where, found)
        return found


def _validate_limits(item: Any, path: str, found: list[FieldError]) -> None:
    names = {name for side in _SIDES for name in (getattr(item, side) or ())}
    for side in _SIDES:
        for name, value in (getattr(item, side) or {}).items():
            report(check_resource_name(name), f"{path}.{side}[{name}]", name, found)
            report(check_amount(name, value), f"{path}.{side}[{name}]", value, found)
    for name in sorted(names):
        low, ask, use, high = (
            (getattr(item, side) or {}).get(name) for side in ("min", "defaultRequest", "default", "max")
        )
        for side, lesser, greater, what in (
            ("min", low, high, "min value {} is greater than max value {}"),
            ("defaultRequest", low, ask, "min value {} is greater than default request value {}"),
            ("defaultRequest", ask, high, "default request value {} is greater than max value {}"),
            ("defaultRequest", ask, use, "default request value {} is greater than default limit value {}"),
            ("default", low, use, "min value {} is greater than default value {}"),
            ("default", use, high, "default value {} is greater than max value {}"),
        ):
            if lesser is None or greater is None:
                continue
            if (milli(lesser) or 0) > (milli(greater) or 0):
                shown = {"min": low, "defaultRequest": ask, "default": use}[side]
                found.append(invalid_value(f"{path}.{side}[{name}]", shown, what.format(lesser, greater)))
        if item.type == "Container" and is_extended(name) and ask != use and ask is not None:
            found.append(
                invalid_value(
                    f"{path}.defaultRequest[{name}]",
                    ask,
                    f"default value {use} must equal to defaultRequest value {ask} in {name}",
                )
            )


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
        """Amounts and scopes."""
        found: list[FieldError] = []
        spec = obj.spec
        _validate_quota_amounts(spec.hard, "spec.hard", found)
        for scope in spec.scopes or ():
            if scope not in SCOPES:
                found.append(invalid_value("spec.scopes", spec.scopes, "unsupported scope"))
        for index, item in enumerate((spec.scopeSelector and spec.scopeSelector.matchExpressions) or ()):
            where = f"spec.scopeSelector.matchExpressions[{index}]"
            if item.scopeName not in SCOPES:
                found.append(invalid_value(f"{where}.scopeName", item.scopeName or "", "unsupported scope"))
            if item.operator not in ("DoesNotExist", "Exists", "In", "NotIn"):
                found.append(
                    not_supported(
                        f"{where}.operator", item.operator or "", ("DoesNotExist", "Exists", "In", "NotIn")
                    )
                )
            elif item.operator in ("In", "NotIn") and not item.values:
                found.append(
                    required(
                        f"{where}.values",
                        "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector",
                    )
                )
            elif item.operator in ("Exists", "DoesNotExist") and item.values:
                found.append(
                    invalid_value(
                        f"{where}.values",
                        item.values,
                        "must be no value when `operator` is 'Exists' or 'DoesNotExist' for scope selector",
                    )
                )
        return found

    def validate_update(self, new: Any, old: Any) -> list[FieldError]:
        """Scopes stay."""
        found = self.validate(new)
        immutable(sorted(new.spec.scopes or ()), sorted(old.spec.scopes or ()), "spec.scopes", found)
        return found

    def validate_status_update(self, new: Any, old: Any) -> list[FieldError]:
        """Amounts."""
        found: list[FieldError] = []
        if new.status is not None:
            _validate_quota_amounts(new.status.hard, "status.hard", found)
            _validate_quota_amounts(new.status.used, "status.used", found)
        return found

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


def _validate_quota_amounts(amounts: dict[str, Any] | None, path: str, found: list[FieldError]) -> None:
    # `count/<resource>.<group>` counts objects of any kind.
    counted = {name: value for name, value in (amounts or {}).items() if name.startswith("count/")}
    for name, value in counted.items():
        report(check_amount(name, value), f"{path}[{name}]", value, found)
    validate_quantities(
        {name: value for name, value in (amounts or {}).items() if name not in counted}, path, found
    )


RESOURCES: tuple[Resource, ...] = (
    declare("limitranges", "LimitRange", LimitRangeStrategy(), short_names=("limits",)),
    declare("resourcequotas", "ResourceQuota", ResourceQuotaStrategy(), short_names=("quota",)),
)

"""Resource lists: quantities made canonical, resource names and amounts checked.

Quantities repeat (`500m`, `16`, `1Gi`), so canonical forms and amounts come from bounded caches: 0.1 µs each. A string that is no quantity stays as it
is when defaults are filled in and is reported by validation.
"""

from __future__ import annotations

from typing import Any

from lakh.apis.meta import check_dns_label, check_label_key, report
from lakh.machinery import names, quantity
from lakh.machinery.errors import (
    FieldError,
    duplicate,
    forbidden_field,
    invalid_value,
    not_found_field,
    not_supported,
    required,
)
from lakh.machinery.shortcache import short_cache

Amount = str | int | float

QUANTITY_CACHE_SIZE = 16_384
NAME_CACHE_SIZE = 4_096
_NANOS_PER_MILLI = 1_000_000

NOT_A_QUANTITY = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
NOT_AN_INTEGER = "must be an integer"

_STANDARD_CONTAINER = frozenset(("cpu", "memory", "ephemeral-storage"))
_STANDARD_QUOTA = frozenset(
    (
        "pods",
        "services",
        "replicationcontrollers",
        "resourcequotas",
        "secrets",
        "configmaps",
        "persistentvolumeclaims",
        "services.nodeports",
        "services.loadbalancers",
    )
)
_STANDARD_QUOTA_AMOUNTS = frozenset(
    f"{side}{name}" for side in ("requests.", "limits.") for name in ("cpu", "memory", "ephemeral-storage")
) | {"requests.storage"}
_QUOTA = _STANDARD_CONTAINER | _STANDARD_QUOTA | _STANDARD_QUOTA_AMOUNTS
_STANDARD = _STANDARD_CONTAINER | _STANDARD_QUOTA | _STANDARD_QUOTA_AMOUNTS | {"storage"}
_HUGE_PAGES = "hugepages-"


@short_cache(QUANTITY_CACHE_SIZE)
def canonical(value: Amount) -> str | None:
    """The canonical form of a quantity, rounded up to thousandths as resource lists are; None when it is not a quantity."""
    try:
        if quantity.parse_nano(value) % _NANOS_PER_MILLI:
            return quantity.canonical(f"{quantity.parse_milli(value)}m")
        return quantity.canonical(value)
    except ValueError:
        return None


@short_cache(QUANTITY_CACHE_SIZE)
def milli(value: Amount) -> int | None:
    """A quantity in thousandths, rounded up; None when it is not a quantity."""
    try:
        return quantity.parse_milli(value)
    except ValueError:
        return None


def canonicalise(resources: dict[str, Amount]) -> None:
    """Makes the quantities of a resource list canonical."""
    for name, value in resources.items():
        form = canonical(value)
        if form is not None and form is not value:
            resources[name] = form


def canonicalise_requirements(requirements: Any) -> None:
    """The same for `ResourceRequirements`."""
    if requirements.limits:
        canonicalise(requirements.limits)
    if requirements.requests:
        canonicalise(requirements.requests)


def is_huge_page(name: str) -> bool:
    """Whether a resource is huge pages of some size."""
    return name.startswith(_HUGE_PAGES)


@short_cache(NAME_CACHE_SIZE)
def is_extended(name: str) -> bool:
    """Whether a resource is an extended one: another domain's than Kubernetes', counted in whole units."""
    return (
        "/" in name
        and "kubernetes.io/" not in name
        and not name.startswith("requests.")
        and not names.qualified_name(f"requests.{name}")
    )


def is_native(name: str) -> bool:
    """Whether a resource belongs to Kubernetes itself."""
    return "/" not in name or "kubernetes.io/" in name


def is_overcommit_allowed(name: str) -> bool:
    """Whether requests of a resource may be below its limits."""
    return is_native(name) and not name.startswith(_HUGE_PAGES)


def is_integer(name: str) -> bool:
    """Whether a resource is counted in whole units."""
    return is_extended(name) or name in _STANDARD_QUOTA


def is_standard_quota(name: str) -> bool:
    """Whether a name without a domain is a resource that a quota can limit."""
    return name in _QUOTA or name.startswith((_HUGE_PAGES, "requests.hugepages-"))


def is_standard(name: str) -> bool:
    """Whether a name without a domain is a known resource."""
    return name in _STANDARD or name.startswith((_HUGE_PAGES, "requests.hugepages-"))


@short_cache(NAME_CACHE_SIZE)
def check_resource_name(name: str) -> tuple[str, ...]:
    """Messages of what is wrong with the name of any resource."""
    messages = check_label_key(name)
    if messages:
        return messages
    if "/" not in name and not is_standard(name):
        return ("must be a standard resource type or fully qualified",)
    return ()


@short_cache(NAME_CACHE_SIZE)
def check_container_resource_name(name: str) -> tuple[str, ...]:
    """Messages of what is wrong with the name of a container's resource."""
    messages = check_resource_name(name)
    if "/" not in name:
        if name not in _STANDARD_CONTAINER and not is_huge_page(name):
            messages = (*messages, "must be a standard resource for containers")
    elif not is_native(name) and not is_extended(name):
        messages = (*messages, "doesn't follow extended resource name standard")
    return messages


@short_cache(QUANTITY_CACHE_SIZE)
def check_amount(name: str, value: Amount, pages: bool = True) -> tuple[str, ...]:
    """Messages of what is wrong with the amount of a resource; `pages`: huge pages are whole ones."""
    amount = milli(value)
    if amount is None:
        return (NOT_A_QUANTITY,)
    if amount < 0:
        return ("must be greater than or equal to 0",)
    if amount % 1000 and is_integer(name):
        return (NOT_AN_INTEGER,)
    if pages and is_huge_page(name):
        page = milli(name.removeprefix(_HUGE_PAGES)) or 0
        if page <= 0 or page % 1000 or amount % page:
            return (f"{value} is not positive integer multiple of {name}",)
    return ()


@short_cache(NAME_CACHE_SIZE)
def _check_pod_resource(name: str) -> tuple[str, ...]:
    """Messages of what is wrong with the name of a pod's own resource, "" when it is a name and not supported."""
    messages = check_resource_name(name)
    if not messages and name not in ("cpu", "memory") and not is_huge_page(name):
        return ("",)
    return messages


def validate_requirements(
    requirements: Any,
    path: str,
    found: list[FieldError],
    claim_names: frozenset[str] = frozenset(),
    *,
    whole_pod: bool = False,
) -> None:
    """A container's `ResourceRequirements`, or those of a pod: names, amounts, requests within limits."""
    limits, requests = requirements.limits, requirements.requests
    huge_pages = compute = False
    if limits:
        for name, value in limits.items():
            _validate_amount(name, value, path, "limits", whole_pod, found)
            if name in ("cpu", "memory"):
                compute = True
            elif is_huge_page(name):
                huge_pages = True
    if requests:
        for name, value in requests.items():
            _validate_amount(name, value, path, "requests", whole_pod, found)
            if name in ("cpu", "memory"):
                compute = True
            elif is_huge_page(name):
                huge_pages = True
            limit = limits.get(name) if limits else None
            if limit is None:
                if not is_overcommit_allowed(name):
                    found.append(
                        required(f"{path}.limits", "Limit must be set for non overcommitable resources")
                    )
            elif limit != value:
                _compare(name, value, limit, path, found)
    if huge_pages and not compute:
        found.append(forbidden_field(path, "HugePages require cpu or memory"))
    if requirements.claims:
        _validate_claims(requirements.claims, path, claim_names, found)


def _validate_amount(
    name: str, value: Amount, path: str, side: str, whole_pod: bool, found: list[FieldError]
) -> None:
    messages = _check_pod_resource(name) if whole_pod else check_container_resource_name(name)
    if messages == ("",):
        found.append(not_supported(f"{path}.{side}[{name}]", name, ("cpu", "hugepages-", "memory")))
    elif messages:
        report(messages, f"{path}.{side}[{name}]", name, found)
    messages = check_amount(name, value)
    if messages:
        report(messages, f"{path}.{side}[{name}]", value, found)


def _compare(name: str, value: Amount, limit: Amount, path: str, found: list[FieldError]) -> None:
    asked, allowed = milli(value), milli(limit)
    if asked is None or allowed is None or asked == allowed:
        return
    if not is_overcommit_allowed(name):
        found.append(invalid_value(f"{path}.requests", value, f"must be equal to {name} limit of {limit}"))
    elif asked > allowed:
        found.append(
            invalid_value(f"{path}.requests", value, f"must be less than or equal to {name} limit of {limit}")
        )


def _validate_claims(
    claims: list[Any], path: str, claim_names: frozenset[str], found: list[FieldError]
) -> None:
    seen: set[str] = set()
    for index, claim in enumerate(claims):
        where = f"{path}.claims[{index}]"
        name = claim.name or ""
        if not name:
            found.append(required(where))
            continue
        key = name
        if name in seen:
            # The whole claim is there already, all of its requests with it.
            found.append(duplicate(where, name))
        elif claim.request:
            report(check_dns_label(claim.request), f"{where}.request", claim.request, found)
            key = f"{name}/{claim.request}"
            if key in seen:
                found.append(duplicate(where, key))
        else:
            for other in seen:
                if other.partition("/")[0] == name:
                    found.append(duplicate(where, name))
        seen.add(key)
        if name not in claim_names:
            known = f": {', '.join(sorted(claim_names))}" if claim_names else " which is empty"
            missing = not_found_field(where, name)
            found.append(
                FieldError(
                    missing.reason,
                    where,
                    f"{missing.text}: must be one of the names in pod.spec.resourceClaims{known}",
                )
            )

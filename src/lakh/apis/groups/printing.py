"""Cells of kubectl's tables as upstream's printers write them: ages, selectors, containers, counts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from lakh.apis.registry import Column
from lakh.machinery import times

NONE = "<none>"
UNSET = "<unset>"
UNKNOWN = "<unknown>"
ERROR = "<error>"

CONTAINERS_COLUMN = Column("Containers", priority=1, description="Names of each container in the template.")
IMAGES_COLUMN = Column(
    "Images", priority=1, description="Images referenced by each container in the template."
)


def age(obj: Any, now: float) -> str:
    """The `Age` cell of an object."""
    return times.age(obj.metadata.creationTimestamp, now)


def containers_and_images(template: Any) -> tuple[str, str]:
    """The names and the images of a pod template's containers."""
    spec = template.spec if template is not None else None
    containers = (spec.containers if spec is not None else None) or ()
    return ",".join(c.name or "" for c in containers), ",".join(c.image or "" for c in containers)


def labels(values: Mapping[str, str] | None) -> str:
    """A map of labels: `a=b,c=d`, sorted."""
    if not values:
        return NONE
    return ",".join(f"{key}={value}" for key, value in sorted(values.items()))


def label_selector(selector: Any) -> str:
    """A `metav1.LabelSelector` in its string form."""
    if selector is None:
        return NONE
    terms = [(key, f"{key}={value}") for key, value in (selector.matchLabels or {}).items()]
    for expression in selector.matchExpressions or ():
        key = expression.key or ""
        values = ",".join(sorted(expression.values or ()))
        match expression.operator:
            case "In":
                terms.append((key, f"{key} in ({values})"))
            case "NotIn":
                terms.append((key, f"{key} notin ({values})"))
            case "Exists":
                terms.append((key, key))
            case "DoesNotExist":
                terms.append((key, f"!{key}"))
            case _:
                return ERROR
    return ",".join(text for _, text in sorted(terms, key=lambda term: term[0])) or NONE


def go_label_selector(selector: Any) -> str:
    """A `metav1.LabelSelector` as its Go type's String method writes it: the cell of bindings of admission policies."""
    if selector is None:
        return UNSET
    labels = "".join(f"{key}: {value}," for key, value in sorted((selector.matchLabels or {}).items()))
    terms = "".join(
        f"LabelSelectorRequirement{{Key:{e.key or ''},Operator:{e.operator or ''},Values:[{' '.join(e.values or ())}],}},"
        for e in selector.matchExpressions or ()
    )
    return (
        f"&LabelSelector{{MatchLabels:map[string]string{{{labels}}},"
        f"MatchExpressions:[]LabelSelectorRequirement{{{terms}}},}}"
    )


def shortened(items: Iterable[str], maximum_count: int, separator: str) -> str:
    """The first items, and how many more there are."""
    shown = list(items)
    if not shown:
        return NONE
    text = separator.join(shown[:maximum_count])
    more = len(shown) - maximum_count
    return f"{text} + {more} more..." if more > 0 else text


def listed(items: Iterable[str], maximum_count: int) -> str:
    """The first items, and how many more there are; `<unset>` for nothing, as slices of endpoints are shown."""
    shown = list(items)
    return shortened(shown, maximum_count, ",") if any(shown) else UNSET


def ingress_points(points: Iterable[Any]) -> list[str]:
    """Addresses, or names, at which a load balancer is reached: each once, sorted."""
    return sorted({point.ip or point.hostname for point in points if point.ip or point.hostname})


def is_default(obj: Any, *annotations: str) -> bool:
    """Whether one of the annotations marks the object as its cluster's default."""
    given = obj.metadata.annotations or {}
    return any(given.get(annotation) == "true" for annotation in annotations)


def boolean(value: bool | None) -> str:
    """An optional boolean as the printers write it."""
    return UNSET if value is None else str(value)


def controller(obj: Any) -> str:
    """The controller among an object's owners: `daemonset.apps/agent`."""
    for owner in obj.metadata.ownerReferences or ():
        if owner.controller:
            group = (owner.apiVersion or "").rpartition("/")[0]
            kind = f"{owner.kind}.{group}" if group else owner.kind
            return f"{kind.lower()}/{owner.name}"
    return NONE


def joined(values: Iterable[str], separator: str = ",") -> str:
    """Values joined, or `<none>`."""
    return separator.join(values) or NONE

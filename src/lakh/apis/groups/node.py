"""node.k8s.io/v1: runtime classes."""

from __future__ import annotations

from typing import Any

from lakh.apis import meta
from lakh.apis.groups import printing
from lakh.apis.groups.base import GroupStrategy, declare
from lakh.apis.registry import AGE_COLUMN, NAME_COLUMN, Column
from lakh.apis.resourcelists import canonicalise
from lakh.machinery import names, quantity
from lakh.machinery.errors import FieldError, invalid_value

GROUP = "node.k8s.io"


class RuntimeClassStrategy(GroupStrategy):
    """Runtime classes."""

    allow_unconditional_update = False
    columns = (
        NAME_COLUMN,
        Column("Handler", description="The underlying runtime and configuration of the class."),
        AGE_COLUMN,
    )

    def default(self, obj: Any) -> None:
        """Canonical quantities."""
        overhead: dict[str, Any] = (obj.overhead.podFixed if obj.overhead is not None else None) or {}
        canonicalise(overhead)

    def validate(self, obj: Any) -> list[FieldError]:
        """A whole class."""
        found: list[FieldError] = []
        handler = obj.handler or ""
        meta.report(names.dns_label(handler), "handler", handler, found)
        overhead = obj.overhead.podFixed if obj.overhead is not None else None
        for name, value in (overhead or {}).items():
            path = f"overhead.podFixed[{name}]"
            try:
                negative = quantity.parse_nano(value) < 0
            except quantity.QuantityError as error:
                found.append(invalid_value(path, value, str(error)))
                continue
            if negative:
                found.append(invalid_value(path, value, meta.NON_NEGATIVE))
        if obj.scheduling is not None and obj.scheduling.nodeSelector:
            meta.validate_labels(obj.scheduling.nodeSelector, "scheduling.nodeSelector", found)
        return found

    def validate_update(self, new: Any, old: Any) -> list[FieldError]:
        """The handler stays."""
        found: list[FieldError] = []
        meta.immutable(new.handler, old.handler, "handler", found)
        return found

    def cells(self, obj: Any, now: float) -> list[Any]:
        """As `kubectl get runtimeclasses` shows it."""
        return [obj.metadata.name, obj.handler or "", printing.age(obj, now)]


RESOURCES = (
    declare(GROUP, "v1", "runtimeclasses", "RuntimeClass", RuntimeClassStrategy(), namespaced=False),
)

"""node.k8s.io/v1: runtime classes."""

from __future__ import annotations

from typing import Any

from lakh.apis import meta
from lakh.apis.groups import printing
from lakh.apis.groups.base import GroupStrategy, declare
from lakh.apis.nodelabels import DEPRECATED_LABELS
from lakh.apis.placement import validate_tolerations
from lakh.apis.registry import AGE_COLUMN, NAME_COLUMN, Column
from lakh.apis.resourcelists import canonicalise, check_amount, check_container_resource_name
from lakh.machinery import names
from lakh.machinery.errors import FieldError, duplicate

GROUP = "node.k8s.io"


class RuntimeClassStrategy(GroupStrategy):
    """Runtime classes."""

    allow_create_on_update = True
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
            path = f"overhead.podFixed.limits[{name}]"
            meta.report(check_container_resource_name(name), path, name, found)
            meta.report(check_amount(name, value), path, value, found)
        scheduling = obj.scheduling
        if scheduling is not None:
            meta.validate_labels(scheduling.nodeSelector or {}, "scheduling.nodeSelector", found)
            path, tolerations = "scheduling.tolerations", scheduling.tolerations or []
            validate_tolerations(tolerations, path, found)
            for index, toleration in enumerate(tolerations):
                if toleration in tolerations[:index]:
                    found.append(duplicate(f"{path}[{index}]", toleration))
        return found

    def validate_update(self, new: Any, old: Any) -> list[FieldError]:
        """The handler stays."""
        found: list[FieldError] = []
        meta.immutable(new.handler, old.handler, "handler", found)
        return found

    def warnings(self, obj: Any, old: Any | None) -> list[str]:
        """Labels of nodes that have newer names."""
        selector = (obj.scheduling.nodeSelector if obj.scheduling is not None else None) or ()
        return [
            f"scheduling.nodeSelector: {DEPRECATED_LABELS[key]}"
            for key in selector
            if key in DEPRECATED_LABELS
        ]

    def cells(self, obj: Any, now: float) -> list[Any]:
        """As `kubectl get runtimeclasses` shows it."""
        return [obj.metadata.name, obj.handler or "", printing.age(obj, now)]


RESOURCES = (
    declare(GROUP, "v1", "runtimeclasses", "RuntimeClass", RuntimeClassStrategy(), namespaced=False),
)

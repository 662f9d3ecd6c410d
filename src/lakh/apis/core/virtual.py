"""Kinds that are served but not stored: bindings and component statuses."""

from __future__ import annotations

from typing import Any

from lakh.apis.core.base import condition, declare
from lakh.apis.registry import NAME_COLUMN, Column, Resource, Strategy
from lakh.machinery.errors import FieldError, not_supported, required


class BindingStrategy(Strategy):
    """Bindings: a scheduler's decision about a pod."""

    def validate(self, obj: Any) -> list[FieldError]:
        """The target is a node, by name."""
        found: list[FieldError] = []
        target = obj.target
        if target is not None and target.kind not in (None, "", "Node"):
            found.append(not_supported("target.kind", target.kind, ("Node", "<empty>"), as_given=True))
        if target is None or not target.name:
            found.append(required("target.name"))
        return found


class ComponentStatusStrategy(Strategy):
    """ComponentStatuses (deprecated upstream, still served)."""

    deprecation = "v1 ComponentStatus is deprecated in v1.19+"
    columns = (
        NAME_COLUMN,
        Column("Status", description="Status of the component conditions"),
        Column("Message", description="Message of the component conditions"),
        Column("Error", description="Error of the component conditions"),
    )

    def cells(self, obj: Any, now: float) -> list[Any]:
        """As `kubectl get componentstatuses` shows it."""
        healthy = condition(obj.conditions, "Healthy")
        if healthy is None:
            return [obj.metadata.name, "Unknown", "", ""]
        word = "Healthy" if healthy.status == "True" else "Unhealthy"
        return [obj.metadata.name, word, healthy.message or "", healthy.error or ""]


RESOURCES: tuple[Resource, ...] = (
    declare("bindings", "Binding", BindingStrategy(), verbs=("create",)),
    declare(
        "componentstatuses",
        "ComponentStatus",
        ComponentStatusStrategy(),
        namespaced=False,
        short_names=("cs",),
        verbs=("get", "list"),
    ),
)

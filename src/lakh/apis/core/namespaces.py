"""Namespaces: they live until the namespace controller has emptied them and finalizes them."""

from __future__ import annotations

from typing import Any

from lakh.apis import structs
from lakh.apis.core.base import declare, status_field
from lakh.apis.groups.printing import age
from lakh.apis.meta import check_finalizer, report
from lakh.apis.registry import AGE_COLUMN, ALL_VERBS, NAME_COLUMN, Column, Resource, Strategy, Subresource
from lakh.machinery import names
from lakh.machinery.errors import FieldError, invalid_value

_NamespaceSpec = structs.core("NamespaceSpec")
_NamespaceStatus = structs.core("NamespaceStatus")

FINALIZER = "kubernetes"
# Upstream's NamespaceLifecycle admission keeps these for ever.
IMMORTAL = frozenset(("default", "kube-system", "kube-public"))
NAME_LABEL = "kubernetes.io/metadata.name"


_SELECTABLE = {
    "name": lambda namespace: namespace.metadata.name or "",
    "status.phase": status_field("phase"),
}


class NamespaceStrategy(Strategy):
    """Namespaces."""

    has_status = True
    columns = (NAME_COLUMN, Column("Status", description="The status of the namespace"), AGE_COLUMN)
    selectable_fields = _SELECTABLE

    def validate_name(self, name: str) -> list[str]:
        """A DNS label."""
        return names.dns_label(name)

    def default(self, obj: Any) -> None:
        """The label by which selectors find a namespace by name."""
        if obj.spec is None:
            obj.spec = _NamespaceSpec()
        meta = obj.metadata
        if meta.name and (meta.labels is None or meta.labels.get(NAME_LABEL) != meta.name):
            meta.labels = {**(meta.labels or {}), NAME_LABEL: meta.name}

    def prepare_for_create(self, obj: Any) -> None:
        """A new namespace is Active and held by its controller."""
        self.default(obj)
        finalizers = obj.spec.finalizers or []
        if FINALIZER not in finalizers:
            obj.spec.finalizers = [*finalizers, FINALIZER]
        obj.status = _NamespaceStatus(phase="Active")

    def validate(self, obj: Any) -> list[FieldError]:
        """The finalizers of spec."""
        found: list[FieldError] = []
        for name in (obj.spec and obj.spec.finalizers) or ():
            report(check_finalizer(name), "spec.finalizers", name, found)
        return found

    def prepare_for_update(self, new: Any, old: Any) -> None:
        """Finalizers change through the finalize subresource only, which the server serves."""
        new.spec.finalizers = old.spec.finalizers if old.spec is not None else None
        new.status = old.status

    def validate_update(self, new: Any, old: Any) -> list[FieldError]:
        """Spec stays as it was, and metadata is the server's business."""
        return []

    def validate_status_update(self, new: Any, old: Any) -> list[FieldError]:
        """The phase follows from the deletion."""
        phase = (new.status and new.status.phase) or ""
        if new.metadata.deletionTimestamp:
            if phase != "Terminating":
                return [
                    invalid_value(
                        "status.Phase", phase, "may only be 'Terminating' if `deletionTimestamp` is not empty"
                    )
                ]
        elif phase != "Active":
            return [
                invalid_value("status.Phase", phase, "may only be 'Active' if `deletionTimestamp` is empty")
            ]
        return []

    def permanent(self, name: str) -> str:
        """The namespaces that the cluster itself lives in stay."""
        return "this namespace may not be deleted" if name in IMMORTAL else ""

    def cells(self, obj: Any, now: float) -> list[Any]:
        """As `kubectl get namespaces` shows it."""
        return [obj.metadata.name, (obj.status and obj.status.phase) or "", age(obj, now)]


RESOURCES: tuple[Resource, ...] = (
    declare(
        "namespaces",
        "Namespace",
        NamespaceStrategy(),
        namespaced=False,
        short_names=("ns",),
        verbs=tuple(verb for verb in ALL_VERBS if verb != "deletecollection"),
        subresources={"finalize": Subresource("Namespace", ("update",))},
    ),
)

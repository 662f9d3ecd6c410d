"""Views of what every kind has in common.

A view is a `msgspec.Struct` with just the fields its user looks at: decoding skips the rest at C speed and memory holds
only what is named. Views of single kinds belong to the component that needs them; they have a `metadata` of
`ObjectMeta` or of a narrower Struct with at least `name`, `namespace`, `uid` and `resourceVersion`.

`None` means absent and is not encoded. `gc=False`: JSON cannot contain cycles, so the collector need not look at views.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import msgspec

__all__ = [
    "ListMeta",
    "ObjectList",
    "ObjectMeta",
    "ObjectReference",
    "ObjectView",
    "OwnerReference",
    "WatchEvent",
    "object_key",
]

T = TypeVar("T")


class OwnerReference(msgspec.Struct, gc=False, omit_defaults=True):
    """metav1.OwnerReference."""

    apiVersion: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool | None = None
    blockOwnerDeletion: bool | None = None


class ObjectMeta(msgspec.Struct, gc=False, omit_defaults=True):
    """metav1.ObjectMeta without managedFields, which no component reads."""

    name: str | None = None
    generateName: str | None = None
    namespace: str | None = None
    uid: str | None = None
    resourceVersion: str | None = None
    generation: int | None = None
    creationTimestamp: str | None = None
    deletionTimestamp: str | None = None
    deletionGracePeriodSeconds: int | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    ownerReferences: list[OwnerReference] | None = None
    finalizers: list[str] | None = None


class ObjectView(msgspec.Struct, gc=False, omit_defaults=True):
    """The metadata of an object of any kind."""

    metadata: ObjectMeta


class ObjectReference(msgspec.Struct, gc=False, omit_defaults=True, frozen=True):
    """core/v1 ObjectReference."""

    kind: str | None = None
    namespace: str | None = None
    name: str | None = None
    uid: str | None = None
    apiVersion: str | None = None
    resourceVersion: str | None = None
    fieldPath: str | None = None


class ListMeta(msgspec.Struct, gc=False, omit_defaults=True):
    """metav1.ListMeta. `continue_` is `continue` in JSON."""

    resourceVersion: str | None = None
    continue_: str | None = msgspec.field(name="continue", default=None)
    remainingItemCount: int | None = None


class ObjectList(msgspec.Struct, Generic[T], gc=False):
    """A page of objects: `items`, and `metadata` with the resourceVersion and the continue token."""

    metadata: ListMeta
    items: list[T]


class WatchEvent(msgspec.Struct, Generic[T], gc=False):
    """One event of a watch: `type` is ADDED, MODIFIED, DELETED or BOOKMARK.

    A BOOKMARK's `object` has nothing but metadata, so for a typed watch it is an `ObjectView`, whatever `T` is.
    """

    type: str
    object: T


def object_key(obj: Any) -> str:
    """`namespace/name` of a view, or `name` when it has no namespace."""
    metadata = obj.metadata
    namespace = metadata.namespace
    return f"{namespace}/{metadata.name}" if namespace else str(metadata.name)

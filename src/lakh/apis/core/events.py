"""Core events: what happened to which object, said by whom, how often.

`events.k8s.io/v1` is another view of the same stored objects. Events with an `eventTime` follow the newer, stricter rules.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any

from lakh.apis import structs
from lakh.apis.core.base import declare
from lakh.apis.legacyevents import validate_legacy
from lakh.apis.registry import NAME_COLUMN, Column, Resource, Strategy
from lakh.machinery import names, times
from lakh.machinery.errors import FieldError

_EventSource, _ObjectReference = structs.core("EventSource"), structs.core("ObjectReference")
_PARTS = ("involvedObject", "related", "series", "source")
# Of an event and its parts, what its fields depend on.
_VALUES = attrgetter(
    *(n for n in structs.core("Event").__struct_fields__ if n not in ("metadata", "apiVersion", "kind"))
)
_parts_of = attrgetter(*_PARTS)


def _involved(name: str) -> Callable[[Any], str]:
    def read(event: Any) -> str:
        return (event.involvedObject and getattr(event.involvedObject, name)) or ""

    return read


def _source(event: Any) -> tuple[str, str]:
    source = event.source
    component = (source and source.component) or event.reportingComponent or ""
    return component, (source and source.host) or event.reportingInstance or ""


_SELECTABLE = {
    **{
        f"involvedObject.{name}": _involved(name)
        for name in ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
    },
    "reason": lambda event: event.reason or "",
    "reportingComponent": lambda event: event.reportingComponent or "",
    "source": lambda event: _source(event)[0],
    "type": lambda event: event.type or "",
}


class EventStrategy(Strategy):
    """Events of core/v1."""

    allow_create_on_update = True
    columns = (
        Column("Last Seen", description="When the event was last seen."),
        Column("Type", description="Normal or Warning."),
        Column("Reason", description="Why it happened, in one word."),
        Column("Object", description="The object that the event is about."),
        Column("Subobject", priority=1, description="The part of the object that it is about."),
        Column("Source", priority=1, description="Who reports it."),
        Column("Message", description="What happened."),
        Column("First Seen", priority=1, description="When the event was first seen."),
        Column("Count", priority=1, description="How often the event was seen."),
        Column("Name", "string", "name", NAME_COLUMN.description, 1),
    )
    selectable_fields = _SELECTABLE

    def prepare_for_create(self, obj: Any) -> None:
        """What is empty is there."""
        super().prepare_for_create(obj)
        _fill(obj)

    def prepare_for_update(self, new: Any, old: Any) -> None:
        """As on create."""
        super().prepare_for_update(new, old)
        _fill(new)

    def validate_name(self, name: str) -> list[str]:
        """Anything that fits into a path."""
        return names.path_segment_name(name)

    def validate(self, obj: Any) -> list[FieldError]:
        """What events of any time keep to."""
        return validate_legacy(obj, obj.involvedObject, obj.message, "reportingComponent")

    def fields_key(self, obj: Any) -> bytes | None:
        """What is there, what is empty and what is not: nothing but values of Structs is in an event."""
        values = list(_VALUES(obj))
        for part in _parts_of(obj):
            if part is not None:
                values += [getattr(part, name) for name in part.__struct_fields__]
        return bytes([0 if value is None else 2 if value else 1 for value in values])

    def cells(self, obj: Any, now: float) -> list[Any]:
        """As `kubectl get events -o wide` shows it."""
        first = times.age(obj.firstTimestamp or obj.eventTime, now)
        last = times.age(obj.lastTimestamp, now) if obj.lastTimestamp else first
        count = obj.count or 1
        if obj.series is not None:
            last = times.age(obj.series.lastObservedTime, now)
            count = obj.series.count or 0
        kind = _involved("kind")(obj).lower()
        name = _involved("name")(obj)
        component, instance = _source(obj)
        return [
            last,
            obj.type or "",
            obj.reason or "",
            f"{kind}/{name}" if name else kind,
            _involved("fieldPath")(obj),
            f"{component}, {instance}" if instance else component,
            (obj.message or "").strip(),
            first,
            count,
            obj.metadata.name,
        ]


def _fill(obj: Any) -> None:
    """What upstream shows though it is empty. Nobody manages it: the object before the first is empty, too."""
    if obj.involvedObject is None:
        obj.involvedObject = _ObjectReference()
    if obj.source is None:
        obj.source = _EventSource()
    if obj.reportingComponent is None:
        obj.reportingComponent = ""
    if obj.reportingInstance is None:
        obj.reportingInstance = ""


RESOURCES: tuple[Resource, ...] = (
    declare("events", "Event", EventStrategy(), short_names=("ev",), partition="events"),
)

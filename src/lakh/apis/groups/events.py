"""events.k8s.io/v1: the newer face of core events.

Both APIs serve the same objects, stored in the core form. The two differ in names of fields only, so the conversion is a renaming, exact in
both directions. What differs in substance is validation: events created here must follow the newer rules (a time, a reporting controller, an
action, a reason), and the fields that describe what happened never change afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lakh.apis import meta, structs
from lakh.apis.groups.base import declare
from lakh.apis.legacyevents import validate_legacy
from lakh.apis.registry import NAME_COLUMN, Column, Strategy
from lakh.machinery import times
from lakh.machinery.errors import FieldError, invalid_value, required

GROUP = "events.k8s.io"

EVENT_TYPES = ("Normal", "Warning")

# The fields whose names differ: events.k8s.io/v1 → core/v1.
_CORE_NAMES = {
    "note": "message",
    "regarding": "involvedObject",
    "deprecatedSource": "source",
    "deprecatedFirstTimestamp": "firstTimestamp",
    "deprecatedLastTimestamp": "lastTimestamp",
    "deprecatedCount": "count",
    "reportingController": "reportingComponent",
}
# Upstream validates the internal type: its names are the core ones, but for this one.
_IMMUTABLE_PATHS = {**_CORE_NAMES, "reportingController": "reportingController"}
_REPORTER = {"reportingComponent": "", "reportingInstance": ""}
_EVENTS_NAMES = {core: name for name, core in _CORE_NAMES.items()}


def to_core(event: dict[str, Any]) -> dict[str, Any]:
    """An events.k8s.io/v1 event as a core/v1 one, which shows who reports though nobody does."""
    return {**_REPORTER, **{_CORE_NAMES.get(name, name): value for name, value in event.items()}}


def from_core(event: dict[str, Any]) -> dict[str, Any]:
    """A core/v1 event as an events.k8s.io/v1 one."""
    return {
        _EVENTS_NAMES.get(name, name): value
        for name, value in event.items()
        if value != "" or name not in _REPORTER
    }


_EventSource, _ObjectReference = structs.core("EventSource"), structs.core("ObjectReference")


def _regarding(name: str) -> Callable[[Any], str]:
    def read(event: Any) -> str:
        return (getattr(event.regarding, name) if event.regarding is not None else None) or ""

    return read


_SELECTABLE: Mapping[str, Callable[[Any], str]] = {
    **{
        f"regarding.{name}": _regarding(name)
        for name in ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
    },
    "reason": lambda event: event.reason or "",
    "reportingController": lambda event: event.reportingController or "",
    "type": lambda event: event.type or "",
}


class EventStrategy(Strategy):
    """Events through events.k8s.io/v1."""

    allow_create_on_update = True
    columns = (
        Column("Last Seen", description="Time when this event was last observed"),
        Column("Type", description="Type of this event (Normal, Warning)"),
        Column("Reason", description="Why the action was taken"),
        Column("Object", description="The object this event is about"),
        Column("Subobject", priority=1, description="The part of the object this event is about"),
        Column("Source", priority=1, description="The component reporting this event"),
        Column("Message", description="A human-readable description of the status of this operation"),
        Column("First Seen", priority=1, description="Time when this event was first observed"),
        Column("Count", priority=1, description="The number of times this event has occurred"),
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

    def validate(self, obj: Any) -> list[FieldError]:
        """A new event."""
        found = _legacy(obj)
        found += _validate_series(obj)
        if not obj.eventTime:
            found.append(required("eventTime"))
        if obj.type not in EVENT_TYPES:
            found.append(invalid_value("type", "", "has invalid value: " + (obj.type or "")))
        source = obj.deprecatedSource
        for path, given in (
            ("firstTimestamp", obj.deprecatedFirstTimestamp),
            ("lastTimestamp", obj.deprecatedLastTimestamp),
            ("count", obj.deprecatedCount),
            ("source", source is not None and (source.component or source.host)),
        ):
            if given:
                found.append(invalid_value(path, "", "needs to be unset"))
        return found

    def validate_update(self, new: Any, old: Any) -> list[FieldError]:
        """An update may count (series) and annotate; what happened stays."""
        found = _legacy(new)
        if new.series != old.series:
            found += _validate_series(new)
        for name in (
            "regarding",
            "reason",
            "note",
            "deprecatedSource",
            "deprecatedFirstTimestamp",
            "deprecatedLastTimestamp",
            "deprecatedCount",
            "type",
            "eventTime",
            "action",
            "related",
            "reportingController",
            "reportingInstance",
        ):
            meta.immutable(getattr(new, name), getattr(old, name), _IMMUTABLE_PATHS.get(name, name), found)
        return found

    def cells(self, obj: Any, now: float) -> list[Any]:
        """As `kubectl get events` shows it."""
        first = times.age(obj.deprecatedFirstTimestamp or obj.eventTime, now)
        last = times.age(obj.deprecatedLastTimestamp, now) if obj.deprecatedLastTimestamp else first
        count = obj.deprecatedCount or 0
        if obj.series is not None:
            last = times.age(obj.series.lastObservedTime, now)
            count = obj.series.count or 0
        elif count == 0:
            count = 1
        regarding = obj.regarding
        kind = ((regarding and regarding.kind) or "").lower()
        name = (regarding and regarding.name) or ""
        component, instance = _source(obj)
        return [
            last,
            obj.type or "",
            obj.reason or "",
            f"{kind}/{name}" if name else kind,
            (regarding and regarding.fieldPath) or "",
            f"{component}, {instance}" if instance else component,
            (obj.note or "").strip(),
            first,
            count,
            obj.metadata.name,
        ]


def _source(event: Any) -> tuple[str, str]:
    source = event.deprecatedSource
    component = (source and source.component) or event.reportingController or ""
    host = (source and source.host) or event.reportingInstance or ""
    return component, host


def _legacy(event: Any) -> list[FieldError]:
    return validate_legacy(event, event.regarding, event.note, "reportingController")


def _validate_series(event: Any) -> list[FieldError]:
    found: list[FieldError] = []
    if event.series is not None:
        if (event.series.count or 0) < 2:
            found.append(invalid_value("series.count", "", "should be at least 2"))
        if not event.series.lastObservedTime:
            found.append(required("series.lastObservedTime"))
    return found


def _fill(obj: Any) -> None:
    """As in the core form."""
    if obj.regarding is None:
        obj.regarding = _ObjectReference()
    if obj.deprecatedSource is None:
        obj.deprecatedSource = _EventSource()


RESOURCES = (
    declare(
        GROUP,
        "v1",
        "events",
        "Event",
        EventStrategy(),
        namespaced=True,
        short_names=("ev",),
        partition="events",
        stored_as=("", "v1", "events"),
        to_stored=to_core,
        from_stored=from_core,
    ),
)

"""events.k8s.io/v1: a view of core events, with the newer rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakh.apis.definitions import schema
from lakh.apis.groups.events import from_core, to_core
from tests.apis.groups.tables import Change, changed

GetKind = Callable[[str], Any]

EVENT = {
    "eventTime": "2026-01-01T00:00:00.000000Z",
    "reportingController": "example.com/controller",
    "reportingInstance": "controller-0",
    "action": "Binding",
    "reason": "Scheduled",
    "type": "Normal",
    "note": "all is well ",
    "regarding": {"kind": "Pod", "namespace": "default", "name": "p"},
}


def test_a_good_event(kind: GetKind) -> None:
    assert kind("events").create_errors(EVENT) == []


def test_an_empty_event(kind: GetKind) -> None:
    """Mirrors ValidateEventCreate: without a time it is judged as an old event, with what new ones lack."""
    assert kind("events").create_errors({}) == [
        "eventTime: Required value",
        'type: Invalid value: "": has invalid value: ',
    ]


# ValidateEventCreate, legacyValidateEvent and validateV1EventSeries.
CREATE_TABLE: list[tuple[Change, list[str]]] = [
    ({}, []),
    (
        {"reportingController": "", "reportingInstance": "", "action": "", "reason": ""},
        [
            "reportingController: Required value",
            'reportingController: Invalid value: "": name part must be non-empty',
            "reportingInstance: Required value",
            "action: Required value",
            "reason: Required value",
        ],
    ),
    (
        {"reportingInstance": "i" * 129, "action": "a" * 129, "reason": "r" * 129, "note": "n" * 1025},
        [
            'reportingInstance: Invalid value: "": can have at most 128 characters',
            'action: Invalid value: "": can have at most 128 characters',
            'reason: Invalid value: "": can have at most 128 characters',
            'message: Invalid value: "": can have at most 1024 characters',
        ],
    ),
    ({"regarding.namespace": "elsewhere"}, []),
    (
        {"regarding.namespace": "", "metadata": {"namespace": "n"}},
        ['involvedObject.namespace: Invalid value: "": does not match event.namespace'],
    ),
    (
        {"regarding.namespace": "elsewhere", "eventTime": None},
        [
            'involvedObject.namespace: Invalid value: "elsewhere": does not match event.namespace',
            "eventTime: Required value",
        ],
    ),
    (
        {"series": {"count": 1}},
        [
            'series.count: Invalid value: "": should be at least 2',
            "series.lastObservedTime: Required value",
        ],
    ),
    ({"type": "Bad"}, ['type: Invalid value: "": has invalid value: Bad']),
    (
        {
            "deprecatedFirstTimestamp": "2026-01-01T00:00:00Z",
            "deprecatedLastTimestamp": "2026-01-01T00:00:00Z",
            "deprecatedCount": 1,
            "deprecatedSource": {"component": "c"},
        },
        [
            'firstTimestamp: Invalid value: "": needs to be unset',
            'lastTimestamp: Invalid value: "": needs to be unset',
            'count: Invalid value: "": needs to be unset',
            'source: Invalid value: "": needs to be unset',
        ],
    ),
]


@pytest.mark.parametrize(("change", "expected"), CREATE_TABLE)
def test_new_events(kind: GetKind, change: Change, expected: list[str]) -> None:
    found = kind("events").create_errors(changed(EVENT, change))
    assert [f for f in found if "name part must consist" not in f] == expected


def test_what_happened_stays(kind: GetKind) -> None:
    """Mirrors ValidateEventUpdate."""
    series = {"count": 2, "lastObservedTime": "2026-01-01T00:00:00.000000Z"}
    change = {"reason": "Other", "note": "n", "reportingController": "c", "series": series}
    assert kind("events").update_errors(EVENT, changed(EVENT, change)) == [
        'reason: Invalid value: "Other": field is immutable',
        'message: Invalid value: "n": field is immutable',
        'reportingController: Invalid value: "c": field is immutable',
    ]
    (found,) = kind("events").update_errors(EVENT, {**EVENT, "series": {**series, "count": 1}})
    assert found == 'series.count: Invalid value: "": should be at least 2'


def test_cells(kind: GetKind) -> None:
    now = 1767225600 + 60.0
    series = {"count": 4, "lastObservedTime": "2026-01-01T00:00:30.000000Z"}
    cells = kind("events").cells({**EVENT, "series": series}, now)
    assert cells == [
        "30s",
        "Normal",
        "Scheduled",
        "pod/p",
        "",
        "example.com/controller, controller-0",
        "all is well",
        "60s",
        4,
        "x",
    ]


_FIELDS = sorted(schema().struct("io.k8s.api.events.v1.Event").__struct_fields__)


@given(st.dictionaries(st.sampled_from(_FIELDS), st.integers()))
def test_the_conversion_is_exact(event: dict[str, Any]) -> None:
    core = to_core(event)
    assert set(core) <= set(schema().struct("io.k8s.api.core.v1.Event").__struct_fields__)
    assert from_core(core) == event


def test_core_decodes_what_is_stored() -> None:
    obj = msgspec.convert(to_core(EVENT), schema().struct("io.k8s.api.core.v1.Event"))
    assert obj.involvedObject.name == "p"
    assert obj.message == "all is well "

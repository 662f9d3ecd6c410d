"""events.k8s.io/v1: a view of core events, with the newer rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from lakh.apis.definitions import schema
from lakh.apis.groups.events import from_core, to_core

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
    assert kind("events").create_errors({}) == [
        "eventTime: Required value",
        "reportingController: Required value",
        "reportingInstance: Required value",
        "action: Required value",
        "reason: Required value",
        'type: Invalid value: "": has invalid value: ',
    ]


def test_what_happened_stays(kind: GetKind) -> None:
    errors = kind("events").update_errors(EVENT, {**EVENT, "reason": "Other", "series": {"count": 2}})
    assert errors == ['reason: Invalid value: "Other": field is immutable']


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

"""The looks that are remembered say what the patterns say."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakh.machinery import checkedtexts
from lakh.machinery.checkedtexts import MicroTime, Quantity, Time, look
from lakh.machinery.quantity import QUANTITY_PATTERN
from lakh.machinery.times import MICRO_TIME_PATTERN, TIME_PATTERN

PATTERNS = {Time: TIME_PATTERN, MicroTime: MICRO_TIME_PATTERN, Quantity: QUANTITY_PATTERN}


def takes(kind: Any, value: Any) -> bool:
    try:
        return isinstance(look(kind, value), kind)
    except msgspec.ValidationError:
        return False


@given(st.sampled_from(list(PATTERNS)), st.data())
def test_as_the_pattern_says_it_the_first_time_and_then(kind: Any, data: st.DataObject) -> None:
    text = data.draw(st.from_regex(PATTERNS[data.draw(st.sampled_from(list(PATTERNS)))]) | st.text())
    expected = re.search(PATTERNS[kind], text) is not None
    assert takes(kind, text) is expected
    assert takes(kind, text) is expected


def test_numbers_are_quantities_and_nothing_else_is() -> None:
    assert takes(Quantity, 1) and takes(Quantity, 1.5)
    for kind in PATTERNS:
        assert not any(takes(kind, value) for value in (True, None, [], {}, b"1"))
    assert not takes(Time, 1)


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    known: set[str] = set()
    monkeypatch.setitem(checkedtexts._known, Quantity, known)
    for number in range(2 * checkedtexts.KNOWN_MAX):
        assert takes(Quantity, str(number))
        assert len(known) <= checkedtexts.KNOWN_MAX
    long = "1" * (checkedtexts.MAX_LENGTH + 1)
    assert takes(Quantity, long) and long not in known

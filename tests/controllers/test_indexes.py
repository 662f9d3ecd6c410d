"""Sets of indexes as text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakh.controllers.indexes import format_indexes, parse_indexes


@pytest.mark.parametrize(
    ("indexes", "text"),
    [(set(), ""), ({0}, "0"), ({0, 1}, "0,1"), ({0, 1, 2}, "0-2"), ({0, 3, 4, 5, 9}, "0,3-5,9")],
)
def test_format(indexes: set[int], text: str) -> None:
    assert format_indexes(indexes) == text


@given(st.sets(st.integers(0, 300)))
def test_round_trip(indexes: set[int]) -> None:
    assert parse_indexes(format_indexes(indexes), 301) == indexes


def test_what_is_out_of_range_or_unreadable_is_left_out() -> None:
    assert parse_indexes("0,x,3-5,8-", 5) == {0, 3, 4}
    assert parse_indexes(None, 5) == set()

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakh.machinery import times
from lakh.machinery.times import TimeError


def test_forms():
    assert times.of_seconds(1767366245.9) == "2026-01-02T15:04:05Z"
    assert times.micro_of_seconds(1767366245.25) == "2026-01-02T15:04:05.250000Z"
    assert times.parse("2026-01-02T15:04:05Z") == 1767366245
    assert times.parse("2026-01-02T17:04:05.5+02:00") == 1767366245.5
    assert times.canonical("2026-01-02T17:04:05.999999999+02:00") == "2026-01-02T15:04:05Z"
    assert times.canonical_micro("2026-01-02T15:04:05Z") == "2026-01-02T15:04:05.000000Z"
    assert len(times.now()) == 20
    assert len(times.now_micro()) == 27


@pytest.mark.parametrize(
    "text",
    ["", "x", "2026-01-02", "2026-01-02T15:04:05", "2026-13-01T00:00:00Z", "2026-01-01T00:00:00+99:99"],
)
def test_what_is_no_time(text):
    for read in (times.parse, times.canonical):
        with pytest.raises(TimeError):
            read(text)


def test_a_time_error_says_what_go_says():
    with pytest.raises(
        TimeError, match='parsing time "x" as "2006-01-02T15:04:05Z07:00": cannot parse "x" as "2006"'
    ):
        times.parse("x")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "<invalid>"), (-1, "0s"), (0, "0s"), (119, "119s"), (120, "2m"), (150, "2m30s"), (599, "9m59s"),
        (600, "10m"), (10799, "179m"), (10800, "3h"), (12600, "3h30m"), (28799, "7h59m"), (28800, "8h"),
        (172799, "47h"), (172800, "2d"), (183600, "2d3h"), (691200, "8d"), (86400 * 729, "729d"),
        (86400 * 730, "2y"), (86400 * 800, "2y70d"), (86400 * 365 * 8, "8y"),
    ],
)  # fmt: skip
def test_ages_are_printed_as_kubectl_does(seconds, text):
    assert times.human_duration(seconds) == text


def test_age_column():
    assert times.age("2026-01-02T15:04:05Z", 1767366245 + 300) == "5m"
    assert times.age(None, 0) == times.age("x", 0) == "<unknown>"


@given(st.integers(0, 253402300799))
def test_seconds_round_trip(second):
    assert times.parse(times.of_seconds(second)) == second
    assert times.canonical(times.of_seconds(second)) == times.of_seconds(second)


@given(st.text(max_size=40))
def test_only_time_errors(text):
    try:
        times.canonical(text)
    except TimeError:
        pass

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakh.machinery import metrics


def test_counter_and_reading() -> None:
    registry = metrics.Registry()
    family = registry.counter("requests_total", "Requests.", ("verb", "code"))
    family.child("GET", "200").inc()
    family.child("GET", "200").inc()
    registry.reading("objects", "Objects.", ("resource",), lambda: [(("pods",), 2.5)])
    assert registry.expose().decode() == (
        "# HELP requests_total Requests.\n# TYPE requests_total counter\n"
        'requests_total{verb="GET",code="200"} 2\n'
        "# HELP objects Objects.\n# TYPE objects gauge\n"
        'objects{resource="pods"} 2.5\n'
    )


def test_histogram_as_drawn() -> None:
    """An observation that equals a bound belongs to it, as in Prometheus."""
    registry = metrics.Registry()
    series = registry.histogram("seconds", "Time.", (), (0.1, 1)).child()
    for value in (0.1, 0.5, 7):
        series.observe(value)
    assert registry.expose().decode().splitlines()[2:] == [
        'seconds_bucket{le="0.1"} 1',
        'seconds_bucket{le="1"} 2',
        'seconds_bucket{le="+Inf"} 3',
        "seconds_sum 7.6",
        "seconds_count 3",
    ]


@given(st.lists(st.floats(0, 100)))
def test_every_observation_is_counted_once(values: list[float]) -> None:
    series = metrics.Histogram(metrics.exponential(0.01, 2, 10))
    for value in values:
        series.observe(value)
    assert sum(series.counts) == len(values)
    for i, bound in enumerate(series.bounds):
        assert sum(series.counts[: i + 1]) == sum(v <= bound for v in values)


def test_series_are_bounded() -> None:
    family = metrics.Registry().counter("c", "C.", ("name",))
    for i in range(metrics.SERIES_MAX + 10):
        family.child(str(i)).inc()
    assert len(family.series) == metrics.SERIES_MAX + 1
    assert family.child("another").value == 10


def test_label_values_are_escaped() -> None:
    registry = metrics.Registry()
    registry.counter("c", "C.", ("name",)).child('a"\\\n').inc()
    assert b'c{name="a\\"\\\\\\n"} 1' in registry.expose()


def test_histograms_of_odd_labels_are_told_anew_each_time() -> None:
    registry = metrics.Registry()
    series = registry.histogram("h", "Text.", ("l",), [1.0]).child('50% "%d"\n')
    for count in (1, 2):
        series.observe(0.5)
        lines = registry.expose().decode().splitlines()[2:]
        assert lines == [
            f'h_bucket{{l="50% \\"%d\\"\\n",le="1"}} {count}',
            f'h_bucket{{l="50% \\"%d\\"\\n",le="+Inf"}} {count}',
            f'h_sum{{l="50% \\"%d\\"\\n"}} {[0.5, 1][count - 1]}',
            f'h_count{{l="50% \\"%d\\"\\n"}} {count}',
        ]


def test_wrong_number_of_labels() -> None:
    with pytest.raises(ValueError, match="labels"):
        metrics.Registry().counter("c", "C.", ("name",)).child()


def test_bounds_are_written_as_go_writes_them() -> None:
    """Dashboards select buckets by text: Go's shortest form, with an exponent from a million on."""
    registry = metrics.Registry()
    registry.histogram("size", "Size.", (), (0.5, 1000, 1e5, 1e6, 1e9)).child().observe(1)
    lines = registry.expose().decode().splitlines()
    bounds = [line.split('"')[1] for line in lines if "_bucket" in line]
    assert bounds == ["0.5", "1000", "100000", "1e+06", "1e+09", "+Inf"]


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 1))))
def test_a_corrected_histogram_is_what_would_have_been_observed(values: list[tuple[float, float]]) -> None:
    registry = metrics.Registry()
    bounds = metrics.exponential(0.01, 2, 10)
    base = registry.histogram("whole", "Whole.", ("a",), bounds)
    corrected = registry.corrected("own", "Own.", base)
    wanted = metrics.Histogram(bounds)
    for value, share in values:
        base.child("x").observe(value)
        if share > 0.5:
            corrected.child("x").move(value, value * share)
        wanted.observe(value * share if share > 0.5 else value)
    shown = registry.expose().decode()
    counts = [int(line.split()[-1]) for line in shown.splitlines() if line.startswith("own_bucket")]
    assert counts == ([sum(wanted.counts[: i + 1]) for i in range(len(bounds) + 1)] if values else [])

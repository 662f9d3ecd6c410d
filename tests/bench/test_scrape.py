from __future__ import annotations

import pytest

from lakh.bench import scrape
from lakh.bench.scrape import Buckets, histogram, kinds, parse, value

INF = float("inf")


def test_share_within_a_bound_and_between_two() -> None:
    buckets = Buckets({0.005: 50, 0.025: 90, 0.1: 99, INF: 100})
    assert buckets.share_within(0.005) == 0.5
    assert buckets.share_within(0.025) == 0.9
    assert buckets.share_within(0.015) == pytest.approx(0.7), "halfway between 0.5 and 0.9"
    assert buckets.share_within(5) == 0.99
    assert Buckets({}).share_within(0.015) == 1.0


def test_bounds_with_exponents() -> None:
    found = parse('x_bucket{le="1e+06",a="b"} 3\nx_bucket{le="+Inf",a="b"} 4\n')
    assert value(found, "x_bucket", le="1e+06") == 3


SCRAPE = """# HELP x How long.
# TYPE x histogram
x_bucket{{verb="GET",le="0.1"}} {0}
x_bucket{{verb="GET",le="+Inf"}} {1}
x_bucket{{verb="PUT",le="0.1"}} 5
x_bucket{{verb="PUT",le="+Inf"}} 5
x_sum{{verb="GET"}} 1.5
x_count{{verb="GET"}} {1}
plain 7
"""


@pytest.mark.parametrize("remembered", [100, 1])
def test_a_histogram_between_two_scrapes(remembered: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when the series were forgotten in between."""
    monkeypatch.setattr(scrape, "SERIES_MAX", remembered)
    before, now = parse(SCRAPE.format(1, 2)), parse(SCRAPE.format(4, 9))
    found = histogram(now, before, "x", lambda labels: labels["verb"] == "GET")
    assert found.counts == {0.1: 3, INF: 7}
    assert kinds(now, "x", ("verb", "missing")) == [("GET", "")]
    assert value(now, "plain") == 7

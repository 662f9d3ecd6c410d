from __future__ import annotations

import pytest

from lakh.bench.scrape import Buckets, parse, value

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

"""Pure: reads Prometheus' text format, and says what histograms say.

Figures over a time are differences of two scrapes. A quantile is interpolated within its bucket, as PromQL's `histogram_quantile` does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

Labels = tuple[tuple[str, str], ...]
Scrape = dict[str, dict[Labels, float]]
"""Metric → labels (sorted) → value."""

_LINE = re.compile(r"([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def parse(text: str) -> Scrape:
    """A scrape."""
    found: Scrape = {}
    for line in text.splitlines():
        match = _LINE.match(line) if line and line[0] != "#" else None
        if match is not None:
            labels = tuple(sorted(_LABEL.findall(match[2]))) if match[2] else ()
            found.setdefault(match[1], {})[labels] = float(match[3])
    return found


def value(scrape: Scrape, name: str, **labels: str) -> float:
    """The sum of the series of a metric that have these labels."""
    wanted = set(labels.items())
    return sum(v for k, v in scrape.get(name, {}).items() if wanted <= set(k))


class Buckets:
    """A histogram: cumulative counts by upper bound."""

    def __init__(self, counts: dict[float, float]) -> None:
        self.counts = counts

    @property
    def total(self) -> float:
        """Observations."""
        return self.counts.get(float("inf"), 0.0)

    def quantile(self, share: float) -> float:
        """The value below which that share of the observations is; 0 without observations."""
        total = self.total
        if not total:
            return 0.0
        rank = share * total
        low, below = 0.0, 0.0
        for bound in sorted(self.counts):
            count = self.counts[bound]
            if count >= rank:
                if bound == float("inf"):
                    return low
                return low + (bound - low) * ((rank - below) / (count - below) if count > below else 1.0)
            low, below = bound, count
        return low

    def share_within(self, limit: float) -> float:
        """The share of observations up to a limit; 1 without observations. Between two bounds it is interpolated, as other servers have others."""
        total = self.total
        if not total:
            return 1.0
        low, below = 0.0, 0.0
        for bound in sorted(self.counts):
            count = self.counts[bound]
            if bound >= limit:
                part = (limit - low) / (bound - low) if bound != float("inf") else 0.0
                return (below + (count - below) * part) / total
            low, below = bound, count
        return 1.0


def histogram(
    now: Scrape, before: Scrape | None, name: str, wanted: Callable[[dict[str, str]], bool]
) -> Buckets:
    """The observations between two scrapes in all series that are wanted, as one histogram."""
    counts: dict[float, float] = {}
    old = (before or {}).get(f"{name}_bucket", {})
    for labels, count in now.get(f"{name}_bucket", {}).items():
        named = dict(labels)
        if wanted(named):
            bound = float(named["le"].replace("+Inf", "inf"))
            counts[bound] = counts.get(bound, 0.0) + count - old.get(labels, 0.0)
    return Buckets(counts)


def kinds(scrape: Scrape, name: str, labels: Iterable[str]) -> list[tuple[str, ...]]:
    """The different values of some labels of a histogram."""
    names = tuple(labels)
    found = {tuple(dict(k).get(n, "") for n in names) for k in scrape.get(f"{name}_count", {})}
    return sorted(found)

"""Pure: reads Prometheus' text format, and says what histograms say.

Figures over a time are differences of two scrapes. A quantile is interpolated within its bucket, as PromQL's `histogram_quantile` does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable


class Series(dict[str, str]):
    """The labels of one series, never changed: a key, and mostly the same object in every scrape, so that it is found by identity.

    `le` is the upper bound of a bucket of a histogram; of no meaning in others.
    """

    __slots__ = ("_hash", "le")

    def __init__(self, labels: dict[str, str]) -> None:
        super().__init__(labels)
        self._hash = hash(frozenset(labels.items()))
        self.le = float(labels.get("le", "nan").replace("+Inf", "inf"))

    def __hash__(self) -> int:  # type: ignore[override]
        return self._hash


Scrape = dict[str, dict[Series, float]]
"""Metric → series → value."""

SERIES_MAX = 100_000
"""Series that are remembered: an API server of a hundred resources has 20,000."""

_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_known: dict[str, tuple[str, Series]] = {}
"""Name and labels as they are written → what they are: a server writes the same ten thousand each time, in 2 MB."""


def parse(text: str) -> Scrape:
    """A scrape. Without timestamps, as no server of Kubernetes writes them."""
    found: Scrape = {}
    for line in text.splitlines():
        written, _, number = line.rpartition(" ")
        if not written or written[0] == "#":
            continue
        known = _known.get(written)
        if known is None:
            if len(_known) >= SERIES_MAX:
                _known.clear()
            known = _known[written] = _series(written)
        name, series = known
        of_name = found.get(name)
        if of_name is None:
            of_name = found[name] = {}
        of_name[series] = float(number)
    return found


def _series(written: str) -> tuple[str, Series]:
    name, _, labels = written.partition("{")
    return name, Series(dict(_LABEL.findall(labels)))


def value(scrape: Scrape, name: str, **labels: str) -> float:
    """The sum of the series of a metric that have these labels."""
    wanted = labels.items()
    return sum(v for k, v in scrape.get(name, {}).items() if wanted <= k.items())


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
    for series, count in now.get(f"{name}_bucket", {}).items():
        if wanted(series):
            bound = series.le
            counts[bound] = counts.get(bound, 0.0) + count - old.get(series, 0.0)
    return Buckets(counts)


def kinds(scrape: Scrape, name: str, labels: Iterable[str]) -> list[tuple[str, ...]]:
    """The different values of some labels of a histogram."""
    names = tuple(labels)
    found = {tuple(k.get(n, "") for n in names) for k in scrape.get(f"{name}_count", {})}
    return sorted(found)

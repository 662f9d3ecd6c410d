"""Reports: every budget is told, a missed one with what limits it, and pages that need nothing else."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest

from lakh.bench import page, report


def sample(t: float, phase: str, **more: Any) -> dict[str, Any]:
    return {
        "t": t,
        "phase": phase,
        "write_p50_ms": 1.0,
        "write_p99_ms": 20.0 + t,
        "within_15ms": 0.9,
        "writes_per_s": 2000.0,
        "in_flight": 40.0,
        "loop_lag_p99_ms": 12.0,
        "probe_p99_ms": None,
        "workqueue_depth": None,
        "memory_mb": {"apiserver": 4000.0, "bench": 300.0},
        "cpu": {"apiserver": 0.95, "scheduler": 0.3, "bench": 0.2},
        **more,
    }


def result(**more: Any) -> dict[str, Any]:
    writes = {"n": 1000, "per_s": 500.0, "p50_ms": 2.0, "p99_ms": 30.0, "within_15ms": 0.91}
    start_up = {"n": 100, "p50_ms": 100.0, "p99_ms": 9000.0, "max_ms": 9500.0}
    found: dict[str, Any] = {
        "nodes": 100,
        "lease_seconds": 40,
        "status_seconds": 300,
        "server": "v1.36.0 <lakh>",
        "began": "2026-01-01T00:00:00Z",
        "machine": {"cpus": 2, "memory_gb": 24.0, "system": "Linux"},
        "complete": True,
        "phases": [
            {
                "name": "start",
                "at": 0.0,
                "seconds": 10.0,
                "reached": True,
                "nodes_ready": 100,
                "writes": writes,
            },
            {
                "name": "pretraining",
                "at": 10.0,
                "seconds": 200.0,
                "reached": True,
                "pods": 100,
                "pods_running": 100,
                "pods_per_s": 11.0,
                "start_up": start_up,
                "writes": writes,
            },
        ],
        "latency": [
            {
                "verb": "POST",
                "resource": "pods/binding",
                "n": 100,
                "p50_ms": 3.0,
                "p99_ms": 1200.0,
                "within_15ms": 0.9,
                "slo_seconds": 1.0,
                "met": False,
            },
            {
                "verb": "LIST",
                "resource": "pods",
                "n": 3,
                "p50_ms": 3.0,
                "p99_ms": 90.0,
                "within_15ms": 0.5,
                "slo_seconds": 30.0,
                "met": True,
            },
        ],
        "outside": {"lease_renewal": start_up, "get": start_up, "errors": 0},
        "journal": [{"partition": "pods", "appends": 10, "p50_ms": 1.0, "p99_ms": 4.5, "w": 2.0, "mb": 3.0}],
        "processes": [
            {"name": "apiserver", "peak_memory_mb": 13000.0, "cpu_seconds": 190.0},
            {"name": "bench", "peak_memory_mb": 300.0, "cpu_seconds": 20.0},
        ],
        "peaks": {"memory_mb": 13000.0, "objects": 300.0, "writes_per_s": 2000.0},
        "samples": [sample(float(t), "start" if t < 10 else "pretraining") for t in range(210)],
        **more,
    }
    found["budgets"] = report.budgets(found)
    return found


def test_every_missed_budget_tells_what_limits_it() -> None:
    found = result()
    verdicts = {b["name"]: b["met"] for b in found["budgets"]}
    assert verdicts == {
        "nodes Ready": True,
        "pre-training fully Running": False,
        "worst p99 of writes": False,
        "worst p99 of single reads": None,
        "worst p99 of lists": True,
        "writes within 15 ms": False,
        "pod start-up p99, pretraining": False,
        "degraded nodes' pods elsewhere": None,
        "memory of all components": False,
    }
    why = dict(report.missed(found))
    assert len(why) == 5 and all(why.values())
    assert (
        "apiserver had no more of a core (cores: apiserver 0.95, scheduler 0.30, bench 0.20; 1.45 of 2)"
        in why["pre-training fully Running: 200 s"]
    )
    assert why["worst p99 of writes: 1.2 s"].startswith("POST pods/binding, 100 of them.")
    assert "pretraining 91.00% at 500 writes/s" in why["writes within 15 ms: 90.000%"]
    assert "100 pods were asked for at once and came at 11/s" in why["pod start-up p99, pretraining: 9 s"]
    assert why["memory of all components: 13 GB"].startswith("apiserver 13.00 GB; 300 objects")
    assert [row[3] for row in report.rows(found)[1:]].count("MISSED") == 5


@pytest.mark.parametrize("outcome", [{"reached": False}, {"reached": True, "error": "interrupted"}])
def test_a_phase_that_did_not_end_has_missed_its_budget(outcome: dict[str, Any]) -> None:
    found = result()
    found["phases"][0] |= outcome
    (budget,) = [b for b in report.budgets(found) if b["name"] == "nodes Ready"]
    assert budget["met"] is False and budget["why"].startswith("not reached: ")


def test_an_early_interruption_has_a_report() -> None:
    found = result(samples=[], latency=[], journal=[], peaks={"memory_mb": 0}, complete=False, phases=[])
    assert all(b["met"] is None for b in found["budgets"])
    assert "Stopped: interrupted" in page.render(found)


class Balanced(HTMLParser):
    VOID = frozenset(("meta", "br", "path", "line", "rect", "circle", "stop", "image"))

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attributes: Any) -> None:
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


def test_pages_need_nothing_else_and_are_well_formed() -> None:
    found = result()
    for text in (page.render(found), page.render_comparison(found, result())):
        parser = Balanced()
        parser.feed(text)
        assert parser.open == []
        assert '<meta name="viewport"' in text and "v1.36.0 &lt;lakh&gt;" in text
        loaded = re.findall(r'(?:src|href)="([^"#][^"]*)"', text) + re.findall(r"url\(([^)#][^)]*)\)", text)
        assert loaded == [] and "<script" not in text
        assert "NaN" not in text and "nan," not in text
    assert "What limits what was missed" in page.render(found)


def test_thinning_keeps_the_worst() -> None:
    samples = [
        sample(float(t), "start", write_p99_ms=float(t % 7), within_15ms=1 - t % 5 / 10) for t in range(1000)
    ]
    kept = page.thin(samples, 100)
    assert len(kept) == 100
    assert all(s["write_p99_ms"] == 6.0 for s in kept) and all(s["within_15ms"] == 0.6 for s in kept)
    assert kept[0]["cpu"] == pytest.approx(samples[0]["cpu"])
    assert page.thin(samples[:50], 100) == samples[:50]


def test_comparison() -> None:
    other = result(nodes=200)
    other["peaks"]["writes_per_s"] = 4000.0
    rows = {row[0]: row[1:] for row in report.compare(result(), other)}
    assert rows["nodes"] == ["100", "200", "2.00"]
    assert rows["peak writes/s"] == ["2,000", "4,000", "2.00"]
    assert rows["p99 POST pods/binding, ms"] == ["1,200", "1,200", "1.00"]

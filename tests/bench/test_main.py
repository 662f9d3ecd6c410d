"""The commands as they are run, on servers of their own; tiny, so that they cannot rot."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lakh.nodes.objects import NODES_MAX

pytestmark = pytest.mark.xdist_group("clusters-2")

MEASURE = {"ops_per_s", "p50_ms", "p99_ms", "p999_ms", "within_15ms", "errors", "n"}


def bench(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "lakh", "bench", *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "COLUMNS": "80"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def report(*arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(bench(*arguments, "--json").splitlines()[-1])
    return found


def test_api() -> None:
    found = report("api", "--seconds", "0.3", "--clients", "4")
    assert found.keys() == {"create_pod", "update_lease", "get", "patch", "delete"}
    for name, measure in found.items():
        assert measure.keys() == MEASURE
        assert measure["errors"] == 0 and measure["n"] > 0, name
        assert 0 < measure["p50_ms"] <= measure["p99_ms"] <= measure["p999_ms"]
        assert 0 <= measure["within_15ms"] <= 1


def test_api_at_a_rate_as_a_table() -> None:
    lines = bench("api", "--seconds", "0.3", "--clients", "4", "--rate", "100").splitlines()
    assert max(map(len, lines)) <= 80
    heading = next(line for line in lines if "ops/s" in line)
    row = next(line for line in lines if line.split()[:1] == ["create_pod"])
    assert heading.split()[-1] == "n" and row.split()[-1] == "30"


def test_list() -> None:
    found = report("list", "--objects", "30")
    assert found.keys() == {"objects", "bytes", "seconds"}
    assert found["objects"] == 30 and found["bytes"] > 30 * 5000 and found["seconds"] > 0


def test_watch() -> None:
    found = report("watch", "--watchers", "3", "--seconds", "0.3")
    assert found.keys() == {"events_per_s", "lag_p99_ms"}
    assert found["events_per_s"] > 0 and found["lag_p99_ms"] > 0


def test_watch_by_node() -> None:
    found = report("watch", "--by-node", "--watchers", "20", "--seconds", "0.3")
    assert found["watchers"] == 20 and found["events_per_s"] > 0
    assert found["servers"] == found["client_processes"] == 1
    assert 0 < found["lag_p50_ms"] <= found["lag_p99_ms"] <= found["lag_max_ms"]


def test_watches_that_one_process_may_not_hold() -> None:
    """With too few open files for all connections, several servers and several processes share them."""
    raising = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (700, 700))"
    tried = subprocess.run(
        [sys.executable, "-c", raising], check=False, preexec_fn=_drop_file_limit, stderr=-3
    )
    if tried.returncode == 0:
        pytest.skip("whoever runs this may have as many open files as it likes")
    command = [sys.executable, "-m", "lakh", "bench", "watch", "--by-node", "--watchers", "150", "--json"]
    done = subprocess.run(
        [*command, "--seconds", "0.3"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        preexec_fn=_drop_file_limit,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["servers"] == 2 and found["client_processes"] == 2 and found["lag_p99_ms"] > 0


def _drop_file_limit() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (600, 600))


def test_cluster(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    options = (
        "--nodes",
        "30",
        "--phases",
        "pretraining,fullness",
        "--pods-per-node",
        "3",
        "--churn-seconds",
        "0.5",
    )
    found = report(
        "cluster", *options, "--lease-seconds", "20", "--status-seconds", "60", "--report", str(page)
    )
    assert found["complete"] and found["nodes"] == 30
    assert found["lease_seconds"] == 20 and found["status_seconds"] == 60
    phases = {phase["name"]: phase for phase in found["phases"]}
    assert list(phases) == ["start", "pretraining", "fullness", "deletion"]
    assert all(phase["reached"] for phase in phases.values())
    assert phases["pretraining"]["pods_running"] == 30 and phases["pretraining"]["accelerators"] == 480
    assert phases["fullness"]["pods_running"] == 60 and phases["fullness"]["churn"]["deleted"] > 0
    assert {p["name"] for p in found["processes"]} == {
        "bench",
        "apiserver",
        "scheduler",
        "controllers",
        "nodes",
    }
    assert {row["partition"] for row in found["journal"]} == {"pods", "nodes", "leases", "events", "default"}
    bindings = next(row for row in found["latency"] if row["resource"] == "pods/binding")
    assert bindings["n"] >= 90 and bindings["p99_ms"] > 0
    assert found["outside"]["watch_lag"]["n"] > 0 and found["outside"]["errors"] == 0
    assert json.loads(page.with_suffix(".json").read_text()) == found
    text = page.read_text()
    assert text.count("<svg") >= 10 and '<meta name="viewport"' in text
    loaded = re.findall(r'(?:src|href)="([^"#][^"]*)"', text) + re.findall(r"url\(([^)#][^)]*)\)", text)
    assert loaded == [], "a page that needs nothing else"
    data, both = str(page.with_suffix(".json")), tmp_path / "both.html"
    compared = bench("compare", data, data, "--report", str(both))
    assert "pretraining, s" in compared and "1.00" in compared
    assert both.read_text().count("<svg") >= 5
    asked = ("workqueue_depth", "pods_active", "events_waiting", "events_dropped")
    assert any(all(s[name] is not None for name in asked) for s in found["samples"])


def test_overload() -> None:
    found = report(
        *(
            "overload",
            "--clients",
            "8",
            "--stalled",
            "2",
            "--objects",
            "60",
            "--rate",
            "15",
            "--seconds",
            "2",
        )
    )
    assert found["before"].keys() == found["during"].keys() == MEASURE
    assert found["before"]["n"] == found["during"]["n"] == 30 and found["during"]["errors"] == 0
    assert found["met"] == (found["during"]["p99_ms"] <= found["slo_ms"])
    lists = found["lists"]
    assert lists["n"] > 0 and lists["mb_per_s"] > 0 and lists["errors"] == 0, lists
    assert found["server"]["memory_peak_mb"] >= found["server"]["memory_before_mb"] > 0


def test_ctrl_c_leaves_a_report_of_what_was_done(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    # More than the nodes hold: the second phase does not end by itself.
    options = ("--nodes", "5", "--phases", "fullness", "--pods-per-node", "500", "--report", str(page))
    running = subprocess.Popen(
        [sys.executable, "-m", "lakh", "bench", "cluster", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert running.stderr is not None
    seen = ""
    for line in running.stderr:
        seen += line
        if line.startswith("small pods Running"):
            running.send_signal(signal.SIGINT)
            break
    out, err = running.communicate(timeout=300)
    assert running.returncode == 0, seen + err
    assert "interrupted: this is the report of what was done" in err
    assert "nodes Ready" in out and "MISSED" not in out.split("nodes Ready")[0]
    found = json.loads(page.with_suffix(".json").read_text())
    assert not found["complete"] and found["stopped"] == "interrupted"
    phases = {phase["name"]: phase for phase in found["phases"]}
    assert phases["start"]["reached"] and phases["fullness"]["error"] == "interrupted"
    assert "Stopped: interrupted. This was done until then" in page.read_text()


def test_a_fleet_that_ends_ends_the_measurement(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    options = ("--nodes", str(NODES_MAX + 1), "--phases", "pretraining", "--report", str(page))
    err = subprocess.run(
        [sys.executable, "-m", "lakh", "bench", "cluster", *options],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    ).stderr
    assert "stopped: the fleet has ended: " in err and f"addresses for {NODES_MAX} nodes" in err
    found = json.loads(page.with_suffix(".json").read_text())
    assert not found["complete"] and found["stopped"].startswith("the fleet has ended")
    assert [phase["name"] for phase in found["phases"]] == ["start"]
    assert found["phases"][0]["reached"] is False
    assert "Stopped: the fleet has ended" in page.read_text()

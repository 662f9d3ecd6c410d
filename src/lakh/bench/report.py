"""What a run of `lakh bench cluster` says: its budgets, met or missed and why, its summary, and the comparison of two. `page` makes pages of it.

A missed budget is told with what limited it, as far as the samples show: which process had no more of its core, how late its event loop was, how long the
journal took, and how much there was to do.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

decode = msgspec.json.decode

# What the public tests of very large clusters reported.
PUBLISHED = (
    ("EKS, 100,000 nodes", "500 pods/s; 2,000 nodes/min; p99 1 s gets and writes, 30 s lists; 900,000 pods"),
    (
        "GKE, 130,000 nodes",
        "1,000 pods/s; 13,000 lease updates/s; 130,000 pods in 220 s; 39,000 preempted in 93 s",
    ),
    ("upstream's supported limit", "5,000 nodes; p99 1 s gets and writes, 30 s lists; pod start-up p99 5 s"),
)
WRITES = ("POST", "PUT", "PATCH", "APPLY", "DELETE")
# A process that has this much of a core on average has no more when it matters: Python runs it on one.
FULL_CORE = 0.8
# All cores together.
FULL_MACHINE = 0.9


def one_line(phase: dict[str, Any]) -> str:
    """A phase in a line."""
    parts = [f"{phase.get('seconds', 0):.1f} s"]
    if "error" in phase:
        parts.append(f"failed: {phase['error']}")
    elif not phase.get("reached", True):
        parts.append("NOT reached")
    if "pods_running" in phase:
        parts.append(f"{phase['pods_running']:,} of {phase['pods']:,} pods Running")
    elif "pods" in phase:
        parts.append(f"{phase['pods']:,} pods")
    if "nodes_ready" in phase:
        parts.append(f"{phase['nodes_ready']:,} nodes Ready")
    if "preemption" in phase:
        p = phase["preemption"]
        parts.append(f"{p['pods']:,} preempted" if p.get("available") else "no preemption")
    if writes := phase.get("writes"):
        parts.append(
            f"{writes['per_s']:,.0f} writes/s, p99 {writes['p99_ms']:.1f} ms, {writes['within_15ms']:.2%} within 15 ms"
        )
    return ", ".join(parts)


def phase_of(result: dict[str, Any], name: str) -> dict[str, Any]:
    return next((p for p in result["phases"] if p["name"] == name), {})


def budgets(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Each budget with what was measured; `met` is None when it was not measured, `why` tells what limits one that is missed."""
    found: list[dict[str, Any]] = []
    latency = result.get("latency", [])
    phases = {p["name"]: p for p in result["phases"]}

    def add(
        name: str, limit: float, measured: float | None, unit: str, why: str, *, at_least: bool = False
    ) -> None:
        met = None if measured is None else (measured >= limit if at_least else measured <= limit)
        found.append(
            {
                "name": name,
                "budget": limit,
                "measured": measured,
                "unit": unit,
                "at_least": at_least,
                "met": met,
                "why": why if met is False else "",
            }
        )

    def add_phase(name: str, phase: str, limit: float) -> None:
        """How long a phase took; one that did not get to its end has missed its budget."""
        p = phases.get(phase)
        add(name, limit, p.get("seconds") if p is not None else None, "s", limits(result, phase))
        if p is not None and not _reached(p):
            found[-1] |= {"met": False, "why": f"not reached: {one_line(p)}. {limits(result, phase)}"}

    def add_worst(name: str, verbs: tuple[str, ...], limit: float) -> None:
        found_rows = [r for r in latency if r["verb"] in verbs]
        worst = max(found_rows, key=lambda r: r["p99_ms"], default=None)
        seconds = round(worst["p99_ms"] / 1000, 4) if worst is not None else None
        which = f"{worst['verb']} {worst['resource']}, {worst['n']:,} of them. " if worst is not None else ""
        add(name, limit, seconds, "s", which + limits(result))

    add_phase("nodes Ready", "start", 180)
    add_phase("pre-training fully Running", "pretraining", 180)
    add_worst("worst p99 of writes", WRITES, 1)
    add_worst("worst p99 of single reads", ("GET",), 1)
    add_worst("worst p99 of lists", ("LIST",), 30)
    writes = [r for r in latency if r["verb"] in WRITES]
    count = sum(r["n"] for r in writes)
    share = round(sum(r["within_15ms"] * r["n"] for r in writes) / count, 5) if count else None
    below = [
        f"{p['name']} {p['writes']['within_15ms']:.2%} at {p['writes']['per_s']:,.0f} writes/s"
        for p in result["phases"]
        if (p.get("writes") or {}).get("n") and p["writes"]["within_15ms"] < 0.999
    ]
    where = f"{'; '.join(below)}. " if below else ""
    why = f"{where}Phases offer all that is taken, so writes queue. {limits(result)}"
    add("writes within 15 ms", 0.999, share, "", why, at_least=True)
    for phase in ("fullness", "pretraining"):
        p = phases.get(phase, {})
        start_up = p.get("start_up") or {}
        if start_up.get("n"):
            why = (
                f"{p['pods']:,} pods were asked for at once and came at {p['pods_per_s']:,.0f}/s: the last wait for all others. "
                f"{limits(result, phase)}"
            )
            add(f"pod start-up p99, {phase}", 5, start_up["p99_ms"] / 1000, "s", why)
    if not any(b["name"].startswith("pod start-up") for b in found):
        add("pod start-up p99", 5, None, "s", "")
    degraded = phases.get("degraded", {})
    add(
        "degraded nodes' pods elsewhere",
        300,
        degraded.get("elsewhere_seconds"),
        "s",
        f"evicted after {degraded.get('evicted_seconds', 0):g} s. {limits(result, 'degraded')}",
    )
    memory = result.get("peaks", {}).get("memory_mb")
    sizes = sorted(result.get("processes", []), key=lambda p: -p["peak_memory_mb"])
    why = ", ".join(f"{p['name']} {p['peak_memory_mb'] / 1000:.2f} GB" for p in sizes if p["name"] != "bench")
    objects = result.get("peaks", {}).get("objects") or 0
    add(
        "memory of all components",
        12,
        round(memory / 1000, 3) if memory else None,
        "GB",
        f"{why}; {objects:,.0f} objects",
    )
    return found


def _reached(phase: dict[str, Any]) -> bool:
    return bool(phase.get("reached")) and "error" not in phase


def limits(result: dict[str, Any], phase: str = "") -> str:
    """What was short in a phase, or in the whole run: processor time by process, event loop, journal."""
    samples = [s for s in result.get("samples", []) if not phase or s["phase"] == phase]
    if not samples:
        return "No samples of it."
    cpu = _means(s["cpu"] for s in samples)
    cpus = result["machine"]["cpus"]
    total = sum(cpu.values())
    busy = [s["machine_cpu"] for s in samples if s.get("machine_cpu") is not None]
    others = max(0.0, sum(busy) / len(busy) - total) if busy else 0.0
    full = [name for name, cores in cpu.items() if cores >= FULL_CORE]
    if full:
        short = f"Limit: {' and '.join(full)} had no more of a core"
    elif total + others >= FULL_MACHINE * cpus:
        short = f"Limit: all {cpus} cores were busy"
    else:
        short = "No core was full"
    busiest = sorted(cpu.items(), key=lambda item: -item[1])
    shown = ", ".join(f"{name} {cores:.2f}" for name, cores in busiest if cores >= 0.01)
    if others >= 0.01:
        shown += f", others {others:.2f}"
    lag = max(s.get("loop_lag_p99_ms") or 0 for s in samples)
    queued = max(s.get("in_flight") or 0 for s in samples)
    append = max((row["p99_ms"] for row in result.get("journal", [])), default=0.0)
    return (
        f"{short} (cores: {shown}; {total + others:.2f} of {cpus}); {queued:,.0f} requests under way and the server's event loop {lag:,.0f} ms "
        f"late at most; an append to the journal took {append:,.1f} ms at p99."
    )


def _means(rows: Iterable[dict[str, float]]) -> dict[str, float]:
    """The mean of each key."""
    sums: dict[str, float] = {}
    count = 0
    for row in rows:
        count += 1
        for name, value in row.items():
            sums[name] = sums.get(name, 0.0) + value
    return {name: value / count for name, value in sums.items()}


def rows(result: dict[str, Any]) -> list[list[str]]:
    """The summary, heading first."""
    found = [["what", "measured", "budget", ""]]
    for b in result["budgets"]:
        found.append([b["name"], measured(b), _limit(b), _verdict(b)])
    return found


def missed(result: dict[str, Any]) -> list[tuple[str, str]]:
    """What missed its budget, and what limits it."""
    return [(f"{b['name']}: {measured(b)}", b.get("why", "")) for b in result["budgets"] if b["met"] is False]


def _verdict(budget: dict[str, Any]) -> str:
    return {True: "met", False: "MISSED", None: "not measured"}[budget["met"]]


def measured(b: dict[str, Any]) -> str:
    """What was measured, with its unit."""
    if b["measured"] is None:
        return "-"
    return f"{b['measured']:.3%}" if not b["unit"] else f"{b['measured']:.3g} {b['unit']}"


def _limit(b: dict[str, Any]) -> str:
    value = f"{b['budget']:.1%}" if not b["unit"] else f"{b['budget']:g} {b['unit']}"
    return f"{'at least' if b['at_least'] else 'at most'} {value}"


def compare(a: dict[str, Any], b: dict[str, Any]) -> list[list[str]]:
    """Two reports side by side, heading first: seconds of phases, budgets, latencies of the busiest requests."""
    found = [["what", "A", "B", "B / A"]]

    def add(name: str, one: float | None, two: float | None) -> None:
        if one is None and two is None:
            return
        ratio = f"{two / one:.2f}" if one and two is not None else ""
        found.append(
            [
                name,
                *("-" if v is None else f"{v:,.0f}" if abs(v) >= 1000 else f"{v:.4g}" for v in (one, two)),
                ratio,
            ]
        )

    add("nodes", a["nodes"], b["nodes"])
    add("lease validity, s", a.get("lease_seconds"), b.get("lease_seconds"))
    add("node statuses every, s", a.get("status_seconds"), b.get("status_seconds"))
    for phase in a["phases"]:
        other = phase_of(b, phase["name"])
        add(f"{phase['name']}, s", phase.get("seconds"), other.get("seconds"))
        for key, text in (("pods_per_s", "pods/s"), ("nodes_per_minute", "nodes/min")):
            add(f"{phase['name']}, {text}", phase.get(key), other.get(key))
    other_budgets = {x["name"]: x for x in b["budgets"]}
    for x in a["budgets"]:
        unit = f", {x['unit']}" if x["unit"] else ""
        add(x["name"] + unit, x["measured"], other_budgets.get(x["name"], {}).get("measured"))
    for key in ("writes_per_s", "binds_per_s", "watch_events_per_s", "objects", "memory_mb"):
        add(
            f"peak {key.replace('_per_s', '/s').replace('_mb', ', MB').replace('_', ' ')}",
            a["peaks"].get(key),
            b["peaks"].get(key),
        )
    for probe, m in a["outside"].items():
        if isinstance(m, dict):
            add(
                f"{probe.replace('_', ' ')} p99, ms",
                m["p99_ms"],
                (b["outside"].get(probe) or {}).get("p99_ms"),
            )
    sizes = {p["name"]: p for p in b["processes"]}
    for p in a["processes"]:
        other = sizes.get(p["name"], {})
        add(f"{p['name']}, peak MB", p["peak_memory_mb"], other.get("peak_memory_mb"))
        add(f"{p['name']}, CPU s", p["cpu_seconds"], other.get("cpu_seconds"))
    of_b = {(r["verb"], r["resource"]): r for r in b["latency"]}
    for r in a["latency"][:15]:
        match = of_b.get((r["verb"], r["resource"]), {})
        add(f"p99 {r['verb']} {r['resource']}, ms", r["p99_ms"], match.get("p99_ms"))
    return found

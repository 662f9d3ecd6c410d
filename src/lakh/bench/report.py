"""Reports of `lakh bench cluster`: one HTML page with plots that needs nothing else, and the comparison of two.

The plots are SVG, drawn by pygal without its scripts, so that the page reads alike on a phone, in print and offline.
"""

from __future__ import annotations

import html
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
POINTS_MAX = 240


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


def _phase(result: dict[str, Any], name: str) -> dict[str, Any]:
    return next((p for p in result["phases"] if p["name"] == name), {})


def budgets(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Each budget with what was measured; `met` is None when it was not measured."""
    found: list[dict[str, Any]] = []

    def add(name: str, limit: float, measured: float | None, unit: str, at_least: bool = False) -> None:
        met = None if measured is None else (measured >= limit if at_least else measured <= limit)
        found.append(
            {
                "name": name,
                "budget": limit,
                "measured": measured,
                "unit": unit,
                "at_least": at_least,
                "met": met,
            }
        )

    def seconds(name: str) -> float | None:
        phase = _phase(result, name)
        return phase.get("seconds") if phase.get("reached") else None

    latency = result.get("latency", [])

    def worst(verbs: tuple[str, ...]) -> float | None:
        rows = [r["p99_ms"] / 1000 for r in latency if r["verb"] in verbs]
        return round(max(rows), 4) if rows else None

    writes = [r for r in latency if r["verb"] in ("POST", "PUT", "PATCH", "DELETE")]
    count = sum(r["n"] for r in writes)
    add("nodes Ready", 180, seconds("start"), "s")
    add("pre-training fully Running", 180, seconds("pretraining"), "s")
    if "pretraining" in {p["name"] for p in result["phases"]} and seconds("pretraining") is None:
        found[-1]["met"] = False
    add("worst p99 of writes", 1, worst(("POST", "PUT", "PATCH", "DELETE")), "s")
    add("worst p99 of single reads", 1, worst(("GET",)), "s")
    add("worst p99 of lists", 30, worst(("LIST",)), "s")
    add(
        "writes within 15 ms",
        0.999,
        round(sum(r["within_15ms"] * r["n"] for r in writes) / count, 5) if count else None,
        "",
        True,
    )
    start_up = (
        _phase(result, "fullness").get("start_up") or _phase(result, "pretraining").get("start_up") or {}
    )
    add("pod start-up p99", 5, start_up.get("p99_ms", 0) / 1000 if start_up.get("n") else None, "s")
    add("degraded nodes' pods elsewhere", 300, _phase(result, "degraded").get("elsewhere_seconds"), "s")
    memory = result.get("peaks", {}).get("memory_mb")
    add("memory of all components", 12, round(memory / 1000, 3) if memory else None, "GB")
    return found


def rows(result: dict[str, Any]) -> list[list[str]]:
    """The summary for a terminal, heading first."""
    found = [["what", "measured", "budget", ""]]
    for b in result["budgets"]:
        found.append([b["name"], _measured(b), _limit(b), _verdict(b)])
    return found


def _verdict(budget: dict[str, Any]) -> str:
    return {True: "met", False: "MISSED", None: "not measured"}[budget["met"]]


def _measured(b: dict[str, Any]) -> str:
    if b["measured"] is None:
        return "-"
    return f"{b['measured']:.3%}" if not b["unit"] else f"{b['measured']:.3g} {b['unit']}"


def _limit(b: dict[str, Any]) -> str:
    value = f"{b['budget']:.1%}" if not b["unit"] else f"{b['budget']:g} {b['unit']}"
    return f"{'at least' if b['at_least'] else 'at most'} {value}"


STYLE = """
body{font:16px/1.45 system-ui,sans-serif;margin:0 auto;max-width:60rem;padding:1rem;color:#1b1f24;background:#fff}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin:2rem 0 .5rem}p.note{color:#57606a}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:.9rem}
th,td{padding:.3rem .6rem;text-align:right;border-bottom:1px solid #d8dee4;white-space:nowrap}
th:first-child,td:first-child{text-align:left}.missed{color:#b42318;font-weight:600}.met{color:#116329}
figure{margin:1.2rem 0;break-inside:avoid}figcaption{font-weight:600;margin-bottom:.2rem}
figure svg{width:100%;height:auto}@media print{body{max-width:none;font-size:11px}a{color:inherit}}
"""

# Title, unit, series of the samples by name.
PLOTS = (
    ("Write latency", "ms", {"p50": "write_p50_ms", "p99": "write_p99_ms"}),
    ("Writes within 15 ms", "%", {"share": "within_15ms"}),
    ("Read latency, p99", "ms", {"get": "get_p99_ms", "list": "list_p99_ms"}),
    ("Lease renewal from outside, p99", "ms", {"p99": "probe_p99_ms"}),
    ("Requests", "/s", {"writes": "writes_per_s", "reads": "reads_per_s", "pods bound": "binds_per_s"}),
    ("Watch events sent", "/s", {"events": "watch_events_per_s"}),
    ("Requests under way", "", {"in flight": "in_flight"}),
    ("Event loop of the API server late by, p99", "ms", {"lag": "loop_lag_p99_ms"}),
    ("Journal", "MB/s", {"appended": "journal_bytes_per_s"}),
    ("Objects", "", {"pods": "pods", "all": "objects"}),
)


def _values(samples: list[dict[str, Any]], key: str, title: str) -> list[float | None]:
    factor = {"Writes within 15 ms": 100.0, "Journal": 1e-6}.get(title, 1.0)
    return [None if s.get(key) is None else s[key] * factor for s in samples]


def _thin(samples: list[dict[str, Any]]) -> list[dict[str, Any]]:
    step = -(-len(samples) // POINTS_MAX)
    return samples[::step] if step > 1 else samples


def _plot(title: str, unit: str, at: list[float], series: dict[str, list[float | None]]) -> str:
    import pygal
    from pygal.style import Style

    style = Style(
        background="white",
        plot_background="white",
        colors=("#0969da", "#bc4c00", "#1a7f37", "#8250df", "#57606a", "#bf3989"),
        font_family="system-ui, sans-serif",
        label_font_size=18,
        major_label_font_size=18,
        legend_font_size=20,
        opacity=".9",
        stroke_width=2.5,
    )
    chart = pygal.XY(
        width=1000,
        height=360,
        style=style,
        js=[],
        explicit_size=False,
        disable_xml_declaration=True,
        show_dots=False,
        show_x_guides=False,
        legend_at_bottom=True,
        legend_at_bottom_columns=4,
        legend_box_size=16,
        truncate_legend=-1,
        x_value_formatter=lambda x: f"{x:.0f} s",
        value_formatter=lambda y: f"{y:,.4g} {unit}".strip(),
        range=(0, 100.0) if unit == "%" else None,
        include_x_axis=unit != "%",
        margin=8,
    )
    for name, values in series.items():
        chart.add(name, [(t, v) for t, v in zip(at, values, strict=True) if v is not None])
    return f"<figure><figcaption>{html.escape(title)}</figcaption>{chart.render(is_unicode=True)}</figure>"


def _table(heading: list[str], body: list[list[str]], classes: list[str] | None = None) -> str:
    head = "".join(f"<th>{html.escape(c)}</th>" for c in heading)
    lines = []
    for i, row in enumerate(body):
        kind = f' class="{classes[i]}"' if classes and classes[i] else ""
        lines.append(f"<tr{kind}>" + "".join(f"<td>{html.escape(c)}</td>" for c in row) + "</tr>")
    return f'<div class="scroll"><table><tr>{head}</tr>{"".join(lines)}</table></div>'


def render(result: dict[str, Any]) -> str:
    """The page."""
    machine = result["machine"]
    verdicts = [{True: "met", False: "missed", None: ""}[b["met"]] for b in result["budgets"]]
    parts = [
        f"<h1>{result['nodes']:,} nodes</h1>",
        f"<p>{html.escape(result.get('server', ''))} on {machine['cpus']} cores with {machine['memory_gb']} GB, "
        f"{html.escape(machine['system'])}, {result['began']}, load generator and simulated kubelets included."
        + (
            ""
            if result["complete"]
            else " <strong class=missed>Interrupted: what was done until then.</strong>"
        )
        + "</p>",
        "<h2>Budgets</h2>",
        _table(*_split(rows(result)), verdicts),
        "<h2>Phases</h2>",
        _table(
            ["phase", "seconds", "pods", "writes/s", "p50 ms", "p99 ms", "within 15 ms", "pod start-up p99"],
            [_phase_row(p) for p in result["phases"]],
        ),
        "<h2>Latency by verb and resource</h2>",
        _table(
            ["request", "n", "p50 ms", "p99 ms", "within 15 ms", "SLO"],
            [
                [
                    f"{r['verb']} {r['resource']}",
                    f"{r['n']:,}",
                    f"{r['p50_ms']:.2f}",
                    f"{r['p99_ms']:.2f}",
                    f"{r['within_15ms']:.2%}",
                    f"{r['slo_seconds']:g} s {'met' if r['met'] else 'MISSED'}",
                ]
                for r in result["latency"]
            ],
            ["" if r["met"] else "missed" for r in result["latency"]],
        ),
        "<h2>From outside</h2>",
        _table(
            ["probe", "n", "p50 ms", "p99 ms", "max ms"],
            [
                [name.replace("_", " "), *(f"{m[k]:,}" for k in ("n", "p50_ms", "p99_ms", "max_ms"))]
                for name, m in result["outside"].items()
                if isinstance(m, dict)
            ],
        ),
        "<h2>Journals</h2>",
        _table(
            ["partition", "appends", "p50 ms", "p99 ms", "writes an append", "MB"],
            [[str(v) for v in row.values()] for row in result["journal"]],
        ),
        "<h2>Processes</h2>",
        _table(
            ["process", "peak MB", "CPU s"],
            [[p["name"], f"{p['peak_memory_mb']:,}", f"{p['cpu_seconds']:,}"] for p in result["processes"]],
        ),
        "<h2>Over time</h2>",
    ]
    samples = _thin(result["samples"])
    at = [s["t"] for s in samples]
    if samples:
        marks = ", ".join(f"{p['name']} from {p['at']:.0f} s" for p in result["phases"])
        parts.append(f'<p class="note">{html.escape(marks)}</p>')
        for title, unit, series in PLOTS:
            drawn = {name: _values(samples, key, title) for name, key in series.items()}
            parts.append(_plot(title, unit, at, drawn))
        names = [p["name"] for p in result["processes"]]
        for title, unit, key in (("Memory", "MB", "memory_mb"), ("CPU", "cores", "cpu")):
            parts.append(_plot(title, unit, at, {n: [s[key].get(n) for s in samples] for n in names}))
    parts += ["<h2>Published</h2>", _table(["whose", "what"], [list(p) for p in PUBLISHED])]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>lakh bench cluster, {result['nodes']:,} nodes</title><style>{STYLE}</style></head><body>"
        + "".join(parts)
        + "</body></html>\n"
    )


def _split(table: list[list[str]]) -> tuple[list[str], list[list[str]]]:
    return table[0], table[1:]


def _phase_row(p: dict[str, Any]) -> list[str]:
    writes = p.get("writes") or {"per_s": 0, "p50_ms": 0, "p99_ms": 0, "within_15ms": 1}
    start_up = p.get("start_up") or {}
    reached = "" if p.get("reached", True) and "error" not in p else " (not reached)"
    return [
        p["name"] + reached,
        f"{p.get('seconds', 0):.1f}",
        f"{p.get('pods_running', p.get('pods', 0)):,}",
        f"{writes['per_s']:,.0f}",
        f"{writes['p50_ms']:.2f}",
        f"{writes['p99_ms']:.2f}",
        f"{writes['within_15ms']:.2%}",
        f"{start_up['p99_ms'] / 1000:.2f} s" if start_up.get("n") else "",
    ]


def compare(a: dict[str, Any], b: dict[str, Any]) -> list[list[str]]:
    """Two reports side by side, heading first: seconds of phases, budgets, latencies of the busiest requests."""
    found = [["what", "A", "B", "B / A"]]

    def add(name: str, one: float | None, two: float | None) -> None:
        if one is None and two is None:
            return
        ratio = f"{two / one:.2f}" if one and two is not None else ""
        found.append([name, *("-" if v is None else f"{v:,.4g}" for v in (one, two)), ratio])

    add("nodes", a["nodes"], b["nodes"])
    for phase in a["phases"]:
        other = _phase(b, phase["name"])
        add(f"{phase['name']}, s", phase.get("seconds"), other.get("seconds"))
    other_budgets = {x["name"]: x for x in b["budgets"]}
    for x in a["budgets"]:
        unit = f", {x['unit']}" if x["unit"] else ""
        add(x["name"] + unit, x["measured"], other_budgets.get(x["name"], {}).get("measured"))
    of_b = {(r["verb"], r["resource"]): r for r in b["latency"]}
    for r in a["latency"][:15]:
        match = of_b.get((r["verb"], r["resource"]), {})
        add(f"p99 {r['verb']} {r['resource']}, ms", r["p99_ms"], match.get("p99_ms"))
    return found

"""Pages of `lakh bench cluster` and `lakh bench compare`: one HTML file with plots that needs nothing else.

The plots are SVG, drawn by pygal without its scripts, so that a page reads alike on a phone, on a desk, in print and offline. They are small and stand side
by side where there is room: a plot as wide as a phone's screen keeps letters that can be read.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from typing import Any

from lakh.bench import report

POINTS_MAX = 240
# Kinds of requests made less often are not in the table of the page, unless they are too slow.
SHOWN_MIN = 10
WIDTH, HEIGHT = 520, 300
COLORS = ("#0969da", "#bc4c00", "#1a7f37", "#8250df", "#57606a", "#bf3989")
MARK = "#c4ccd4"

STYLE = """
*{box-sizing:border-box}
body{font:16px/1.45 system-ui,sans-serif;margin:0 auto;max-width:72rem;padding:1rem;color:#1b1f24;background:#fff}
h1{font-size:1.5rem;margin:.3rem 0}h2{font-size:1.15rem;margin:2rem 0 .5rem;break-after:avoid}.note{color:#57606a;break-after:avoid}
.scroll{overflow-x:auto}table{border-collapse:collapse;font-size:.9em;min-width:min(100%,34rem)}
th,td{padding:.3rem .6rem;text-align:right;border-bottom:1px solid #d8dee4;white-space:nowrap;vertical-align:top}
th:first-child,td:first-child{text-align:left;padding-left:0;white-space:normal;min-width:8rem}
td.words{white-space:normal;text-align:left;min-width:14rem}
.missed td,.missed{color:#b42318}.missed td:last-child{font-weight:600}.met td:last-child{color:#116329}
dt{font-weight:600;margin-top:.6rem}dd{margin:0}
.plots{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,22rem),1fr));gap:1.2rem 1.5rem}
figure{margin:0;break-inside:avoid}figcaption{font-weight:600}figure svg{display:block;width:100%;height:auto}
@media print{@page{margin:12mm}body{max-width:none;padding:0;font-size:10px}h1{font-size:16px}h2{font-size:12px;margin:1rem 0 .3rem}
.plots{grid-template-columns:1fr 1fr}.scroll{overflow:visible}th,td{padding:.15rem .35rem}tr{break-inside:avoid}a{color:inherit}}
@media(max-width:600px){body{padding:.7rem}th,td{padding:.3rem .4rem}table{font-size:.82em}}
"""

# Title, unit, factor, series of the samples by name.
PLOTS: tuple[tuple[str, str, float, dict[str, str]], ...] = (
    ("Write latency", "ms", 1, {"p50": "write_p50_ms", "p99": "write_p99_ms"}),
    ("Writes within 15 ms", "%", 100, {"share": "within_15ms"}),
    ("Read latency, p99", "ms", 1, {"get": "get_p99_ms", "list": "list_p99_ms"}),
    ("From outside, p99", "ms", 1, {"lease renewal": "probe_p99_ms", "watch event": "watch_lag_p99_ms"}),
    ("Requests", "/s", 1, {"writes": "writes_per_s", "reads": "reads_per_s"}),
    ("Pods bound", "/s", 1, {"bound": "binds_per_s"}),
    ("Watch events sent", "/s", 1, {"events": "watch_events_per_s"}),
    ("Requests at the server", "", 1, {"under way": "in_flight", "waiting for a seat": "fairness_waiting"}),
    ("Pods that wait for a node", "", 1, {"active": "pods_active", "others": "pods_unschedulable"}),
    ("Keys in controllers' queues", "", 1, {"keys": "workqueue_depth"}),
    ("Events in the components", "", 1, {"waiting": "events_waiting", "dropped so far": "events_dropped"}),
    ("Writes that wait for the journal", "", 1, {"writes": "queued_writes"}),
    ("Journal", "MB/s", 1e-6, {"appended": "journal_bytes_per_s"}),
    ("Event loop of the API server late by, p99", "ms", 1, {"lag": "loop_lag_p99_ms"}),
    ("Objects", "", 1, {"pods": "pods", "all": "objects"}),
    ("Bytes of the objects", "MB", 1e-6, {"live": "live_bytes"}),
)
PROCESS_PLOTS = (("Memory", "MB", "memory_mb"), ("CPU", "cores", "cpu"))
COMPARED = ("write_p99_ms", "within_15ms", "writes_per_s", "binds_per_s", "in_flight", "loop_lag_p99_ms")
# What pygal's own scripts would read.
SCRIPT = re.compile(r"<script.*?</script>", re.DOTALL)
Points = list[tuple[float, float]]


def _points(samples: list[dict[str, Any]], key: str, factor: float) -> Points:
    return [(s["t"], s[key] * factor) for s in samples if s.get(key) is not None]


def thin(samples: list[dict[str, Any]], limit: int = POINTS_MAX) -> list[dict[str, Any]]:
    """At most so many samples: of several the worst latency and share, and the mean of everything else."""
    step = -(-len(samples) // limit)
    if step <= 1:
        return samples
    return [_merged(samples[i : i + step]) for i in range(0, len(samples), step)]


def _merged(group: list[dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = dict(group[-1])
    for key, last in group[-1].items():
        values = [s[key] for s in group if s.get(key) is not None]
        if isinstance(last, dict):
            found[key] = _merged([v for v in values if v]) if any(values) else last
        elif values and isinstance(values[0], int | float):
            if key.endswith("_p99_ms"):
                found[key] = max(values)
            else:
                found[key] = min(values) if key == "within_15ms" else sum(values) / len(values)
    return found


def _plot(title: str, unit: str, series: dict[str, Points], marks: Sequence[float] = ()) -> str:
    """A plot over time, with a line where a phase begins. Nothing for nothing measured."""
    import pygal
    from pygal.style import Style

    series = {name: points for name, points in series.items() if points}
    if not series:
        return ""
    top = max(y for points in series.values() for _, y in points)
    if unit == "%":
        top = 100.0
    style = Style(
        background="white",
        plot_background="white",
        colors=(*COLORS[: len(series)], MARK),
        font_family="system-ui, sans-serif",
        label_font_size=14,
        major_label_font_size=14,
        legend_font_size=15,
        opacity=".95",
        stroke_width=2,
    )
    chart = pygal.XY(
        width=WIDTH,
        height=HEIGHT,
        style=style,
        js=[],
        explicit_size=False,
        disable_xml_declaration=True,
        show_dots=False,
        show_x_guides=False,
        legend_at_bottom=True,
        legend_at_bottom_columns=3,
        legend_box_size=12,
        truncate_legend=-1,
        max_scale=6,
        x_value_formatter=lambda x: f"{x:,.0f} s",
        value_formatter=lambda y: f"{_short(y)} {unit}".strip(),
        range=(0, top) if top > 0 else (0, 1),
        margin=6,
    )
    for name, points in series.items():
        chart.add(name, points)
    if marks:
        lines = [point for at in marks for point in ((at, 0), (at, top or 1), None)]
        chart.add(None, lines, allow_interruptions=True, stroke_style={"dasharray": "4, 4", "width": 1})
    drawing = SCRIPT.sub("", chart.render(is_unicode=True))
    return f"<figure><figcaption>{html.escape(title)}</figcaption>{drawing}</figure>"


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _table(
    heading: list[str], body: list[list[str]], classes: list[str] | None = None, words: bool = False
) -> str:
    """A table that scrolls by itself where it is too wide. `words`: the last column is prose."""
    head = "".join(f"<th>{html.escape(c)}</th>" for c in heading)
    lines = []
    for i, row in enumerate(body):
        kind = f' class="{classes[i]}"' if classes and classes[i] else ""
        cells = [f"<td>{html.escape(c)}</td>" for c in row]
        if words:
            cells[-1] = f'<td class="words">{html.escape(row[-1])}</td>'
        lines.append(f"<tr{kind}>{''.join(cells)}</tr>")
    return f'<div class="scroll"><table><tr>{head}</tr>{"".join(lines)}</table></div>'


def _page(title: str, parts: list[str]) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )


def render(result: dict[str, Any]) -> str:
    """The page of one run."""
    summary = report.rows(result)
    verdicts = [{True: "met", False: "missed", None: ""}[b["met"]] for b in result["budgets"]]
    parts = [f"<h1>{result['nodes']:,} nodes</h1>", _introduction(result), "<h2>Budgets</h2>"]
    parts.append(_table(summary[0], summary[1:], verdicts))
    missed = report.missed(result)
    if missed:
        parts.append("<h2>What limits what was missed</h2><dl>")
        parts += [f"<dt class=missed>{html.escape(n)}</dt><dd>{html.escape(why)}</dd>" for n, why in missed]
        parts.append("</dl>")
    parts += [
        "<h2>Phases</h2>",
        _table(
            ["phase", "seconds", "pods", "writes/s", "p50 ms", "p99 ms", "within 15 ms", "pod start-up p99"],
            [_phase_row(p) for p in result["phases"]],
            ["" if p.get("reached", True) and "error" not in p else "missed" for p in result["phases"]],
        ),
        _over_time(result),
        *_latency(result["latency"]),
        "<h2>From outside</h2>",
        _table(
            ["probe", "n", "p50 ms", "p99 ms", "max ms"],
            [
                [name.replace("_", " "), *(f"{m[k]:,}" for k in ("n", "p50_ms", "p99_ms", "max_ms"))]
                for name, m in result["outside"].items()
                if isinstance(m, dict)
            ],
        ),
    ]
    if result["journal"]:
        parts += [
            "<h2>Journals</h2>",
            _table(
                ["partition", "appends", "p50 ms", "p99 ms", "writes an append", "MB"],
                [[v if isinstance(v, str) else f"{v:,}" for v in row.values()] for row in result["journal"]],
            ),
        ]
    parts += [
        "<h2>Processes</h2>",
        _table(
            ["process", "peak MB", "CPU s"],
            [[p["name"], f"{p['peak_memory_mb']:,}", f"{p['cpu_seconds']:,}"] for p in result["processes"]],
        ),
        "<h2>Published</h2>",
        _table(["whose", "what"], [list(p) for p in report.PUBLISHED], words=True),
    ]
    return _page(f"lakh bench cluster, {result['nodes']:,} nodes", parts)


def _latency(rows: list[dict[str, Any]]) -> list[str]:
    """Kinds of requests that were made often, and all that missed their objective."""
    shown = [r for r in rows if r["n"] >= SHOWN_MIN or not r["met"]]
    parts = [
        "<h2>Latency by verb and resource</h2>",
        _table(
            ["request", "n", "p50 ms", "p99 ms", "within 15 ms", "SLO", ""],
            [
                [
                    f"{r['verb']} {r['resource']}",
                    f"{r['n']:,}",
                    f"{r['p50_ms']:,.2f}",
                    f"{r['p99_ms']:,.2f}",
                    f"{r['within_15ms']:.2%}",
                    f"{r['slo_seconds']:g} s",
                    "met" if r["met"] else "MISSED",
                ]
                for r in shown
            ],
            ["met" if r["met"] else "missed" for r in shown],
        ),
    ]
    if len(shown) < len(rows):
        rest = f"{len(rows) - len(shown)} kinds of requests were made less than {SHOWN_MIN} times each, all within their SLO"
        parts.append(f"<p class=note>{rest}; the JSON has them.</p>")
    return parts


def _introduction(result: dict[str, Any]) -> str:
    machine = result["machine"]
    words = (
        f"{result.get('server', '')} on {machine['cpus']} cores with {machine['memory_gb']} GB, {machine['system']}, "
        f"{result['began']}; leases of {result['lease_seconds']} s, node statuses every {result.get('status_seconds', '?')} s. Load generator and simulated kubelets share the machine."
    )
    why = html.escape(str(result.get("stopped") or "interrupted"))
    stopped = (
        "" if result["complete"] else f"<p class=missed><b>Stopped: {why}. This was done until then.</b></p>"
    )
    return f"<p>{html.escape(words)}</p>{stopped}"


def _over_time(result: dict[str, Any]) -> str:
    samples = thin(result["samples"])
    if len(samples) < 2:
        return ""
    phases = ", ".join(f"{p['name']} {p['at']:,.0f} s" for p in result["phases"])
    parts = [
        f"<h2>Over time</h2><p class=note>Dotted lines: a phase begins ({html.escape(phases)}).</p><div class=plots>"
    ]
    marks = [p["at"] for p in result["phases"][1:]]
    for title, unit, factor, names in PLOTS:
        parts.append(
            _plot(title, unit, {n: _points(samples, key, factor) for n, key in names.items()}, marks)
        )
    for title, unit, key in PROCESS_PLOTS:
        drawn = {
            p["name"]: [(s["t"], s[key][p["name"]]) for s in samples if p["name"] in s[key]]
            for p in result["processes"]
        }
        parts.append(_plot(f"{title} by process", unit, drawn, marks))
    return "".join(parts) + "</div>"


def _phase_row(p: dict[str, Any]) -> list[str]:
    writes = p.get("writes") or {}
    start_up = p.get("start_up") or {}
    reached = "" if p.get("reached", True) and "error" not in p else " (not reached)"
    some = bool(writes.get("n"))
    return [
        p["name"] + reached,
        f"{p.get('seconds', 0):,.1f}",
        f"{p.get('pods_running', p.get('pods', 0)):,}",
        f"{writes['per_s']:,.0f}" if some else "",
        f"{writes['p50_ms']:,.2f}" if some else "",
        f"{writes['p99_ms']:,.2f}" if some else "",
        f"{writes['within_15ms']:.2%}" if some else "",
        f"{start_up['p99_ms'] / 1000:,.2f} s" if start_up.get("n") else "",
    ]


def render_comparison(a: dict[str, Any], b: dict[str, Any]) -> str:
    """The page of two runs."""
    rows = report.compare(a, b)
    parts = ["<h1>Two runs</h1>"]
    for name, result in (("A", a), ("B", b)):
        parts.append(f"<h2>{name}: {result['nodes']:,} nodes</h2>{_introduction(result)}")
    parts += ["<h2>Side by side</h2>", _table(rows[0], rows[1:])]
    both = {"A": thin(a["samples"]), "B": thin(b["samples"])}
    parts.append("<h2>Over time</h2><div class=plots>")
    for title, unit, factor, names in PLOTS:
        for name, key in names.items():
            if key in COMPARED:
                drawn = {who: _points(samples, key, factor) for who, samples in both.items()}
                parts.append(_plot(f"{title}, {name}" if len(names) > 1 else title, unit, drawn))
    return _page("lakh bench compare", [*parts, "</div>"])

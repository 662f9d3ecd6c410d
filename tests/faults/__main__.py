"""The long form: rounds from a seed on, a summary, exit code 1 when a guarantee was not kept."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path

from . import rounds
from .gaps import gaps, quantile
from .history import History
from .server import BUGS, CLUSTER_BUGS
from .validators import judge

LONG_GAP_SECONDS = 3.0
"""Gaps from here on are shown with their round."""


def main() -> int:
    """Run rounds, or judge a kept history again."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--rounds", type=int, default=50, help="how many (default: 50)")
    parser.add_argument("--seed", type=int, default=1, help="of the first; the others count up (default: 1)")
    parser.add_argument(
        "--topology",
        choices=(*rounds.TOPOLOGIES, "all"),
        default="file",
        help="one API server on files or on a NATS server, a cluster, or all in turn (default: file)",
    )
    parser.add_argument("--seconds", type=float, default=None, help="of traffic a round (default: 2 to 5)")
    parser.add_argument(
        "--break", dest="bug", choices=[*BUGS, *CLUSTER_BUGS], default="", help="plant a bug in the server"
    )
    parser.add_argument("--keep", type=Path, default=None, help="where histories with violations are kept")
    parser.add_argument("--judge", type=Path, default=None, metavar="FILE", help="judge a kept history again")
    options = parser.parse_args()
    if options.judge is not None:
        verdict = judge(History.load(options.judge))
        for violation in verdict.violations:
            print(violation)
        return 1 if verdict.violations else 0
    signal.signal(
        signal.SIGTERM, signal.default_int_handler
    )  # servers are ended and disks unmounted then, too
    keep = options.keep or Path(tempfile.mkdtemp(prefix="lakh-faults-"))
    total: Counter[str] = Counter()
    faults: Counter[str] = Counter()
    unwritable: dict[str, list[float]] = defaultdict(list)
    begun = time.monotonic()
    topologies = rounds.TOPOLOGIES if options.topology == "all" else (options.topology,)
    for number, seed in enumerate(range(options.seed, options.seed + options.rounds)):
        directory = keep / f"seed-{seed}-{time.time_ns()}"
        topology = topologies[number % len(topologies)]
        outcome = rounds.run(rounds.plan(seed, topology, options.seconds, options.bug), directory)
        history, verdict = outcome.history, outcome.verdict
        print(f"{number + 1}/{options.rounds} {outcome.line()}", flush=True)
        for violation in verdict.violations:
            print(f"  {violation}", flush=True)
        if verdict.undecided:
            print(f"  undecided: {', '.join(verdict.hard)}", flush=True)
        if verdict.violations or verdict.undecided:
            print(f"  kept: {directory}", flush=True)
        faults.update(fault.kind for fault in history.faults)
        for gap in gaps(history):
            unwritable[gap.kind].append(gap.seconds)
            if gap.seconds >= LONG_GAP_SECONDS:
                print(f"  no writes to {gap.partition} for {gap.seconds:.1f} s after {gap.kind}", flush=True)
        total.update(
            rounds=1,
            operations=len(history.operations),
            unknown=outcome.unknown,
            lists=len(history.listings),
            watches=len(history.segments),
            events=sum(len(segment.events) for segment in history.segments),
            violations=len(verdict.violations),
            undecided=verdict.undecided,
        )
    print()
    for name in ("rounds", "operations", "unknown", "lists", "watches", "events", "violations", "undecided"):
        print(f"{name:12} {total[name]:>9,}")
    print(
        f"{'faults':12} {sum(faults.values()):>9,}  {', '.join(f'{k} {n}' for k, n in sorted(faults.items()))}"
    )
    for kind, seconds in sorted(unwritable.items()):
        print(
            f"{'no writes':12} {kind}: n {len(seconds)}, median {quantile(seconds, 0.5):.2f} s, "
            f"p99 {quantile(seconds, 0.99):.2f} s, max {max(seconds):.2f} s"
        )
    print(f"{'seconds':12} {time.monotonic() - begun:>9,.0f}")
    return 1 if total["violations"] else 0


if __name__ == "__main__":
    sys.exit(main())

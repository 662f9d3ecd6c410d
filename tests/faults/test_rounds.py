"""The short form: a few rounds against the real server, and planted bugs that the same rounds must find.

The long form is `python -m tests.faults`.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from . import rounds
from .faults import FILE_FAULTS
from .server import BUGS, CLUSTER_BUGS
from .topology import _damage, _read_ledger

pytestmark = pytest.mark.xdist_group("faults")

SEEDS = (3, 13, 16, 24, 26, 38)
"""Among them they have every fault."""
NATS_ROUNDS = (("nats", 4), ("cluster", 43))
"""A NATS server and an API server killed; of three API servers a writer paused until others have taken over, then all killed."""
SECONDS = 2.0
BUG_SEEDS = {"file": (2, 3, 4, *range(5, 15)), "cluster": (43, 35, 45, *range(46, 52))}
"""The first one or two do on a machine with nothing else to do; where it is slow, fewer calls are made in a round."""
FOUND_BY = {
    "acknowledge_early": {"durable", "taken_back", "unique_revisions", "recovers"},
    "skip_on_resume": {"resumable"},
    "repeat_on_resume": {"unique"},
    "forget_versions": {"linearizable"},
    "serve_the_present": {"consistent_lists"},
    "skip_the_barrier": {"fresh", "revisions_ascend"},
    "forward_twice": {"once", "refused"},
    "answer_too_soon": {"own_writes"},
    "ignore_fencing": {"unique_revisions", "durable", "taken_back", "linearizable", "recovers"},
}
SHORT_BUGS = ("acknowledge_early", "skip_on_resume", "skip_the_barrier")
"""The others are for `make faults`: the histories with planted violations cover them, too."""


@pytest.mark.parametrize(("topology", "seed"), [*(("file", seed) for seed in SEEDS), *NATS_ROUNDS])
def test_a_round_keeps_every_guarantee(
    topology: str, seed: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = rounds.run(rounds.plan(seed, topology, seconds=SECONDS), tmp_path / "round")
    with capsys.disabled():
        print(f"\n  {outcome.line()}", end="")
    assert not outcome.verdict.violations, f"kept in {tmp_path / 'round'}: {outcome.verdict.violations[:5]}"
    assert outcome.verdict.undecided == 0
    assert len(outcome.history.operations) > 30, "the clients did not get to work"


@pytest.mark.parametrize(
    "bug", SHORT_BUGS if not os.environ.get("LAKH_ALL_CANARIES") else [*BUGS, *CLUSTER_BUGS]
)
def test_a_planted_bug_is_found(bug: str, tmp_path: Path) -> None:
    found: set[str] = set()
    topology = "file" if bug in BUGS else "cluster"
    for seed in BUG_SEEDS[topology]:
        outcome = rounds.run(rounds.plan(seed, topology, seconds=SECONDS, bug=bug), tmp_path / str(seed))
        found |= {violation.validator for violation in outcome.verdict.violations}
        if found & FOUND_BY[bug]:
            return
    raise AssertionError(f"not found, but {found}")


def test_every_fault_is_drawn_by_some_seed_of_the_short_form() -> None:
    """So that none of them can rot unnoticed."""
    assert set(FOUND_BY) == set(BUGS) | set(CLUSTER_BUGS)
    plans = [rounds.plan(seed, seconds=SECONDS) for seed in SEEDS]
    drawn = {kind for one in plans for kind in rounds.kinds(one)}
    assert drawn >= set(FILE_FAULTS) - (set() if rounds.can_mount() else {"full_disk"})
    assert {one.small for one in plans} == {True, False}
    (_, nats), (_, cluster) = NATS_ROUNDS
    assert {"kill_twice", "kill_nats"} <= set(rounds.kinds(rounds.plan(nats, "nats", seconds=SECONDS)))
    drawn_cluster = rounds.plan(cluster, "cluster", seconds=SECONDS)
    assert drawn_cluster.servers == 3
    assert rounds.kinds(drawn_cluster) == ["pause_writer", "kill_servers"]


def test_the_ledger_tells_what_is_durable(tmp_path: Path) -> None:
    """A worked example: two syncs of one file, a rename with and one without a sync of its directory."""
    (tmp_path / "ledger").write_text("S 7 100\nS 7 150\nR /d/a.tmp\t/d/a\nD /d\nR /d/b.tmp\t/d/b\n")
    synced, renamed = _read_ledger(tmp_path / "ledger")
    assert synced == {7: 150}
    assert renamed == [(Path("/d/b.tmp"), Path("/d/b"))]


def test_damage_spares_what_was_synced(tmp_path: Path) -> None:
    path = tmp_path / "1.log"
    for number in range(200):
        path.write_bytes(bytes(range(200)))
        _damage(path, 150, random.Random(number))
        left = path.read_bytes()
        assert left[:150] == bytes(range(150))
        assert len(left) <= 200, "no crash makes a file longer than it was"
    assert not _damage(path, len(left), random.Random(1)), "all of it is synced"


def test_damage_among_zeros_keeps_the_length(tmp_path: Path) -> None:
    path = tmp_path / "1.log"
    kinds = set()
    for number in range(200):
        path.write_bytes(bytes(range(1, 201)) + bytes(50))
        kinds.add(_damage(path, 150, random.Random(number)).split()[0])
        left = path.read_bytes()
        assert (left[:150], left[200:], len(left)) == (bytes(range(1, 151)), bytes(50), 250)
    assert kinds == {"cut", "holes", "garbled", "kept"}
    path.write_bytes(bytes(range(1, 201)) + bytes(50))
    assert not _damage(path, 200, random.Random(1)), "all of it is synced"

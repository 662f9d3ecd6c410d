"""The store's benchmark works, on a small scale."""

import argparse
import io

import pytest

from lakh.bench import store
from lakh.progress import Progress
from lakh.store import nats_journal, nats_server


@pytest.mark.parametrize("engine", ["file", "nats"])
async def test_report(engine: str) -> None:
    options = argparse.Namespace(engine=engine, objects=500, seconds=0.1)
    report = await store.run(options, Progress(io.StringIO()))
    assert report["write"]["n"] > 10 and report["write"]["batch_writes_mean"] > 1
    assert report["load_per_s"] > 0 and report["from_log"]["compaction_s"] >= 0
    assert report["from_snapshot"]["resident_bytes_per_object"] > 0
    assert report["same_objects"]["updates"] > 0 and report["served"]["ready_s"] > 0
    assert store.table(report)[0] == ["what", "value"]


def test_the_engine_is_there() -> None:
    assert nats_server.binary().is_file() and nats_journal.NatsJournal

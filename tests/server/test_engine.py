"""Which engine a data directory belongs to."""

from __future__ import annotations

from pathlib import Path

import pytest

from lakh.server.engine import EngineError, FileEngine, claim_directory


def test_a_directory_stays_with_its_engine(tmp_path: Path) -> None:
    claim_directory(tmp_path / "new", "nats")
    claim_directory(tmp_path / "new", "nats")
    with pytest.raises(EngineError, match="made with --engine nats and cannot be used with --engine file"):
        claim_directory(tmp_path / "new", "file")


def test_a_directory_from_before_the_marker_has_files(tmp_path: Path) -> None:
    (tmp_path / "journal").mkdir()
    with pytest.raises(EngineError, match="made with --engine file"):
        claim_directory(tmp_path, "nats")
    claim_directory(tmp_path, "file")


async def test_file_partitions_are_written_here(tmp_path: Path) -> None:
    partitions = await FileEngine(tmp_path).open(("a", "b"))
    assert [p.is_writer for p in partitions.values()] == [True, True]
    for partition in partitions.values():
        await partition.close()

"""`lakh store`: what is dumped and restored is the same; damage and wrong use are told in one line."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from lakh.cli import main
from lakh.store.file_journal import FileJournal
from lakh.store.partition import Partition

VALUES = {"pods/default/a": b'{"metadata":{"name":"a"}}', "pods/default/b": b"\xff\n", "pods/default/c": b""}


def make(directory: Path) -> None:
    async def fill() -> None:
        for name in ("pods", "nodes"):
            partition = await Partition.open(name, await FileJournal.open(directory / "journal" / name))
            for key, value in VALUES.items():
                await partition.put(key, value, terms=("t",))
            await partition.delete("pods/default/c")
            await partition.close()

    asyncio.run(fill())


def test_dump_and_restore(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(tmp_path / "one")
    assert main(["store", "check", str(tmp_path / "one")]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("nodes: good, revision 5, 2 items") and said[1].startswith("pods: good")
    dump = tmp_path / "dump"
    assert main(["store", "dump", str(tmp_path / "one"), "--output", str(dump)]) == 0
    assert b'"value":{"metadata":{"name":"a"}}' in dump.read_bytes()
    assert main(["store", "restore", str(tmp_path / "two"), "--input", str(dump)]) == 0
    again = tmp_path / "again"
    assert main(["store", "dump", str(tmp_path / "two"), "--output", str(again)]) == 0
    assert again.read_bytes() == dump.read_bytes()
    assert main(["store", "restore", str(tmp_path / "two"), "--input", str(dump)]) == 1
    assert "is not empty" in capsys.readouterr().err

    async def read() -> None:
        partition = await Partition.open(
            "pods", await FileJournal.open(tmp_path / "two" / "journal" / "pods")
        )
        item = partition.get("pods/default/b")
        assert item is not None and (item.value, item.terms, partition.revision) == (b"\xff\n", ("t",), 5)
        assert (await partition.put("pods/default/b", b"")).revision == 6
        await partition.close()

    asyncio.run(read())
    assert main(["store", "check", str(tmp_path / "two" / "journal" / "pods")]) == 0


def test_bumped_revisions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(tmp_path / "one")
    dump = tmp_path / "dump"
    assert main(["store", "dump", str(tmp_path / "one"), "--output", str(dump)]) == 0
    restore = ["store", "restore", str(tmp_path / "two"), "--input", str(dump), "--bump-revision", "1000"]
    assert main(restore) == 0
    assert "at revision 1005" in capsys.readouterr().out


def test_damage_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(tmp_path)
    segment = next((tmp_path / "journal" / "pods").glob("*.log"))
    whole = segment.read_bytes()
    segment.write_bytes(whole + b"torn")
    assert main(["store", "check", str(tmp_path)]) == 0
    assert "4 bytes of an append that never finished" in capsys.readouterr().out
    assert segment.read_bytes() == whole + b"torn", "nothing is changed"
    damaged = bytearray(whole)
    damaged[60] ^= 1
    segment.write_bytes(damaged)
    assert main(["store", "check", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert f"{segment} is corrupt at byte 28" in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("dump", "message"),
    [
        (b"", "the dump is empty"),
        (b"x\n", "line 1 is no line of a dump"),
        (b'{"end":"pods"}\n', "line 1 is out of place"),
        (b'{"partition":"pods","revision":1,"items":0}\n', "the dump ends early"),
        (b'{"partition":"pods","revision":1,"items":1}\n{"end":"pods"}\n', "0 items of pods instead of 1"),
        (b'{"partition":"pods","revision":1,"items":0}\n{"end":"pods"}\n', "the dump ends early"),
        (b'{"complete":1}\n', "0 partitions instead of 1"),
        (b'{"complete":0}\n{"complete":0}\n', "line 2 comes after the end"),
    ],
)
def test_bad_dumps(tmp_path: Path, capsys: pytest.CaptureFixture[str], dump: bytes, message: str) -> None:
    path = tmp_path / "dump"
    path.write_bytes(dump)
    assert main(["store", "restore", str(tmp_path / "new"), "--input", str(path)]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "new" / "journal").exists()


def test_a_dump_that_is_cut_anywhere_restores_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path / "one")
    dump = tmp_path / "dump"
    assert main(["store", "dump", str(tmp_path / "one"), "--output", str(dump)]) == 0
    lines = dump.read_bytes().splitlines(keepends=True)
    for count in range(len(lines)):
        dump.write_bytes(b"".join(lines[:count]))
        assert main(["store", "restore", str(tmp_path / "two"), "--input", str(dump)]) == 1
        assert not (tmp_path / "two" / "journal").exists()
    assert "lakh: the dump ends early" in capsys.readouterr().err


def test_a_restore_that_is_killed_is_refused_by_the_server(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path / "one")
    dump, two = tmp_path / "dump", tmp_path / "two"
    assert main(["store", "dump", str(tmp_path / "one"), "--output", str(dump)]) == 0
    lines = dump.read_bytes().splitlines(keepends=True)
    restore = [sys.executable, "-m", "lakh", "store", "restore", str(two)]
    with subprocess.Popen(restore, stdin=subprocess.PIPE, bufsize=0) as process:
        assert process.stdin is not None
        process.stdin.write(b"".join(lines[:5]))
        while not any((two / "journal.restoring").glob("nodes/*.snapshot")):
            assert process.poll() is None
        process.kill()
    assert not (two / "journal").exists()
    assert main(["apiserver", "--data-dir", str(two), "--port", "0"]) == 1
    assert "was interrupted: run it again" in capsys.readouterr().err
    assert main(["store", "restore", str(two), "--input", str(dump)]) == 0
    assert "left by a restore that was interrupted" in capsys.readouterr().err
    assert not (two / "journal.restoring").exists()
    assert main(["store", "check", str(two)]) == 0


def test_a_backup_needs_a_kubeconfig(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["store", "backup", "--kubeconfig", str(tmp_path / "none")]) == 1
    assert "there is no kubeconfig" in capsys.readouterr().err


def test_no_directory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["store", "check", str(tmp_path / "none")]) == 1
    assert "there is no directory" in capsys.readouterr().err
    assert main(["store", "check", str(tmp_path)]) == 1
    assert "has no journal" in capsys.readouterr().err

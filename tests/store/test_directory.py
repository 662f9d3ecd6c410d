"""One process a directory."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lakh.store.directory import LOCK_NAME, DirectoryLock, make_directory
from lakh.store.errors import DirectoryInUse


def test_second_lock_names_the_holder(tmp_path: Path) -> None:
    lock = DirectoryLock(tmp_path)
    with pytest.raises(DirectoryInUse) as caught:
        DirectoryLock(tmp_path)
    assert caught.value.pid == os.getpid()
    lock.release()
    lock.release()
    DirectoryLock(tmp_path).release()


def test_lock_of_a_dead_process_is_free(tmp_path: Path) -> None:
    code = f"import os; from pathlib import Path; from lakh.store.directory import DirectoryLock; l = DirectoryLock(Path({str(tmp_path)!r})); os._exit(9)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    assert (tmp_path / LOCK_NAME).read_text().strip().isdigit()
    DirectoryLock(tmp_path).release()


def test_directories_are_private(tmp_path: Path) -> None:
    make_directory(tmp_path / "a" / "b")
    make_directory(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700

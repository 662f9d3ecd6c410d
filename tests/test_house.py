"""The house rules, as tests. Each message says what to do instead."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "src" / "lakh").rglob("*.py"))

# A module that does not fit the head asks to be cut.
LINES_MAX = 700

# What must not be in the source, and what to use instead.
BANNED = {
    r"\bTODO\b|\bFIXME\b|\bXXX\b": "do it, or say in the docs that it is missing",
    r"\btime\.sleep\(": "await asyncio.sleep, or an event",
    r"\bpickle\b": "msgspec",
    r"(?<!\.)\bjson\.loads\(": "msgspec.json.decode",
    r"asyncio\.get_event_loop\(": "asyncio.get_running_loop",
}


def test_imports_point_down_the_house() -> None:
    """The contracts of .importlinter."""
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT / "src")))
def test_module(path: Path) -> None:
    text = path.read_text()
    assert ast.get_docstring(ast.parse(text)), "a module opens with its idea"
    assert text.count("\n") <= LINES_MAX, f"cut it: more than {LINES_MAX} lines"
    for pattern, instead in BANNED.items():
        found = re.search(pattern, text)
        assert found is None, f"{found.group(0)!r}: {instead}"


def test_every_module_is_used() -> None:
    """No module that nothing imports: delete it."""
    words = {path: set(re.findall(r"\w+", path.read_text())) for path in SOURCES}
    for path in SOURCES:
        if path.name in ("__init__.py", "__main__.py", "cli.py", "compatibility.py"):
            continue
        users = [p for p, found in words.items() if p != path and path.stem in found]
        assert users, f"{path.relative_to(ROOT)} is imported nowhere"

"""The worked examples in the store's docstrings hold."""

import doctest
import importlib
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import lakh.store

MODULES = [module.name for module in pkgutil.iter_modules(lakh.store.__path__, "lakh.store.")]
WITH_EXAMPLES = {
    "sharded",
    "dump",
    "frozen",
    "records",
    "memory_journal",
    "state",
    "hub",
    "codec",
    "cursor",
    "partition",
    "history",
    "packing",
}


@pytest.mark.parametrize("name", MODULES)
def test_worked_examples(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0
    assert bool(result.attempted) == (name.rpartition(".")[2] in WITH_EXAMPLES)


DOCS = Path(__file__).parents[2] / "docs" / "store.md"
OF_KUBERNETES = re.compile(
    r"kubelet|apiserver|resourceVersion|apiVersion|daemon ?set|config ?map", re.IGNORECASE
)


def test_the_example_in_the_docs(tmp_path: Path) -> None:
    section = DOCS.read_text().partition("## On its own")[2]
    code, output = re.findall(r"```(?:python)?\n(.*?)```", section, re.DOTALL)[:2]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.stderr, done.stdout) == ("", output)


@pytest.mark.parametrize(
    "path", sorted(Path(lakh.store.__path__[0]).glob("*.py")), ids=lambda path: path.name
)
def test_it_knows_no_kubernetes(path: Path) -> None:
    """Imports are the import contract's business; here are names."""
    assert not OF_KUBERNETES.findall(path.read_text())

"""The worked examples in the store's docstrings hold."""

import doctest
import importlib
import pkgutil

import pytest

import lakh.store

MODULES = [module.name for module in pkgutil.iter_modules(lakh.store.__path__, "lakh.store.")]
WITH_EXAMPLES = {
    "dump",
    "frozen",
    "records",
    "memory_journal",
    "state",
    "hub",
    "codec",
    "partition",
    "history",
}


@pytest.mark.parametrize("name", MODULES)
def test_worked_examples(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0
    assert bool(result.attempted) == (name.rpartition(".")[2] in WITH_EXAMPLES)

"""Property tests: the same examples in every run of `make test`, others in every run of `make fuzz`.

A test run must not fail by chance, and what it finds must be found again by whoever looks at it. So examples follow from the
test's code alone: not from a seed, a database of former failures, a clock, or which tests run with it.
"""

from __future__ import annotations

import importlib
import pkgutil

from hypothesis import HealthCheck, settings

import lakh
from tests.examples import FUZZ, examples

settings.register_profile(
    "lakh",
    derandomize=not FUZZ,
    database=None,
    deadline=None,
    max_examples=examples(100),
    print_blob=True,
    suppress_health_check=[
        HealthCheck.too_slow,
        # Without these two, what a test with a parametrized fixture draws depends on which parameter its process had first.
        HealthCheck.function_scoped_fixture,
        HealthCheck.differing_executors,
    ],
)
settings.load_profile("lakh")

# Hypothesis likes to draw constants of the modules that are imported at the time: they must be all, always.
for _module in pkgutil.walk_packages(lakh.__path__, "lakh."):
    if not _module.name.endswith("__main__"):
        importlib.import_module(_module.name)

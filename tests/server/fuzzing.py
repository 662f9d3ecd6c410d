"""How much the fuzzers try: a little in every test run, as much as asked for by `make fuzz EXAMPLES=N`."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

SETTINGS = settings(
    max_examples=int(os.environ.get("LAKH_FUZZ_EXAMPLES", "60")),
    deadline=None,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
    ],
)

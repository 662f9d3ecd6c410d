"""How many examples a property test draws: few in every test run, N times as many in `make fuzz TIMES=N`."""

from __future__ import annotations

import os

FUZZ = int(os.environ.get("LAKH_FUZZ", "0"))


def examples(count: int) -> int:
    """`count` in a test run, and what `make fuzz` makes of it."""
    return count * (FUZZ or 1)

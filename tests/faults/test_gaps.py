"""Gaps as clients see them."""

import pytest

from .gaps import Gap, gaps, quantile
from .history import OK, UNKNOWN, History, Injected, Operation


def write(call: float, end: float, resource: str = "pods", outcome: str = OK) -> Operation:
    return Operation(1, "patch", resource, "n1/a", call, end, outcome)


def test_a_gap_ends_with_the_first_write_called_after_the_fault() -> None:
    history = History(1, {}, {"pods": "pods", "leases": "leases"})
    history.operations = [
        write(1.0, 1.1),
        write(1.9, 2.05),  # by the old writer: it was called before
        write(2.2, 2.5, outcome=UNKNOWN),
        write(2.6, 3.5),
        write(2.7, 3.25),
        write(2.0, 2.1, "leases"),
        write(9.0, 9.5),
    ]
    history.faults = [
        Injected(2.0, "kill_server", orphaned=["pods", "default"]),
        Injected(3.0, "kill_leader", orphaned=["pods"]),
        Injected(8.0, "pause_writer", orphaned=["pods", "leases"]),
    ]
    assert gaps(history) == [Gap("kill_server", "pods", 1.25), Gap("pause_writer", "pods", 1.5)]


def test_quantiles() -> None:
    assert quantile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert quantile(range(1, 101), 0.99) == 99
    assert quantile([1.0], 0.99) == 1.0
    with pytest.raises(ValueError, match="no values"):
        quantile([], 0.5)

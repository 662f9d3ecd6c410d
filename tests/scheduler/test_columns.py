"""The columns by themselves: rows, interning, the change log."""

from __future__ import annotations

import pytest

from lakh.scheduler import columns
from lakh.scheduler.columns import NodeColumns, parse_int64

from .clusters import as_node, node


def taint(value: str, effect: str = "NoSchedule") -> dict[str, str]:
    return {"key": "k", "value": value, "effect": effect}


def test_rows_are_used_again() -> None:
    cols = NodeColumns()
    for name in "abc":
        cols.set_node(as_node(node(name)))
    assert cols.remove_node("b") == 1
    assert cols.remove_node("b") is None
    cols.set_node(as_node(node("d")))
    assert cols.row_of == {"a": 0, "c": 2, "d": 1}
    assert cols.names == ["a", "d", "c"]
    assert len(cols) == cols.size == 3


def test_only_what_matters_is_a_change() -> None:
    cols = NodeColumns()
    assert cols.set_node(as_node(node("a", labels={"x": "1"})))
    assert not cols.set_node(as_node(node("a", labels={"x": "1"})))
    before = cols.sequence
    for changed in (
        node("a", labels={"x": "2"}),
        node("a", labels={"x": "2"}, unschedulable=True),
        node("a", labels={"x": "2"}, taints=[taint("v")]),
        node("a", labels={"x": "2"}, taints=[taint("v")], allocatable={"cpu": "1"}),
    ):
        assert cols.set_node(as_node(changed))
    assert cols.changes_since(before) == [1, 1, 1, 1]
    assert cols.changes_since(cols.sequence) == []


def test_an_allocatable_that_is_no_quantity_offers_nothing() -> None:
    cols = NodeColumns()
    cols.set_node(as_node(node("a")))
    cols.set_node(as_node(node("a", allocatable={"cpu": "lots"})))
    assert not any(column.allocatable[0] for column in cols.resources.values())


def test_sets_of_taints_are_interned_and_given_back() -> None:
    cols = NodeColumns()
    for name, value in (("a", "x"), ("b", "x"), ("c", "y")):
        cols.set_node(as_node(node(name, taints=[taint(value)])))
    assert cols.taint_set[:3].tolist() == [1, 1, 2]
    for number in range(100):
        cols.set_node(as_node(node("c", taints=[taint(f"v{number}", "PreferNoSchedule")])))
    assert len(cols.taint_sets) == 4
    assert cols.soft_nodes == 1
    cols.remove_node("c")
    assert cols.soft_nodes == 0


def test_label_columns_forget_old_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "LABEL_SLACK", 10)
    cols = NodeColumns()
    cols.label("host")
    for number in range(100):
        cols.set_node(as_node(node(f"n{number}", labels={"host": f"h{number}"})))
        if number:
            cols.remove_node(f"n{number - 1}")
    column = cols.label("host")
    assert column.values == [None, "h99"]
    assert column.ids[cols.row_of["n99"]] == column.id_of["h99"]


def test_the_log_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "MAX_LOG_ENTRIES", 10)
    cols = NodeColumns()
    for row in range(25):
        cols.changed(row, static=False)
    assert cols.sequence == 25
    assert cols.changes_since(0) is None
    assert cols.changes_since(23) == [46, 48]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("3", 3),
        ("-7", -7),
        ("+7", 7),
        ("", None),
        (None, None),
        ("1.5", None),
        ("--1", None),
        ("9" * 19, None),
        ("x", None),
    ],
)
def test_integers_of_labels(text: str | None, number: int | None) -> None:
    assert parse_int64(text) == number

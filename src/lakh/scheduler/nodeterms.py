"""Node selectors of other objects, judged over columns: volumes' node affinity, topologies of storage classes, allocations' node selectors."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from lakh.machinery.selectors import Selector
from lakh.machinery.volumes import TopologyTerm

from . import plugins
from .columns import NodeColumns
from .views import NodeSelectorTerm, Requirement

__all__ = ["any_term", "labels_ok", "topology_ok"]

Rows = npt.NDArray[np.intp]
Bools = npt.NDArray[np.bool_]


def any_term(columns: NodeColumns, terms: Iterable[NodeSelectorTerm], rows: Rows) -> Bools:
    """Which rows one of the terms matches."""
    ok = np.zeros(len(rows), np.bool_)
    for term in terms:
        ok |= plugins.term_ok(columns, term, rows)
    return ok


def topology_ok(columns: NodeColumns, terms: list[TopologyTerm] | None, rows: Rows) -> Bools:
    """`allowedTopologies`: none allow everything; a term without requirements allows nothing."""
    if not terms:
        return np.ones(len(rows), np.bool_)
    return any_term(
        columns,
        (
            NodeSelectorTerm([Requirement(r.key, "In", r.values) for r in t.matchLabelExpressions or ()])
            for t in terms
        ),
        rows,
    )


def labels_ok(columns: NodeColumns, selector: Selector, rows: Rows) -> Bools:
    """Which rows a label selector matches."""
    ok = np.full(len(rows), not selector.nothing)
    for requirement in selector.requirements:
        column = columns.label(requirement.key)
        verdicts = np.fromiter(
            (
                requirement.matches({} if value is None else {requirement.key: value})
                for value in column.values
            ),
            np.bool_,
            len(column.values),
        )
        ok &= verdicts[column.ids[rows]]
    return ok

"""Node selectors as pods, volumes and devices have them: one view for all who read them."""

from __future__ import annotations

import msgspec

__all__ = ["NodeSelector", "NodeSelectorTerm", "Requirement"]


class Requirement(msgspec.Struct, gc=False, omit_defaults=True):
    """core/v1 NodeSelectorRequirement, and metav1 LabelSelectorRequirement."""

    key: str = ""
    operator: str = ""
    values: list[str] | None = None


class NodeSelectorTerm(msgspec.Struct, gc=False, omit_defaults=True):
    """core/v1 NodeSelectorTerm: requirements that must all hold."""

    matchExpressions: list[Requirement] | None = None
    matchFields: list[Requirement] | None = None


class NodeSelector(msgspec.Struct, gc=False, omit_defaults=True):
    """core/v1 NodeSelector: terms of which one must hold."""

    nodeSelectorTerms: list[NodeSelectorTerm] | None = None

"""Label selectors, compiled for matching many objects.

`None` selects nothing, an empty selector everything, as `metav1.LabelSelectorAsSelector` says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from lakh.machinery.nodeselector import Requirement

from .views import LabelSelector

Matcher = Callable[[Mapping[str, str] | None], bool]

_NO_LABELS: Mapping[str, str] = {}


def compile_selector(selector: LabelSelector | None) -> Matcher:
    """A function that says whether labels match."""
    if selector is None:
        return lambda labels: False
    wanted = list((selector.matchLabels or {}).items())
    requirements = [_requirement(requirement) for requirement in selector.matchExpressions or ()]

    def matches(labels: Mapping[str, str] | None) -> bool:
        present = labels or _NO_LABELS
        for key, value in wanted:
            if present.get(key) != value:
                return False
        return all(requirement(present) for requirement in requirements)

    return matches


def _requirement(requirement: Requirement) -> Callable[[Mapping[str, str]], bool]:
    key = requirement.key
    values = frozenset(requirement.values or ())
    match requirement.operator:
        case "In":
            return lambda labels: labels.get(key) in values
        case "NotIn":
            return lambda labels: labels.get(key) not in values
        case "Exists":
            return lambda labels: key in labels
        case "DoesNotExist":
            return lambda labels: key not in labels
    return lambda labels: False


def compile_map(selector: Mapping[str, str] | None) -> Matcher:
    """A matcher of plain `key: value` pairs; nothing matches an empty one (as for Services)."""
    if not selector:
        return lambda labels: False
    return compile_selector(LabelSelector(matchLabels=dict(selector)))

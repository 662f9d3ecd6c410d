"""authentication.k8s.io/v1: reviews. They are answered by the server and never stored; only `create` exists."""

from __future__ import annotations

from typing import Any

from lakh.apis.groups.base import GroupStrategy, declare
from lakh.machinery.errors import FieldError

GROUP = "authentication.k8s.io"
VERSION = "v1"


class ReviewStrategy(GroupStrategy):
    """A question to the server: no defaults, no table of its own. Whoever answers it says what it lacks."""

    def validate(self, obj: Any) -> list[FieldError]:
        """Nothing in general."""
        return []

    def validate_name(self, name: str) -> list[str]:
        """Reviews have no name."""
        return []


RESOURCES = (
    declare(
        GROUP,
        VERSION,
        "selfsubjectreviews",
        "SelfSubjectReview",
        ReviewStrategy(),
        namespaced=False,
        verbs=("create",),
    ),
    declare(
        GROUP,
        VERSION,
        "tokenreviews",
        "TokenReview",
        ReviewStrategy(),
        namespaced=False,
        verbs=("create",),
    ),
)

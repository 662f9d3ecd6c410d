"""authentication.k8s.io/v1."""

from __future__ import annotations

from lakh.apis.groups.base import GroupStrategy, declare


class SelfSubjectReviewStrategy(GroupStrategy):
    """SelfSubjectReview."""


class TokenReviewStrategy(GroupStrategy):
    """TokenReview."""


RESOURCES = (
    declare(
        "authentication.k8s.io",
        "v1",
        "selfsubjectreviews",
        "SelfSubjectReview",
        SelfSubjectReviewStrategy(),
        namespaced=False,
        verbs=("create",),
    ),
    declare(
        "authentication.k8s.io",
        "v1",
        "tokenreviews",
        "TokenReview",
        TokenReviewStrategy(),
        namespaced=False,
        verbs=("create",),
    ),
)

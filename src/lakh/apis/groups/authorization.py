"""authorization.k8s.io/v1."""

from __future__ import annotations

from lakh.apis.groups.base import GroupStrategy, declare


class LocalSubjectAccessReviewStrategy(GroupStrategy):
    """LocalSubjectAccessReview."""


class SelfSubjectAccessReviewStrategy(GroupStrategy):
    """SelfSubjectAccessReview."""


class SelfSubjectRulesReviewStrategy(GroupStrategy):
    """SelfSubjectRulesReview."""


class SubjectAccessReviewStrategy(GroupStrategy):
    """SubjectAccessReview."""


RESOURCES = (
    declare(
        "authorization.k8s.io",
        "v1",
        "localsubjectaccessreviews",
        "LocalSubjectAccessReview",
        LocalSubjectAccessReviewStrategy(),
        namespaced=True,
        verbs=("create",),
    ),
    declare(
        "authorization.k8s.io",
        "v1",
        "selfsubjectaccessreviews",
        "SelfSubjectAccessReview",
        SelfSubjectAccessReviewStrategy(),
        namespaced=False,
        verbs=("create",),
    ),
    declare(
        "authorization.k8s.io",
        "v1",
        "selfsubjectrulesreviews",
        "SelfSubjectRulesReview",
        SelfSubjectRulesReviewStrategy(),
        namespaced=False,
        verbs=("create",),
    ),
    declare(
        "authorization.k8s.io",
        "v1",
        "subjectaccessreviews",
        "SubjectAccessReview",
        SubjectAccessReviewStrategy(),
        namespaced=False,
        verbs=("create",),
    ),
)

"""authorization.k8s.io/v1: access reviews. They are answered by the server and never stored; only `create` exists."""

from __future__ import annotations

from typing import Any

from lakh.apis.groups.authentication import ReviewStrategy
from lakh.apis.groups.base import declare
from lakh.machinery.errors import FieldError, invalid_value

GROUP = "authorization.k8s.io"
VERSION = "v1"


class AccessReviewStrategy(ReviewStrategy):
    """Who may do what: about a resource or about a path, and about somebody."""

    def __init__(self, self_review: bool, local: bool = False) -> None:
        self._self_review = self_review
        self._local = local

    def validate(self, obj: Any) -> list[FieldError]:
        """One question, about somebody."""
        spec = obj.spec
        found: list[FieldError] = []
        resource, path = spec.resourceAttributes, spec.nonResourceAttributes
        if resource is not None and path is not None:
            found.append(
                invalid_value(
                    "spec.nonResourceAttributes",
                    path,
                    "cannot be specified in combination with resourceAttributes",
                )
            )
        if resource is None and path is None:
            found.append(
                invalid_value(
                    "spec.resourceAttributes",
                    None,
                    "exactly one of nonResourceAttributes or resourceAttributes must be specified",
                )
            )
        if not self._self_review and not spec.user and not spec.groups:
            found.append(
                invalid_value("spec.user", spec.user or "", "at least one of user or group must be specified")
            )
        if self._local:
            namespace = (resource.namespace if resource is not None else None) or ""
            if namespace != (obj.metadata.namespace or ""):
                found.append(
                    invalid_value(
                        "spec.resourceAttributes.namespace", namespace, "must match metadata.namespace"
                    )
                )
            if path is not None:
                found.append(
                    invalid_value(
                        "spec.nonResourceAttributes",
                        path,
                        "disallowed on this kind of request",
                    )
                )
        return found


RESOURCES = tuple(
    declare(GROUP, VERSION, f"{kind.lower()}s", kind, strategy, namespaced=namespaced, verbs=("create",))
    for kind, strategy, namespaced in (
        ("LocalSubjectAccessReview", AccessReviewStrategy(self_review=False, local=True), True),
        ("SelfSubjectAccessReview", AccessReviewStrategy(self_review=True), False),
        ("SelfSubjectRulesReview", ReviewStrategy(), False),
        ("SubjectAccessReview", AccessReviewStrategy(self_review=False), False),
    )
)

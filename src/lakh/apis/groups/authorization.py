"""authorization.k8s.io/v1: access reviews. They are answered by the server and never stored; only `create` exists."""

from __future__ import annotations

from typing import Any

import msgspec

from lakh.apis import meta
from lakh.apis.groups.authentication import ReviewStrategy
from lakh.apis.groups.base import declare
from lakh.machinery.errors import FieldError, forbidden_field, invalid_value, required

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
        resource = spec.resourceAttributes if spec is not None else None
        path = spec.nonResourceAttributes if spec is not None else None
        if resource is not None and path is not None:
            why = "cannot be specified in combination with resourceAttributes"
            found.append(invalid_value("spec.nonResourceAttributes", path, why))
        if resource is None and path is None:
            why = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
            found.append(invalid_value("spec.resourceAttributes", None, why))
        if not self._self_review and (spec is None or not (spec.user or spec.groups)):
            why = "at least one of user or group must be specified"
            found.append(invalid_value("spec.user", (spec.user if spec is not None else None) or "", why))
        if resource is not None:
            _validate_selector(resource.fieldSelector, "fieldSelector", found)
            _validate_selector(resource.labelSelector, "labelSelector", found)
        named = msgspec.to_builtins(obj.metadata)
        named.pop("managedFields", None)
        here = named.pop("namespace", "") if self._local else ""
        if any(named.values()):
            why = "must be empty except for namespace" if self._local else "must be empty"
            found.append(invalid_value("metadata", obj.metadata, why))
        if self._local:
            namespace = (resource.namespace if resource is not None else None) or ""
            if resource is not None and namespace != (here or ""):
                why = "must match metadata.namespace"
                found.append(invalid_value("spec.resourceAttributes.namespace", namespace, why))
            if path is not None:
                why = "disallowed on this kind of request"
                found.append(invalid_value("spec.nonResourceAttributes", path, why))
        return found


def _validate_selector(selector: Any, name: str, found: list[FieldError]) -> None:
    """A selector of fields or labels: raw, or as requirements. Operators that are not known here are let through."""
    if selector is None:
        return
    path = f"spec.resourceAttributes.{name}"
    if selector.rawSelector and selector.requirements:
        why = "may not specified at the same time as requirements"
        found.append(invalid_value(f"{path}.rawSelector", selector.rawSelector, why))
    if not selector.rawSelector and not selector.requirements:
        why = f"when {path} is specified, requirements or rawSelector is required"
        found.append(required(f"{path}.requirements", why))
    for index, requirement in enumerate(selector.requirements or ()):
        where, values = f"{path}.requirements[{index}]", requirement.values or ()
        if name == "fieldSelector" and not requirement.key:
            found.append(required(f"{where}.key", "must be specified"))
        if requirement.operator in ("In", "NotIn") and not values:
            why = "must be specified when `operator` is 'In' or 'NotIn'"
            found.append(required(f"{where}.values", why))
        elif requirement.operator in ("Exists", "DoesNotExist") and values:
            why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            found.append(forbidden_field(f"{where}.values", why))
        if name == "labelSelector":
            key = requirement.key or ""
            meta.report(meta.check_label_key(key), f"{where}.key", key, found)
            for number, value in enumerate(values):
                meta.report(meta.check_label_value(value), f"{where}.values[{number}]", value, found)


RESOURCES = tuple(
    declare(GROUP, VERSION, f"{kind.lower()}s", kind, strategy, namespaced=namespaced, verbs=("create",))
    for kind, strategy, namespaced in (
        ("LocalSubjectAccessReview", AccessReviewStrategy(self_review=False, local=True), True),
        ("SelfSubjectAccessReview", AccessReviewStrategy(self_review=True), False),
        ("SelfSubjectRulesReview", ReviewStrategy(), False),
        ("SubjectAccessReview", AccessReviewStrategy(self_review=False), False),
    )
)

"""Pod templates: what kinds that carry a pod template need of pods' defaults and validation.

The work is in `podspec_defaults` and `podspec_validation`; this module is the door for other groups.
"""

from __future__ import annotations

from typing import Any

from lakh.apis import structs
from lakh.apis.meta import validate_annotations, validate_labels
from lakh.apis.podannotations import validate_pod_annotations, validate_profiles_match
from lakh.apis.podspec_defaults import PodSpec, default_pod_spec
from lakh.apis.podspec_validation import RESTART_POLICIES, validate_pod_spec
from lakh.machinery.errors import FieldError, forbidden_field, not_supported, required

__all__ = [
    "default_pod_spec",
    "default_pod_template",
    "validate_pod_spec",
    "validate_pod_template",
    "validate_template_metadata",
]

_ObjectMeta = structs.meta("ObjectMeta")


def default_pod_template(template: Any) -> None:
    """Fills in the defaults of a `PodTemplateSpec`; None is left alone, an absent spec becomes an empty one. Idempotent."""
    if template is not None:
        if template.metadata is None:
            template.metadata = _ObjectMeta()
        if template.spec is None:
            template.spec = PodSpec()
        default_pod_spec(template.spec)


def validate_pod_template(
    template: Any, path: str, *, restart_policies: tuple[str, ...] | None = None
) -> list[FieldError]:
    """All findings on a `PodTemplateSpec`. `restart_policies`: those that the kind supports (None: all)."""
    if template is None:
        return [required(path)]
    found: list[FieldError] = []
    spec, annotations = template.spec, None
    found += validate_template_metadata(template, path)
    if spec is None:
        found.append(required(f"{path}.spec.containers"))
        return found
    found += validate_pod_spec(spec, f"{path}.spec", template=True)
    if template.metadata is not None:
        annotations = template.metadata.annotations
    if annotations:
        validate_profiles_match(annotations, spec, f"{path}.spec", found)
    if spec.ephemeralContainers:
        found.append(
            forbidden_field(
                f"{path}.spec.ephemeralContainers", "ephemeral containers not allowed in pod template"
            )
        )
    policy = spec.restartPolicy
    if restart_policies is not None and policy in RESTART_POLICIES and policy not in restart_policies:
        found.append(not_supported(f"{path}.spec.restartPolicy", policy, restart_policies))
    return found


def validate_template_metadata(template: Any, path: str) -> list[FieldError]:
    """Labels and annotations of a `PodTemplateSpec`."""
    found: list[FieldError] = []
    metadata = template.metadata
    if metadata is None:
        return found
    if metadata.labels:
        validate_labels(metadata.labels, f"{path}.labels", found)
    if metadata.annotations:
        validate_annotations(metadata.annotations, f"{path}.annotations", found)
        if template.spec is not None:
            validate_pod_annotations(metadata.annotations, template.spec, f"{path}.annotations", found)
    return found

"""Pod templates: what kinds that carry a pod template need of pods' defaults and validation.

The work is in `podspec_defaults` and `podspec_validation`; this module is the door for other groups.
"""

from __future__ import annotations

from typing import Any

from lakh.apis.meta import validate_annotations, validate_labels
from lakh.apis.podspec_defaults import default_pod_spec
from lakh.apis.podspec_validation import validate_pod_spec
from lakh.machinery.errors import FieldError, required

__all__ = ["default_pod_spec", "default_pod_template", "validate_pod_spec", "validate_pod_template"]


def default_pod_template(template: Any) -> None:
    """Fills in the defaults of a `PodTemplateSpec`; None is left alone. Idempotent."""
    if template is not None and template.spec is not None:
        default_pod_spec(template.spec)


def validate_pod_template(
    template: Any, path: str, *, restart_policies: tuple[str, ...] | None = None
) -> list[FieldError]:
    """All findings on a `PodTemplateSpec`. `restart_policies`: those that the kind supports (None: all, not checked further)."""
    if template is None:
        return [required(path)]
    found: list[FieldError] = []
    meta = template.metadata
    if meta is not None:
        if meta.labels:
            validate_labels(meta.labels, f"{path}.labels", found)
        if meta.annotations:
            validate_annotations(meta.annotations, f"{path}.annotations", found)
    if template.spec is None:
        found.append(required(f"{path}.spec"))
        return found
    found.extend(validate_pod_spec(template.spec, f"{path}.spec", template=True))
    return found

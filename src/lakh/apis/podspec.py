"""Pod templates: what kinds that carry a pod template need of pods' defaults and validation.

The work is in `podspec_defaults` and `podspec_validation`; this module is the door for other groups.
"""

from __future__ import annotations

from typing import Any

from lakh.apis.meta import validate_annotations, validate_labels
from lakh.apis.podspec_defaults import PodSpec, default_pod_spec
from lakh.apis.podspec_validation import RESTART_POLICIES, validate_pod_spec
from lakh.machinery.errors import FieldError, not_supported, required

__all__ = ["default_pod_spec", "default_pod_template", "validate_pod_spec", "validate_pod_template"]


def default_pod_template(template: Any) -> None:
    """Fills in the defaults of a `PodTemplateSpec`; None is left alone, an absent spec becomes an empty one. Idempotent."""
    if template is not None:
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
    meta = template.metadata
    if meta is not None:
        if meta.labels:
            validate_labels(meta.labels, f"{path}.labels", found)
        if meta.annotations:
            validate_annotations(meta.annotations, f"{path}.annotations", found)
    spec = template.spec
    if spec is None:
        found.append(required(f"{path}.spec.containers"))
        return found
    found.extend(validate_pod_spec(spec, f"{path}.spec", template=True))
    policy = spec.restartPolicy
    if restart_policies is not None and policy in RESTART_POLICIES and policy not in restart_policies:
        found.append(not_supported(f"{path}.spec.restartPolicy", policy, restart_policies))
    return found

"""What is written about claims before a pod is bound, and what a failed write may mean."""

from __future__ import annotations

from typing import Any

import msgspec

from lakh.client.errors import ApiError, ClientError, ConnectFailed
from lakh.machinery import times

from .deviceviews import ClaimView

__all__ = [
    "FINALIZER",
    "allocation_patch",
    "finalizer_patch",
    "is_unknown",
]

FINALIZER = "resource.kubernetes.io/delete-protection"


def is_unknown(error: ClientError) -> bool:
    """Whether a failed write may have been carried out."""
    if isinstance(error, ApiError):
        return error.code >= 500
    return not isinstance(error, ConnectFailed)


def finalizer_patch(claim: ClaimView) -> dict[str, Any]:
    """The merge patch that keeps an allocated claim from going away."""
    metadata = claim.metadata
    return {
        "metadata": {
            "uid": metadata.uid,
            "resourceVersion": metadata.resourceVersion,
            "finalizers": [*(metadata.finalizers or ()), FINALIZER],
        }
    }


def allocation_patch(
    claim: ClaimView, allocation: Any, configurations: list[Any], consumer: dict[str, str]
) -> dict[str, Any]:
    """The merge patch that allocates a claim and reserves it for its first consumer."""
    encoded = msgspec.to_builtins(allocation)
    encoded["allocationTimestamp"] = times.now()
    if configurations:
        encoded["devices"]["config"] = configurations
    return {
        "metadata": {"uid": claim.metadata.uid, "resourceVersion": claim.metadata.resourceVersion},
        "status": {"allocation": encoded, "reservedFor": [consumer]},
    }

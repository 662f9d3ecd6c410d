"""Devices that have to be made ready before a pod may use them, say attached to the node: binding conditions (KEP-5007).

An allocation copies the conditions from the device. The driver sets them in the claim's `status.devices`; a pod is bound when all of them are true, and not at all
once one of the failure conditions is. Upstream's plugins/dynamicresources/dynamicresources.go, isClaimReadyForBinding (v1.36).
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from .deviceviews import ClaimView

__all__ = ["DeviceFailedError", "awaits_devices", "is_failed", "is_ready"]


class DeviceFailedError(Exception):
    """A device will not become ready; the text is upstream's."""


def awaits_devices(claims: Iterable[ClaimView]) -> bool:
    """Whether any device of these allocations has conditions."""
    return any(
        result.bindingConditions
        for claim in claims
        if claim.status.allocation is not None
        for result in claim.status.allocation.devices.results or ()
    )


def is_ready(claim: ClaimView) -> bool:
    """Whether all conditions of the claim's devices are true. Raises DeviceFailedError."""
    allocation = claim.status.allocation
    if allocation is None:
        return False
    conditions = {
        (device.driver, device.pool, device.device, device.shareID): {
            condition.type: condition for condition in device.conditions or ()
        }
        for device in claim.status.devices or ()
    }
    for result in allocation.devices.results or ():
        if not result.bindingConditions:
            continue
        own = conditions.get((result.driver, result.pool, result.device, result.shareID))
        if own is None:
            return False
        for name in result.bindingFailureConditions or ():
            if name in own and own[name].status == "True":
                raise DeviceFailedError(
                    f"claim {claim.metadata.name} binding failed: reason={own[name].reason}, "
                    f"message={json.dumps(own[name].message)}"
                )
        if any(name not in own or own[name].status != "True" for name in result.bindingConditions):
            return False
    return True


def is_failed(claim: ClaimView) -> bool:
    """Whether a device of the claim will not become ready."""
    try:
        is_ready(claim)
    except DeviceFailedError:
        return True
    return False

"""What becomes of a StatefulSet's claims (`persistentVolumeClaimRetentionPolicy`): who owns them, so that the garbage collector takes them along.

`whenDeleted: Delete` makes the StatefulSet the owner; `whenScaled: Delete` makes the pod the owner once it is surplus, before it is deleted.
"""

from __future__ import annotations

from typing import Any

import msgspec

from lakh.machinery.volumes import ClaimView, OwnerReference

from .pods import controller_reference
from .views import Meta, StatefulSet


def wanted_owner(stateful: StatefulSet, pod: Meta | None, *, surplus: bool) -> dict[str, Any] | None:
    """The reference that the policy asks for, if any. `surplus`: the pod's ordinal is not wanted any more."""
    policy = stateful.spec.persistentVolumeClaimRetentionPolicy
    when_deleted = policy.whenDeleted if policy is not None else None
    when_scaled = policy.whenScaled if policy is not None else None
    if when_scaled == "Delete" and surplus:
        return controller_reference("v1", "Pod", pod) if pod is not None else None
    if when_deleted == "Delete":
        return controller_reference("apps/v1", "StatefulSet", stateful.metadata)
    return None


def _is(reference: OwnerReference, kind: str, name: str) -> bool:
    api = "v1" if kind == "Pod" else "apps/v1"
    return reference.kind == kind and reference.name == name and reference.apiVersion == api


def is_stale(claim: ClaimView, pod_name: str, uid: str = "") -> bool:
    """Whether the claim is going with an earlier pod of that name."""
    return any(
        _is(reference, "Pod", pod_name) and reference.uid != uid
        for reference in claim.metadata.ownerReferences or ()
    )


def owners(
    claim: ClaimView, stateful: StatefulSet, pod: Meta, *, surplus: bool
) -> list[dict[str, Any]] | None:
    """The owner references that the claim should have; `None` when it has them.

    Claims of an earlier StatefulSet or pod of the same name are left alone; those that have another controller get none of ours.
    """
    present = claim.metadata.ownerReferences or []
    ours = (("StatefulSet", stateful.metadata), ("Pod", pod))
    rest = []
    for reference in present:
        same = [who for kind, who in ours if _is(reference, kind, who.name)]
        if same and same[0].uid != reference.uid:
            return None
        if not same:
            rest.append(reference)
    wanted = [msgspec.to_builtins(reference) for reference in rest]
    owner = wanted_owner(stateful, pod, surplus=surplus)
    if owner is not None and not any(reference.controller for reference in rest):
        wanted.append(owner)
    before = [msgspec.to_builtins(reference) for reference in present]
    return None if _sorted(wanted) == _sorted(before) else wanted


def _sorted(references: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(references, key=lambda reference: str(reference["uid"]))

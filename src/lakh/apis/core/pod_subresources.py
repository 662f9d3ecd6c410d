"""What `pods/ephemeralcontainers` and `pods/resize` may change, and what they refuse.

Sources: upstream's registry/core/pod/strategy.go and validation of ephemeral containers and of resizes; KEP-277, KEP-1287.
"""

from __future__ import annotations

import copy
from typing import Any

from lakh.apis.containers import quality_of_service
from lakh.apis.meta import same, spec_difference
from lakh.apis.podannotations import MIRROR, validate_annotation_updates
from lakh.apis.podspec_validation import validate_pod_spec
from lakh.apis.structs import core
from lakh.machinery.errors import FieldError, forbidden_field, invalid_value

EPHEMERAL_CONTAINERS, RESIZE = "ephemeralcontainers", "resize"
SUBRESOURCES = (EPHEMERAL_CONTAINERS, RESIZE)
# How upstream prints the path of a whole object.
WHOLE = "[]"
# What a resize may change.
RESIZABLE = ("cpu", "memory")

_ResourceRequirements = core("ResourceRequirements")


def prepare(new: Any, old: Any, subresource: str) -> None:
    """Keeps of an update what is the subresource's; the generation counts it."""
    wanted, spec = new.spec, copy.copy(old.spec)
    metadata, was = new.metadata, old.metadata
    metadata.labels, metadata.annotations = was.labels, was.annotations
    metadata.ownerReferences, metadata.finalizers = was.ownerReferences, was.finalizers
    new.status = old.status
    if subresource == EPHEMERAL_CONTAINERS:
        spec.ephemeralContainers = wanted.ephemeralContainers
        new.spec = spec
    elif _names(wanted.containers) == _names(spec.containers) and _names(wanted.initContainers) == _names(
        spec.initContainers
    ):
        spec.containers = _resized(spec.containers, wanted.containers)
        spec.initContainers = _resized(spec.initContainers, wanted.initContainers)
        spec.resources = wanted.resources
        new.spec = spec
    metadata.generation = (was.generation or 0) + 1 if new.spec != old.spec else was.generation


def _names(containers: list[Any] | None) -> list[str]:
    return [c.name for c in containers or ()]


def _resized(old: list[Any] | None, new: list[Any] | None) -> list[Any] | None:
    if not old:
        return old
    found = []
    for container, wanted in zip(old, new or (), strict=True):
        container = copy.copy(container)
        container.resources, container.resizePolicy = wanted.resources, wanted.resizePolicy
        found.append(container)
    return found


def validate(new: Any, old: Any, subresource: str) -> list[FieldError]:
    """All findings on an update of a subresource."""
    if subresource == EPHEMERAL_CONTAINERS:
        return _validate_ephemeral(new, old)
    return _validate_resize(new, old)


# -- ephemeral containers ----------------------------------------------------------------------------------------------------------


def _validate_ephemeral(new: Any, old: Any) -> list[FieldError]:
    if MIRROR in (old.metadata.annotations or {}):
        return [forbidden_field(WHOLE, "static pods do not support ephemeral containers")]
    spec, path = new.spec, "spec.ephemeralContainers"
    found = validate_pod_spec(spec, "spec", pod_name=new.metadata.name)
    if new.metadata.annotations:
        validate_annotation_updates(new, old, "metadata.annotations", found)
    now = {c.name: c for c in spec.ephemeralContainers or ()}
    for before in old.spec.ephemeralContainers or ():
        after = now.get(before.name)
        if after is None:
            found.append(
                forbidden_field(path, f'existing ephemeral containers "{before.name}" may not be removed\n')
            )
        elif not same(after, before):
            difference = spec_difference(after, before)
            found.append(
                forbidden_field(
                    path, f'existing ephemeral containers "{before.name}" may not be changed\n{difference}'
                )
            )
    return found


# -- resize ------------------------------------------------------------------------------------------------------------------------


def _validate_resize(new: Any, old: Any) -> list[FieldError]:
    if MIRROR in (old.metadata.annotations or {}):
        return [forbidden_field(WHOLE, "static pods cannot be resized")]
    if old.spec.os is not None and old.spec.os.name == "windows":
        return [forbidden_field(WHOLE, "windows pods cannot be resized")]
    found = validate_pod_spec(new.spec, "spec", pod_name=new.metadata.name)
    was = (old.status.qosClass if old.status is not None else None) or quality_of_service(old.spec)
    if was != quality_of_service(new.spec):
        found.append(invalid_value("spec", was, "Pod QOS Class may not change as a result of resizing"))
    if not _node_can_resize(old):
        found.append(forbidden_field("spec", "Pod running on node without support for resize"))
    ordered = True
    for name in ("containers", "initContainers"):
        after, before = _names(getattr(new.spec, name)), _names(getattr(old.spec, name))
        if after != before:
            ordered = False
            what = "added or removed" if len(after) != len(before) else "renamed or reordered"
            found.append(forbidden_field(f"spec.{name}", f"{name} may not be {what} on resize"))
    if not ordered:
        return found
    for index, (after, before) in enumerate(
        zip(new.spec.initContainers or (), old.spec.initContainers or (), strict=True)
    ):
        if before.restartPolicy == "Always":
            _validate_amounts(after, before, f"spec.initContainers[{index}].resources", found)
            if not same(_munged(after, before), before):
                found.append(
                    forbidden_field(
                        "spec", "only cpu and memory resources for sidecar containers are mutable"
                    )
                )
        elif not same(after, before):
            found.append(forbidden_field("spec", "resources for non-sidecar init containers are immutable"))
    for index, (after, before) in enumerate(zip(new.spec.containers, old.spec.containers, strict=True)):
        _validate_amounts(after, before, f"spec.containers[{index}].resources", found)
        if not same(_munged(after, before), before):
            found.append(forbidden_field("spec", "only cpu and memory resources are mutable"))
    if not same(new.spec.resources, old.spec.resources):
        _validate_amounts(new.spec, old.spec, "spec.resources", found)
        if not same(_munged(new.spec, old.spec).resources, old.spec.resources):
            found.append(forbidden_field("spec", "only cpu and memory resources are mutable"))
    return found


def _node_can_resize(pod: Any) -> bool:
    """Whether the pod's node resizes: its kubelet then reports the resources of running containers."""
    for status in (pod.status.containerStatuses or ()) if pod.status is not None else ():
        if status.state is not None and status.state.running is not None:
            return status.resources is not None
    return True


def _amounts(holder: Any, side: str) -> dict[str, Any]:
    return (getattr(holder.resources, side) or {}) if holder.resources is not None else {}


def _validate_amounts(new: Any, old: Any, path: str, found: list[FieldError]) -> None:
    for side in ("requests", "limits"):
        if not _amounts(old, side).keys() <= _amounts(new, side).keys():
            found.append(forbidden_field(f"{path}.{side}", f"resource {side} cannot be removed"))


def _munged(new: Any, old: Any) -> Any:
    """`new` with the processors and the memory of `old`."""
    munged = copy.copy(new)
    if hasattr(old, "resizePolicy"):
        munged.resizePolicy = old.resizePolicy
    sides = {}
    for side in ("limits", "requests"):
        before = _amounts(old, side)
        amounts = {name: v for name, v in _amounts(new, side).items() if name not in RESIZABLE}
        amounts.update((name, before[name]) for name in RESIZABLE if name in before)
        sides[side] = amounts or None
    claims = new.resources.claims if new.resources is not None else None
    munged.resources = _ResourceRequirements(
        limits=sides["limits"], requests=sides["requests"], claims=claims
    )
    return munged

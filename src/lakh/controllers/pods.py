"""Pure facts about pods, and how controllers make and rank them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from . import clock
from .views import Condition, Meta, OwnerReference, Pod, Template

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"

_PHASE_ORDER = {"Pending": 0, None: 0, "Unknown": 1, "Running": 2}

_encode = msgspec.json.Encoder().encode
_decode_template = msgspec.json.Decoder(Template).decode


def controller_of(metadata: Any) -> OwnerReference | None:
    """The owner reference whose `controller` is true."""
    for reference in metadata.ownerReferences or ():
        if reference.controller:
            found: OwnerReference = reference
            return found
    return None


def is_finished(pod: Pod) -> bool:
    """Whether the pod has ended, well or not."""
    return pod.status.phase in ("Succeeded", "Failed")


def is_active(pod: Pod) -> bool:
    """Whether the pod still counts as a replica."""
    return pod.metadata.deletionTimestamp is None and pod.status.phase not in ("Succeeded", "Failed")


def is_terminating(pod: Pod) -> bool:
    """Whether the pod was deleted and has not ended."""
    return pod.metadata.deletionTimestamp is not None and not is_finished(pod)


def find_condition(conditions: Iterable[Condition] | None, type_: str) -> Condition | None:
    """The condition of that type."""
    for condition in conditions or ():
        if condition.type == type_:
            return condition
    return None


def is_ready(pod: Pod) -> bool:
    """Whether the pod's Ready condition is true."""
    for condition in pod.status.conditions or ():
        if condition.type == "Ready":
            return condition.status == "True"
    return False


def ready_since(pod: Pod) -> float | None:
    """When the pod became ready; `None` when it is not."""
    condition = find_condition(pod.status.conditions, "Ready")
    if condition is None or condition.status != "True":
        return None
    return clock.parse(condition.lastTransitionTime) or 0.0


def is_available(pod: Pod, min_ready_seconds: int, now: float) -> bool:
    """Whether the pod has been ready for long enough."""
    if min_ready_seconds <= 0:
        return is_ready(pod)
    since = ready_since(pod)
    return since is not None and since + min_ready_seconds <= now


def deletion_rank(pod: Pod, doubled_up: int, now: float) -> tuple[Any, ...]:
    """A sort key: pods that are better deleted sort first (upstream's ActivePodsWithRanks).

    Unassigned before assigned, pending before running, not ready before ready, cheap before dear, crowded nodes before empty ones, then by
    age on a logarithmic scale, so that of pods of about the same age any may go.
    """
    since = ready_since(pod)
    created = clock.parse(pod.metadata.creationTimestamp)
    restarts = max((s.restartCount or 0 for s in pod.status.containerStatuses or ()), default=0)
    return (
        1 if pod.spec.nodeName else 0,
        _PHASE_ORDER.get(pod.status.phase, 1),
        0 if since is None else 1,
        _deletion_cost(pod.metadata.annotations),
        -doubled_up,
        _log_age(since, now) if since is not None else 0,
        -restarts,
        _log_age(created, now),
        pod.metadata.uid,
    )


def _log_age(since: float | None, now: float) -> int:
    if since is None:
        return -1
    age = now - since
    return int(math.log2(age)) if age >= 1 else -1


def _deletion_cost(annotations: Mapping[str, str] | None) -> int:
    text = (annotations or {}).get(DELETION_COST)
    if not text:
        return 0
    try:
        return int(text)
    except ValueError:
        return 0


def decode_template(raw: bytes | msgspec.Raw) -> Template:
    """The template's labels and annotations; the spec stays raw."""
    return _decode_template(raw)


def controller_reference(api_version: str, kind: str, metadata: Meta) -> dict[str, Any]:
    """The owner reference that makes `metadata`'s object the controller of a new one."""
    return {
        "apiVersion": api_version,
        "kind": kind,
        "name": metadata.name,
        "uid": metadata.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


class PodMaker:
    """Encodes the pods of one template.

    The spec is spliced in as raw bytes, so a pod costs one small encode and a concatenation. `prefix` is the start of `generateName`.
    """

    __slots__ = ("_annotations", "_labels", "_metadata", "_spec")

    def __init__(
        self,
        template: bytes | msgspec.Raw,
        *,
        owner: Mapping[str, Any],
        prefix: str | None = None,
        labels: Mapping[str, str] | None = None,
        finalizers: Iterable[str] = (),
        spec: bytes | None = None,
    ) -> None:
        decoded = decode_template(template)
        metadata = decoded.metadata
        self._labels = {**((metadata and metadata.labels) or {}), **(labels or {})}
        self._annotations = dict((metadata and metadata.annotations) or {})
        all_finalizers = [*((metadata and metadata.finalizers) or ()), *finalizers]
        self._metadata: dict[str, Any] = {"ownerReferences": [dict(owner)]}
        if prefix is not None:
            self._metadata["generateName"] = prefix
        if all_finalizers:
            self._metadata["finalizers"] = all_finalizers
        self._spec = spec if spec is not None else bytes(decoded.spec)

    @property
    def labels(self) -> Mapping[str, str]:
        """The labels of every pod made here."""
        return self._labels

    def make(
        self,
        *,
        name: str | None = None,
        generate_name: str | None = None,
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
        spec: bytes | None = None,
    ) -> bytes:
        """A pod, encoded. The arguments come on top of what all pods have."""
        metadata = dict(self._metadata)
        if name is not None:
            metadata.pop("generateName", None)
            metadata["name"] = name
        if generate_name is not None:
            metadata["generateName"] = generate_name
        all_labels = {**self._labels, **labels} if labels else self._labels
        all_annotations = {**self._annotations, **annotations} if annotations else self._annotations
        if all_labels:
            metadata["labels"] = all_labels
        if all_annotations:
            metadata["annotations"] = all_annotations
        return b'{"apiVersion":"v1","kind":"Pod","metadata":%b,"spec":%b}' % (
            _encode(metadata),
            spec if spec is not None else self._spec,
        )


def pod_prefix(name: str) -> str:
    """`generateName` of a controller's pods: `name-`, or the name alone where the dash would make it invalid."""
    prefix = f"{name}-"
    return prefix if len(prefix) <= 253 and name[-1:].isalnum() else name

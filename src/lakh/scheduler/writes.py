"""What the scheduler sends: bindings, conditions, references for events; and what a failed bind may mean."""

from __future__ import annotations

from typing import Any

import msgspec

from lakh.client.errors import ApiError, ClientError, ConnectFailed, ConnectionLost, is_conflict
from lakh.client.resources import PODS
from lakh.client.types import ObjectReference
from lakh.machinery import times

from .queue import PendingPod

__all__ = ["ERROR", "UNSCHEDULABLE", "binding", "condition_patch", "is_unknown", "reference"]

_encode = msgspec.json.Encoder().encode

UNSCHEDULABLE, ERROR = "Unschedulable", "SchedulerError"
"""Reasons of PodScheduled=False: no node will do; one would, but an error came after the decision (upstream's handleSchedulingFailure)."""


def reference(pod: PendingPod) -> ObjectReference:
    """The pod, for events."""
    return ObjectReference(
        kind="Pod", namespace=pod.namespace, name=pod.name, uid=pod.uid, apiVersion=PODS.api_version
    )


def binding(pod: PendingPod, node: str) -> tuple[str, bytes]:
    """Where to post the Binding that assigns the pod, and the Binding. Its uid makes sure that no namesake is bound."""
    body = {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node},
    }
    return PODS.path(pod.namespace, pod.name, "binding"), _encode(body)


def condition_patch(
    pod: PendingPod, reason: str, message: str, *, first: bool, nominated: str | None = None
) -> dict[str, Any]:
    """The strategic merge patch that sets PodScheduled to False. Only the first one is a transition. After an error the pod is nominated no longer."""
    condition = {"type": "PodScheduled", "status": "False", "reason": reason, "message": message}
    if first:
        condition["lastTransitionTime"] = times.now()
    status: dict[str, Any] = {"conditions": [condition]}
    if nominated is not None or reason == ERROR:
        status["nominatedNodeName"] = nominated
    return {"metadata": {"uid": pod.uid}, "status": status}


def is_unknown(error: ClientError) -> bool:
    """Whether a failed bind may have been carried out, or the pod is bound already."""
    if isinstance(error, ApiError):
        return is_conflict(error) or error.code >= 500
    return not isinstance(error, ConnectFailed) and isinstance(error, ConnectionLost)

"""Narrow views of ReplicationControllers, with which the ReplicaSet controller works as with ReplicaSets."""

from __future__ import annotations

import msgspec

from .views import LabelSelector, Meta, ReplicaSetStatus, View


class ReplicationControllerSpec(View):
    """`core/v1.ReplicationControllerSpec`; its selector is a plain map."""

    replicas: int | None = None
    minReadySeconds: int | None = None
    labels: dict[str, str] | None = msgspec.field(default=None, name="selector")
    template: msgspec.Raw = msgspec.Raw(b"{}")

    @property
    def selector(self) -> LabelSelector | None:
        """The selector as newer kinds have it."""
        return LabelSelector(matchLabels=self.labels) if self.labels else None


class ReplicationController(View):
    """A ReplicationController. Its status has the fields of a ReplicaSet's, but for the terminating ones."""

    metadata: Meta
    spec: ReplicationControllerSpec = msgspec.field(default_factory=ReplicationControllerSpec)
    status: ReplicaSetStatus = msgspec.field(default_factory=ReplicaSetStatus)


class ScaleSpec(View):
    """The wanted size."""

    replicas: int | None = None


class Scale(View):
    """`autoscaling/v1.Scale`: the size of anything that has one."""

    metadata: Meta
    spec: ScaleSpec = msgspec.field(default_factory=ScaleSpec)

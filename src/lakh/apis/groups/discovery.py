"""discovery.k8s.io/v1."""

from __future__ import annotations

from lakh.apis.groups.base import GroupStrategy, declare


class EndpointSliceStrategy(GroupStrategy):
    """EndpointSlice."""

    generation = True


RESOURCES = (
    declare(
        "discovery.k8s.io",
        "v1",
        "endpointslices",
        "EndpointSlice",
        EndpointSliceStrategy(),
        namespaced=True,
    ),
)

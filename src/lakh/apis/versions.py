"""Endpoints of resources as field ownership looks at them, and the versions of built-in kinds.

Two built-in kinds have two faces: autoscalers (`autoscaling/v1`, `v2`) and events (`v1`, `events.k8s.io/v1`). Each is stored in one and converted to
the other.
"""

from __future__ import annotations

from typing import Any

from lakh.apis.catalogue import registry
from lakh.apis.definitions import schema
from lakh.apis.registry import Resource, Strategy
from lakh.machinery import fieldset, unknown
from lakh.machinery.schema import Node
from lakh.machinery.shapes import Shape, shape_of
from lakh.machinery.tracking import Endpoint, Pattern, Versions


def _pattern(path: str) -> Pattern:
    return tuple(name if name == "*" else f"f:{name}" for name in path.split("."))


def endpoint_of(
    api_version: str, node: Node, strategy: Strategy, subresource: str, versions: Versions
) -> Endpoint:
    """A resource ("") or a subresource of it."""
    resets = strategy.resets.get(subresource, ())
    ignored = [path for path in resets if "." not in path]
    if subresource == "status":
        ignored.append("spec")
    elif subresource not in ("scale", "approval") and strategy.has_status:
        ignored.append("status")
    return Endpoint(
        api_version,
        node,
        subresource,
        ignored=ignored,
        resets=fieldset.of_paths([_pattern(path) for path in resets if "." in path]),
        only=tuple(map(_pattern, strategy.writes.get(subresource, ()))),
        versions=versions,
    )


class BuiltinVersions:
    """The versions of a built-in resource's objects."""

    def __init__(self, resource: Resource) -> None:
        self._resources = {r.api_version: r for r in registry().all() if r.table == resource.table}

    def shape(self, api_version: str) -> Shape | None:
        """The shape of objects of a version; None when there is no such version."""
        resource = self._resources.get(api_version)
        return None if resource is None else shape_of(schema().node(resource.definition))

    def convert(self, obj: dict[str, Any], api_version: str) -> dict[str, Any]:
        """A plain object in another version."""
        source, target = self._resources[obj["apiVersion"]], self._resources[api_version]
        plain = {name: value for name, value in obj.items() if name not in ("apiVersion", "kind")}
        if source.to_stored is not None:
            plain = source.to_stored(plain)
        if target.from_stored is not None:
            plain = target.from_stored(plain)
        plain = unknown.prune(plain, schema().node(target.definition))
        return {"apiVersion": api_version, "kind": target.kind, **plain}

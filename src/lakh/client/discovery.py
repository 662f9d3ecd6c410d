"""Discovery: everything a server serves, for components that work on any kind."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from .client import Client, decode
from .errors import api_error
from .resources import Resource, from_discovery

__all__ = ["CachedDiscovery", "discover"]

_AGGREGATED = (
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,"
    "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,"
    "application/json"
)


async def discover(client: Client, *, all_versions: bool = False) -> list[Resource]:
    """All resources with their verbs, each in its group's preferred version only unless `all_versions` are asked for.

    Uses aggregated discovery (two requests), or plain discovery with servers that do not have it.
    A group whose server is down is left out, as in kubectl.
    """
    core, named = await asyncio.gather(_document(client, "/api"), _document(client, "/apis"))
    found: list[Resource] = []
    for document, root in ((core, "/api"), (named, "/apis")):
        if document.get("kind") == "APIGroupDiscoveryList":
            found += _aggregated(document)
        else:
            found += await _plain(client, document, root)
    if all_versions:
        return found
    preferred: dict[tuple[str, str], Resource] = {}
    for resource in found:  # a group's preferred version comes first
        preferred.setdefault((resource.group, resource.plural), resource)
    return list(preferred.values())


REFRESH_SECONDS = 30.0
"""How often upstream's controllers forget what they know of served kinds (kube-controller-manager's RESTMapper)."""


class CachedDiscovery:
    """All resources in their preferred versions, asked for again when the last answer is older than 30 s and somebody wants to know."""

    def __init__(self, client: Client, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._monotonic = monotonic
        self._asking = asyncio.Lock()
        self._asked_at = float("-inf")
        self._found: list[Resource] = []

    async def resources(self) -> list[Resource]:
        """What is served; raises as `discover` does."""
        async with self._asking:
            now = self._monotonic()
            if now - self._asked_at > REFRESH_SECONDS:
                self._found = await discover(self._client)
                self._asked_at = now
            return self._found

    async def of_kind(self, group: str, kind: str) -> Resource | None:
        """The resource of a kind; None when nobody serves it."""
        served = await self.resources()
        return next((one for one in served if (one.group, one.kind) == (group, kind)), None)


async def _document(client: Client, path: str) -> dict[str, Any]:
    response = await client.raw("GET", path, headers={"Accept": _AGGREGATED})
    if response.status != 200:
        raise api_error(response.status, response.body)
    document: dict[str, Any] = decode(response.body, dict)
    return document


def _aggregated(document: dict[str, Any]) -> list[Resource]:
    found: list[Resource] = []
    for item in document.get("items") or ():
        group = (item.get("metadata") or {}).get("name") or ""
        for version in item.get("versions") or ():
            if version.get("freshness") == "Stale":
                continue
            for entry in version.get("resources") or ():
                plural, kind = entry["resource"], entry.get("responseKind") or {}
                if not kind.get("kind"):
                    continue
                found.append(
                    Resource(
                        group,
                        version["version"],
                        plural,
                        kind["kind"],
                        entry.get("scope") == "Namespaced",
                        frozenset(entry.get("verbs") or ()),
                    )
                )
    return found


async def _plain(client: Client, document: dict[str, Any], root: str) -> list[Resource]:
    if root == "/api":
        versions = [("", version) for version in document.get("versions") or ()]
    else:
        versions = []
        for group in document.get("groups") or ():
            preferred = (group.get("preferredVersion") or {}).get("version")
            names = [version["version"] for version in group.get("versions") or ()]
            names.sort(key=lambda name: name != preferred)
            versions += [(group["name"], name) for name in names]
    documents = await asyncio.gather(*(_resource_list(client, root, *version) for version in versions))
    return [
        resource
        for (group_name, version), entries in zip(versions, documents, strict=True)
        for resource in from_discovery(group_name, version, entries)
    ]


async def _resource_list(client: Client, root: str, group: str, version: str) -> list[dict[str, Any]]:
    path = f"{root}/{group}/{version}" if group else f"{root}/{version}"
    response = await client.raw("GET", path)
    if response.status == 503:
        return []
    if response.status != 200:
        raise api_error(response.status, response.body)
    document: dict[str, Any] = decode(response.body, dict)
    return document.get("resources") or []

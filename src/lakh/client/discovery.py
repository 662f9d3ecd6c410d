"""Discovery: everything a server serves, for components that work on any kind."""

from __future__ import annotations

import asyncio
from typing import Any

from .client import Client, decode
from .errors import api_error
from .resources import Resource, from_discovery

__all__ = ["discover"]

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

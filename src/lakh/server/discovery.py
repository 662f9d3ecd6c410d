"""Discovery: which groups, versions and resources there are, in the plain and the aggregated form.

A client learns everything in two requests from the aggregated form (`/api` and `/apis`), or in one for each group version from the plain one.
Documents are made when first asked for (1 ms for the largest), kept, and answered with an entity tag, so a client that has them pays
for a 304. When the registry changes, they are made again.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from lakh.apis.custom import CustomResource
from lakh.apis.registry import Registry, Resource, Subresource
from lakh.server.codec import encode_json
from lakh.server.documents import Document, Headers, only_get
from lakh.server.negotiate import CONTENT_TYPES, accepted
from lakh.server.rendering import to_protobuf, to_yaml
from lakh.server.transport import Request, Response

# Upstream's order of groups in discovery; others follow by name.
GROUP_ORDER = (
    "apiregistration.k8s.io",
    "apps",
    "events.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "storage.k8s.io",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "scheduling.k8s.io",
    "coordination.k8s.io",
    "node.k8s.io",
    "discovery.k8s.io",
    "flowcontrol.apiserver.k8s.io",
    "resource.k8s.io",
)
OWN_PATHS = ("/api", "/apis", "/apis/", "/openapi/v2", "/openapi/v3", "/openapi/v3/")
AGGREGATED = "apidiscovery.k8s.io"
AGGREGATED_TYPE = b"application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
CACHEABLE: Headers = ((b"Cache-Control", b"public"),)


def _subresources(resource: Resource) -> list[tuple[str, Subresource]]:
    """In the order in which upstream lists them: by name, but of custom resources status first."""
    found = sorted(resource.subresources.items())
    return found[::-1] if isinstance(resource, CustomResource) else found


class Discovery:
    """Serves /api, /apis and what is directly below."""

    def __init__(self, registry: Registry, others: Callable[[], Iterable[str]] = tuple) -> None:
        """`others` tells the index what else is served."""
        self._registry = registry
        self._others = others
        self._generation = -1
        self._groups: dict[str, dict[str, list[Resource]]] = {}
        self._core: Mapping[str, list[Resource]] = {}
        self._plains: dict[str, dict[str, Any]] = {}
        self._documents: dict[tuple[str, str], Document] = {}
        self._follow()

    def _follow(self) -> None:
        """Forgets what was made of a registry that has changed."""
        if self._generation == self._registry.generation:
            return
        self._generation = self._registry.generation
        self._groups = {}
        for resource in self._registry.all():
            self._groups.setdefault(resource.group, {}).setdefault(resource.version, []).append(resource)
        self._core = self._groups.get("", {})
        self._plains = {}
        self._documents = {}

    def handle(self, request: Request, path: str, query: dict[str, str]) -> Response | None:
        """The document at a path; None when the path is of no document. Raises 405 and 406.

        Upstream's aggregator answers for the index, for `/apis` and for groups, and its server of custom resources for their versions: neither
        looks at the method. The rest is go-restful's.
        """
        self._follow()
        accept = request.headers.get("accept", "")
        aggregated = path in ("/api", "/api/", "/apis") and _wants_aggregated(accept)
        path = "/" if path == "/index.html" else path[:-1] if len(path) > 1 and path[-1] == "/" else path
        plain = None
        if not aggregated:
            plain = self._plains.get(path)
            if plain is None:
                plain = self._plain(path.split("/")[1:])
                if plain is None:
                    return None
                self._plains[path] = plain
        if self._is_routed(path):
            only_get(request)
        # The index is JSON for whoever asks.
        form = AGGREGATED if aggregated else "json" if path == "/" else accepted(accept).media
        document = self._documents.get((path, form))
        if document is None:
            document = self._documents[path, form] = self._make(path, form, plain)
        return document.answer(request, CACHEABLE)

    def has_builtin(self, path: str) -> bool:
        """Whether a path is below a group in which there is more than custom resources."""
        self._follow()
        match path.split("/")[1:]:
            case ["api", *_]:
                group = ""
            case ["apis", group, *_] if group:
                pass
            case _:
                return False
        return any(
            not isinstance(resource, CustomResource)
            for resources in self._groups.get(group, {}).values()
            for resource in resources
        )

    def _is_routed(self, path: str) -> bool:
        """Whether go-restful serves a path upstream."""
        match path.split("/")[1:]:
            case ["api", *_] | ["apis", "apiregistration.k8s.io", *_]:
                return True
            case ["apis", group, version]:
                return any(not isinstance(r, CustomResource) for r in self._groups[group][version])
            case _:
                return False

    def _make(self, path: str, form: str, plain: dict[str, Any] | None) -> Document:
        if plain is None:
            names = self._names() if path == "/apis" else [""] * bool(self._core)
            return Document(encode_json(self._aggregated(names)), AGGREGATED_TYPE)
        body = encode_json(plain)
        if form == "protobuf":
            return Document(
                to_protobuf(encode_json({"apiVersion": "v1", **plain})), CONTENT_TYPES["protobuf"]
            )
        return Document(to_yaml(body), CONTENT_TYPES["yaml"]) if form == "yaml" else Document(body)

    def _plain(self, parts: list[str]) -> dict[str, Any] | None:
        match parts:
            case [""]:
                return {"paths": self._paths()}
            case ["api"]:
                return {
                    "kind": "APIVersions",
                    "versions": list(self._core),
                    "serverAddressByClientCIDRs": [],
                }
            case ["apis"]:
                groups = [self._group(name) for name in self._names()]
                return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
            case ["apis", name] if name and name in self._groups:
                return {"kind": "APIGroup", "apiVersion": "v1", **self._group(name)}
            case ["api", version] if version in self._core:
                return self._resources("", version)
            case ["apis", name, version] if name and version in self._groups.get(name, ()):
                return self._resources(name, version)
            case _:
                return None

    def _names(self) -> list[str]:
        order = {name: i for i, name in enumerate(GROUP_ORDER)}
        return sorted((n for n in self._groups if n), key=lambda n: (order.get(n, len(order)), n))

    def _paths(self) -> list[str]:
        paths = [*OWN_PATHS, *self._others(), *(f"/api/{version}" for version in self._core)]
        for name in self._names():
            paths += [f"/apis/{name}", *(f"/apis/{name}/{version}" for version in self._groups[name])]
        return sorted(paths)

    def _versions(self, name: str) -> list[str]:
        return sorted(self._groups[name], key=version_priority, reverse=True)

    def _group(self, name: str) -> dict[str, Any]:
        versions = [{"groupVersion": f"{name}/{v}", "version": v} for v in self._versions(name)]
        return {"name": name, "versions": versions, "preferredVersion": versions[0]}

    def _resources(self, group: str, version: str) -> dict[str, Any]:
        listed: list[dict[str, Any]] = []
        for resource in sorted(self._groups[group][version], key=lambda r: r.plural):
            entry: dict[str, Any] = {
                "name": resource.plural,
                "singularName": resource.singular or resource.kind.lower(),
                "namespaced": resource.namespaced,
                "kind": resource.kind,
                "verbs": sorted(resource.verbs),
            }
            if resource.short_names:
                entry["shortNames"] = list(resource.short_names)
            if resource.categories:
                entry["categories"] = list(resource.categories)
            if "watch" in resource.verbs:  # it is stored, not computed
                entry["storageVersionHash"] = storage_version_hash(resource)
            listed.append(entry)
            for name, sub in _subresources(resource):
                below: dict[str, Any] = {
                    "name": f"{resource.plural}/{name}",
                    "singularName": "",
                    "namespaced": resource.namespaced,
                    "kind": sub.kind,
                    "verbs": sorted(sub.verbs),
                }
                if sub.version:
                    below["group"], below["version"] = sub.group, sub.version
                listed.append(below)
        return {
            "kind": "APIResourceList",
            "apiVersion": "v1",
            "groupVersion": f"{group}/{version}" if group else version,
            "resources": listed,
        }

    def _aggregated(self, names: list[str]) -> dict[str, Any]:
        items = []
        for name in names:
            versions = []
            for version in self._versions(name):
                resources = [
                    _aggregated_resource(r)
                    for r in sorted(self._groups[name][version], key=lambda r: r.plural)
                ]
                versions.append({"version": version, "resources": resources, "freshness": "Current"})
            items.append({"metadata": {"name": name} if name else {}, "versions": versions})
        return {
            "kind": "APIGroupDiscoveryList",
            "apiVersion": "apidiscovery.k8s.io/v2",
            "metadata": {},
            "items": items,
        }


def _aggregated_resource(resource: Resource) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "resource": resource.plural,
        "responseKind": {"group": resource.group, "version": resource.version, "kind": resource.kind},
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": resource.singular or resource.kind.lower(),
        "verbs": sorted(resource.verbs),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    if resource.subresources:
        entry["subresources"] = [
            {
                "subresource": name,
                "responseKind": {
                    "group": sub.group if sub.version else resource.group,
                    "version": sub.version or resource.version,
                    "kind": sub.kind,
                },
                "verbs": sorted(sub.verbs),
            }
            for name, sub in _subresources(resource)
        ]
    return entry


def storage_version_hash(resource: Resource) -> str:
    """Upstream's hash of the storage version: the first 8 bytes of SHA-256 of `group/version/kind`, in base64."""
    group, version, _ = resource.stored_as or (resource.group, resource.version, "")
    digest = hashlib.sha256(f"{group}/{version}/{resource.kind}".encode()).digest()
    return base64.b64encode(digest[:8]).decode()


def version_priority(version: str) -> tuple[int, int, int]:
    """Sorts versions as apimachinery's `version.CompareKubeAwareVersionStrings`: GA before beta before alpha."""
    match = re.fullmatch(r"v(\d+)(?:(alpha|beta)(\d+))?", version)
    if match is None:
        return (-1, 0, 0)
    major, stage, minor = match.groups()
    return ({"alpha": 0, "beta": 1, None: 2}[stage], int(major), int(minor or 0))


def _wants_aggregated(accept: str) -> bool:
    """Whether the first entry that can be served is the aggregated form, v2 or nothing."""
    for entry in accept.split(","):
        kind, *parameters = (p.strip() for p in entry.split(";"))
        options = dict(p.split("=", 1) for p in parameters if "=" in p)
        if kind not in ("application/json", "*/*"):
            continue
        if options.get("as") == "APIGroupDiscoveryList":
            if options.get("g") == AGGREGATED and options.get("v") == "v2":
                return True
            continue
        return False
    return False

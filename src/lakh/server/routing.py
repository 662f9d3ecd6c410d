"""From a request line to what it asks for: upstream's `RequestInfo`.

`resolve` is pure: a path is split once (2 µs). A `Router` remembers what was asked for lately, and by their paths the collections that requests
led to, so that one for any object in them costs a split at the last slash and a dictionary lookup.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import unquote, unquote_plus

from lakh.apis.custom import CustomResource
from lakh.apis.registry import Registry, Resource
from lakh.machinery import errors

if TYPE_CHECKING:
    from lakh.server.metrics import Record

# How many different query strings are remembered; clients repeat a few.
QUERY_CACHE_SIZE = 512
# Longer ones are parsed each time.
REMEMBERED_CHARACTERS = 4096
# Collections that a router remembers (resources times namespaces), single requests, and how long their paths are at most.
REMEMBERED_COLLECTIONS = 4096
REMEMBERED_REQUESTS = 512
REMEMBERED_PATH_CHARACTERS = 512
# Of these methods; an object is seldom written twice.
_COMES_AGAIN = ("GET", "POST")

NAMESPACE_SUBRESOURCES = ("status", "finalize")


class RequestInfo:
    """What a request for a resource asks: `verb` is get, list, watch, create, update, patch, delete or deletecollection.

    `path` is the rest behind the subresource (for proxies), without leading slash. `record` is for the metrics of requests without parameters to keep
    theirs: the same request comes again and again, with the same RequestInfo.
    """

    __slots__ = ("name", "namespace", "path", "record", "resource", "subresource", "verb")

    record: Record | None

    def __init__(
        self, verb: str, resource: Resource, namespace: str, name: str, subresource: str, path: str
    ) -> None:
        self.verb = verb
        self.record = None
        self.resource = resource
        self.namespace = namespace
        self.name = name
        self.subresource = subresource
        self.path = path

    def __repr__(self) -> str:
        where = "/".join(p for p in (self.namespace, self.name, self.subresource) if p)
        return f"<RequestInfo {self.verb} {self.resource.plural} {where}>"


_NAMED_VERBS = {
    "GET": "get",
    "HEAD": "get",
    "PUT": "update",
    "PATCH": "patch",
    "DELETE": "delete",
    "POST": "create",
}
_COLLECTION_VERBS = {
    "GET": "list",
    "HEAD": "list",
    "POST": "create",
    "DELETE": "deletecollection",
    "PUT": "update",
    "PATCH": "patch",
}


def parse_query(query: str) -> dict[str, str]:
    """Query parameters; the first value counts when one is repeated. The result is shared: do not change it."""
    return _remembered(query) if len(query) <= REMEMBERED_CHARACTERS else _parse(query)


def _parse(query: str) -> dict[str, str]:
    parameters: dict[str, str] = {}
    for pair in query.split("&"):
        if not pair:
            continue
        name, _, value = pair.partition("=")
        parameters.setdefault(unquote_plus(name), unquote_plus(value))
    return parameters


_remembered = lru_cache(QUERY_CACHE_SIZE)(_parse)


def resolve(registry: Registry, method: str, path: str, query: dict[str, str]) -> RequestInfo | None:
    """The request for a resource that a path means; None when the path is of no resource that is served."""
    parts = path.split("/")
    if "%" in path:
        parts = [unquote(p) for p in parts]
    if parts[-1] == "":
        parts.pop()
    match parts[1:2]:
        case ["api"] if len(parts) > 3:
            group, version, rest = "", parts[2], parts[3:]
        case ["apis"] if len(parts) > 4:
            group, version, rest = parts[2], parts[3], parts[4:]
        case _:
            return None
    # Deprecated, but served: `watch/` before what a list would have, or one object (upstream's requestinfo.go, specialVerbs).
    watched = rest[0] == "watch" and len(rest) > 1
    if watched:
        rest = rest[1:]
    namespace = ""
    plural = rest[0]
    if (
        plural == "namespaces"
        and len(rest) > 2
        and not (rest[2] in NAMESPACE_SUBRESOURCES and len(rest) == 3)
    ):
        namespace, plural, rest = rest[1], rest[2], rest[2:]
    resource = registry.get(group, version, plural)
    if resource is None:
        return None
    name = rest[1] if len(rest) > 1 else ""
    subresource = rest[2] if len(rest) > 2 else ""
    if namespace and not resource.namespaced:
        return None
    if name and resource.namespaced and not namespace:
        return None
    if len(rest) > 3 and subresource != "proxy":
        return None
    if watched:
        if subresource:
            return None
        return RequestInfo("watch" if method == "GET" else "", resource, namespace, name, "", "")
    return RequestInfo(_verb(method, name, query), resource, namespace, name, subresource, "/".join(rest[3:]))


def _verb(method: str, name: str, query: dict[str, str]) -> str:
    if name:
        return _NAMED_VERBS.get(method, "")
    verb = _COLLECTION_VERBS.get(method, "")
    # What is neither of these means yes, an empty value, too.
    if verb == "list" and query and query.get("watch", "false").lower() not in ("false", "0"):
        return "watch"
    return verb


def check_custom(resource: CustomResource, info: RequestInfo) -> None:
    """Raises what upstream's server of custom resources says of a request that it has no handler for (apiextensions' crdHandler)."""
    if resource.namespaced and not info.namespace and info.verb not in ("list", "watch"):
        raise errors.PathNotFound()  # Only these go across namespaces.
    verbs = resource.verbs
    if info.subresource:
        subresource = resource.subresources.get(info.subresource)
        if subresource is None:
            raise errors.not_found(resource.group, resource.plural, info.name)
        verbs = subresource.verbs
    if info.verb not in verbs:
        raise errors.method_not_supported(resource.group, resource.plural, info.verb)
    if not info.name and info.verb in ("update", "patch"):
        raise errors.bad_request("name must be provided")


class Router:
    """`resolve` on a registry, which may change.

    Example: once `/api/v1/namespaces/ns/pods/a` was asked for, `/api/v1/namespaces/ns/pods` is remembered as (pods, ns), by which that path itself,
    `…/pods/b` and `…/pods/b/status` are found.
    """

    __slots__ = ("_collections", "_generation", "_registry", "_requests")

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._generation = registry.generation
        self._collections: dict[str, tuple[Resource, str]] = {}
        self._requests: dict[tuple[str, str], RequestInfo] = {}
        """Reads and creates without parameters, by method and path."""

    def __repr__(self) -> str:
        return f"<Router of {len(self._collections)} collections, {len(self._requests)} requests>"

    def resolve(self, method: str, path: str, query: dict[str, str]) -> RequestInfo | None:
        """See the function of this name."""
        if self._generation != self._registry.generation:
            self._generation = self._registry.generation
            self._collections.clear()
            self._requests.clear()
        if query or method not in _COMES_AGAIN:
            return self._resolve(method, path, query)
        info = self._requests.get((method, path))
        if info is None:
            info = self._resolve(method, path, query)
            if info is not None and len(path) <= REMEMBERED_PATH_CHARACTERS:
                if len(self._requests) >= REMEMBERED_REQUESTS:
                    self._requests.clear()
                self._requests[method, path] = info
        return info

    def _resolve(self, method: str, path: str, query: dict[str, str]) -> RequestInfo | None:
        subresource = ""
        before, _, name = path.rpartition("/")
        found = self._collections.get(before)
        if found is None:
            found = self._collections.get(path)
            if found is not None:
                return RequestInfo(_verb(method, "", query), *found, "", "", "")
            before, _, owner = before.rpartition("/")
            found = self._collections.get(before)
            name, subresource = owner, name
        if found is not None and name and "%" not in path:
            resource, namespace = found
            # Below a namespace there are collections, too.
            if not subresource or resource.plural != "namespaces":
                return RequestInfo(_NAMED_VERBS.get(method, ""), resource, namespace, name, subresource, "")
        info = resolve(self._registry, method, path, query)
        if info is not None:
            self._remember(path, info)
        return info

    def _remember(self, path: str, info: RequestInfo) -> None:
        """The collection that a path led to, if what is asked for by a path below it is always an object of it."""
        if (info.resource.namespaced and not info.namespace) or (info.subresource and not info.name):
            return
        if info.verb in ("", "watch") and "/watch/" in path:
            return
        if "%" in path or path.endswith("/") or info.path:
            return
        collection = path.rsplit("/", 2 if info.subresource else 1 if info.name else 0)[0]
        if len(collection) > REMEMBERED_PATH_CHARACTERS:
            return
        if len(self._collections) >= REMEMBERED_COLLECTIONS:
            self._collections.clear()
        self._collections[collection] = (info.resource, info.namespace)

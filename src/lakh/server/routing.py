"""From a request line to what it asks for: upstream's `RequestInfo`.

Pure and cheap (2 µs): a path is split once, a query is parsed only when there is one.
"""

from __future__ import annotations

from functools import lru_cache
from urllib.parse import unquote, unquote_plus

from lakh.apis.custom import CustomResource
from lakh.apis.registry import Registry, Resource
from lakh.machinery import errors

# How many different query strings are remembered; clients repeat a few.
QUERY_CACHE_SIZE = 512
# Longer ones are parsed each time.
REMEMBERED_CHARACTERS = 4096

NAMESPACE_SUBRESOURCES = ("status", "finalize")


class RequestInfo:
    """What a request for a resource asks: `verb` is get, list, watch, create, update, patch, delete or deletecollection.

    `path` is the rest behind the subresource (for proxies), without leading slash.
    """

    __slots__ = ("name", "namespace", "path", "resource", "subresource", "verb")

    def __init__(
        self, verb: str, resource: Resource, namespace: str, name: str, subresource: str, path: str
    ) -> None:
        self.verb = verb
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
    if name:
        verb = _NAMED_VERBS.get(method, "")
    else:
        verb = _COLLECTION_VERBS.get(method, "")
        # What is neither of these means yes, an empty value, too.
        if verb == "list" and query.get("watch", "false").lower() not in ("false", "0"):
            verb = "watch"
    return RequestInfo(verb, resource, namespace, name, subresource, "/".join(rest[3:]))


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

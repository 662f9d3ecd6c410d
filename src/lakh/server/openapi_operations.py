"""What can be done with each resource, as OpenAPI tells it: paths, operations, parameters.

An `Operation` is what v2 and v3 have in common; `openapi_build` renders it. Operation ids, actions and tags are upstream's, for client
generators make method names of them. Only what this server serves is listed: JSON and YAML.
Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from lakh.apis.custom import CustomResource
from lakh.apis.registry import Registry, Resource, Subresource

META = "io.k8s.apimachinery.pkg.apis.meta.v1."
STATUS = META + "Status"
DELETE_OPTIONS = META + "DeleteOptions"
PATCH = META + "Patch"
WATCH_EVENT = META + "WatchEvent"
# In place of a definition: a body of plain text.
TEXT = ""

JSON_OR_YAML = ("application/json", "application/yaml")
WATCHABLE = (*JSON_OR_YAML, "application/json;stream=watch")
PLAIN_TEXT = ("text/plain", *JSON_OR_YAML)
ANY_BODY = ("*/*",)
DELETE_BODY = ("application/json", "application/yaml")
PATCH_BODY = (
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
)
# Custom resources have no merge keys.
CUSTOM_PATCH_BODY = PATCH_BODY[:3]

# Parameter → its type and what it means. Path parameters are `name` and `namespace`, everything else is in the query.
PARAMETERS: Mapping[str, tuple[str, str]] = {
    "name": ("string", "Name of the {kind}."),
    "namespace": ("string", "Namespace of the object, and the scope of the request."),
    "pretty": (
        "string",
        "Asks for indented output: any true value, or false for a client that is one of people (curl, a browser).",
    ),
    "dryRun": ("string", "`All` runs every stage of the request but the write."),
    "fieldManager": ("string", "Who makes the change, for managedFields. Required for server-side apply."),
    "fieldValidation": (
        "string",
        "What happens to unknown and duplicate fields: `Ignore` drops them, `Warn` (the default) drops them with a warning each, "
        "`Strict` refuses the request.",
    ),
    "force": ("boolean", "Server-side apply takes over fields that conflict. Only for apply patches."),
    "allowWatchBookmarks": ("boolean", "A watch may send BOOKMARK events, which tell how far it is."),
    "continue": ("string", "The token of the last page: go on behind it. 410 when it is too old."),
    "fieldSelector": ("string", "Only objects with these fields, such as `metadata.name=a`."),
    "labelSelector": ("string", "Only objects with these labels, such as `app=a,tier!=b`."),
    "limit": ("integer", "How many objects a page has at most; the rest is behind `metadata.continue`."),
    "resourceVersion": (
        "string",
        "How new the answer must be. See https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions.",
    ),
    "resourceVersionMatch": ("string", "How a list applies resourceVersion: `NotOlderThan` or `Exact`."),
    "sendInitialEvents": (
        "boolean",
        "A watch begins with the objects there are as ADDED events and a bookmark. Needs "
        "`resourceVersionMatch=NotOlderThan`.",
    ),
    "timeoutSeconds": ("integer", "When a list or watch ends whether it is done or not."),
    "watch": ("boolean", "Answer with a stream of changes instead of a list."),
    "gracePeriodSeconds": ("integer", "How long an object has to end by itself; 0 deletes at once."),
    "ignoreStoreReadErrorWithClusterBreakingPotential": (
        "boolean",
        "Deletes an object that cannot be read from the store without its finalizers.",
    ),
    "orphanDependents": ("boolean", "Deprecated, use propagationPolicy."),
    "propagationPolicy": ("string", "What happens to dependents: `Orphan`, `Background` or `Foreground`."),
    "container": ("string", "Whose log; may be left out when the pod has one container."),
    "follow": ("boolean", "Stay and send what is written later."),
    "insecureSkipTLSVerifyBackend": ("boolean", "Do not check the certificate of the node's kubelet."),
    "limitBytes": ("integer", "How many bytes are sent at most."),
    "previous": ("boolean", "The log of the container's last run."),
    "sinceSeconds": ("integer", "Only what was written within this many seconds."),
    "stream": ("string", "`All`, `Stdout` or `Stderr`."),
    "tailLines": ("integer", "How many of the last lines are sent."),
    "timestamps": ("boolean", "Put an RFC 3339 time before each line."),
}
PATH_PARAMETERS = ("name", "namespace")

_LIST = (
    "allowWatchBookmarks",
    "continue",
    "fieldSelector",
    "labelSelector",
    "limit",
    "resourceVersion",
    "resourceVersionMatch",
    "sendInitialEvents",
    "timeoutSeconds",
    "watch",
)
_WRITE = ("dryRun", "fieldManager", "fieldValidation")
_DELETE = (
    "dryRun",
    "gracePeriodSeconds",
    "ignoreStoreReadErrorWithClusterBreakingPotential",
    "orphanDependents",
    "propagationPolicy",
)
_DELETE_COLLECTION = (
    "continue",
    "dryRun",
    "fieldSelector",
    "gracePeriodSeconds",
    "ignoreStoreReadErrorWithClusterBreakingPotential",
    "labelSelector",
    "limit",
    "orphanDependents",
    "propagationPolicy",
    "resourceVersion",
    "resourceVersionMatch",
    "sendInitialEvents",
    "timeoutSeconds",
)
_LOG = (
    "container",
    "follow",
    "insecureSkipTLSVerifyBackend",
    "limitBytes",
    "previous",
    "sinceSeconds",
    "stream",
    "tailLines",
    "timestamps",
)

# Verb → HTTP method, upstream's action, its word in operation ids, and the codes of success.
_VERBS: Mapping[str, tuple[str, str, str, tuple[int, ...]]] = {
    "list": ("get", "list", "list", (200,)),
    "create": ("post", "post", "create", (200, 201, 202)),
    "deletecollection": ("delete", "deletecollection", "delete", (200,)),
    "get": ("get", "get", "read", (200,)),
    "update": ("put", "put", "replace", (200, 201)),
    "patch": ("patch", "patch", "patch", (200, 201)),
    "delete": ("delete", "delete", "delete", (200, 202)),
    "watch": ("get", "watch", "watch", (200,)),
    "watchlist": ("get", "watchlist", "watch", (200,)),
}
_COLLECTION_VERBS = ("list", "create", "deletecollection")
_ITEM_VERBS = ("get", "update", "delete", "patch")
_REASONS = {200: "OK", 201: "Created", 202: "Accepted"}


@dataclass(frozen=True, slots=True)
class Operation:
    """One method on one path. `body` and `answer` are definitions; `answer` is `TEXT` for plain text."""

    path: str
    method: str
    id: str
    description: str
    tag: str
    answer: str
    produces: tuple[str, ...] = JSON_OR_YAML
    action: str = ""
    kind: tuple[str, str, str] | None = None  # group, version, kind
    parameters: tuple[str, ...] = ()
    path_parameters: tuple[str, ...] = ()
    body: str | None = None
    body_required: bool = False
    consumes: tuple[str, ...] = ()
    codes: tuple[int, ...] = (200,)

    @property
    def responses(self) -> Iterator[tuple[int, str]]:
        """Codes of success with their reasons."""
        for code in self.codes:
            yield code, _REASONS[code]


@dataclass(slots=True)
class Kinds:
    """Finds the definition of a kind."""

    by_kind: dict[tuple[str, str, str], str] = field(default_factory=dict)

    @classmethod
    def of(cls, definitions: Mapping[str, Any]) -> Kinds:
        """An index of definitions that are of exactly one kind."""
        found = {}
        for name, raw in definitions.items():
            kinds = raw.get("x-kubernetes-group-version-kind", ())
            if len(kinds) == 1:
                found[kinds[0]["group"], kinds[0]["version"], kinds[0]["kind"]] = name
        return cls(found)

    def list_of(self, resource: Resource) -> str | None:
        """The definition of a resource's list."""
        return self.by_kind.get((resource.group, resource.version, resource.kind + "List"))

    def of_subresource(self, resource: Resource, sub: Subresource) -> str:
        """The definition that a subresource speaks; `TEXT` when it speaks none."""
        group, version = (sub.group, sub.version) if sub.version else (resource.group, resource.version)
        return self.by_kind.get((group, version, sub.kind), TEXT)


def group_versions(registry: Registry) -> dict[tuple[str, str], list[Resource]]:
    """The resources of each group version."""
    grouped: dict[tuple[str, str], list[Resource]] = {}
    for resource in registry.all():
        grouped.setdefault((resource.group, resource.version), []).append(resource)
    return grouped


def root(group: str, version: str = "") -> str:
    """Where a group or a group version is served: `/api/v1`, `/apis/apps`, `/apis/apps/v1`."""
    parts = ("apis", group, version) if group else ("api", version)
    return "/" + "/".join(part for part in parts if part)


def group_word(group: str) -> str:
    """A group in operation ids: `Core`, `Apps`, `RbacAuthorization`."""
    if not group:
        return "Core"
    return "".join(_capital(part) for part in group.removesuffix(".k8s.io").split("."))


def tag(group: str, version: str = "") -> str:
    """A group version as a tag: `core_v1`, `rbacAuthorization_v1`."""
    word = group_word(group)
    word = word[0].lower() + word[1:]
    return f"{word}_{version}" if version else word


def _capital(word: str) -> str:
    return word[:1].upper() + word[1:]


def discovery_operations(groups: Iterable[tuple[str, str]]) -> dict[str, list[Operation]]:
    """What /version, /api, /apis and each group answer, by their place in OpenAPI's index (`apis/apps`)."""
    places = {
        "version": [
            Operation(
                "/version/",
                "get",
                "getCodeVersion",
                "get the version information for this server",
                "version",
                "io.k8s.apimachinery.pkg.version.Info",
                ("application/json",),
            )
        ],
        "api": [
            Operation(
                "/api/",
                "get",
                "getCoreAPIVersions",
                "get available API versions",
                "core",
                META + "APIVersions",
            )
        ],
        "apis": [
            Operation(
                "/apis/",
                "get",
                "getAPIVersions",
                "get available API versions",
                "apis",
                META + "APIGroupList",
            )
        ],
    }
    for group in sorted({group for group, _ in groups if group}):
        places[f"apis/{group}"] = [
            Operation(
                f"{root(group)}/",
                "get",
                f"get{group_word(group)}APIGroup",
                "get information of a group",
                tag(group),
                META + "APIGroup",
            )
        ]
    return places


def operations(group: str, version: str, resources: Iterable[Resource], kinds: Kinds) -> Iterator[Operation]:
    """All operations of a group version, its own discovery included."""
    yield Operation(
        f"{root(group, version)}/",
        "get",
        f"get{group_word(group)}{_capital(version)}APIResources",
        "get available resources",
        tag(group, version),
        META + "APIResourceList",
    )
    for resource in resources:
        yield from _resource_operations(resource, kinds)


def _resource_operations(resource: Resource, kinds: Kinds) -> Iterator[Operation]:
    base = root(resource.group, resource.version)
    scoped = ("namespace",) if resource.namespaced else ()
    collection = (
        f"{base}/namespaces/{{namespace}}/{resource.plural}" if scoped else f"{base}/{resource.plural}"
    )
    item = f"{collection}/{{name}}"
    listed = kinds.list_of(resource)
    for verb in _COLLECTION_VERBS:
        if verb in resource.verbs and (verb != "list" or listed):
            yield _operation(resource, verb, collection, scoped, resource.definition, listed)
    for verb in _ITEM_VERBS:
        if verb in resource.verbs:
            yield _operation(resource, verb, item, ("name", *scoped), resource.definition, listed)
    if resource.namespaced and listed and "list" in resource.verbs:
        yield _operation(resource, "list", f"{base}/{resource.plural}", (), resource.definition, listed)
    if "watch" in resource.verbs and listed and not isinstance(resource, CustomResource):
        # Deprecated: clients watch by a list's parameter. Upstream has them for its own kinds only.
        watched = f"{base}/watch{collection.removeprefix(base)}"
        yield _operation(resource, "watchlist", watched, scoped, WATCH_EVENT, listed)
        yield _operation(resource, "watch", f"{watched}/{{name}}", ("name", *scoped), WATCH_EVENT, listed)
        if resource.namespaced:
            yield _operation(
                resource, "watchlist", f"{base}/watch/{resource.plural}", (), WATCH_EVENT, listed
            )
    for name, sub in sorted(resource.subresources.items()):
        definition = kinds.of_subresource(resource, sub)
        for verb in ("get", "create", "update", "patch", "delete"):
            if verb in sub.verbs:
                yield _operation(
                    resource, verb, f"{item}/{name}", ("name", *scoped), definition, None, name, sub
                )


def _operation(
    resource: Resource,
    verb: str,
    path: str,
    path_parameters: tuple[str, ...],
    definition: str,
    listed: str | None,
    sub_name: str = "",
    sub: Subresource | None = None,
) -> Operation:
    method, action, word, codes = _VERBS[verb]
    kind = (resource.group, resource.version, resource.kind)
    if sub is not None and sub.version:
        kind = (sub.group, sub.version, sub.kind)
    elif sub is not None:
        kind = (resource.group, resource.version, sub.kind)
    answer = definition
    produces: tuple[str, ...] = JSON_OR_YAML
    parameters: tuple[str, ...] = ("pretty",)
    body: str | None = None
    consumes: tuple[str, ...] = ()
    match verb:
        case "list":
            answer = listed or TEXT
            produces = WATCHABLE if "watch" in resource.verbs else JSON_OR_YAML
            parameters += _LIST
        case "watch" | "watchlist":
            produces = WATCHABLE
            parameters += _LIST
        case "get" if sub_name == "log":
            answer, produces = TEXT, PLAIN_TEXT
            parameters += _LOG
        case "create" | "update":
            body, consumes = definition, ANY_BODY
            parameters += _WRITE
        case "patch":
            # kubectl looks here for which patch to send.
            body = PATCH
            is_custom = isinstance(resource, CustomResource) and sub_name != "scale"
            consumes = CUSTOM_PATCH_BODY if is_custom else PATCH_BODY
            parameters += (*_WRITE, "force")
        case "delete":
            answer, body, consumes = STATUS, DELETE_OPTIONS, DELETE_BODY
            parameters += _DELETE
        case "deletecollection":
            answer, body, consumes = STATUS, DELETE_OPTIONS, DELETE_BODY
            parameters += _DELETE_COLLECTION
    everywhere = resource.namespaced and "namespace" not in path_parameters
    return Operation(
        path=path,
        method=method,
        id="".join(
            (
                word,
                group_word(resource.group),
                _capital(resource.version),
                "Collection" if verb == "deletecollection" else "",
                "Namespaced" if resource.namespaced and not everywhere else "",
                resource.kind,
                _capital(sub_name),
                "List" if verb == "watchlist" else "",
                "ForAllNamespaces" if everywhere else "",
            )
        ),
        description=_description(resource, verb, sub_name),
        tag=tag(resource.group, resource.version),
        answer=answer,
        produces=produces,
        action=action,
        kind=kind,
        parameters=tuple(sorted(parameters)),
        path_parameters=path_parameters,
        body=body if body else None,
        body_required=verb in ("create", "update", "patch"),
        consumes=consumes if body else (),
        codes=codes,
    )


def _description(resource: Resource, verb: str, sub_name: str) -> str:
    kind = f"{sub_name} of the specified {resource.kind}" if sub_name else f"the specified {resource.kind}"
    match verb:
        case "list":
            return f"list or watch objects of kind {resource.kind}"
        case "watch":
            return (
                f"watch one object of kind {resource.kind}. Deprecated: watch the list with a fieldSelector"
            )
        case "watchlist":
            return (
                f"watch the objects of kind {resource.kind}. Deprecated: use the parameter `watch` of a list"
            )
        case "create":
            return f"create {sub_name} of a {resource.kind}" if sub_name else f"create a {resource.kind}"
        case "deletecollection":
            return f"delete collection of {resource.kind}"
        case "get":
            return f"read {kind}"
        case "update":
            return f"replace {kind}"
        case "patch":
            return f"partially update {kind}"
        case _:
            return f"delete {kind}"

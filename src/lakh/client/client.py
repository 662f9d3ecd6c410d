# ruff: noqa: A002 - `type` is the right name for the type an answer is decoded to.
"""The client: the API's verbs on typed or plain objects, over one connection pool.

An answer is decoded to the `type` that the caller names: a view Struct, `dict` (the default) or `bytes` (the body as it
came, for callers that do not look inside). Decoders are made once a type. What is sent may be a `dict`, a Struct or `bytes`.

Retries: 429 and 503 with `Retry-After` are tried again, at most `max_retries` times, for every verb: the server says
that it has not carried the request out. What happens to broken connections is the transport's (see there). All other
errors go to the caller at once as `ApiError`; `raw` alone returns error answers as they are.

`user_agent` matters: without `fieldManager` the server takes the part before the first `/` as the manager's name.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from os import PathLike
from typing import Any, TypeVar, overload
from urllib.parse import urlencode

import msgspec

from lakh.machinery import gonumbers

from .errors import BadResponse, api_error
from .exchange import RawResponse, Stream
from .kubeconfig import Config, load_kubeconfig
from .resources import Resource
from .transport import DEFAULT_TIMEOUT_SECONDS, Transport
from .types import ObjectList, WatchEvent
from .watch import WatchStream, decode_list
from .writer import Writer

__all__ = ["APPLY", "JSON_PATCH", "MERGE", "STRATEGIC", "Client", "RawResponse"]

T = TypeVar("T")
Params = Mapping[str, str | int | bool | None]
Dict = dict[str, Any]

JSON = "application/json"
JSON_PATCH = "application/json-patch+json"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"

MAX_RETRIES = 10
"""Tries after the first when the server says Retry-After; client-go's number."""
MAX_RETRY_AFTER_SECONDS = 30.0
"""A server may not make us wait longer than this between tries."""
BACKGROUND_CONNECTIONS = 2
"""Of `Client.background`."""
COLLECTION_TIMEOUT_SECONDS = 600.0
"""Of the deletion of a collection: a hundred thousand objects are many writes."""
METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
WATCH_GRACE_SECONDS = 30.0
"""How long after its `timeoutSeconds` a watch may still be open before it counts as broken."""

_encode = msgspec.json.Encoder().encode
_decoders: dict[Any, msgspec.json.Decoder[Any]] = {}


def query(**parameters: Any) -> dict[str, str]:
    """Query parameters without those that are None or empty; booleans as `true` and `false`."""
    return {
        name: ("true" if value else "false") if isinstance(value, bool) else str(value)
        for name, value in parameters.items()
        if value is not None and value != ""
    }


def _target(path: str, params: Mapping[str, Any] | None) -> str:
    if not params:
        return path
    params = query(**params)
    return f"{path}?{urlencode(params)}" if params else path


def _body(obj: Any) -> bytes:
    return obj if isinstance(obj, bytes) else _encode(obj)


def _metadata(obj: Any, name: str) -> str | None:
    """A metadata field of what is sent; None for bytes."""
    if isinstance(obj, Mapping):
        metadata = obj.get("metadata") or {}
        value = metadata.get(name) if isinstance(metadata, Mapping) else getattr(metadata, name, None)
    else:
        value = getattr(getattr(obj, "metadata", None), name, None)
    return value if isinstance(value, str) else None


def decode(body: bytes, type: Any) -> Any:
    """Decode an answer to `type`. Raises `BadResponse`."""
    if type is bytes:
        return body
    decoder = _decoders.get(type)
    if decoder is None:
        decoder = _decoders[type] = msgspec.json.Decoder(type)
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadResponse(
            f"cannot decode the answer as {getattr(type, '__name__', type)}: {error}"
        ) from error


class Client:
    """See the module. Belongs to the event loop in which it is first used."""

    def __init__(
        self,
        config: Config,
        *,
        user_agent: str,
        max_connections: int = 64,
        max_retries: int = MAX_RETRIES,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        http2: bool = True,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """At most `max_connections` requests are under way at once. Without `http2` each has a connection of its own, as with servers that don't speak it."""
        self.config = config
        self.user_agent = user_agent
        self.max_retries = max_retries
        self.timeout_seconds = timeout_seconds
        self._sleep = sleep
        self._http2 = http2
        self._transport = Transport(
            config, user_agent=user_agent, max_connections=max_connections, http2=http2
        )
        self._background: Client | None = None

    @classmethod
    def from_kubeconfig(
        cls,
        path: str | PathLike[str] | None = None,
        *,
        user_agent: str,
        max_connections: int = 64,
        context: str | None = None,
        max_retries: int = MAX_RETRIES,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        http2: bool = True,
    ) -> Client:
        """Make a client from a kubeconfig (default: `$KUBECONFIG`, then `~/.kube/config`). Raises `KubeconfigError`."""
        return cls(
            load_kubeconfig(path, context),
            user_agent=user_agent,
            max_connections=max_connections,
            max_retries=max_retries,
            timeout_seconds=timeout_seconds,
            http2=http2,
        )

    def __repr__(self) -> str:
        return f"Client({self.config.server!r}, user_agent={self.user_agent!r})"

    def beside(self, max_connections: int) -> Client:
        """Another client of the same server, whose requests do not wait for those of this one. It is the caller's to close."""
        return Client(
            self.config,
            user_agent=self.user_agent,
            max_connections=max_connections,
            max_retries=self.max_retries,
            timeout_seconds=self.timeout_seconds,
            http2=self._http2,
            sleep=self._sleep,
        )

    @property
    def background(self) -> Client:
        """One beside this for all that may take its time: few of its requests are under way, however much there is. It is closed with this."""
        if self._background is None:
            self._background = self.beside(BACKGROUND_CONNECTIONS)
        return self._background

    async def close(self) -> None:
        """Break all connections; calls in flight raise `ClientClosed`."""
        if self._background is not None:
            await self._background.close()
        await self._transport.close()

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # Reading

    @overload
    async def get(
        self, resource: Resource, name: str, namespace: str | None = None, *, subresource: str | None = None
    ) -> Dict: ...
    @overload
    async def get(
        self,
        resource: Resource,
        name: str,
        namespace: str | None = None,
        *,
        type: type[T],
        subresource: str | None = None,
    ) -> T: ...
    async def get(
        self,
        resource: Resource,
        name: str,
        namespace: str | None = None,
        *,
        type: Any = dict,
        subresource: str | None = None,
    ) -> Any:
        """Read one object."""
        return decode(await self._call("GET", resource.path(namespace, name, subresource)), type)

    @overload
    async def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
        limit: int | None = None,
        continue_: str | None = None,
        resource_version: str | None = None,
        resource_version_match: str | None = None,
    ) -> ObjectList[Dict]: ...
    @overload
    async def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        type: type[T],
        label_selector: str | None = None,
        field_selector: str | None = None,
        limit: int | None = None,
        continue_: str | None = None,
        resource_version: str | None = None,
        resource_version_match: str | None = None,
    ) -> ObjectList[T]: ...
    async def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        type: Any = dict,
        label_selector: str | None = None,
        field_selector: str | None = None,
        limit: int | None = None,
        continue_: str | None = None,
        resource_version: str | None = None,
        resource_version_match: str | None = None,
    ) -> ObjectList[Any]:
        """Read one page of objects; all of them without `limit`. No namespace means all namespaces."""
        params = {
            "labelSelector": label_selector,
            "fieldSelector": field_selector,
            "limit": limit,
            "continue": continue_,
            "resourceVersion": resource_version,
            "resourceVersionMatch": resource_version_match,
        }
        return decode_list(await self._call("GET", _target(resource.path(namespace), params)), type)

    @overload
    def watch(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        resource_version: str | None = None,
        label_selector: str | None = None,
        field_selector: str | None = None,
        bookmarks: bool = True,
        send_initial_events: bool = False,
        timeout_seconds: int | None = None,
    ) -> AsyncIterator[WatchEvent[Dict]]: ...
    @overload
    def watch(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        type: type[T],
        resource_version: str | None = None,
        label_selector: str | None = None,
        field_selector: str | None = None,
        bookmarks: bool = True,
        send_initial_events: bool = False,
        timeout_seconds: int | None = None,
    ) -> AsyncIterator[WatchEvent[T]]: ...
    async def watch(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        type: Any = dict,
        resource_version: str | None = None,
        label_selector: str | None = None,
        field_selector: str | None = None,
        bookmarks: bool = True,
        send_initial_events: bool = False,
        timeout_seconds: int | None = None,
    ) -> AsyncIterator[WatchEvent[Any]]:
        """Iterate over a watch's events until the server ends it.

        An ERROR event raises `ApiError` (see `errors.is_expired`); a broken connection raises `ConnectionLost`. Close
        the iterator (`contextlib.aclosing`) when you leave it early: that closes its connection.
        """
        async with await self.open_watch(
            resource,
            namespace,
            type=type,
            resource_version=resource_version,
            label_selector=label_selector,
            field_selector=field_selector,
            bookmarks=bookmarks,
            send_initial_events=send_initial_events,
            timeout_seconds=timeout_seconds,
        ) as stream:
            while batch := await stream.read_batch():
                for event in batch:
                    yield event

    async def open_watch(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        type: type[T],
        resource_version: str | None = None,
        label_selector: str | None = None,
        field_selector: str | None = None,
        bookmarks: bool = True,
        send_initial_events: bool = False,
        timeout_seconds: int | None = None,
    ) -> WatchStream[T]:
        """Start a watch whose events are read in batches, which is cheaper than one by one."""
        params = {
            "watch": True,
            "resourceVersion": resource_version,
            "labelSelector": label_selector,
            "fieldSelector": field_selector,
            "allowWatchBookmarks": bookmarks or None,
            "sendInitialEvents": send_initial_events or None,
            "resourceVersionMatch": "NotOlderThan" if send_initial_events else None,
            "timeoutSeconds": timeout_seconds,
        }
        target = _target(resource.path(namespace), params)
        limit_seconds = None if timeout_seconds is None else timeout_seconds + WATCH_GRACE_SECONDS
        for attempt in range(self.max_retries + 1):
            stream = await self._transport.stream(
                "GET", target, timeout=self.timeout_seconds, limit_seconds=limit_seconds
            )
            if stream.status == 200:
                return WatchStream(stream, type)
            response = await stream.read_all(self.timeout_seconds)
            await self._retry_or_raise(response, attempt)
        raise AssertionError("unreachable")

    # Writing

    @overload
    async def create(
        self,
        resource: Resource,
        obj: Any,
        namespace: str | None = None,
        *,
        name: str | None = None,
        subresource: str | None = None,
        params: Params | None = None,
    ) -> Dict: ...
    @overload
    async def create(
        self,
        resource: Resource,
        obj: Any,
        namespace: str | None = None,
        *,
        type: type[T],
        name: str | None = None,
        subresource: str | None = None,
        params: Params | None = None,
    ) -> T: ...
    async def create(
        self,
        resource: Resource,
        obj: Any,
        namespace: str | None = None,
        *,
        type: Any = dict,
        name: str | None = None,
        subresource: str | None = None,
        params: Params | None = None,
    ) -> Any:
        """Create an object. With `name` and `subresource`: post to a subresource, as `binding` and `eviction` want it."""
        if namespace is None and resource.namespaced:
            namespace = _metadata(obj, "namespace")
            if not namespace:
                raise ValueError(f"{resource.plural}: a namespace is required")
        if subresource and not name:
            name = _metadata(obj, "name")
        path = resource.path(namespace, name if subresource else None, subresource)
        return decode(await self._call("POST", _target(path, params), _body(obj), JSON), type)

    @overload
    async def update(
        self,
        resource: Resource,
        obj: Any,
        namespace: str | None = None,
        *,
        name: str | None = None,
        subresource: str | None = None,
        params: Params | None = None,
    ) -> Dict: ...
    @overload
    async def update(
        self,
        resource: Resource,
        obj: Any,
        namespace: str | None = None,
        *,
        name: str | None = None,
        type: type[T],
        subresource: str | None = None,
        params: Params | None = None,
    ) -> T: ...
    async def update(
        self,
        resource: Resource,
        obj: Any,
        namespace: str | None = None,
        *,
        name: str | None = None,
        type: Any = dict,
        subresource: str | None = None,
        params: Params | None = None,
    ) -> Any:
        """Replace an object. With its `metadata.resourceVersion` the server refuses (Conflict) when it has changed."""
        if namespace is None and resource.namespaced:
            namespace = _metadata(obj, "namespace")
        name = name or _metadata(obj, "name")
        if not name:
            raise ValueError(f"{resource.plural}: a name is required")
        path = resource.path(namespace, name, subresource)
        return decode(await self._call("PUT", _target(path, params), _body(obj), JSON), type)

    @overload
    async def patch(
        self,
        resource: Resource,
        name: str,
        patch: Any,
        namespace: str | None = None,
        *,
        patch_type: str = MERGE,
        subresource: str | None = None,
        field_manager: str | None = None,
        force: bool = False,
        params: Params | None = None,
    ) -> Dict: ...
    @overload
    async def patch(
        self,
        resource: Resource,
        name: str,
        patch: Any,
        namespace: str | None = None,
        *,
        patch_type: str = MERGE,
        type: type[T],
        subresource: str | None = None,
        field_manager: str | None = None,
        force: bool = False,
        params: Params | None = None,
    ) -> T: ...
    async def patch(
        self,
        resource: Resource,
        name: str,
        patch: Any,
        namespace: str | None = None,
        *,
        patch_type: str = MERGE,
        type: Any = dict,
        subresource: str | None = None,
        field_manager: str | None = None,
        force: bool = False,
        params: Params | None = None,
    ) -> Any:
        """Patch an object. `patch_type` is MERGE, STRATEGIC, JSON_PATCH or APPLY, which needs a `field_manager`."""
        if patch_type == APPLY and not field_manager:
            raise ValueError("PatchOptions.meta.k8s.io: fieldManager is required for apply patch")
        if field_manager or force:
            params = {**(params or {}), "fieldManager": field_manager, "force": force or None}
        path = resource.path(namespace, name, subresource)
        return decode(await self._call("PATCH", _target(path, params), _body(patch), patch_type), type)

    async def delete(
        self,
        resource: Resource,
        name: str,
        namespace: str | None = None,
        *,
        grace_period_seconds: int | None = None,
        propagation_policy: str | None = None,
        uid: str | None = None,
        resource_version: str | None = None,
        params: Params | None = None,
    ) -> None:
        """Delete an object, optionally only if it still is the one with this uid or resourceVersion."""
        body = delete_options(grace_period_seconds, propagation_policy, uid, resource_version)
        await self._call("DELETE", _target(resource.path(namespace, name), params), body, JSON)

    async def delete_collection(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
        grace_period_seconds: int | None = None,
        propagation_policy: str | None = None,
        params: Params | None = None,
    ) -> None:
        """Delete all objects that match, in one namespace when the resource is namespaced.

        The server answers with what it deleted, of which only the metadata is asked for. All of it may take minutes.
        """
        if resource.namespaced and not namespace:
            raise ValueError(f"{resource.plural}: a namespace is required")
        selectors = {**(params or {}), "labelSelector": label_selector, "fieldSelector": field_selector}
        body = delete_options(grace_period_seconds, propagation_policy)
        await self._call(
            "DELETE",
            _target(resource.path(namespace), selectors),
            body,
            JSON,
            headers={"Accept": METADATA_LIST},
            timeout_seconds=COLLECTION_TIMEOUT_SECONDS,
        )

    async def raw(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> RawResponse:
        """One request to `path` (with its query); the answer as it is, errors included, without Retry-After retries."""
        return await self._transport.request(method, path, body, None, self.timeout_seconds, headers)

    async def stream(self, path: str) -> Stream:
        """A GET of `path` whose answer is read as it comes. Raises ApiError when it is not a success."""
        stream = await self._transport.stream("GET", path, timeout=self.timeout_seconds)
        if stream.status >= 300:
            response = await stream.read_all(self.timeout_seconds)
            raise api_error(response.status, response.body, None)
        return stream

    def writer(self) -> Writer:
        """For writes by the thousand, each without a task."""
        return Writer(self._transport, self._call, self.timeout_seconds)

    async def _call(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        content_type: str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_seconds: float | None = None,
        answer: RawResponse | None = None,
    ) -> bytes:
        """Send, retry while the server says so, return the body of a success. `answer` is that to the first try, when it has been made."""
        attempt = 0
        timeout_seconds = timeout_seconds or self.timeout_seconds
        transport = self._transport
        while True:
            if answer is None:
                request = transport.heads.request(method, target, body, content_type, headers)
                response = await transport.exchange(request, timeout_seconds)
            else:
                response, answer = answer, None
            if response.status < 300:
                return response.body
            await self._retry_or_raise(response, attempt)
            attempt += 1

    async def _retry_or_raise(self, response: RawResponse, attempt: int) -> None:
        """Wait when the server asks to come again; raise in all other cases."""
        seconds = None
        if response.status in (429, 503):
            header = response.header("retry-after")
            if header is not None and gonumbers.is_uint(header):
                seconds = float(header)
        if seconds is None or attempt >= self.max_retries:
            raise api_error(response.status, response.body, seconds)
        # Jitter upwards: never earlier than asked, and not all at once.
        await self._sleep(min(seconds, MAX_RETRY_AFTER_SECONDS) * (1.0 + 0.1 * random.random()))


def delete_options(
    grace_period_seconds: int | None = None,
    propagation_policy: str | None = None,
    uid: str | None = None,
    resource_version: str | None = None,
) -> bytes | None:
    """The body of a DELETE; None when nothing is said in it."""
    options: Dict = {}
    if grace_period_seconds is not None:
        options["gracePeriodSeconds"] = grace_period_seconds
    if propagation_policy is not None:
        options["propagationPolicy"] = propagation_policy
    preconditions = query(uid=uid, resourceVersion=resource_version)
    if preconditions:
        options["preconditions"] = preconditions
    if not options:
        return None
    return _encode({"kind": "DeleteOptions", "apiVersion": "v1", **options})

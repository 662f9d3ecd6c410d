"""The verbs on a version of a custom resource that is not the stored one, where a webhook converts between them.

Each verb is the stored version's, done on its store, with what goes in and what comes out converted; the client's version decides about
validation, pruning, defaults and columns. A patch is applied to the converted object and put back by compare and swap. Watches convert event by
event, in order. Who writes holds fields of the version that was written.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from lakh.apis.custom import CustomResource
from lakh.machinery import errors
from lakh.machinery.apply import ApplyConflict
from lakh.server import listing, ownership, tables
from lakh.server.authn import User
from lakh.server.codec import FieldValidation, encode_json, load_json
from lakh.server.context import Context, boolean
from lakh.server.conversion import Plain, Webhook, decided
from lakh.server.custom_store import CustomStore
from lakh.server.exchange import Request, Response, Stream, StreamResponse
from lakh.server.ownership import Applied
from lakh.server.patches import APPLY_PATCH, Change, parse_patch
from lakh.server.routing import RequestInfo
from lakh.server.storage import ResourceStore
from lakh.store.state import Item

if TYPE_CHECKING:
    from lakh.server.handlers import Handlers

# How often a patch is applied anew when the object changed meanwhile.
PATCH_TRIES = 5
# Events of a watch that wait for the webhook; beyond it the watcher is cut off, and resumes.
WAITING_EVENTS_MAX = 10_000
JSON = "application/json"


class Converting:
    """One version of a custom resource over the stored one."""

    def __init__(self, handlers: Handlers, resource: CustomResource, stored: CustomResource) -> None:
        self.handlers = handlers
        self.resource = resource
        self.stored = stored
        self.store: ResourceStore = handlers.cluster.store(stored)
        self.view = CustomStore(resource, self.store.partition)
        self.webhook = Webhook(resource.conversion, handlers.subresources.connect)

    async def handle(
        self, request: Request, info: RequestInfo, query: dict[str, str], user: User
    ) -> Response | StreamResponse:
        """Answers a request; raises StatusError."""
        match info.verb:
            case "get" if info.subresource != "scale":
                self.handlers.accepted(request, self.view)
                item = await self._item(self.store.get(info.namespace, info.name))
                return self._shown(request, item, query)
            case "list":
                return await self._list(request, info, query)
            case "watch":
                return await self._watch(request, info, query, user)
            case "create" | "update" if info.subresource != "scale":
                return await self._write(request, info, query, user)
            case "patch" if info.subresource != "scale":
                return await self._patch(request, info, query, user)
            case _:
                return await self._answer(self._passed(request, request.body), info, query, user)

    # -- between the versions --------------------------------------------------------------------------------------------------

    async def _items(self, items: list[Item]) -> list[Item]:
        """Stored items as this version has them at rest."""
        if not items:
            return []
        objects = [load_json(self.store.codec.serve(i.value, i.revision)) for i in items]
        converted = await self.webhook.convert(objects, self.resource.api_version)
        return [
            Item(i.key, self._at_rest(o), i.terms, i.create_revision, i.revision)
            for i, o in zip(items, converted, strict=True)
        ]

    async def _item(self, item: Item) -> Item:
        return (await self._items([item]))[0]

    def _at_rest(self, plain: Plain) -> bytes:
        """A converted object, pruned and defaulted by this version's schema."""
        codec = self.view.codec
        return codec.encode_stored(codec.convert(plain, FieldValidation.IGNORE, []))

    async def _stored(self, plain: Plain) -> bytes:
        """An object of this version as a body of the stored one."""
        plain = {"apiVersion": self.resource.api_version, "kind": self.resource.kind, **plain}
        (converted,) = await self.webhook.convert([plain], self.stored.api_version)
        return encode_json(converted)

    def _shown(
        self, request: Request, item: Item, query: dict[str, str], status: int = 200, context: Any = None
    ) -> Response:
        accepted = self.handlers.accepted(request, self.view)
        return self.handlers._item(self.view, item, accepted, query, status, context)

    # -- the stored version's handlers -----------------------------------------------------------------------------------------

    def _passed(self, request: Request, body: bytes, method: str = "", **headers: str) -> Request:
        """The request as the stored version gets it: its answer comes as JSON, to be converted."""
        named = {**request.headers, "accept": JSON, **headers}
        return Request(method or request.method, request.path, request.query, named, body, request.connection)

    async def _call(
        self, request: Request, info: RequestInfo, query: dict[str, str], user: User, verb: str = ""
    ) -> Response | StreamResponse:
        as_stored = RequestInfo(
            verb or info.verb, self.stored, info.namespace, info.name, info.subresource, info.path
        )
        answer = self.handlers.handle(request, as_stored, query, user)
        return answer if isinstance(answer, Response | StreamResponse) else await answer

    async def _answer(
        self, request: Request, info: RequestInfo, query: dict[str, str], user: User, verb: str = ""
    ) -> Response | StreamResponse:
        """The stored version's answer, converted when it is objects of ours."""
        answer = await self._call(request, info, query, user, verb)
        if not isinstance(answer, Response):
            return answer
        body = answer.body if isinstance(answer.body, bytes) else b"".join(answer.body)
        plain = load_json(body)
        if plain.get("kind") == self.resource.kind:
            (plain,) = await self.webhook.convert([plain], self.resource.api_version)
        elif plain.get("kind") == self.resource.list_name:
            plain["items"] = (
                await self.webhook.convert(plain["items"], self.resource.api_version)
                if plain["items"]
                else []
            )
            plain["apiVersion"] = self.resource.api_version
        else:
            return answer
        return Response(answer.status, encode_json(plain), answer.content_type, answer.headers)

    # -- reads -----------------------------------------------------------------------------------------------------------------

    async def _list(
        self, request: Request, info: RequestInfo, query: dict[str, str]
    ) -> Response | StreamResponse:
        accepted = self.handlers.accepted(request, self.view)
        include = tables.include_object(query) if accepted.shape == "table" else ""
        selection = self.handlers.selection(self.store, info, query)
        asked = listing.ListQuery(self.store, selection, query)
        pages = listing.Pages(self.store, asked)
        items: list[Item] = []
        while not pages.done:
            items += await self._items(pages.read())
            await asyncio.sleep(0)
        found = listing.Found(items, pages.revision)
        found.next, found.remaining = pages.next, pages.remaining
        answer = listing.respond(self.view, found, accepted, include, self.handlers.watching.turn)
        return answer if isinstance(answer, Response | StreamResponse) else await answer

    async def _watch(
        self, request: Request, info: RequestInfo, query: dict[str, str], user: User
    ) -> Response | StreamResponse:
        if self.handlers.accepted(request, self.view).shape != "object":
            # Metadata is the same in all versions; a table's columns are the stored version's.
            return await self._call(request, info, query, user)
        answer = await self._call(self._passed(request, b"", accept=JSON), info, query, user)
        if not isinstance(answer, StreamResponse):
            return answer
        start = answer.start

        async def converted(stream: Stream) -> None:
            inner = _Events(stream)
            begun = start(inner)  # type: ignore[arg-type]
            tasks = [asyncio.ensure_future(self._copy(inner, stream))]
            if begun is not None:
                tasks.append(asyncio.ensure_future(begun))
            try:
                await tasks[0]
            finally:
                inner.close()
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

        return StreamResponse(answer.status, answer.content_type, converted, answer.headers)

    async def _copy(self, events: _Events, stream: Stream) -> None:
        """Writes the events of the stored version, converted, until there are no more."""
        while (lines := await events.next()) is not None:
            found = [load_json(line) for line in lines if line]
            objects = [e["object"] for e in found if e["type"] in ("ADDED", "MODIFIED", "DELETED")]
            try:
                converted = iter(
                    await self.webhook.convert(objects, self.resource.api_version) if objects else ()
                )
            except errors.StatusError as e:
                stream.write(encode_json({"type": "ERROR", "object": e.status()}) + b"\n")
                break
            out = []
            for event in found:
                if event["type"] in ("ADDED", "MODIFIED", "DELETED"):
                    event["object"] = next(converted)
                elif event["type"] == "BOOKMARK":
                    event["object"]["apiVersion"] = self.resource.api_version
                out.append(encode_json(event) + b"\n")
            stream.write(b"".join(out))
            if stream.paused:
                await stream.drain()
        stream.finish()

    # -- writes ----------------------------------------------------------------------------------------------------------------

    async def _write(
        self, request: Request, info: RequestInfo, query: dict[str, str], user: User
    ) -> Response | StreamResponse:
        context = self.handlers.context(request, query, user)
        obj = self.view.codec.decode(self.handlers.body(request), context.validation, context.warnings)
        if info.verb == "update":
            self.store.check_name(obj.metadata, info.namespace, info.name)
            return await self._update(request, info, query, context, lambda shown: obj)
        if self.stored.namespaced and not info.namespace:
            raise errors.method_not_supported(self.stored.group, self.stored.plural, "create")
        self._validate(obj)
        ownership.track_create(self.view.codec, obj, context)
        context.applied = True
        new = await self._new(obj, context)
        return await self._written(
            request, await self.store.create(context, new, info.namespace), True, query, context
        )

    async def _update(
        self,
        request: Request,
        info: RequestInfo,
        query: dict[str, str],
        context: Context,
        make: Callable[[Plain], Any],
    ) -> Response:
        """Puts back what `make` makes of the object as the client sees it. The client's manager holds fields of the client's version."""
        item = self.store.partition.head(self.store.key(info.namespace, info.name))
        if item is None:
            raise await self.store.missing(info.namespace, info.name)
        await self.store.partition.settle(item.revision)
        shown = await self._item(item)
        new, old = make(load_json(self.view.serve(shown))), self.view.decode(shown)
        if info.subresource == "status":
            self.view.strategy.prepare_for_status_update(new, old)
        else:
            self.view.strategy.prepare_for_update(new, old)
        self._validate(new)
        managers = new.metadata.managedFields

        def track() -> None:
            new.metadata.managedFields = managers
            ownership.track_update(self.view.codec, self.view.decode(shown), new, context, info.subresource)

        await decided(self.handlers.subresources.connect, track)
        context.applied = True
        stored = await self._new(new, context)
        written, _ = await self.store.update(
            context, info.namespace, info.name, lambda item, old: stored, subresource=info.subresource
        )
        return await self._written(request, written, False, query, context)

    async def _new(self, obj: Any, context: Context) -> Any:
        """An object of this version as one of the stored version's store."""
        plain = load_json(await self._stored(self.view.codec.to_plain(obj)))
        return self.store.codec.convert(plain, FieldValidation.IGNORE, context.warnings)

    async def _written(
        self, request: Request, written: Item | bytes, created: bool, query: dict[str, str], context: Context
    ) -> Response:
        """The answer to a write."""
        status = 201 if created else 200
        if isinstance(written, Item):
            return self._shown(request, await self._item(written), query, status, context)
        # A dry run's: of an object that is there the answer, of a new one its form at rest.
        plain = load_json(self.store.codec.serve_unsaved(written) if created else written)
        (shown,) = await self.webhook.convert([plain], self.resource.api_version)
        return Response(status, encode_json(shown), headers=context.warning_headers())

    def _validate(self, obj: Any) -> None:
        """The client's version has a schema and rules of its own."""
        findings = self.view.strategy.validate(obj)
        if findings:
            name = obj.metadata.name or obj.metadata.generateName or ""
            raise errors.invalid(self.resource.group, self.resource.kind, name, findings)

    async def _patch(
        self, request: Request, info: RequestInfo, query: dict[str, str], user: User
    ) -> Response | StreamResponse:
        kind = request.headers.get("content-type", "").partition(";")[0].strip()
        if kind == APPLY_PATCH:
            return await self._apply(request, info, query, user)
        change = parse_patch(kind, request.body, self.view)
        stated = b"resourceVersion" in request.body
        for attempt in range(PATCH_TRIES):
            context = self.handlers.context(request, query, user)
            make = partial(self._patched, change, context)
            try:
                return await self._update(request, info, query, context, make)
            except errors.StatusError as e:
                if e.code != 409 or stated or attempt == PATCH_TRIES - 1:
                    raise
        raise AssertionError("unreachable")

    def _patched(self, change: Change, context: Context, shown: Plain) -> Any:
        return self.view.codec.convert(change(shown), context.validation, context.warnings)

    async def _apply(
        self, request: Request, info: RequestInfo, query: dict[str, str], user: User
    ) -> Response:
        for _ in range(PATCH_TRIES - 1):
            try:
                return await self._apply_once(request, info, query, user)
            except errors.StatusError as e:
                if e.code != 409 or isinstance(e, ApplyConflict) or b"resourceVersion" in request.body:
                    raise
        return await self._apply_once(request, info, query, user)

    async def _apply_once(
        self, request: Request, info: RequestInfo, query: dict[str, str], user: User
    ) -> Response:
        """Server-side apply in the client's version, whose fields its manager then holds."""
        context = self.handlers.context(request, query, user)
        applied = Applied(request.body, self.view.codec, context, boolean(query, "force"))
        item = self.store.partition.head(self.store.key(info.namespace, info.name))
        live = None
        if item is not None:
            await self.store.partition.settle(item.revision)
            live = load_json(self.view.codec.serve((await self._item(item)).value, item.revision))
        obj = await decided(
            self.handlers.subresources.connect,
            lambda: applied.to(live, info.subresource, info.namespace, info.name),
        )
        self._validate(obj)
        new = await self._new(obj, context)
        if item is not None and not new.metadata.resourceVersion:
            # What was decided rests on this revision.
            new.metadata.resourceVersion = str(item.revision)
        written, created = await self.store.update(
            context,
            info.namespace,
            info.name,
            lambda item, old: new,
            subresource=info.subresource,
            create=(lambda: new) if item is None and not info.subresource else None,
        )
        return await self._written(request, written, created, query, context)


class _Events:
    """What a watcher of the stored version writes into: a stream whose lines are taken out again."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._lines: list[bytes] = []
        self._news = asyncio.Event()
        self.finished = False
        self.on_close: Any = None
        stream.on_close = self.close

    @property
    def closed(self) -> bool:
        """Whether nobody listens any more."""
        return self._stream.closed or self.finished

    @property
    def paused(self) -> bool:
        """Whether the client is behind."""
        return self._stream.paused

    @property
    def buffered_bytes(self) -> int:
        """What waits for the client."""
        return self._stream.buffered_bytes

    async def drain(self) -> None:
        """Waits for the client."""
        await self._stream.drain()

    def write(self, data: bytes) -> None:
        """Takes events."""
        self._lines += data.split(b"\n")
        if len(self._lines) > WAITING_EVENTS_MAX:
            self._stream.abort()
        self._news.set()

    def finish(self) -> None:
        """The watch has ended."""
        self.finished = True
        self._news.set()

    def abort(self) -> None:
        """The watcher is cut off."""
        self._stream.abort()

    def close(self) -> None:
        """The client is gone: the watcher is told, once."""
        self.finished = True
        self._news.set()
        on_close, self.on_close = self.on_close, None
        if on_close is not None:
            on_close()

    async def next(self) -> list[bytes] | None:
        """The lines that have come, once there are some; None when there will be no more."""
        while not self._lines:
            if self.finished:
                return None
            self._news.clear()
            await self._news.wait()
        lines, self._lines = self._lines, []
        return lines

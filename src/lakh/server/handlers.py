"""The verbs: from a request for a resource to its answer.

Reads are answered synchronously. Writes are coroutines that await nothing but their commit. What is particular to a
subresource is in `subresources`; virtual resources (reviews) are in `reviews`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from lakh.apis.custom import CustomResource
from lakh.apis.meta import IMMUTABLE
from lakh.machinery import errors, gonumbers
from lakh.server import heartbeats, knownpods, listing, messages, negotiate, podpatches, renewals, tables
from lakh.server.authn import User
from lakh.server.cluster import Cluster
from lakh.server.codec import encode_json, load_json, read_body
from lakh.server.componentstatuses import ComponentStatuses
from lakh.server.compression import compressed
from lakh.server.consistency import reach
from lakh.server.context import (
    Admit,
    Context,
    boolean,
    check_write_options,
    dry_run,
    field_manager,
    field_validation,
)
from lakh.server.conversion import decided
from lakh.server.converting import Converting
from lakh.server.deleteoptions import delete_options
from lakh.server.knownpods import Candidate, KnownPods
from lakh.server.ownership import Applied
from lakh.server.patches import (
    APPLY_PATCH,
    STRATEGIC_PATCH,
    change_of,
    content_type,
    load_patch,
    patch_findings,
    patched_object,
    patched_parts,
)
from lakh.server.rendering import (
    Answer,
    answered,
    indented,
    is_pretty,
    negotiated,
    render,
    to_protobuf,
    to_yaml,
    warned,
)
from lakh.server.reviews import Reviews
from lakh.server.routing import RequestInfo, check_custom
from lakh.server.selecting import Selection
from lakh.server.storage import Deleted, DeleteOptions, ResourceStore
from lakh.server.subresources import Subresources
from lakh.server.transport import Request, Response, StreamResponse
from lakh.server.watching import Form, Watcher, Watching, check_watch_options, watch_seconds
from lakh.store.state import Item

# Strategic merge patches, by table and subresource, that may go from bytes to bytes.
_FROM_BYTES = {
    (heartbeats.TABLE, heartbeats.SUBRESOURCE): heartbeats.queue,
    (podpatches.TABLE, "status"): podpatches.queue,
    (podpatches.TABLE, ""): podpatches.queue,
}

# Kinds whose delete answers with the object (upstream's ReturnDeletedObject).
RETURN_DELETED = frozenset(
    (
        "pods",
        "services",
        "serviceaccounts",
        "persistentvolumes",
        "persistentvolumeclaims",
        "podtemplates",
        "resourcequotas",
    )
)

# Subresources that are passed on to the node; discovery gives them the kind of their object.
CONNECT = frozenset(("attach", "exec", "log", "portforward", "proxy"))

# What upstream calls the parameters of a write.
_OPTIONS = {"POST": "Create", "PUT": "Update", "PATCH": "Patch"}

# Deletions of a collection under way at once; each waits for its commit, which they share.
DELETES_AT_ONCE = 16
# Of these, begun before others get a turn.
DELETES_A_TURN = 4


class Handlers:
    """All verbs on one cluster."""

    def __init__(
        self,
        cluster: Cluster,
        admit: Admit,
        watching: Watching,
        reviews: Reviews,
        subresources: Subresources,
        pods: KnownPods,
    ) -> None:
        self.cluster = cluster
        self.pods = pods
        self.admit = admit
        self.watching = watching
        self.reviews = reviews
        self.subresources = subresources
        self.components = ComponentStatuses(cluster)
        # Gone with their stores, which a change of their definition makes anew.
        self._conversions: WeakKeyDictionary[ResourceStore, Converting] = WeakKeyDictionary()

    def handle(self, request: Request, info: RequestInfo, query: dict[str, str], user: User) -> Answer:
        """Answers a request for a resource; raises StatusError."""
        store = self.cluster.store(info.resource)
        deprecation = store.strategy.deprecation
        answer: Answer
        if deprecation and store.table == "componentstatuses":
            answer = self.components.handle(request, info, query)
        elif isinstance(info.resource, CustomResource):
            answer = self._custom(request, info, query, user, store)
        elif request.method == "HEAD" and info.subresource != "proxy":
            raise errors.method_not_allowed()
        else:
            answer = self._handle(request, info, query, user, store)
        if is_pretty(request.headers, query) and info.subresource != "proxy":
            answer = indented(answer)
        return warned(answer, deprecation) if deprecation else answer

    def _custom(
        self, request: Request, info: RequestInfo, query: dict[str, str], user: User, store: ResourceStore
    ) -> Answer:
        assert isinstance(info.resource, CustomResource)
        check_custom(info.resource, info)
        if store.converted:
            return self._converting(store).handle(request, info, query, user)
        if store.has_webhook and info.verb in ("patch", "update"):
            return decided(self.subresources.connect, lambda: self._handle(request, info, query, user, store))
        return self._handle(request, info, query, user, store)

    def _handle(
        self, request: Request, info: RequestInfo, query: dict[str, str], user: User, store: ResourceStore
    ) -> Answer:
        verb = info.verb
        resource = info.resource
        if info.subresource:
            return self._subresource(request, info, query, user, store)
        if verb not in resource.verbs or (verb == "create" and info.name):
            raise errors.method_not_allowed()
        if resource.namespaced and not info.namespace and verb not in ("list", "watch"):
            raise errors.method_not_allowed()  # Only these go across namespaces.
        if verb == "get":
            return self._get(request, store, info, query)
        if verb == "list":
            return compressed(request, self._list(request, store, info, query))
        if verb == "watch":
            return self._watch(request, store, info, query)
        if verb == "create":
            virtual = self.reviews.handler(resource)
            if virtual is not None:
                if negotiate.accepted(request.headers.get("accept", "")).shape != "object":
                    raise errors.not_acceptable(negotiate.SERVED)
                return negotiated(request, virtual(request, info, user))
            return self._create(request, store, info, query, user)
        if not info.name and verb in ("update", "patch"):
            raise errors.method_not_allowed()
        if verb == "update":
            return self._update(request, store, info, query, user, "")
        if verb == "patch":
            return self._patch(request, store, info, query, user, "")
        if verb == "delete":
            return self._delete(request, store, info, query, user)
        return self._delete_collection(request, store, info, query, user)

    def _subresource(
        self, request: Request, info: RequestInfo, query: dict[str, str], user: User, store: ResourceStore
    ) -> Answer:
        subresource = info.resource.subresources.get(info.subresource)
        if subresource is None:
            raise errors.path_not_found()
        if info.verb not in subresource.verbs:
            raise errors.method_not_allowed()
        if (
            subresource.kind == info.resource.kind
            and not subresource.group
            and info.subresource not in CONNECT
        ):
            # status, finalize, approval, …: the same object, seen through its own strategy.
            if info.verb == "get":
                return self._get(request, store, info, query)
            if info.verb == "update":
                return self._update(request, store, info, query, user, info.subresource)
            return self._patch(request, store, info, query, user, info.subresource)
        answer = self.subresources.handle(self, request, info, query, user, store)
        return answer if info.subresource in CONNECT else negotiated(request, answer)

    def _converting(self, store: ResourceStore) -> Converting:
        """The verbs on a version that a webhook converts."""
        found = self._conversions.get(store)
        if found is None:
            resource = store.resource
            assert isinstance(resource, CustomResource) and resource.stored_as is not None
            stored = self.cluster.registry.get(*resource.stored_as)
            if not isinstance(stored, CustomResource):
                raise errors.internal(f"{resource.table}: the version that is stored is not served")
            found = self._conversions[store] = Converting(self, resource, stored)
        return found

    def accepted(
        self, request: Request, store: ResourceStore, *, many: bool | None = None
    ) -> negotiate.Accepted:
        """The form in which a client takes objects, a list of them (`many`) or one; raises 406."""
        return negotiate.accepted(
            request.headers.get("accept", ""), messages=store.codec.has_messages, many=many
        )

    def context(self, request: Request, query: dict[str, str], user: User) -> Context:
        """The circumstances of a write; raises 422 for bad options."""
        method = request.method
        patched = method == "PATCH"
        applied = patched and content_type(request) == APPLY_PATCH
        manager = field_manager(query, request.headers.get("user-agent", ""))
        if not query and not applied:
            return Context(user, manager=manager, admit=self.admit, patched=patched)
        check_write_options(_OPTIONS[method], query, applied=applied)
        return Context(
            user,
            manager=manager,
            dry_run=dry_run(query),
            validation=field_validation(query),
            admit=self.admit,
            applied=applied,
            patched=patched,
        )

    # -- answers ---------------------------------------------------------------------------------------------------------------

    def _item(
        self,
        store: ResourceStore,
        item: Item | bytes,
        accepted: negotiate.Accepted,
        query: dict[str, str],
        status: int = 200,
        context: Context | None = None,
    ) -> Response:
        shape, media, meta = accepted
        if media == "protobuf":
            body = self._message(store, item, accepted)
        elif isinstance(item, bytes):
            body = item
        elif shape == "object":
            body = store.codec.serve(item.value, item.revision)
        elif shape == "table":
            body = tables.single(store, item, tables.include_object(query), meta=meta)
        else:
            body = tables.partial_metadata(item, meta=meta)
        headers = context.warning_headers() if context is not None and context.warnings else ()
        if media == "yaml":
            body = to_yaml(body)
        return Response(status, body, negotiate.CONTENT_TYPES[media], headers)

    def _message(self, store: ResourceStore, item: Item | bytes, accepted: negotiate.Accepted) -> bytes:
        if isinstance(item, bytes):
            return to_protobuf(item)
        if accepted.shape == "metadata":
            return messages.PARTIAL[accepted.meta].serve(item.value, item.revision)
        return store.codec.serve_message(item.value, item.revision)

    def written(
        self,
        request: Request,
        store: ResourceStore,
        item: Item | bytes,
        query: dict[str, str],
        context: Context,
        created: bool,
    ) -> Response:
        """The answer to a create, update or patch."""
        accepted = self.accepted(request, store)
        if isinstance(item, bytes) and created:
            item = store.codec.serve_unsaved(item)
        return self._item(store, item, accepted, query, 201 if created else 200, context)

    # -- reads -----------------------------------------------------------------------------------------------------------------

    def selection(self, store: ResourceStore, info: RequestInfo, query: dict[str, str]) -> Selection:
        """The selectors of a list, watch or deletecollection."""
        return Selection(
            store.resource,
            store.decode_selectable,
            info.namespace,
            info.name,
            query.get("labelSelector", ""),
            query.get("fieldSelector", ""),
        )

    def _get(
        self, request: Request, store: ResourceStore, info: RequestInfo, query: dict[str, str]
    ) -> Answer:
        header = request.headers.get("accept", "")
        accepted = negotiate.accepted(header, messages=store.codec.has_messages, many=False)
        if query and (asked := query.get("resourceVersion")):
            try:
                revision = gonumbers.parse_uint(asked)
            except ValueError as e:
                why = f'resourceVersion: Invalid value: "{asked}": {e}'
                raise errors.bad_request(why) from None
            if revision > store.partition.revision:
                return self._later(store, revision, lambda: self._got(request, store, info, query, accepted))
        return self._got(request, store, info, query, accepted)

    def _got(
        self,
        request: Request,
        store: ResourceStore,
        info: RequestInfo,
        query: dict[str, str],
        accepted: negotiate.Accepted,
    ) -> Answer:
        item = store.get(info.namespace, info.name)
        return compressed(request, self._item(store, item, accepted, query))

    def _list(
        self, request: Request, store: ResourceStore, info: RequestInfo, query: dict[str, str]
    ) -> Answer:
        accepted = self.accepted(request, store, many=True)
        include = tables.include_object(query) if accepted.shape == "table" else ""
        if "timeoutSeconds" in query:
            listing.integer(query, "timeoutSeconds")
        selection = self.selection(store, info, query)
        asked = query.get("resourceVersion", "")
        if gonumbers.is_uint(asked) and int(asked) > store.partition.revision:
            return self._later(
                store,
                int(asked),
                lambda: self._list_now(store, selection, query, accepted, include),
            )
        return self._list_now(store, selection, query, accepted, include)

    def _list_now(
        self,
        store: ResourceStore,
        selection: Selection,
        query: dict[str, str],
        accepted: negotiate.Accepted,
        include: str,
    ) -> Answer:
        pages = listing.Pages(store, listing.ListQuery(store, selection, query))
        return listing.respond(store, pages, accepted, include, self.watching.turn)

    def _watch(
        self, request: Request, store: ResourceStore, info: RequestInfo, query: dict[str, str]
    ) -> Answer:
        accepted = negotiate.accepted(
            request.headers.get("accept", ""), messages=store.codec.has_messages, watch=True
        )
        include = tables.include_object(query) if accepted.shape == "table" else ""
        selection = self.selection(store, info, query)
        bookmarks = boolean(query, "allowWatchBookmarks")
        send_initial = query.get("sendInitialEvents", "")
        match = query.get("resourceVersionMatch", "")
        version = query.get("resourceVersion", "")
        try:
            start = gonumbers.parse_uint(version) if version else 0
        except ValueError as e:
            raise errors.bad_request(f'Invalid value: "{version}": {e}') from None
        check_watch_options(send_initial, match, query.get("continue", ""))
        streaming = boolean(query, "sendInitialEvents")
        initial = streaming or (start == 0 and send_initial == "")
        if not initial and start == 0:
            start = store.partition.revision
        form = Form(store, accepted, include)
        watcher = Watcher(self.watching, form, selection, bookmarks, watch_seconds(query))

        def answer() -> StreamResponse:
            return StreamResponse(
                200,
                form.content_type,
                lambda stream: watcher.start(
                    stream, start=start, initial=initial, initial_end=streaming and bookmarks
                ),
            )

        if start > store.partition.revision:
            return self._later(store, start, answer)
        return answer()

    async def _later(
        self, store: ResourceStore, revision: int, answer: Callable[[], Answer]
    ) -> Response | StreamResponse:
        await reach(store.partition, revision)
        return await answered(answer())

    # -- writes ----------------------------------------------------------------------------------------------------------------

    def body(self, request: Request) -> bytes:
        """The body as JSON; raises 415 and 400."""
        return read_body(request.body, request.headers.get("content-type", ""))

    async def _create(
        self, request: Request, store: ResourceStore, info: RequestInfo, query: dict[str, str], user: User
    ) -> Response:
        context = self.context(request, query, user)
        body = self.body(request)
        known = None
        if store.table == knownpods.TABLE and not query:
            known = self.pods.queue(store, context, body, info.namespace)
            if known is not None and not isinstance(known, Candidate):
                return self._item(store, await known, self.accepted(request, store), query, 201)
        obj = store.codec.decode(body, context.validation, context.warnings)
        item = await store.create(context, obj, info.namespace)
        if isinstance(known, Candidate) and not isinstance(item, bytes):
            self.pods.remember(known, context, obj, item.value, item.terms)
        return self.written(request, store, item, query, context, True)

    async def _update(
        self,
        request: Request,
        store: ResourceStore,
        info: RequestInfo,
        query: dict[str, str],
        user: User,
        subresource: str,
    ) -> Response:
        context = self.context(request, query, user)
        body = self.body(request)
        if store.table == renewals.TABLE and not query and not subresource:
            renewed = renewals.queue(store, info, body, context.manager)
            if renewed is not None:
                return self._item(store, await renewed, self.accepted(request, store), query)
        obj = store.codec.decode(body, context.validation, context.warnings)
        store.check_name(obj.metadata, info.namespace, info.name)
        create = (lambda: obj) if store.strategy.allow_create_on_update and not subresource else None
        item, created = await store.update(
            context,
            info.namespace,
            info.name,
            lambda item, old: obj,
            subresource=subresource,
            create=create,
        )
        return self.written(request, store, item, query, context, created)

    async def _patch(
        self,
        request: Request,
        store: ResourceStore,
        info: RequestInfo,
        query: dict[str, str],
        user: User,
        subresource: str,
    ) -> Response:
        kind = content_type(request)
        if kind == APPLY_PATCH:
            return await self._apply(request, store, info, query, user, subresource)
        queue = _FROM_BYTES.get((store.table, subresource)) if kind == STRATEGIC_PATCH and not query else None
        if queue is not None:
            manager = field_manager(query, request.headers.get("user-agent", ""))
            queued = queue(store, info, request.body, manager)
            if queued is not None:
                return self._item(store, await queued, self.accepted(request, store), query)
        context = self.context(request, query, user)
        patch = load_patch(kind, request.body, store)
        change = change_of(kind, patch, store)
        twice = patch_findings(kind, request.body, patch, context.validation)
        # managedFields are half of an object, and hardly a patch speaks of them.
        whole = b"managedFields" in request.body

        def mutate(item: Item, old: Any) -> Any:
            if whole:
                old = store.decode(item)
            managers = old.metadata.managedFields
            if not whole:
                old.metadata.managedFields = None
            new = patched_parts(kind, request.body, patch, old, store.codec, change) if not twice else None
            if new is None:
                plain = change(store.codec.to_plain(old))
                new = patched_object(kind, request.body, plain, store.codec, context, list(twice))
            uid = new.metadata.uid
            if uid and uid != old.metadata.uid:
                # Of an update it is a precondition.
                found = [errors.invalid_value("metadata.uid", uid, IMMUTABLE)]
                raise errors.invalid(store.resource.group, store.resource.kind, info.name, found)
            if not whole:
                old.metadata.managedFields = new.metadata.managedFields = managers
            return new

        item, _ = await store.update(context, info.namespace, info.name, mutate, subresource=subresource)
        return self.written(request, store, item, query, context, False)

    async def _apply(
        self,
        request: Request,
        store: ResourceStore,
        info: RequestInfo,
        query: dict[str, str],
        user: User,
        subresource: str,
    ) -> Response:
        context = self.context(request, query, user)
        applied = Applied(request.body, store.codec, context, boolean(query, "force"))

        def mutate(item: Item | None, old: Any) -> Any:
            live = load_json(store.serve(item)) if item is not None else None
            return applied.to(live, subresource, info.namespace, info.name)

        create = None
        if not subresource:

            def create() -> Any:
                return mutate(None, None)

        item, created = await store.update(
            context, info.namespace, info.name, mutate, subresource=subresource, create=create
        )
        return self.written(request, store, item, query, context, created)

    # -- deletes ---------------------------------------------------------------------------------------------------------------

    async def _delete(
        self, request: Request, store: ResourceStore, info: RequestInfo, query: dict[str, str], user: User
    ) -> Response:
        options = delete_options(request, query)
        context = Context(user, admit=self.admit, dry_run=bool(options.dryRun))
        if why := store.strategy.permanent(info.name):
            raise errors.forbidden(store.resource.group, store.resource.plural, info.name, why)
        done = await store.delete(context, info.namespace, info.name, options)
        warning = store.strategy.propagation_warning
        if warning and options.propagationPolicy is None and options.orphanDependents is None:
            context.warn([warning])
        return self._deleted(request, store, info.name, done, query, context)

    def _deleted(
        self,
        request: Request,
        store: ResourceStore,
        name: str,
        done: Deleted,
        query: dict[str, str],
        context: Context,
    ) -> Response:
        """The answer to a delete: the object while it waits, else a Status."""
        resource = store.resource
        if not done.gone or (resource.plural in RETURN_DELETED and not resource.group):
            return self._item(store, done.item, self.accepted(request, store), query, context=context)
        details = {"name": name, "kind": resource.plural, "uid": done.uid}
        if resource.group:
            details["group"] = resource.group
        status = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Success",
            "details": details,
        }
        return render(
            Response(200, encode_json(status), headers=context.warning_headers()),
            negotiate.accepted(request.headers.get("accept", "")).media,
        )

    async def _delete_collection(
        self, request: Request, store: ResourceStore, info: RequestInfo, query: dict[str, str], user: User
    ) -> Response | StreamResponse:
        options = delete_options(request, query)
        context = Context(user, admit=self.admit, dry_run=bool(options.dryRun))
        accepted = self.accepted(request, store)
        include = tables.include_object(query) if accepted.shape == "table" else ""
        selection = self.selection(store, info, query)
        limit = listing.integer(query, "limit")
        found = selection.at_hand(store.partition, store.resource)
        if found is None:
            found = await self._selected(store, selection)
        if limit:
            found = found[:limit]
        await self._delete_all(context, store, found, options)
        if not found:
            await store.partition.settle(0)
        pages = listing.Found(found, store.partition.revision)
        answer = listing.respond(store, pages, accepted, include, self.watching.turn)
        return answer if isinstance(answer, Response | StreamResponse) else await answer

    async def _selected(self, store: ResourceStore, selection: Selection) -> list[Item]:
        """All that are selected, read in pieces; what changes meanwhile is there or not."""
        scope = selection.scope(store.resource)
        found: list[Item] = []
        after = ""
        while True:
            page = store.partition.range(store.table, scope, after=after, limit=listing.PIECE)
            if selection.trivial and not selection.name:
                found += page.items
            else:
                found += [i for i in page.items if selection.covers(i, scope)]
            if not page.more:
                return found
            after = page.items[-1].key
            await asyncio.sleep(0)

    async def _delete_all(
        self, context: Context, store: ResourceStore, found: list[Item], options: DeleteOptions
    ) -> None:
        """Deletes these objects; many wait for the disk at once, few are decided before others get a turn."""
        for start in range(0, len(found), DELETES_AT_ONCE):
            under_way: list[asyncio.Task[Deleted]] = []
            for item in found[start : start + DELETES_AT_ONCE]:
                under_way.append(asyncio.ensure_future(_delete_item(context, store, item, options)))
                if len(under_way) % DELETES_A_TURN == 0:
                    await asyncio.sleep(0)
            for result in await asyncio.gather(*under_way, return_exceptions=True):
                if isinstance(result, errors.StatusError) and result.code == 404:
                    continue
                if isinstance(result, BaseException):
                    raise result


async def _delete_item(context: Context, store: ResourceStore, item: Item, options: DeleteOptions) -> Deleted:
    _, namespace, name = item.key.split("/", 2)
    return await store.delete(context, namespace, name, options)

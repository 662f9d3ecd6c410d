"""The API server: everything of this folder put together over a data directory.

One process owns the directory. Start: lock it, make certificates, open the partitions (each recovers from its journal), bootstrap, listen.

With a shared engine several servers have the same partitions: `writers` settles who writes which, `replication` has requests wait for what they
need and sends writes where they belong. What runs in the background for the whole cluster is done by the writer of the partition that it writes.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import socket
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from lakh.apis.catalogue import registry
from lakh.machinery import errors, version
from lakh.machinery.health import ENDPOINTS, SLIS_PATH
from lakh.machinery.metrics import CONTENT_TYPE
from lakh.server import backup, certs, fairdump, impersonation, ownendpoints
from lakh.server.admission import Admission
from lakh.server.apiservices import follow_custom_resources, reconcile_api_services
from lakh.server.authn import ANONYMOUS, APISERVER, Authenticator, User, ignored_token
from lakh.server.backup import Backups
from lakh.server.bootstrap import (
    authentication_config,
    bootstrap,
    check_keys,
    is_bootstrapped,
)
from lakh.server.cluster import PARTITIONS, Cluster
from lakh.server.codec import encode_json
from lakh.server.context import warning_headers
from lakh.server.cooling import pack_cold
from lakh.server.customresources import CustomResources
from lakh.server.discovery import Discovery
from lakh.server.documents import only_get
from lakh.server.engine import Engine, FileEngine, Progress, claim_directory, close_all
from lakh.server.expiry import expire_events
from lakh.server.fairness import Fairness, Grant, Rejected
from lakh.server.handlers import Handlers
from lakh.server.http1 import IMPERSONATE
from lakh.server.identity import Identity
from lakh.server.issuerdiscovery import CONFIGURATION_PATH, KEYS_PATH, IssuerDiscovery
from lakh.server.keeping import Keeper
from lakh.server.knownpods import KnownPods
from lakh.server.metrics import Record, ServerMetrics, timed
from lakh.server.openapi import OpenApi
from lakh.server.peers import STATUS_PATH, Dial
from lakh.server.quotas import DEFAULT, Quotas
from lakh.server.refusals import status_of
from lakh.server.rendering import NO_SNIFF, Answer, error_response
from lakh.server.replication import Replication, own_request
from lakh.server.reviews import Reviews
from lakh.server.roles import reconcile_roles
from lakh.server.routing import RequestInfo, Router, parse_query
from lakh.server.selecting import indexed_term
from lakh.server.serviceaddresses import keep_repairing
from lakh.server.services import ServiceAddresses
from lakh.server.subresources import Subresources
from lakh.server.tokenrequests import bound_objects_exist
from lakh.server.tokens import TokenIssuer
from lakh.server.transport import Request, Response, Server, Stream, StreamResponse, Tunnel
from lakh.server.watching import Watching
from lakh.server.writers import Writers
from lakh.store.directory import DirectoryLock
from lakh.store.errors import StoreError
from lakh.store.partition import Partition

log = logging.getLogger(__name__)

METRICS_PATH = "/metrics"
VERSION_PATH = "/version"
HEALTH_PATHS = ("/healthz", "/livez", "/readyz")
OPEN_PATHS = (*HEALTH_PATHS, VERSION_PATH)
STOP_GRACE_SECONDS = 5.0
_NO_QUERY: dict[str, str] = {}


class ApiServer:
    """A running API server. Made by `start`, ended by `stop`."""

    def __init__(self, cluster: Cluster, authenticator: Authenticator, issuer: TokenIssuer) -> None:
        self.cluster = cluster
        self.router = Router(cluster.registry)
        self.authenticator = authenticator
        self.watching = Watching()
        self.services = ServiceAddresses(cluster)
        self.metrics = ServerMetrics(cluster, self.watching)
        admission = Admission(cluster, self.services)
        self.subresources = Subresources(cluster, issuer)
        self.handlers = Handlers(
            cluster,
            timed(admission, self.metrics.admission),
            self.watching,
            Reviews(authenticator),
            self.subresources,
            KnownPods(admission.pod_rests_on),
        )
        self.custom = CustomResources(cluster, self.watching)
        self.discovery = Discovery(cluster.registry, self._paths)
        self.openapi = OpenApi(cluster.registry)
        self.issuer: IssuerDiscovery | None = None
        self.backups = Backups(cluster, self.watching.turn)
        self.fairness = Fairness(cluster, self.metrics.registry)
        authenticator.on_certificate = self.metrics.certificates.observe
        self.transport = Server(self.handle, on_error=error_response)
        self.ready = False
        self.started = time.monotonic()
        self.replication: Replication | None = None
        self._identity: Identity | None = None
        self._lock: DirectoryLock | None = None
        self._background: list[asyncio.Task[None]] = []

    @classmethod
    async def start(
        cls,
        data_directory: Path,
        *,
        bind: str = "127.0.0.1",
        port: int = 6443,
        engine: Engine | None = None,
        quotas: Quotas = DEFAULT,
        progress: Progress | None = None,
        advertise: str = "",
        certificates: Path | None = None,
        dialler: Callable[[Path], Dial] | None = None,
        components: Mapping[str, str] | None = None,
    ) -> ApiServer:
        """Opens a data directory and serves it. Raises DirectoryInUse, EngineError, JournalError, PkiError, ListenError.

        `advertise`: the address at which the other servers reach this one (default: `bind`). `certificates`: where they are instead of D/pki.
        `dialler` makes connections to the other servers with the certificates in a directory; a shared engine needs it. `components`: where the
        scheduler and the controllers serve /healthz, for ComponentStatuses.
        """
        engine = engine or FileEngine(data_directory / "journal")
        data_directory.mkdir(parents=True, exist_ok=True)
        lock = DirectoryLock(data_directory)
        try:
            claim_directory(data_directory, engine.name)
            address = advertise or (
                ("127.0.0.1" if not engine.shared else own_address()) if bind in ("0.0.0.0", "::") else bind
            )
            pki = certs.Pki.ensure(
                data_directory,
                directory=certificates,
                bind_address=bind,
                names=(address,) if engine.shared else (),
            )
            issuer = TokenIssuer(pki.service_account_key_file.read_bytes())
            partitions: dict[str, Partition] = {}
            authenticator = Authenticator(
                pki.tokens_file,
                issuer,
                is_live=lambda claims: bound_objects_exist(partitions, claims),
                front_proxy_issuer=pki.front_proxy_issuer(),
            )
            try:
                partitions.update(await engine.open(PARTITIONS, quotas, progress))
                check_keys(partitions["default"], pki)
                server = cls(Cluster(registry(), partitions), authenticator, issuer)
                server._lock = lock
                server.handlers.subresources.connect.kubelet_tls = pki.kubelet_context()
                server.handlers.components.components = components or {}
                await server.transport.start(bind, port, pki.server_context())
            except BaseException:
                await close_all(partitions)
                raise
            url = f"https://{f'[{address}]' if ':' in address else address}:{server.transport.port}"
            pki.write_kubeconfigs(url)
            server.issuer = IssuerDiscovery(issuer, url)
            if engine.shared:
                assert dialler is not None
                server._join(url, dialler(pki.directory), pki)
            else:
                await bootstrap(
                    server.cluster, server.transport.port, authentication_config(pki, shared=False)
                )
                await reconcile_roles(server.cluster)
                await reconcile_api_services(server.cluster)
                own = ownendpoints.own(server.transport.port)
                await ownendpoints.publish(server.cluster, () if own is None else (own,), APISERVER)
                server.ready = True
                identity = Identity(server.cluster, url, own)
                server._background.append(
                    asyncio.create_task(
                        identity.renew(partial(own_request, server.handle)), name="identity-lease"
                    )
                )
        except BaseException:
            lock.release()
            raise
        keeper = Keeper(
            server.cluster, server.transport.port, lambda: server.ready, publishes=not engine.shared
        )
        server._background += [
            asyncio.create_task(expire_events(server.cluster), name="expire-events"),
            asyncio.create_task(pack_cold(server.cluster), name="pack-cold"),
            asyncio.create_task(keeper.run(), name="keeper"),
            asyncio.create_task(
                keep_repairing(server.cluster, server.services.addresses), name="service-addresses"
            ),
            asyncio.create_task(
                follow_custom_resources(server.cluster, server.custom.changed), name="api-services"
            ),
        ]
        server.metrics.start()
        return server

    def _join(self, url: str, dial: Dial, pki: certs.Pki) -> None:
        """Becomes one of the cluster's servers."""
        identity = self._identity = Identity(self.cluster, url, ownendpoints.own(self.transport.port))
        writers = Writers(url, self.cluster.partitions, dial, identity.members)
        writers.on_promoted.append(self._promoted)
        replication = self.replication = Replication(self.cluster, self.authenticator, writers, self.handle)
        writers.start()
        self._background += [
            asyncio.create_task(self._belong(identity, replication, pki), name="identity-lease"),
            asyncio.create_task(replication.keep_asking(), name="barriers"),
            asyncio.create_task(self._publish_endpoints(identity, writers), name="own-endpoints"),
        ]
        self.subresources.replication = replication
        self.metrics.add_replication(replication)

    def _promoted(self, name: str) -> None:
        """What the writer of a partition has to do for the cluster begins here."""
        if name == "default":
            self.custom.look_at_all()

    async def _belong(self, identity: Identity, replication: Replication, pki: certs.Pki) -> None:
        await self._bootstrap(replication, pki)
        await identity.renew(replication.call)

    async def _publish_endpoints(self, identity: Identity, writers: Writers) -> None:
        """Keeps the endpoints of the service `kubernetes` those of the servers that are alive, while the default partition is written here."""
        published: set[ownendpoints.Endpoint] = set()
        due = 0.0
        while True:
            now = time.monotonic()
            if not self.ready or not self.cluster.partitions["default"].is_writer:
                published = set()
            elif (wanted := identity.endpoints(writers.alive())) != published or now >= due:
                try:
                    await ownendpoints.publish(self.cluster, wanted, APISERVER)
                    published, due = wanted, now + ownendpoints.RECONCILE_SECONDS
                except (StoreError, errors.StatusError) as e:
                    log.info("endpoints of the API servers: %s", e)
            # Servers ask each other twice a second, and each answer is a change.
            await writers.change()

    async def _bootstrap(self, replication: Replication, pki: certs.Pki) -> None:
        """Until the cluster has what every cluster has: the writer creates it, the others wait for it."""
        while not self.ready:
            try:
                if self.cluster.partitions["default"].is_writer:
                    await bootstrap(
                        self.cluster, self.transport.port, authentication_config(pki, shared=True)
                    )
                    await reconcile_roles(self.cluster)
                    await reconcile_api_services(self.cluster)
                # Two servers with different keys may have begun at once.
                check_keys(self.cluster.partitions["default"], pki)
                self.ready = is_bootstrapped(self.cluster)
            except (StoreError, errors.StatusError, certs.PkiError) as e:
                log.warning("bootstrap: %s", e)
            if not self.ready:
                await replication.writers.change()

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self.transport.port

    async def stop(self) -> None:
        """Ends watches and requests, closes the partitions, releases the directory."""
        self.ready = False
        self.metrics.stop()
        self.custom.stop()
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        if self.replication is not None:
            # While requests are still served: who else is there writes on at once.
            await self.replication.writers.stop()
            self.replication.stop()
        self.watching.stop()
        await self.transport.stop(STOP_GRACE_SECONDS)
        await close_all(self.cluster.partitions)
        if self._lock is not None:
            self._lock.release()

    # -- requests --------------------------------------------------------------------------------------------------------------

    def handle(self, request: Request, again: bool = False) -> Answer:
        """Answers a request; what the store refuses becomes a Status here. `again`: it has waited for the newest state."""
        began = time.perf_counter()
        record = self.metrics.other
        grant: Grant | None = None
        try:
            user = self.authenticator.authenticate(request)
            if user is None and self.replication is not None and not again:
                # A service account's token may be younger than what is seen here.
                return self.replication.after_barrier(("default", "pods"), lambda: self.handle(request, True))
            if user is None or user is ANONYMOUS:
                user = self._authenticated(request, user)
            if IMPERSONATE in request.headers:
                user = self._impersonated(request, user)
            query = parse_query(request.query) if request.query else _NO_QUERY
            path = request.path
            info = self.router.resolve(request.method, path, query)
            if info is None:
                if (
                    self.replication is not None
                    and not again
                    and path.startswith(("/api", "/openapi"))
                    and user is not ANONYMOUS
                ):
                    # Which resources there are may just have changed.
                    return self.replication.after_barrier(("default",), lambda: self.handle(request, True))
                answer = self._other(request, path, query, user)
            else:
                record = self.metrics.record(info, query, request.headers)
                if info.verb != "get":
                    grant = self._enter(user, info, query)
                if grant is not None and not grant.running:
                    answer = self._wait(grant, request, info, query, user)
                else:
                    answer = self._dispatch(request, info, query, user)
        except Exception as e:
            if grant is not None:
                asyncio.get_running_loop().call_soon(grant.leave)
            error = status_of(e) if isinstance(e, StoreError) else e
            if isinstance(e, Rejected):
                record.terminated(e.code)
            record.done(began, error.code if isinstance(error, errors.StatusError) else 500)
            if error is e:
                raise
            raise error from e
        if type(answer) is Response:
            record.done(began, answer.status)
            if record.sizes is not None:
                record.sizes.observe(answer.size)
            if grant is not None:
                asyncio.get_running_loop().call_soon(grant.leave)
                return grant.mark(answer)
            return answer
        if isinstance(answer, StreamResponse):
            return self._streaming(request, answer, record, began, grant)
        assert not isinstance(answer, Response)
        return self._guard(request, answer, record, began, grant)

    def _enter(self, user: User, info: RequestInfo, query: dict[str, str]) -> Grant | None:
        """The request's way through priority and fairness, which concerns all but single reads."""
        objects = size = 0
        if info.verb == "list" or info.verb == "watch":
            r = info.resource
            partition = self.cluster.partitions[r.partition]
            term = indexed_term(r.table, query.get("fieldSelector", ""))
            if term is None:
                objects = partition.count(r.table, info.namespace or None)
            else:
                objects = partition.having_count(r.table, term)
            size = partition.item_bytes
        reading, writing = self.metrics.in_flight
        return self.fairness.enter(user, info, query, reading + writing, objects, size)

    async def _wait(
        self, grant: Grant, request: Request, info: RequestInfo, query: dict[str, str], user: User
    ) -> Response | StreamResponse:
        """Waits for a seat, then does what `handle` would have done."""
        await grant.wait()
        answer = self._dispatch(request, info, query, user)
        if isinstance(answer, Response | StreamResponse):
            return answer
        return await answer

    def _dispatch(self, request: Request, info: RequestInfo, query: dict[str, str], user: User) -> Answer:
        """A request for a resource: here at once, or where and when it may be answered."""
        if self.replication is None:
            return self.handlers.handle(request, info, query, user)
        return self.replication.route(
            request, info, query, user, lambda: self.handlers.handle(request, info, query, user)
        )

    async def _guard(
        self,
        request: Request,
        answer: Coroutine[Any, Any, Response | StreamResponse],
        record: Record,
        began: float,
        grant: Grant | None,
    ) -> Response | StreamResponse:
        """An asynchronous answer: counted in while it is under way, its seat given back."""
        in_flight = self.metrics.in_flight
        in_flight[record.mutating] += 1
        code = 500
        streams = False
        try:
            result = await answer
            if isinstance(result, Tunnel):
                code = result.status
                return result
            if isinstance(result, StreamResponse):
                streams = True
                return self._streaming(request, result, record, began, grant)
            code = result.status
            if record.sizes is not None:
                record.sizes.observe(result.size)
            return grant.mark(result) if grant is not None else result
        except StoreError as e:
            refusal = status_of(e)
            code = refusal.code
            raise refusal from e
        except errors.StatusError as e:
            code = e.code
            if isinstance(e, Rejected):
                record.terminated(code)
            raise
        finally:
            in_flight[record.mutating] -= 1
            if not streams:
                record.done(began, code, grant.waited if grant is not None else 0.0)
                if grant is not None:
                    grant.leave()

    def _streaming(
        self, request: Request, answer: StreamResponse, record: Record, began: float, grant: Grant | None
    ) -> StreamResponse:
        """A list in pieces, or a watch: done when its stream ends, its seat given back when what comes first is sent."""
        if grant is not None:
            answer.headers += grant.flow.headers
        if request.method == "HEAD":
            record.done(began, answer.status)
            if grant is not None:
                grant.leave()
            return answer
        start, in_flight = answer.start, self.metrics.in_flight

        def observed(stream: Stream) -> Awaitable[None] | None:
            rest = start(stream)
            if rest is None:
                record.done(began, answer.status)
                if grant is not None:
                    grant.leave()
                return None
            assert inspect.iscoroutine(rest)
            in_flight[0] += 1
            over = False

            def end() -> None:
                nonlocal over
                if over:
                    return
                over = True
                in_flight[0] -= 1
                if not record.watches:
                    record.done(began, answer.status, grant.waited if grant is not None else 0.0)
                    if record.sizes is not None:
                        record.sizes.observe(stream.size)
                if grant is not None:
                    grant.leave()
                if inspect.getcoroutinestate(rest) == inspect.CORO_CREATED:
                    rest.close()

            # Called when the client goes away before the first step; a watch puts its own in its place.
            stream.on_close = end
            if record.watches:
                record.done(began, answer.status)
            return _until(rest, end)

        answer.start = observed
        return answer

    def _authenticated(self, request: Request, user: User | None) -> User:
        """Who asks; raises 401."""
        if user is None or (user is ANONYMOUS and not request.path.startswith(OPEN_PATHS)):
            refusal = errors.unauthorized()
            refusal.headers = warning_headers((ignored_token(request.headers.get("authorization", "")),))
            raise refusal
        return user

    def _impersonated(self, request: Request, user: User) -> User:
        """As whom a request with `Impersonate-…` headers acts; raises 400 and 403. They stay in the request and mean nothing to who is behind."""
        user = impersonation.impersonated(request.headers, user)
        path = request.path
        if not impersonation.may(user) and not path.startswith(OPEN_PATHS):
            info = None
            if path.startswith(("/api/", "/apis/")):
                query = parse_query(request.query)
                info = self.router.resolve(request.method, path, query)
            raise impersonation.refusal(user, request.method, path, info)
        return user

    def _other(self, request: Request, path: str, query: dict[str, str], user: User) -> Answer:
        if self.replication is not None and path.startswith(STATUS_PATH) and "system:masters" in user.groups:
            return self.replication.internal(request)
        # Like upstream's: what its mux serves it serves to any method, what go-restful serves to GET only.
        if path in (VERSION_PATH, VERSION_PATH + "/"):
            only_get(request)
            return Response(200, VERSION)
        if path.startswith(HEALTH_PATHS):
            excluded = [value for name, value in parse_qsl(request.query) if name == "exclude"]
            return self._health(path, "verbose" in query, excluded)
        if path == METRICS_PATH:
            return Response(200, self.metrics.expose(), CONTENT_TYPE)
        if path == SLIS_PATH:
            return Response(200, self.metrics.health.slis.expose(), CONTENT_TYPE)
        if path.startswith(fairdump.PATH):
            text = fairdump.dump(
                self.fairness, path.removeprefix(fairdump.PATH), bool(query.get("includeRequestDetails"))
            )
            if text is None:
                raise errors.PathNotFound()
            return Response(200, text, b"text/plain; charset=utf-8")
        if path == backup.PATH and request.method == "GET":
            return self.backups.handle(request, user)
        if self.issuer is not None and (found := self.issuer.handle(request, path)) is not None:
            return found
        for part in (self.discovery, self.openapi):
            answer = part.handle(request, path, query)
            if answer is not None:
                return answer
        raise self._nowhere(path)

    def _nowhere(self, path: str) -> errors.StatusError:
        """404. Below a group of upstream's own it is a Status, elsewhere a text: its muxes differ."""
        if path.startswith(VERSION_PATH + "/") or self.discovery.has_builtin(path):
            return errors.path_not_found()
        return errors.PathNotFound()

    def _health(self, path: str, verbose: bool, excluded: list[str]) -> Response:
        endpoint, slash, name = path[1:].partition("/")
        if endpoint not in ENDPOINTS or (slash and not name):
            raise errors.PathNotFound()
        checks = self._checks(endpoint)
        found = self.metrics.health.answer(endpoint, name, checks, verbose=verbose, excluded=excluded)
        if found is None:
            raise errors.PathNotFound()
        headers = () if name and found[0] == 200 else (NO_SNIFF,)
        return Response(*found, b"text/plain; charset=utf-8", headers)

    def _checks(self, endpoint: str) -> dict[str, bool]:
        """What a health endpoint looks at, and whether it is well."""
        checks = {"ping": True, "log": True}
        for partition_name, partition in self.cluster.partitions.items():
            checks[f"partition-{partition_name}"] = not partition.failed
        if endpoint == "readyz":
            checks["poststarthook/bootstrap"] = self.ready
            if self.replication is not None:
                checks |= self.replication.checks()
        return checks

    def _paths(self) -> list[str]:
        """What is served beside resources, for the index."""
        paths = [METRICS_PATH, SLIS_PATH, VERSION_PATH]
        for endpoint in ENDPOINTS:
            paths += [f"/{endpoint}", *(f"/{endpoint}/{check}" for check in self._checks(endpoint))]
        return paths if self.issuer is None else [*paths, CONFIGURATION_PATH, KEYS_PATH]


async def _until(rest: Awaitable[None], end: Callable[[], None]) -> None:
    try:
        await rest
    finally:
        end()


def own_address() -> str:
    """This machine's address in the network of its default route."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing: a datagram socket only looks up the route
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


VERSION = encode_json(
    {
        "major": str(version.MAJOR),
        "minor": str(version.MINOR),
        "emulationMajor": str(version.MAJOR),
        "emulationMinor": str(version.MINOR),
        "minCompatibilityMajor": str(version.MAJOR),
        "minCompatibilityMinor": str(version.MINOR - 1),
        "gitVersion": version.GIT_VERSION,
        "gitCommit": "",
        "gitTreeState": "",
        "buildDate": version.BUILD_DATE,
        "goVersion": "",
        "compiler": version.COMPILER,
        "platform": version.PLATFORM,
    }
)

"""The API server: everything of this folder put together over a data directory.

One process owns the directory. Start: lock it, make certificates, open the partitions (each recovers from its journal), bootstrap, listen.
"""

from __future__ import annotations

import asyncio
import logging
import platform
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import msgspec

from lakh import __version__
from lakh.apis.catalogue import registry
from lakh.machinery import errors
from lakh.server import certs
from lakh.server.admission import Admission
from lakh.server.authn import ANONYMOUS, Authenticator
from lakh.server.bootstrap import bootstrap
from lakh.server.cluster import PARTITIONS, Cluster
from lakh.server.codec import encode_json
from lakh.server.discovery import Discovery
from lakh.server.expiry import expire_events
from lakh.server.handlers import Answer, Handlers
from lakh.server.openapi import OpenApi
from lakh.server.reviews import Reviews
from lakh.server.routing import parse_query, resolve
from lakh.server.services import ServiceAddresses
from lakh.server.subresources import Subresources
from lakh.server.tokens import Claims, TokenIssuer
from lakh.server.transport import Request, Response, Server, StreamResponse
from lakh.server.watching import Watching
from lakh.store.directory import DirectoryLock
from lakh.store.errors import JournalFull, Overloaded, StoreError
from lakh.store.file_journal import FileJournal
from lakh.store.partition import Partition

log = logging.getLogger(__name__)

# The Kubernetes version we speak.
MAJOR, MINOR, PATCH = 1, 36, 0

OPEN_PATHS = ("/healthz", "/livez", "/readyz", "/version")
STOP_GRACE_SECONDS = 5.0
_NO_QUERY: dict[str, str] = {}


class ApiServer:
    """A running API server. Made by `start`, ended by `stop`."""

    def __init__(self, cluster: Cluster, authenticator: Authenticator, issuer: TokenIssuer) -> None:
        self.cluster = cluster
        self.authenticator = authenticator
        self.watching = Watching()
        self.services = ServiceAddresses(cluster)
        admission = Admission(cluster, self.services)
        self.handlers = Handlers(
            cluster, admission, self.watching, Reviews(authenticator), Subresources(cluster, issuer)
        )
        self.discovery = Discovery(cluster.registry)
        self.openapi = OpenApi(cluster.registry)
        self.transport = Server(self.handle)
        self.ready = False
        self.started = time.monotonic()
        self._lock: DirectoryLock | None = None
        self._background: list[asyncio.Task[None]] = []

    @classmethod
    async def start(cls, data_directory: Path, *, bind: str = "127.0.0.1", port: int = 6443) -> ApiServer:
        """Opens a data directory and serves it. Raises DirectoryInUse, JournalCorrupt, PkiError, PortInUse."""
        data_directory.mkdir(parents=True, exist_ok=True)
        lock = DirectoryLock(data_directory)
        try:
            pki = certs.Pki.ensure(data_directory, bind_address=bind)
            issuer = TokenIssuer(pki.service_account_key_file.read_bytes())
            partitions: dict[str, Partition] = {}
            authenticator = Authenticator(
                pki.tokens_file, issuer, is_live=lambda claims: bound_objects_exist(partitions, claims)
            )
            try:
                for name in PARTITIONS:
                    journal = await FileJournal.open(data_directory / "journal" / name)
                    partitions[name] = await Partition.open(name, journal)
                server = cls(Cluster(registry(), partitions), authenticator, issuer)
                server._lock = lock
                await server.transport.start(bind, port, pki.server_context())
            except BaseException:
                for partition in partitions.values():
                    await partition.close()
                raise
            host = "127.0.0.1" if bind in ("0.0.0.0", "::") else bind
            pki.write_kubeconfigs(f"https://{f'[{host}]' if ':' in host else host}:{server.transport.port}")
            await bootstrap(server.cluster, server.transport.port)
        except BaseException:
            lock.release()
            raise
        server._background.append(asyncio.create_task(expire_events(server.cluster), name="expire-events"))
        server.ready = True
        return server

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self.transport.port

    async def stop(self) -> None:
        """Ends watches and requests, closes the partitions, releases the directory."""
        self.ready = False
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        self.watching.stop()
        await self.transport.stop(STOP_GRACE_SECONDS)
        for partition in self.cluster.partitions.values():
            await partition.close()
        if self._lock is not None:
            self._lock.release()

    # -- requests --------------------------------------------------------------------------------------------------------------

    def handle(self, request: Request) -> Answer:
        """Answers a request; what the store refuses becomes a Status here."""
        try:
            answer = self._route(request)
        except StoreError as e:
            raise store_refusal(e) from e
        if isinstance(answer, Response | StreamResponse):
            return answer
        return self._guard(answer)

    async def _guard(
        self, answer: Coroutine[Any, Any, Response | StreamResponse]
    ) -> Response | StreamResponse:
        try:
            return await answer
        except StoreError as e:
            raise store_refusal(e) from e

    def _route(self, request: Request) -> Answer:
        user = self.authenticator.authenticate(request)
        path = request.path
        if user is None:
            raise errors.unauthorized()
        if user is ANONYMOUS and not path.startswith(OPEN_PATHS):
            raise errors.unauthorized()
        query = parse_query(request.query) if request.query else _NO_QUERY
        if path.startswith(("/api/", "/apis/")):
            info = resolve(self.cluster.registry, request.method, path, query)
            if info is not None:
                return self.handlers.handle(request, info, query, user)
        return self._other(request, path, query)

    def _other(self, request: Request, path: str, query: dict[str, str]) -> Answer:
        if request.method not in ("GET", "HEAD"):
            raise errors.path_not_found()
        if path == "/version" or path == "/version/":
            return Response(200, VERSION)
        if path.startswith(("/healthz", "/livez", "/readyz")):
            return self._health(path, query)
        for part in (self.discovery, self.openapi):
            answer = part.handle(request, path, query)
            if answer is not None:
                return answer
        raise errors.path_not_found()

    def _health(self, path: str, query: dict[str, str]) -> Response:
        parts = path.strip("/").split("/")
        endpoint = parts[0]
        checks = {"ping": True, "log": True}
        for name, partition in self.cluster.partitions.items():
            checks[f"partition-{name}"] = not partition.failed
        if endpoint == "readyz":
            checks["poststarthook/bootstrap"] = self.ready
        if len(parts) == 2:
            if parts[1] not in checks:
                raise errors.path_not_found()
            checks = {parts[1]: checks[parts[1]]}
        elif len(parts) > 2:
            raise errors.path_not_found()
        good = all(checks.values())
        if good and "verbose" not in query:
            return Response(200, b"ok", b"text/plain; charset=utf-8")
        lines = [f"[{'+' if ok else '-'}]{name} {'ok' if ok else 'failed'}\n" for name, ok in checks.items()]
        lines.append(f"{endpoint} check {'passed' if good else 'failed'}\n")
        return Response(200 if good else 500, "".join(lines).encode(), b"text/plain; charset=utf-8")


class _UidMetadata(msgspec.Struct, gc=False):
    uid: str = ""


class _UidView(msgspec.Struct, gc=False):
    metadata: _UidMetadata


_decode_uid = msgspec.json.Decoder(_UidView).decode


def bound_objects_exist(partitions: dict[str, Partition], claims: Claims) -> bool:
    """Whether the service account of a token, and the pod it is bound to, are still those it was issued for."""
    account = partitions["default"].get(f"serviceaccounts/{claims.namespace}/{claims.service_account.name}")
    if account is None or _decode_uid(account.value).metadata.uid != claims.service_account.uid:
        return False
    if claims.pod is None:
        return True
    pod = partitions["pods"].get(f"pods/{claims.namespace}/{claims.pod.name}")
    return pod is not None and _decode_uid(pod.value).metadata.uid == claims.pod.uid


VERSION = encode_json(
    {
        "major": str(MAJOR),
        "minor": str(MINOR),
        "emulationMajor": str(MAJOR),
        "emulationMinor": str(MINOR),
        "minCompatibilityMajor": str(MAJOR),
        "minCompatibilityMinor": str(MINOR - 1),
        "gitVersion": f"v{MAJOR}.{MINOR}.{PATCH}+lakh-{__version__}",
        "gitCommit": "",
        "gitTreeState": "",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": f"python{platform.python_version()}",
        "platform": f"{platform.system().lower()}/{'amd64' if platform.machine() == 'x86_64' else platform.machine()}",
    }
)


def store_refusal(error: StoreError) -> errors.StatusError:
    """What a client is told when the store refuses."""
    if isinstance(error, JournalFull):
        return errors.storage_full(str(error))
    if isinstance(error, Overloaded):
        return errors.too_many_requests(str(error), 1)
    log.error("the store refused a request: %s", error)
    return errors.unavailable(str(error))

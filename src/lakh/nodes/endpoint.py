"""The kubelets' own HTTPS endpoint, one for a fleet: `/nodes/NAME` stands before a kubelet's paths, as the Nodes say by annotation.

It answers `/containerLogs` (following, too), `/pods`, `/healthz` and `/metrics`. Nothing runs in a simulated pod, so `exec`, `attach` and
`portForward` are refused, saying so. Only who has a certificate of the cluster's CA for `system:masters`, which is the API server, is answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import logging
import ssl
import tempfile
import time
from collections.abc import AsyncIterator
from urllib.parse import parse_qsl, unquote

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from lakh.client.client import Client
from lakh.client.errors import ClientError
from lakh.client.resources import PODS
from lakh.machinery.metrics import CONTENT_TYPE, PROCESS
from lakh.nodes import logs
from lakh.nodes.fleet import Fleet
from lakh.nodes.logs import LogError
from lakh.nodes.pods import PodView

log = logging.getLogger(__name__)

HEAD_BYTES = 64 * 1024
HEAD_SECONDS = 30.0
MASTERS = "system:masters"
JSON, TEXT = b"application/json", b"text/plain; charset=utf-8"
# Without a colon: client-go takes a text that is a YAML mapping for a Status.
NOTHING_RUNS = "a simulated node runs no images, so there is nothing to {}"
VERBS = {"exec": "execute a command in", "attach": "attach to", "portForward": "forward ports to"}


class _Answer(Exception):
    """Ends a request with this answer."""

    def __init__(self, code: int, body: bytes, kind: bytes = TEXT) -> None:
        super().__init__(code)
        self.code = code
        self.body = body
        self.kind = kind


class Endpoint:
    """Answers for the kubelets of a fleet."""

    def __init__(self, fleet: Fleet, client: Client) -> None:
        self.fleet = fleet
        self.client = client
        self._open: set[asyncio.StreamWriter] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, one request."""
        self._open.add(writer)
        try:
            async with asyncio.timeout(HEAD_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
            method = ""
            try:
                if not _is_master(writer.get_extra_info("peercert")):
                    raise _Answer(403, b"Forbidden")
                method, target, *_ = head.partition(b"\r\n")[0].decode("latin-1").split(" ")
                path, _, query = target.partition("?")
                parts = [unquote(p) for p in path.split("/")[1:]]
                await self._answer(method, parts, dict(parse_qsl(query, keep_blank_values=True)), writer)
            except _Answer as answer:
                writer.write(
                    b"HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
                    % (
                        answer.code,
                        b"OK" if answer.code == 200 else b"Refused",
                        answer.kind,
                        len(answer.body),
                    )
                )
                writer.write(b"" if method == "HEAD" else answer.body)
            await writer.drain()
        except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # it is the asker's loss
        finally:
            self._open.discard(writer)
            writer.close()

    def close(self) -> None:
        """Ends what is followed."""
        for writer in self._open:
            writer.close()

    async def _answer(
        self, method: str, parts: list[str], query: dict[str, str], writer: asyncio.StreamWriter
    ) -> None:
        if len(parts) < 3 or parts[0] != "nodes" or parts[1] not in self.fleet.kubelets:
            raise _Answer(404, b"404 page not found\n")
        kubelet = self.fleet.kubelets[parts[1]]
        if kubelet.idle:
            # A dead machine does not say that it is dead.
            writer.transport.abort()
            return
        match parts[2:]:
            case ["healthz"]:
                raise _Answer(200, b"ok")
            case ["metrics"]:
                raise _Answer(200, PROCESS.expose(), CONTENT_TYPE)
            case ["pods" | "pods/" | "runningpods"]:
                await self._pods(kubelet.name)
            case ["containerLogs", namespace, name, container] if method in ("GET", "HEAD"):
                await self._log(kubelet.name, namespace, name, container, query, writer)
            case ["exec" | "attach" as verb, namespace, name, container]:
                pod = self._pod(kubelet.name, namespace, name)
                try:
                    logs.find(pod, container)
                except LogError:
                    raise _Answer(404, f'container not found ("{container}")'.encode()) from None
                raise _Answer(501, NOTHING_RUNS.format(VERBS[verb]).encode())
            case ["portForward", namespace, name]:
                self._pod(kubelet.name, namespace, name)
                raise _Answer(501, NOTHING_RUNS.format(VERBS["portForward"]).encode())
            case _:
                raise _Answer(404, b"404 page not found\n")

    def _pod(self, node: str, namespace: str, name: str) -> PodView:
        pod = self.fleet.pod(namespace, name)
        if pod is None or pod.spec.nodeName != node:
            raise _Answer(404, f'pod "{name}" not found'.encode())
        return pod

    async def _pods(self, node: str) -> None:
        try:
            found = await self.client.list(PODS, field_selector=f"spec.nodeName={node}", type=msgspec.Raw)
        except ClientError as e:
            raise _Answer(503, str(e).encode()) from None
        items = b",".join(bytes(item) for item in found.items)
        raise _Answer(200, b'{"kind":"PodList","apiVersion":"v1","metadata":{},"items":[%s]}' % items, JSON)

    async def _log(
        self,
        node: str,
        namespace: str,
        name: str,
        container: str,
        query: dict[str, str],
        writer: asyncio.StreamWriter,
    ) -> None:
        previous = query.get("previous") == "true"
        timestamps = query.get("timestamps") == "true"
        pod = self._pod(node, namespace, name)
        try:
            lines, more = logs.lines(pod, container, previous)
            shown = logs.chosen(lines, query, time.time())
        except LogError as e:
            raise _Answer(e.code, str(e).encode()) from None
        body = logs.text(shown, timestamps)
        limit = int(query["limitBytes"]) if "limitBytes" in query else None
        if query.get("follow") != "true" or previous or not more or limit is not None:
            raise _Answer(200, body[:limit])
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n" + body)
        await writer.drain()
        sent = len(lines)
        uid = pod.metadata.uid
        while more and not writer.is_closing():
            await self.fleet.news(uid)
            latest = self.fleet.pod(namespace, name)
            if latest is None or latest.metadata.uid != uid:
                return
            try:
                lines, more = logs.lines(latest, container)
            except LogError:
                return
            writer.write(logs.text(lines[sent:], timestamps))
            await writer.drain()
            sent = len(lines)


def _is_master(certificate: dict[str, object] | None) -> bool:
    subject = (certificate or {}).get("subject") or ()
    assert isinstance(subject, tuple)
    return any((("organizationName", MASTERS) in part) for part in subject)


def server_context(ca_pem: bytes) -> ssl.SSLContext:
    """TLS with a certificate of our own making, as a kubelet without one has it, for clients that this CA knows."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "lakh-nodes")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=365))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile(prefix="lakh-kubelet-") as file:
        file.write(certificate.public_bytes(serialization.Encoding.PEM))
        file.write(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        file.flush()
        context.load_cert_chain(file.name)
    context.load_verify_locations(cadata=ca_pem.decode())
    context.verify_mode = ssl.CERT_REQUIRED
    return context


@contextlib.asynccontextmanager
async def serving(fleet: Fleet, client: Client, address: str = "127.0.0.1") -> AsyncIterator[None]:
    """Serves while the body runs, and has the fleet's Nodes say where; does nothing for a cluster without a CA."""
    ca_pem = client.config.ca_pem
    if ca_pem is None:
        yield
        return
    endpoint = Endpoint(fleet, client)
    server = await asyncio.start_server(
        endpoint.serve, address, 0, ssl=server_context(ca_pem), limit=HEAD_BYTES
    )
    port = server.sockets[0].getsockname()[1]
    fleet.kubelet_url = f"https://{address}:{port}/nodes/"
    log.info("kubelets answer at %s:%d", address, port)
    try:
        yield
    finally:
        server.close()
        endpoint.close()

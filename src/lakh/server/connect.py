"""What is passed on to nodes, pods and services: `log`, `exec`, `attach`, `portforward`, and the three proxies.

The kubelet of a pod's node is asked over HTTPS, at the addresses its Node reports in upstream's order; a Node of a simulated fleet says by annotation
which URL stands for its kubelet. Upgraded connections (WebSocket, SPDY) are pipes of bytes from then on. Errors are upstream's.
"""

from __future__ import annotations

import ipaddress
import random
import ssl
from typing import Any
from urllib.parse import SplitResult, parse_qsl, quote, urlencode, urlsplit

from lakh.machinery import errors, gonumbers
from lakh.server import backend
from lakh.server.backend import BackendError
from lakh.server.cluster import Cluster
from lakh.server.exchange import Request, Response, StreamResponse
from lakh.server.routing import RequestInfo
from lakh.server.storage import ResourceStore

# The URL of a simulated node's kubelet: thousands share a server, and tell themselves apart by its path.
URL_ANNOTATION = "lakh.dev/kubelet-url"
# Upstream's --kubelet-preferred-address-types.
ADDRESS_TYPES = ("Hostname", "InternalDNS", "InternalIP", "ExternalDNS", "ExternalIP")
KUBELET_PORT = 10250
# Of a refusal's text.
REFUSAL_MAX_BYTES = 16 * 1024

# PodExecOptions' parameters and the kubelet's names of them.
STREAMS = {"stdin": "input", "stdout": "output", "stderr": "error", "tty": "tty"}
LOG_OPTIONS = (
    "follow",
    "previous",
    "timestamps",
    "sinceSeconds",
    "sinceTime",
    "tailLines",
    "limitBytes",
    "stream",
)


class Connect:
    """Passes requests on. `kubelet_tls` has our client certificate for kubelets."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.kubelet_tls: ssl.SSLContext | None = None

    async def handle(
        self, request: Request, info: RequestInfo, query: dict[str, str], store: ResourceStore
    ) -> Response | StreamResponse:
        """The answer of whom the subresource is of; raises StatusError."""
        if info.subresource == "log":
            return await self._log(info, query, store)
        if info.subresource == "proxy":
            return await self._proxy(request, info, store)
        return await self._stream(request, info, query, store)

    # -- kubelets --------------------------------------------------------------------------------------------------------------

    def _kubelet(self, name: str) -> SplitResult:
        """The URL of a node's kubelet; raises 404."""
        nodes = self.cluster.named("", "v1", "nodes")
        node = nodes.decode(nodes.get("", name))
        said: str | None = (node.metadata.annotations or {}).get(URL_ANNOTATION)
        if said:
            return urlsplit(said.rstrip("/"))
        status = node.status
        addresses = {
            a.type: a.address for a in reversed((status.addresses or ()) if status is not None else ())
        }
        host = next((addresses[kind] for kind in ADDRESS_TYPES if addresses.get(kind)), "")
        if not host:
            raise errors.internal(
                f"no preferred addresses found; known addresses: {list(addresses.values())}"
            )
        endpoint = status.daemonEndpoints.kubeletEndpoint if status.daemonEndpoints is not None else None
        port = (endpoint.Port if endpoint is not None else None) or KUBELET_PORT
        return urlsplit(f"https://{f'[{host}]' if ':' in host else host}:{port}")

    def _pod(self, info: RequestInfo, query: dict[str, str], store: ResourceStore) -> tuple[Any, str]:
        """The pod, and the container that is meant; raises 404 and 400."""
        pod = store.decode(store.get(info.namespace, info.name))
        containers, inits, ephemeral = (
            [c.name for c in getattr(pod.spec, name) or ()]
            for name in ("containers", "initContainers", "ephemeralContainers")
        )
        container = query.get("container", "")
        if not container:
            if len(containers) != 1:
                text = f"a container name must be specified for pod {info.name}"
                if containers:
                    text += f", choose one of: [{' '.join((*inits, *containers, *ephemeral))}]"
                raise errors.bad_request(text)
            container = containers[0]
        elif container not in (*containers, *inits, *ephemeral):
            raise errors.bad_request(f"container {container} is not valid for pod {info.name}")
        return pod, container

    async def _log(
        self, info: RequestInfo, query: dict[str, str], store: ResourceStore
    ) -> Response | StreamResponse:
        options = {name: query[name] for name in LOG_OPTIONS if query.get(name)}
        _check_log_options(options)
        pod, container = self._pod(info, query, store)
        if not pod.spec.nodeName:
            # Upstream answers with nothing as well.
            return Response(200, b"", b"text/plain")
        url = self._kubelet(pod.spec.nodeName)
        path = f"{url.path}/containerLogs/{info.namespace}/{info.name}/{container}"
        target = path + (f"?{urlencode(options)}" if options else "")
        try:
            answer = await backend.ask(url, self.kubelet_tls, "GET", target, [("accept", "*/*")])
        except BackendError as e:
            raise _unreached(f'Get "{url.scheme}://{url.netloc}{target}": {e}') from e
        if answer.status >= 400:
            raise await _refusal(answer)
        answer.headers = [(n, v) for n, v in answer.headers if n != "content-type"]
        answer.headers.append(("content-type", "text/plain"))
        return answer.response("GET")

    async def _stream(
        self, request: Request, info: RequestInfo, query: dict[str, str], store: ResourceStore
    ) -> Response | StreamResponse:
        """exec, attach and portforward: an upgraded connection to the kubelet."""
        pairs = parse_qsl(request.query, keep_blank_values=True)
        if info.subresource == "portforward":
            pod = store.decode(store.get(info.namespace, info.name))
            passed = [(n, v) for n, v in pairs if n == "ports"]
            path = f"portForward/{info.namespace}/{info.name}"
        else:
            pod, container = self._pod(info, query, store)
            passed = [(STREAMS[n], "1") for n, v in pairs if n in STREAMS and v.lower() in ("1", "t", "true")]
            if info.subresource == "exec":
                passed += [(n, v) for n, v in pairs if n == "command"]
            path = f"{info.subresource}/{info.namespace}/{info.name}/{container}"
        if not pod.spec.nodeName:
            raise errors.bad_request(f"pod {info.name} does not have a host assigned")
        if not request.headers.get("upgrade"):
            raise errors.bad_request("Upgrade request required")
        url = self._kubelet(pod.spec.nodeName)
        target = f"{url.path}/{path}" + (f"?{urlencode(passed)}" if passed else "")
        return await self._upgrade(request, url, self.kubelet_tls, target, "error dialing backend")

    async def _upgrade(
        self, request: Request, url: SplitResult, tls: ssl.SSLContext | None, target: str, trouble: str
    ) -> Response | StreamResponse:
        try:
            answer = await backend.ask(
                url, tls, request.method, target, backend.forwarded(request.headers), request.body
            )
        except BackendError as e:
            raise _unreached(f"{trouble}: {e}") from e
        if answer.status == 101:
            return answer.tunnel()
        # The backend did not upgrade: its answer is the client's.
        return answer.response(request.method)

    # -- proxies ---------------------------------------------------------------------------------------------------------------

    async def _proxy(
        self, request: Request, info: RequestInfo, store: ResourceStore
    ) -> Response | StreamResponse:
        # The path behind `proxy` as it was sent: escapes and a slash at its end have a meaning there.
        segments = request.path.split("/")
        rest = "/".join(segments[8 if store.resource.namespaced else 6 :])
        if not rest and not request.path.endswith("/") and request.method in ("GET", "HEAD"):
            location = request.path + "/" + (f"?{request.query}" if request.query else "")
            return Response(301, b"", b"", ((b"Location", location.encode()),))
        tls = None
        match store.resource.plural:
            case "nodes":
                url, tls = self._node_url(info.name), self.kubelet_tls
            case "pods":
                url = self._pod_url(info, store)
            case _:
                url = self._service_url(info)
        target = f"{url.path}/{rest}" + (f"?{request.query}" if request.query else "")
        headers = backend.forwarded(request.headers)
        headers.append(("x-forwarded-uri", request.path))
        trouble = "error trying to reach service"
        if request.headers.get("upgrade"):
            return await self._upgrade(request, url, tls, target, trouble)
        try:
            answer = await backend.ask(url, tls, request.method, target, headers, request.body)
        except BackendError as e:
            raise errors.unavailable(f"{trouble}: {e}") from e
        return answer.response(request.method)

    def _node_url(self, text: str) -> SplitResult:
        scheme, name, port = split_name(text, "node")
        url = self._kubelet(name)
        if not scheme and not port:
            return url
        host = f"[{url.hostname}]" if ":" in (url.hostname or "") else url.hostname
        return urlsplit(f"{scheme or url.scheme}://{host}:{port or url.port or KUBELET_PORT}{url.path}")

    def _pod_url(self, info: RequestInfo, store: ResourceStore) -> SplitResult:
        scheme, name, port = split_name(info.name, "pod")
        pod = store.decode(store.get(info.namespace, name))
        if not port:
            ports = [p.containerPort for c in pod.spec.containers for p in c.ports or ()]
            port = str(ports[0]) if ports else ""
        ip = (pod.status.podIP if pod.status is not None else None) or ""
        return _url(scheme or "http", ip, port)

    def _service_url(self, info: RequestInfo) -> SplitResult:
        """A ready endpoint of a service's port."""
        scheme, name, port = split_name(info.name, "service")
        address, number = self.endpoint(info.namespace, name, port)
        return _url(scheme or "http", address, str(number))

    def endpoint(self, namespace: str, name: str, port: str) -> tuple[str, int]:
        """Address and port of a ready endpoint behind a service's port (its name or number); raises 404, 503."""
        store = self.cluster.named("", "v1", "services")
        service = store.decode(store.get(namespace, name))
        asked = f"{name}:{port}" if port else name
        if gonumbers.is_uint(port):
            wanted = int(port)
            known = next((p for p in service.spec.ports or () if p.port == wanted), None)
            if known is None:
                raise errors.unavailable(f'no service port {wanted} found for service "{name}"')
            port = known.name or ""
        slices = self.cluster.named("discovery.k8s.io", "v1", "endpointslices")
        found: list[tuple[str, int]] = []
        for item in slices.partition.range(slices.table, namespace).items:
            piece = slices.decode(item)
            if (piece.metadata.labels or {}).get("kubernetes.io/service-name") != name:
                continue
            ports = [p.port for p in piece.ports or () if (p.name or "") == port and p.port]
            for endpoint in piece.endpoints or ():
                ready = endpoint.conditions.ready if endpoint.conditions is not None else None
                if ports and ready is not False and endpoint.addresses:
                    found.append((endpoint.addresses[0], ports[0]))
        if not found:
            raise errors.unavailable(f'no endpoints available for service "{asked}"')
        return random.choice(found)


def split_name(text: str, kind: str) -> tuple[str, str, str]:
    """`[scheme:]name[:port]` of a proxy's URL; raises 400."""
    parts = text.split(":")
    if len(parts) == 3 and parts[0] not in ("http", "https", ""):
        parts = []
    match parts:
        case [name] if name:
            return "", name, ""
        case [name, port] if name:
            return "", name, port
        case [scheme, name, port] if name:
            return scheme, name, port
    raise errors.bad_request(f'invalid {kind} request "{text}"')


def is_allowed(address: str) -> bool:
    """Whether an address may be proxied to: not this machine's own, nor a neighbour's that is reached without a router."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    return not (ip.is_loopback or ip.is_link_local or ip.is_multicast or ip.is_unspecified)


def _url(scheme: str, address: str, port: str) -> SplitResult:
    if not is_allowed(address):
        raise errors.bad_request("address not allowed")
    host = f"[{address}]" if ":" in address else address
    return urlsplit(f"{scheme}://{host}:{quote(port)}" if port else f"{scheme}://{host}")


def _check_log_options(options: dict[str, str]) -> None:
    findings = []
    for name, least in (("tailLines", 0), ("limitBytes", 1), ("sinceSeconds", 1)):
        text = options.get(name)
        if text is None:
            continue
        try:
            number = gonumbers.parse_int(text)
        except ValueError as e:
            raise errors.bad_request(str(e)) from None
        if number < least:
            why = f"must be greater than or equal to {least}"
            findings.append(errors.invalid_value(name, number, why))
    if "sinceSeconds" in options and "sinceTime" in options:
        findings.append(
            errors.forbidden_field("", "at most one of `sinceTime` or `sinceSeconds` may be specified")
        )
    if findings:
        raise errors.invalid("", "PodLogOptions", "", findings)


def _unreached(text: str) -> errors.StatusError:
    """500 as upstream has it for errors that are no Status."""
    return errors.StatusError(500, "", text)


async def _refusal(answer: backend.Backend) -> errors.StatusError:
    """A kubelet's refusal as a Status."""
    text = (await answer.read(REFUSAL_MAX_BYTES)).decode("utf-8", "replace").strip()
    answer.close()
    if answer.status == 400:
        return errors.bad_request(text)
    if answer.status == 404:
        return errors.StatusError(404, "NotFound", text or "the server could not find the requested resource")
    text = f"an error on the server ({errors.show(text)}) has prevented the request from succeeding"
    return errors.StatusError(500, "InternalError", text)

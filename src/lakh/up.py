"""`lakh up`: a whole cluster in the foreground.

Supervises one process a component, over TLS on loopback like on many machines. A component that dies is started again with backoff; it
finds its state in the API. Every component's log is a file in the data directory. Children end with their parent, however it ends: their
standard input closes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import socket
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from lakh import __version__
from lakh.cli import Failure, engine_of, quotas_of
from lakh.client.client import Client
from lakh.client.errors import ClientError
from lakh.client.informer import Informer
from lakh.client.kubeconfig import load_kubeconfig
from lakh.client.resources import NODES, PODS
from lakh.client.tasks import TaskGuard
from lakh.client.types import ObjectMeta
from lakh.progress import Progress
from lakh.server.engine import EngineError, claim_directory
from lakh.store.errors import StoreError
from lakh.store.nats_server import NatsServer

log = logging.getLogger(__name__)

RESTART_FIRST_SECONDS = 0.5
RESTART_MAX_SECONDS = 30.0
# A component that ran this long starts its backoff anew.
HEALTHY_SECONDS = 60.0
START_SECONDS = 120.0
STOP_SECONDS = 15.0
POLL_SECONDS = 0.1
TARGETS_FILE = "metrics-targets.json"


class Component:
    """A supervised process."""

    def __init__(self, name: str, arguments: list[str], log_directory: Path) -> None:
        self.name = name
        self.arguments = arguments
        self.log_file = log_directory / f"{name}.log"
        self.process: asyncio.subprocess.Process | None = None

    def __repr__(self) -> str:
        return f"<Component {self.name} pid {self.process.pid if self.process else None}>"

    async def start(self) -> None:
        """Starts the process; its log goes to its log file. Raises Failure when that cannot be written."""
        try:
            out = self.log_file.open("ab")
        except OSError as e:
            raise Failure(f"cannot write {self.log_file}: {e.strerror}") from e
        with out:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "lakh",
                *self.arguments,
                "--exit-with-parent",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE if self.arguments[0] == "apiserver" else out,
                stderr=out,
                start_new_session=True,
            )

    async def next_line(self) -> str:
        """What the process says next on standard output; empty when it ends without a word."""
        process = self.process
        assert process is not None and process.stdout is not None
        line = (await process.stdout.readline()).decode(errors="replace").strip()
        if not line:
            await process.wait()
        return line

    async def supervise(self) -> None:
        """Starts the process again whenever it ends; runs until cancelled."""
        delay = RESTART_FIRST_SECONDS
        while True:
            began = time.monotonic()
            assert self.process is not None
            code = await self.process.wait()
            if time.monotonic() - began > HEALTHY_SECONDS:
                delay = RESTART_FIRST_SECONDS
            log.warning(
                "%s ended with code %s (%s); starting it again in %.1f s",
                self.name,
                code,
                self.log_file,
                delay,
            )
            await asyncio.sleep(delay)
            delay = min(delay * 2, RESTART_MAX_SECONDS)
            await self.start()

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL when that does not help."""
        process = self.process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), STOP_SECONDS)
        except TimeoutError:
            log.warning("%s did not stop within %.0f s and is killed", self.name, STOP_SECONDS)
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    def last_words(self) -> str:
        """The last line of the log: why a start failed."""
        lines = self.log_file.read_text(errors="replace").splitlines()
        return next((line for line in reversed(lines) if line.strip()), "no output")


class _Condition(msgspec.Struct, gc=False):
    type: str
    status: str


class _NodeStatus(msgspec.Struct, gc=False):
    conditions: list[_Condition] | None = None


class NodeView(msgspec.Struct, gc=False):
    """Whether a node is ready."""

    metadata: ObjectMeta
    status: _NodeStatus | None = None

    @property
    def ready(self) -> bool:
        """The Ready condition."""
        conditions = (self.status.conditions if self.status is not None else None) or ()
        return any(c.type == "Ready" and c.status == "True" for c in conditions)


class _PodStatus(msgspec.Struct, gc=False):
    phase: str = "Pending"


class _PodSpec(msgspec.Struct, gc=False):
    nodeName: str | None = None


class PodView(msgspec.Struct, gc=False):
    """How far a pod is."""

    metadata: ObjectMeta
    spec: _PodSpec | None = None
    status: _PodStatus | None = None


async def run(options: argparse.Namespace) -> int:
    """Starts everything, says `ready:`, and stays until it is cancelled."""
    directory: Path = options.data_dir
    logs = directory / "logs"
    try:
        logs.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise Failure(f"cannot use the data directory {directory}: {e.strerror}") from e
    manifest = load_manifest(options.submit) if options.submit is not None else []
    progress = Progress()
    components: list[Component] = []
    async with contextlib.AsyncExitStack() as stack:
        began = time.monotonic()
        quotas_of(options)
        engine = await _journal(options, stack, progress)
        stack.push_async_callback(stop_all, components, progress)
        kubeconfig = directory / "kubeconfig"
        progress.show("starting the API server …")
        # The first one makes the certificates that all share, so the others wait for it.
        homes = [directory, *(directory / f"apiserver-{n}" for n in range(2, options.apiservers + 1))]
        ports = {name: stack.enter_context(_held_port()) for name in ("scheduler", "controllers", "nodes")}
        for name, status in COMPONENT_STATUSES.items():
            engine = [*engine, "--component-health", f"{status}=127.0.0.1:{ports[name]}"]
        first = _api_server("apiserver", homes[0], options, options.port, engine, logs)
        components.append(first)
        client = await _started(first, homes[0], progress)
        stack.push_async_callback(client.close)
        port = urlsplit(client.config.server).port or 0
        others = [
            _api_server(home.name, home, options, _port(home, options.bind, port + n), engine, logs)
            for n, home in enumerate(homes[1:], 1)
        ]
        components += others
        for other in await asyncio.gather(
            *(_started(o, h, progress) for o, h in zip(others, homes[1:], strict=True))
        ):
            await other.close()
        servers = "API server" if not others else f"{len(homes)} API servers"
        progress.show(f"{servers} ready after {time.monotonic() - began:.1f} s")
        targets: dict[str, str] = {}
        for number, name in enumerate(("scheduler", "controllers", "nodes")):
            if name == "nodes" and not options.nodes:
                continue
            # Each beside another server: none has to hold up all watches.
            home = homes[number % len(homes)]
            arguments = [name, "--kubeconfig", str(home / "kubeconfigs" / f"{name}.kubeconfig")]
            if name == "scheduler" and options.scheduler_config is not None:
                arguments += ["--config", str(options.scheduler_config.resolve())]
            if name == "nodes":
                arguments += ["--count", str(options.nodes), "--instance-type", options.instance_type]
                if options.devices:
                    arguments.append("--devices")
                if options.volume_limit is not None:
                    arguments += ["--volume-limit", str(options.volume_limit)]
                arguments += ["--lease-seconds", str(options.lease_seconds)]
                arguments += ["--status-seconds", str(options.status_seconds)]
            if name == "controllers":
                arguments += ["--node-monitor-grace-period", str(grace_seconds(options.lease_seconds))]
                for what, file in (("cert", "ca.crt"), ("key", "ca.key")):
                    arguments += [f"--cluster-signing-{what}-file", str(directory / "pki" / file)]
            arguments += ["--metrics-port", str(ports[name])]
            targets[name] = f"127.0.0.1:{ports[name]}"
            component = Component(name, arguments, logs)
            components.append(component)
            await component.start()
        write_targets(directory, client.config.server, [first, *others], targets)
        guard = await stack.enter_async_context(TaskGuard("up"))
        for component in components:
            guard.spawn(component.supervise(), name=component.name, forever=True)
        if options.nodes:
            await _until_nodes_ready(client, options.nodes, progress)
        nodes = f", {options.nodes} nodes Ready" if options.nodes else ""
        progress.line(
            f"ready: {client.config.server} after {time.monotonic() - began:.1f} s{nodes}; "
            f"export KUBECONFIG={kubeconfig.resolve()}"
        )
        if manifest:
            await submit(client, manifest, progress)
            jobs = [o["metadata"]["name"] for o in manifest if o["kind"] == "Job"]
            progress.line(NEXT_STEPS.format(kubeconfig=kubeconfig.resolve()))
            for name in jobs:
                progress.line(f"    kubectl describe job {name}\n    kubectl delete job {name}")
        await asyncio.Event().wait()
    return 0


def _api_server(
    name: str, home: Path, options: argparse.Namespace, port: int, engine: list[str], logs: Path
) -> Component:
    arguments = ["apiserver", "--data-dir", str(home), "--bind", options.bind, "--port", str(port), *engine]
    arguments += ["--memory-quota", options.memory_quota, "--disk-quota", options.disk_quota]
    if home != options.data_dir:
        arguments += ["--cert-dir", str(options.data_dir / "pki")]
    return Component(name, arguments, logs)


async def _started(server: Component, home: Path, progress: Progress) -> Client:
    """Starts an API server; a client of it once it is ready."""
    await server.start()
    client = await _until_ready(server, home / "kubeconfig", progress)
    # Started again it has to come back where the kubeconfigs say it is, also when the port was 0.
    server.arguments[server.arguments.index("--port") + 1] = str(urlsplit(client.config.server).port)
    return client


def _port(home: Path, bind: str, wanted: int) -> int:
    """The port of a further API server: the one that it had, else the wanted one, else a free one."""
    with contextlib.suppress(ClientError):
        wanted = urlsplit(load_kubeconfig(home / "kubeconfig").server).port or wanted
    return _free_port(bind, wanted)


@contextlib.contextmanager
def _held_port() -> Iterator[int]:
    """A port of loopback that nobody else gets: not before a component serves on it, nor while one is started again."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


def _free_port(address: str, wanted: int) -> int:
    """The wanted port if nobody has it, else 0."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, wanted))
        except (OSError, OverflowError):
            return 0
        port: int = probe.getsockname()[1]
    return port


JOBS = {"scheduler": "kube-scheduler", "controllers": "kube-controller-manager", "nodes": "lakh-nodes"}
"""By what names dashboards and alerts for Kubernetes know the components."""


COMPONENT_STATUSES = {"scheduler": "scheduler", "controllers": "controller-manager"}
"""Their names in `kubectl get componentstatuses`."""


def write_targets(directory: Path, server: str, servers: list[Component], targets: dict[str, str]) -> None:
    """Tells where metrics are, in a file that Prometheus reads (`file_sd_configs`) and `lakh bench cluster` too."""
    parts = urlsplit(server)
    host = parts.netloc.rpartition(":")[0]
    found: list[dict[str, Any]] = [
        {
            "targets": [f"{host}:{s.arguments[s.arguments.index('--port') + 1]}" for s in servers],
            "labels": {"job": "apiserver", "component": "apiserver", "__scheme__": parts.scheme},
        }
    ]
    found += [
        {"targets": [target], "labels": {"job": JOBS[name], "component": name}}
        for name, target in targets.items()
    ]
    (directory / TARGETS_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n")


async def _journal(
    options: argparse.Namespace, stack: contextlib.AsyncExitStack, progress: Progress
) -> list[str]:
    """What API servers are told of the journal; starts a nats-server when none is named. Raises Failure."""
    try:
        claim_directory(options.data_dir, options.engine)
    except EngineError as e:
        raise Failure(str(e)) from e
    if options.engine == "file":
        return []
    if options.nats_url:
        engine_of(options)
        arguments = ["--engine", "nats", "--nats-url", options.nats_url]
        arguments += ["--nats-replicas", str(options.nats_replicas), "--nats-prefix", options.nats_prefix]
        for option, path in (
            ("--nats-token-file", options.nats_token_file),
            ("--nats-ca-file", options.nats_ca_file),
        ):
            arguments += [option, str(path)] if path is not None else []
        return arguments
    if options.nats_replicas != 1:
        raise Failure("--nats-replicas above 1 needs a NATS cluster: name its servers with --nats-url")
    directory: Path = options.data_dir / "nats"
    progress.show("starting nats-server …")
    try:
        nats = await NatsServer.start(directory)
    except StoreError as e:
        raise Failure(str(e)) from e
    stack.push_async_callback(nats.stop)
    return ["--engine", "nats", "--nats-url", nats.url, "--nats-token-file", str(directory / "token")]


def grace_seconds(lease_seconds: int) -> float:
    """How long a node may be silent: upstream's 50 s for the default lease of 40 s, and longer for a longer lease."""
    return lease_seconds + 10.0


NEXT_STEPS = """
The cluster stays up until Ctrl-C. In another terminal:

    export KUBECONFIG={kubeconfig}
    kubectl get nodes -L node.kubernetes.io/instance-type
    kubectl get pods -o wide"""


async def stop_all(components: list[Component], progress: Progress) -> None:
    """Stops components, the API servers last."""
    if not components:
        return
    progress.line("stopping …")
    servers = [c for c in components if c.arguments[0] == "apiserver"]
    await asyncio.gather(*(c.stop() for c in components if c not in servers))
    await asyncio.gather(*(server.stop() for server in servers))
    progress.close()


async def _until_ready(server: Component, kubeconfig: Path, progress: Progress) -> Client:
    """A client of the server, once /readyz is ok; raises Failure when it does not come up.

    Its own word that it listens is waited for first: on the address of the kubeconfig another cluster may be answering.
    """
    try:
        async with asyncio.timeout(START_SECONDS) as limit:
            while not (line := await server.next_line()).startswith("serving "):
                if not line:
                    raise Failure(server.last_words().removeprefix("lakh: "))
                # It reads its journals: long is not stuck.
                progress.show(f"API server: {line}")
                limit.reschedule(asyncio.get_running_loop().time() + START_SECONDS)
            client = Client.from_kubeconfig(kubeconfig, user_agent=f"lakh/v{__version__}")
            while True:
                with contextlib.suppress(ClientError):
                    if (await client.raw("GET", "/readyz")).status == 200:
                        return client
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError:
        raise Failure(
            f"the API server was not ready within {START_SECONDS:.0f} s; see {server.log_file}"
        ) from None


@contextlib.asynccontextmanager
async def _following(informer: Informer[Any]) -> AsyncIterator[None]:
    task = asyncio.create_task(informer.run(), name="informer")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _until_nodes_ready(client: Client, count: int, progress: Progress) -> None:
    ready: set[str] = set()
    changed = asyncio.Event()

    def on_node(node: NodeView) -> None:
        if node.ready:
            ready.add(node.metadata.name or "")
        else:
            ready.discard(node.metadata.name or "")
        changed.set()

    informer = Informer(client, NODES, NodeView)
    informer.add_handler(
        on_add=on_node,
        on_update=lambda old, new: on_node(new),
        on_delete=lambda n: ready.discard(n.metadata.name or ""),
    )
    async with _following(informer):
        while len(ready) < count:
            await changed.wait()
            changed.clear()
            progress.bar("nodes Ready", len(ready), count)
            await asyncio.sleep(POLL_SECONDS)
        progress.bar("nodes Ready", len(ready), count)


def load_manifest(path: Path) -> list[dict[str, Any]]:
    """The objects of a YAML file; raises Failure."""
    import yaml

    try:
        objects = [o for o in yaml.safe_load_all(path.read_text()) if o]
    except (OSError, ValueError, yaml.YAMLError) as e:
        raise Failure(f"cannot read the manifest {path}: {' '.join(str(e).split())}") from e
    for obj in objects:
        whole = isinstance(obj, dict) and all(isinstance(obj.get(n), str) for n in ("apiVersion", "kind"))
        metadata = obj.get("metadata") if whole else None
        if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str):
            raise Failure(f"{path}: every object needs apiVersion, kind and metadata.name")
    return objects


async def submit(client: Client, manifest: list[dict[str, Any]], progress: Progress) -> None:
    """Applies a manifest and shows the pods of its jobs until all run."""
    from lakh.client.discovery import discover

    kinds = {(r.group, r.version, r.kind): r for r in await discover(client)}
    jobs: list[tuple[str, str, int]] = []
    for obj in manifest:
        group, _, version = obj["apiVersion"].rpartition("/")
        resource = kinds.get((group, version, obj["kind"]))
        if resource is None:
            raise Failure(f"the cluster has no kind {obj['kind']} in {obj['apiVersion']}")
        name = obj["metadata"]["name"]
        namespace = obj["metadata"].get("namespace", "default") if resource.namespaced else None
        try:
            await client.patch(
                resource,
                name,
                obj,
                namespace,
                patch_type="application/apply-patch+yaml",
                field_manager="lakh-up",
                force=True,
            )
        except ClientError as e:
            raise Failure(f"cannot apply {resource.plural}/{name}: {e}") from e
        if obj["kind"] == "Job":
            jobs.append((namespace or "default", name, (obj.get("spec") or {}).get("parallelism") or 1))
        progress.line(f"applied {obj['kind'].lower()}/{name}")
    for namespace, name, count in jobs:
        await _until_pods_run(client, namespace, name, count, progress)


async def _until_pods_run(client: Client, namespace: str, job: str, count: int, progress: Progress) -> None:
    began = time.monotonic()
    informer = Informer(
        client, PODS, PodView, namespace=namespace, label_selector=f"batch.kubernetes.io/job-name={job}"
    )
    changed = asyncio.Event()
    informer.add_handler(
        on_add=lambda pod: changed.set(),
        on_update=lambda old, new: changed.set(),
        on_delete=lambda pod: changed.set(),
    )
    async with _following(informer):
        while True:
            phases = [(p.status.phase if p.status else "Pending") for p in informer.items.values()]
            running = sum(phase in ("Running", "Succeeded") for phase in phases)
            bound = sum(p.spec is not None and p.spec.nodeName is not None for p in informer.items.values())
            progress.bar(f"pods of job {job} Running ({len(phases)} created, {bound} bound)", running, count)
            if running >= count:
                break
            await changed.wait()
            changed.clear()
            await asyncio.sleep(POLL_SECONDS)
    progress.line(f"all {count} pods of job {job} Running after {time.monotonic() - began:.1f} s")

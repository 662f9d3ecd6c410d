"""The commands. Exit codes: 0 done, 1 failed with one clear line on stderr, 2 wrong usage."""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from lakh import __version__

DEFAULT_DATA_DIRECTORY = Path("data")
DEFAULT_PORT = 6443
PORT_MAX = 65535
# A start that takes longer shows how far it is, in lines that begin with this.
SHOW_AFTER_SECONDS = 2.0
LOADING = "loading "
DEFAULT_INSTANCE_TYPE = "trn2.48xlarge"
DEFAULT_LEASE_SECONDS = 40
DEFAULT_STATUS_SECONDS = 300
# A kubelet on each of a hundred thousand nodes has a connection or two.
OPEN_FILES = 400_000
# Of a component under way: more are not answered sooner, and each later (docs/scale.md). The controllers begin a pod's way: with
# fewer they don't run ahead of those who end it.
MAX_REQUESTS = 12
MAX_CONTROLLERS_REQUESTS = 10
SECONDS_MAX = 3600

# Few tracked objects (Structs are not), so collections are rare and short; see docs/performance.md.
# A middle collection looks at up to 50,000 objects: 9 ms with cold caches (200,000: 20 to 40 ms, and twice that where cores are short).
GC_THRESHOLDS = (10_000, 5, 1_000)


class Failure(Exception):
    """Ends a command with exit code 1; the message is the one line that says why and what to do."""


def main(arguments: list[str] | None = None) -> int:
    """Runs a command line; returns its exit code."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.DEBUG if options.verbose else logging.INFO,
        format="%(asctime)s %(levelname).1s %(name)s: %(message)s",
    )
    try:
        code: int | None = options.run(options)
        return code or 0
    except Failure as e:
        print(f"lakh: {e}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lakh", description="A Kubernetes control plane for clusters of 100,000 nodes."
    )
    parser.add_argument("--version", action="version", version=f"lakh {__version__}")
    parser.add_argument("-v", "--verbose", action="store_true", help="log more")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    up = commands.add_parser("up", help="start a whole cluster in the foreground")
    _server_options(up)
    up.add_argument("--nodes", type=_count, default=0, metavar="N", help="simulated nodes (default: none)")
    _fleet_options(up)
    _engine_options(up)
    _quota_options(up)
    up.add_argument("--apiservers", type=_count, default=1, metavar="K", help="API servers (default: 1)")
    up.add_argument(
        "--scheduler-config",
        type=Path,
        default=None,
        metavar="FILE",
        help="a KubeSchedulerConfiguration for the scheduler",
    )
    up.add_argument(
        "--submit",
        type=Path,
        metavar="FILE",
        help="apply a manifest when the cluster is ready and show its pods' progress",
    )
    up.set_defaults(run=_run_up)

    apiserver = commands.add_parser("apiserver", help="run the API server alone")
    _server_options(apiserver)
    _engine_options(apiserver)
    _quota_options(apiserver)
    apiserver.add_argument(
        "--cert-dir",
        type=Path,
        metavar="C",
        help="certificates and keys, the same for all API servers of a cluster (default: D/pki)",
    )
    apiserver.add_argument(
        "--advertise-address",
        default="",
        metavar="A",
        help="where other API servers reach this one (default: the one it listens on)",
    )
    apiserver.add_argument(
        "--component-health",
        type=_named_address,
        action="append",
        default=[],
        metavar="NAME=ADDRESS:PORT",
        help="where the scheduler or the controller-manager serves /healthz, for componentstatuses (may be repeated)",
    )
    apiserver.add_argument("--exit-with-parent", action="store_true", help="stop when standard input ends")
    apiserver.set_defaults(run=_run_apiserver)

    for name, text, run in (
        ("scheduler", "run the scheduler against any Kubernetes API server", _run_scheduler),
        ("controllers", "run the controllers against any Kubernetes API server", _run_controllers),
        ("nodes", "run simulated nodes against any Kubernetes API server", _run_nodes),
    ):
        component = commands.add_parser(name, help=text)
        component.add_argument(
            "--kubeconfig",
            type=Path,
            default=None,
            help="whose credentials to use (default: $KUBECONFIG or ~/.kube/config)",
        )
        component.add_argument(
            "--exit-with-parent", action="store_true", help="stop when standard input ends"
        )
        component.add_argument(
            "--metrics-port",
            type=_count,
            default=None,
            metavar="P",
            help="serve /metrics and /healthz on this port of 127.0.0.1 (default: do not)",
        )
        if name == "nodes":
            component.add_argument("--count", type=_count, required=True, metavar="N", help="how many")
            component.add_argument(
                "--start-index",
                type=_count,
                default=0,
                metavar="I",
                help="number of the first one; fleets beside each other need ranges of their own (default: 0)",
            )
            _fleet_options(component)
        else:
            component.add_argument(
                "--leader-elect", action="store_true", help="run only while holding the lease"
            )
        if name == "scheduler":
            component.add_argument(
                "--config",
                type=Path,
                default=None,
                metavar="FILE",
                help="a KubeSchedulerConfiguration (kubescheduler.config.k8s.io/v1)",
            )
        if name == "controllers":
            component.add_argument(
                "--node-monitor-grace-period",
                type=float,
                default=50.0,
                metavar="S",
                help="how long a node may be silent before it counts as unreachable (default: 50)",
            )
            for what in ("cert", "key"):
                component.add_argument(
                    f"--cluster-signing-{what}-file",
                    type=Path,
                    metavar="F",
                    help=f"the {'certificate' if what == 'cert' else 'private key'} of the CA that signs approved "
                    "CertificateSigningRequests (default: none are signed)",
                )
            component.add_argument(
                "--cluster-signing-duration",
                type=_count,
                metavar="S",
                help="how long a signed certificate is good at most (default: a year)",
            )
        component.set_defaults(run=run)

    from lakh import store_options
    from lakh.bench.main import add_parser

    store_options.add_parser(commands)
    add_parser(commands)
    return parser


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise ValueError("negative")
    return number


_count.__name__ = "count"


def _named_address(text: str) -> tuple[str, str]:
    name, _, address = text.partition("=")
    host, _, port = address.rpartition(":")
    if not name or not host or not 0 < int(port) <= PORT_MAX:
        raise ValueError("not NAME=ADDRESS:PORT")
    return name, address


_named_address.__name__ = "NAME=ADDRESS:PORT"


def _port(text: str) -> int:
    number = int(text)
    if not 0 <= number <= PORT_MAX:
        raise ValueError("no port")
    return number


_port.__name__ = "port"


def seconds(text: str) -> int:
    """A duration from the command line."""
    number = int(text)
    if not 1 <= number <= SECONDS_MAX:
        raise ValueError("no duration")
    return number


seconds.__name__ = "duration"


def _instance_type(text: str) -> str:
    from lakh.nodes.catalogue import CATALOGUE

    if text not in CATALOGUE:
        raise argparse.ArgumentTypeError(f"unknown instance type {text!r}; known are {', '.join(CATALOGUE)}")
    return text


def _server_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data-dir",
        type=Path,
        default=DEFAULT_DATA_DIRECTORY,
        metavar="D",
        help="journal, certificates, kubeconfig (default: ./data)",
    )
    parser.add_argument(
        "--bind", default="127.0.0.1", metavar="A", help="address to listen on (default: 127.0.0.1)"
    )
    parser.add_argument(
        "--port", type=_port, default=DEFAULT_PORT, help=f"port to listen on (default: {DEFAULT_PORT})"
    )


def _engine_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--engine", choices=("file", "nats"), default="file", help="what keeps the journal (default: file)"
    )
    parser.add_argument(
        "--nats-url",
        metavar="U,…",
        help="NATS servers of --engine nats, nats://[TOKEN@]HOST:PORT or tls://… "
        "(default for up: one of its own, in D/nats)",
    )
    parser.add_argument("--nats-token-file", type=Path, metavar="F", help="the token that NATS asks for")
    parser.add_argument("--nats-ca-file", type=Path, metavar="F", help="whom to trust for tls:// servers")
    parser.add_argument(
        "--nats-replicas",
        type=int,
        choices=(1, 3, 5),
        default=1,
        help="copies of each stream in the NATS cluster (default: 1)",
    )
    parser.add_argument(
        "--nats-prefix", default="lakh", metavar="P", help="of the streams' names (default: lakh)"
    )


def _quota_options(parser: argparse.ArgumentParser) -> None:
    from lakh.store.limits import DISK_BYTES, MEMORY_BYTES

    for resource, default in (("memory", MEMORY_BYTES), ("disk", DISK_BYTES)):
        parser.add_argument(
            f"--{resource}-quota",
            default="",
            metavar="Q",
            help=f"what each partition may take of {resource}: 4Gi, or pods=4Gi,events=1Gi "
            f"(default: {default >> 30}Gi); above it only what makes room is taken",
        )


def quotas_of(options: argparse.Namespace) -> Any:
    """The quotas that a command line names; raises Failure."""
    from lakh.server.quotas import QuotaError, Quotas

    try:
        return Quotas.parse(options.memory_quota, options.disk_quota)
    except QuotaError as e:
        raise Failure(str(e)) from e


def _fleet_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--instance-type",
        type=_instance_type,
        default=DEFAULT_INSTANCE_TYPE,
        metavar="T",
        help=f"instance type of simulated nodes (default: {DEFAULT_INSTANCE_TYPE})",
    )
    parser.add_argument(
        "--lease-seconds",
        type=seconds,
        default=DEFAULT_LEASE_SECONDS,
        metavar="S",
        help="how long a node's lease is valid; it is renewed four times as often (default: "
        f"{DEFAULT_LEASE_SECONDS})",
    )
    parser.add_argument(
        "--status-seconds",
        type=seconds,
        default=DEFAULT_STATUS_SECONDS,
        metavar="S",
        help="how often a node reports a status that is as before (kubelet's nodeStatusReportFrequency; default: "
        f"{DEFAULT_STATUS_SECONDS})",
    )
    parser.add_argument(
        "--devices",
        action="store_true",
        help="publish the nodes' accelerators as devices (ResourceSlices of 4 KB a node) in place of node resources",
    )
    parser.add_argument(
        "--volume-limit",
        type=_count,
        metavar="N",
        help="volumes that a node takes, published as a CSINode a node (default: no limit and no object)",
    )


def raise_file_limit() -> None:
    """Allows this process as many open files as the system grants: a connection is one, and clients keep theirs."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limit in (OPEN_FILES, hard):
        if limit <= soft:
            return
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, max(limit, hard)))
            return
        except (ValueError, OSError):  # more than the hard limit is the administrator's to grant
            continue


def run_async(coroutine: Callable[[], Coroutine[Any, Any, int | None]]) -> int:
    """Runs a command's coroutine on uvloop until it ends or SIGINT or SIGTERM cancels it."""
    import uvloop

    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)

    async def guarded() -> int:
        task = asyncio.ensure_future(coroutine())
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, task.cancel)
        try:
            return await task or 0
        except asyncio.CancelledError:
            return 0

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(guarded())


async def until_parent_ends() -> None:
    """Returns when standard input ends: the supervisor is gone."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while await reader.read(4096):
        pass


async def with_parent(work: Coroutine[Any, Any, Any], watch_parent: bool) -> None:
    """Runs `work` until it ends, or until the parent does if that is watched."""
    tasks = [asyncio.ensure_future(work)]
    if watch_parent:
        tasks.append(asyncio.ensure_future(until_parent_ends()))
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def engine_of(options: argparse.Namespace) -> Any:
    """The engine that a command line names; raises Failure."""
    from urllib.parse import urlsplit

    from lakh.server.engine import FileEngine, NatsEngine

    if options.engine == "file":
        if options.nats_url:
            raise Failure("--nats-url needs --engine nats")
        return FileEngine(options.data_dir / "journal")
    if not options.nats_url:
        raise Failure("--engine nats needs --nats-url: the addresses of the NATS servers")
    servers, token = [], None
    for url in options.nats_url.split(","):
        try:
            parts = urlsplit(url.strip())
            good = parts.scheme in ("nats", "tls") and parts.hostname is not None and parts.port is not None
        except ValueError:
            good = False
        if not good:
            raise Failure(f"--nats-url: {url!r} is not of the form nats://HOST:PORT or tls://HOST:PORT")
        token = parts.username or token
        servers.append(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}")
    if options.nats_token_file is not None:
        try:
            token = options.nats_token_file.read_text().strip()
        except OSError as e:
            raise Failure(f"cannot read {options.nats_token_file}: {e.strerror}") from e
    if options.nats_ca_file is not None and not options.nats_ca_file.is_file():
        raise Failure(f"--nats-ca-file: there is no file {options.nats_ca_file}")
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,32}", options.nats_prefix):
        raise Failure(f"--nats-prefix: {options.nats_prefix!r} may have letters, digits, - and _ only")
    return NatsEngine(
        tuple(servers),
        token=token,
        ca_file=options.nats_ca_file,
        replicas=options.nats_replicas,
        prefix=options.nats_prefix,
    )


class Loading:
    """How far a start is, on standard output once it takes long: `loading pods: 120/1500 MiB`."""

    def __init__(self) -> None:
        from lakh.progress import Progress

        self._progress = Progress()
        self._began = time.monotonic()

    def show(self, partition: str, done_bytes: int, total_bytes: int) -> None:
        """A partition has been read so far."""
        if time.monotonic() - self._began >= SHOW_AFTER_SECONDS:
            self._progress.bar(f"{LOADING}{partition} (MiB)", done_bytes >> 20, total_bytes >> 20)

    def close(self) -> None:
        """The start is over."""
        self._progress.close()


def _run_apiserver(options: argparse.Namespace) -> int:
    from lakh.peering import dialler
    from lakh.server.app import ApiServer
    from lakh.server.certs import PkiError
    from lakh.server.engine import EngineError
    from lakh.server.transport import ListenError
    from lakh.store.errors import StoreError

    quotas = quotas_of(options)
    loading = Loading()
    raise_file_limit()

    async def serve() -> None:
        try:
            server = await ApiServer.start(
                options.data_dir,
                bind=options.bind,
                port=options.port,
                engine=engine_of(options),
                quotas=quotas,
                progress=loading.show,
                advertise=options.advertise_address,
                certificates=options.cert_dir,
                dialler=dialler,
                components=dict(options.component_health),
            )
        except (StoreError, EngineError, PkiError, ListenError, OSError) as e:
            raise Failure(str(e)) from e
        finally:
            loading.close()
        gc.collect()
        gc.freeze()
        # Whoever has started this process learns here that it listens, and where.
        print(f"serving https://{options.bind}:{server.port}", flush=True)
        try:
            await with_parent(asyncio.Event().wait(), options.exit_with_parent)
        finally:
            await server.stop()

    return run_async(serve)


def kubeconfig_path(given: Path | None) -> Path:
    """The kubeconfig to use; raises Failure when there is none."""
    path = given or Path(os.environ.get("KUBECONFIG") or Path.home() / ".kube" / "config")
    if not path.is_file():
        raise Failure(
            f"there is no kubeconfig at {path}: start a cluster with `lakh up`, or name one with --kubeconfig"
        )
    return path


def _component(
    options: argparse.Namespace,
    user_agent: str,
    run: Callable[[Any], Coroutine[Any, Any, None]],
    max_requests: int = MAX_REQUESTS,
) -> int:
    from lakh.client.client import Client
    from lakh.client.errors import ClientError
    from lakh.client.metricserver import MetricsPortError, serving_metrics

    path = kubeconfig_path(options.kubeconfig)

    async def work() -> None:
        try:
            connected = Client.from_kubeconfig(
                path, user_agent=f"{user_agent}/v{__version__}", max_connections=max_requests
            )
        except ClientError as e:
            raise Failure(str(e)) from e
        try:
            async with serving_metrics(options.metrics_port, held=options.exit_with_parent):
                await with_parent(run(connected), options.exit_with_parent)
        except MetricsPortError as e:
            raise Failure(str(e)) from e
        finally:
            await connected.close()

    return run_async(work)


def _run_scheduler(options: argparse.Namespace) -> int:
    from lakh.scheduler.main import LeadershipLostError, run

    config = _scheduler_config(options.config)
    if options.kubeconfig is None and config.kubeconfig is not None:
        options.kubeconfig = Path(config.kubeconfig)

    async def work(client: Any) -> None:
        try:
            await run(client, config=config, leader_elect=options.leader_elect)
        except LeadershipLostError as e:
            raise Failure(f"lost the lease {e}: another candidate may lead now; start again to be one") from e

    return _component(options, "kube-scheduler", work)


def _scheduler_config(path: Path | None) -> Any:
    """What a KubeSchedulerConfiguration file says; raises Failure when it cannot be used."""
    from lakh.scheduler.config import DEFAULTS, ConfigError, load

    try:
        return DEFAULTS if path is None else load(path)
    except ConfigError as e:
        raise Failure(str(e)) from e


def _certificate_authority(options: argparse.Namespace) -> Any:
    """The CA that signs for the cluster, or None; raises Failure when its files cannot be used."""
    from lakh.controllers.certificateauthority import SIGNING_SECONDS, AuthorityError, CertificateAuthority

    certificate, key = options.cluster_signing_cert_file, options.cluster_signing_key_file
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise Failure("--cluster-signing-cert-file and --cluster-signing-key-file belong together")
    try:
        seconds = options.cluster_signing_duration or SIGNING_SECONDS
        return CertificateAuthority(certificate, key, longest_seconds=seconds)
    except AuthorityError as e:
        raise Failure(str(e)) from e


def _run_controllers(options: argparse.Namespace) -> int:
    from lakh.client.errors import ClientError
    from lakh.client.kubeconfig import load_kubeconfig
    from lakh.controllers.main import run

    authority = _certificate_authority(options)
    path = kubeconfig_path(options.kubeconfig)
    try:
        root_ca = load_kubeconfig(path).ca_pem or b""
    except ClientError as e:
        raise Failure(str(e)) from e
    return _component(
        options,
        "kube-controller-manager",
        lambda client: run(
            client,
            root_ca=root_ca,
            leader_elect=options.leader_elect,
            node_grace_seconds=options.node_monitor_grace_period,
            certificate_authority=authority,
        ),
        MAX_CONTROLLERS_REQUESTS,
    )


def _run_nodes(options: argparse.Namespace) -> int:
    from lakh.nodes.main import run
    from lakh.nodes.objects import NODES_MAX

    if options.start_index + options.count > NODES_MAX:
        raise Failure(f"there are addresses for {NODES_MAX} nodes; use a smaller --count or --start-index")
    return _component(
        options,
        "kubelet",
        lambda client: run(
            client,
            count=options.count,
            instance_type=options.instance_type,
            devices=options.devices,
            volume_limit=options.volume_limit,
            start_index=options.start_index,
            lease_seconds=options.lease_seconds,
            status_seconds=options.status_seconds,
        ),
    )


def _run_up(options: argparse.Namespace) -> int:
    from lakh import up

    if options.apiservers < 1:
        raise Failure("a cluster needs an API server: --apiservers must be at least 1")
    if options.engine == "file":
        engine_of(options)
        if options.apiservers != 1:
            raise Failure("several API servers share a journal in NATS: --apiservers needs --engine nats")
    _scheduler_config(options.scheduler_config)  # better now than in the scheduler's log
    return run_async(lambda: up.run(options))

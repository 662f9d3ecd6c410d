"""Real nats-servers to be mistreated: one alone, or a cluster of three.

They have what a cluster for Lakh must have: JetStream with `sync_interval: always`, so what is acknowledged is on disk.
Nobody supervises them but the harness, which starts what it has killed.
"""

from __future__ import annotations

import json
import os
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from lakh.store.nats_server import MAX_PAYLOAD_BYTES, binary
from tests.ports import free_port

from .process import POLL_SECONDS, Process, ServerDied

TOKEN = "faults"
READY_SECONDS = 240.0
ASK_SECONDS = 1.0


class NatsNode(Process):
    """One nats-server."""

    word = "Server is ready"

    def __init__(self, directory: Path, name: str, cluster_port: int, routes: list[str]) -> None:
        directory.mkdir(parents=True)
        self.name = name
        self.port = free_port()
        self.monitor_port = free_port()
        config: dict[str, Any] = {
            "server_name": name,
            "listen": f"127.0.0.1:{self.port}",
            "http": f"127.0.0.1:{self.monitor_port}",
            "max_payload": MAX_PAYLOAD_BYTES,
            "authorization": {"token": TOKEN},
            "jetstream": {"store_dir": str(directory), "sync_interval": "always"},
        }
        if routes:
            config["cluster"] = {
                "name": "faults",
                "listen": f"127.0.0.1:{cluster_port}",
                "routes": routes,
            }
        (directory / "nats-server.conf").write_text(json.dumps(config))
        super().__init__(
            [str(binary()), "--config", str(directory / "nats-server.conf")],
            directory / "nats-server.log",
            # A server that is killed and paused on two busy cores need not look for more of them.
            {**os.environ, "GOMAXPROCS": "2"},
        )

    @property
    def url(self) -> str:
        """Where clients connect, token included."""
        return f"nats://{TOKEN}@127.0.0.1:{self.port}"

    def ask(self, path: str) -> dict[str, Any] | None:
        """Its monitoring endpoint; None when it does not answer well."""
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self.monitor_port}{path}", timeout=ASK_SECONDS
            ) as answer:
                found: dict[str, Any] = json.load(answer)
                return found
        except (urllib.error.URLError, OSError, ValueError):
            return None

    def ready(self) -> bool:
        """Whether its JetStream works, its streams have caught up included. Raises ServerDied."""
        self.check()
        return (self.ask("/healthz") or {}).get("status") == "ok"


class NatsCluster:
    """`size` servers; one is no cluster."""

    def __init__(self, directory: Path, size: int) -> None:
        ports = [free_port() for _ in range(size)]
        routes = [f"nats://127.0.0.1:{port}" for port in ports] if size > 1 else []
        self.nodes = [
            NatsNode(directory / f"n{number}", f"n{number}", port, routes)
            for number, port in enumerate(ports)
        ]

    @property
    def urls(self) -> list[str]:
        """Of all servers."""
        return [node.url for node in self.nodes]

    def spawn(self) -> None:
        """Start those that do not run; does not wait."""
        for node in self.nodes:
            if not node.running:
                node.spawn()

    def start(self) -> None:
        """Start those that do not run, and wait until all are ready. Raises ServerDied."""
        self.spawn()
        self.until_ready()

    def until_ready(self) -> None:
        """Wait. Raises ServerDied."""
        deadline = time.monotonic() + READY_SECONDS
        while not all(node.ready() for node in self.nodes):
            if time.monotonic() > deadline:
                raise ServerDied(f"the NATS servers are not ready after {READY_SECONDS} s: {self.evidence()}")
            time.sleep(POLL_SECONDS * 5)

    def leaders(self) -> dict[str, NatsNode]:
        """Stream → the server that leads it, as the first server that answers knows it."""
        by_name = {node.name: node for node in self.nodes}
        for node in self.nodes:
            found = node.ask("/jsz?streams=true") if node.running else None
            if not found:
                continue
            return {
                stream["name"]: by_name[(stream.get("cluster") or {}).get("leader") or node.name]
                for account in found.get("account_details") or []
                for stream in account.get("stream_detail") or []
            }
        return {}

    def check(self) -> None:
        """Raises ServerDied when one ended by itself."""
        for node in self.nodes:
            node.check()

    def close(self) -> None:
        """End them."""
        for node in self.nodes:
            node.kill()

    def evidence(self) -> str:
        """The ends of their logs."""
        return "\n".join(f"{node.name}: {node.tail()}" for node in self.nodes)

"""What is measured: the cluster of a kubeconfig, or a server of our own in a temporary directory."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from lakh import __version__
from lakh.cli import Failure
from lakh.client.client import Client
from lakh.client.errors import ApiError, ClientError, is_already_exists
from lakh.client.resources import NAMESPACES, SERVICEACCOUNTS

START_SECONDS = 60.0


@contextlib.asynccontextmanager
async def target(kubeconfig: Path | None, clients: int) -> AsyncIterator[Client]:
    """A client of what is measured; our own server is started and stopped around it."""
    async with (
        served(kubeconfig) as path,
        Client.from_kubeconfig(
            path,
            user_agent=f"lakh-bench/{__version__}",
            max_connections=clients,
            http2=False,  # each simulated client has a connection of its own
        ) as client,
    ):
        if kubeconfig is None:
            await ready(client)
        yield client


async def ready(client: Client) -> None:
    """Waits until the server is ready; raises TimeoutError."""
    async with asyncio.timeout(START_SECONDS):
        while (await client.raw("GET", "/readyz")).status != 200:
            await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def served(kubeconfig: Path | None) -> AsyncIterator[Path]:
    """The kubeconfig of what is measured: the one given, or that of a server of our own, started and stopped around it."""
    if kubeconfig is not None:
        yield kubeconfig
        return
    with tempfile.TemporaryDirectory(prefix="lakh-bench-") as directory:
        errors = Path(directory) / "apiserver.log"
        data = Path(directory) / "data"
        with errors.open("wb") as out:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "lakh",
                "apiserver",
                "--data-dir",
                str(data),
                "--port",
                "0",
                "--exit-with-parent",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=out,
            )
        try:
            async with asyncio.timeout(START_SECONDS):
                assert process.stdout is not None
                if not await process.stdout.readline():
                    raise Failure(f"the API server did not start: {errors.read_text()[-2000:]}")
            yield data / "kubeconfig"
        finally:
            if process.returncode is None:
                process.terminate()
                await process.wait()


@contextlib.asynccontextmanager
async def namespace(client: Client, name: str) -> AsyncIterator[str]:
    """A namespace of the benchmark's own, with its service account; deleted in the end."""
    for resource, obj, where in (
        (NAMESPACES, {"metadata": {"name": name}}, None),
        (SERVICEACCOUNTS, {"metadata": {"name": "default"}}, name),
    ):
        try:
            await client.create(resource, obj, where)
        except ApiError as e:
            if not is_already_exists(e):
                raise
    try:
        yield name
    finally:
        with contextlib.suppress(ClientError):
            await client.delete(NAMESPACES, name)

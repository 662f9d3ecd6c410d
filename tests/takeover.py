"""For how long a partition has no writer after its writer was killed.

    python -m tests.takeover [--rounds 10] [--signal KILL|STOP]

Two API servers on one nats-server. A client of the one that does not write the partition `default` creates objects one after the other. In each round
the writer is killed (or stopped); the gap is the time from the signal to the first write acknowledged by the new writer. Then the old one is started
again (or goes on), and every acknowledged object is looked for.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import tempfile
import time
from pathlib import Path

from lakh.client.errors import ApiError, ClientError
from lakh.store.nats_server import NatsServer

from .test_apiservers import Cluster, Server


async def measure(directory: Path, rounds: int, number: signal.Signals) -> list[float]:
    """The gaps, in seconds."""
    nats = await NatsServer.start(directory / "nats")
    servers = [Server(directory, index, nats) for index in range(2)]
    gaps = []
    made: list[str] = []
    try:
        for server in servers:
            await asyncio.to_thread(server.until, "serving https://")
        cluster = Cluster(servers)
        for index in range(2):
            await cluster.until_ready(index)
        for turn in range(rounds):
            writer = await cluster.writer()
            other = 1 - writer
            await asyncio.sleep(1.0)
            servers[writer].process.send_signal(number)
            began = time.monotonic()
            attempt = 0
            while True:
                name = f"m{turn}-{attempt}"
                attempt += 1
                try:
                    await cluster.create(other, name)
                    break
                except (ApiError, ClientError):
                    continue
            gaps.append(time.monotonic() - began)
            made.append(name)
            print(f"round {turn + 1}: {gaps[-1]:.2f} s, {attempt - 1} answers lost", flush=True)
            if number == signal.SIGKILL:
                servers[writer].process.wait()
                await asyncio.to_thread(servers[writer].again)
            else:
                servers[writer].process.send_signal(signal.SIGCONT)
            await cluster.until_ready(writer)
            missing = set(made) - set(await cluster.names(writer))
            assert not missing, f"acknowledged, and lost: {missing}"
        await asyncio.gather(*(client.close() for client in cluster.clients))
    finally:
        for server in servers:
            if server.process.poll() is None:
                server.process.send_signal(signal.SIGCONT)
                server.kill()
        await nats.stop()
    return gaps


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--signal", choices=("KILL", "STOP"), default="KILL")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        gaps = sorted(
            asyncio.run(measure(Path(directory), options.rounds, signal.Signals[f"SIG{options.signal}"]))
        )
    print(f"gap: median {gaps[len(gaps) // 2]:.2f} s, longest {gaps[-1]:.2f} s of {len(gaps)} rounds")


if __name__ == "__main__":
    main()

"""Partitions on JetStream: the model, a paused writer, a killed server."""

import asyncio
import itertools
import signal
import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from lakh.store.errors import JournalError, NotWriter
from lakh.store.nats_journal import NatsJournal
from lakh.store.nats_server import NatsServer
from lakh.store.partition import Partition
from tests.examples import examples
from tests.processes import pause
from tests.store.nats_servers import BackgroundServer, kill
from tests.store.test_partition_model import Model


class Gated:
    """A JetStream journal with the faults that the model plays."""

    def __init__(self, journal: NatsJournal) -> None:
        self.journal = journal
        self.faults: list[JournalError] = []
        self._gate = asyncio.Event()
        self._gate.set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.journal, name)

    def hold(self) -> None:
        self._gate.clear()

    def release(self) -> None:
        self._gate.set()

    async def append(self, batch: bytes, *, after: int, urgent: bool = False) -> int:
        await self._gate.wait()
        if self.faults:
            raise self.faults.pop(0)
        return await self.journal.append(batch, after=after, urgent=urgent)


class NatsModel(Model):
    server: ClassVar[BackgroundServer]
    numbers: ClassVar[Any] = itertools.count()

    async def make_journal(self) -> Any:
        self.prefix = f"model{next(self.numbers)}"
        return await self.reopen_journal()

    async def reopen_journal(self) -> Any:
        return Gated(await self.server.journal(self.prefix))

    def teardown(self) -> None:
        self.journal.release()
        self.run(self.partition.close())
        self.run(asyncio.sleep(0.01))
        self.loop.close()


@pytest.mark.hypothesis
def test_model(nats_server: BackgroundServer) -> None:
    NatsModel.server = nats_server
    run_state_machine_as_test(
        NatsModel,
        settings=settings(max_examples=examples(8), stateful_step_count=30),
    )


WRITER = """
import asyncio, sys
from lakh.store import NotWriter, Partition
from lakh.store.nats_journal import NatsJournal

async def main():
    url, token, prefix = sys.argv[1:]
    journal = await NatsJournal.open("pods", [url], token=token, prefix=prefix, append_seconds=600)
    partition = await Partition.open("pods", journal, follow=True)
    await partition.promote("child")
    n = 0
    try:
        while True:
            await partition.put(f"pods/child/{n}", b"%d" % n, expect=0)
            print(n, flush=True)
            n += 1
    except NotWriter:
        print("refused", n, flush=True)
    await partition.barrier()
    print("sees", partition.get("pods/parent/a") is not None, flush=True)
    await partition.close()

asyncio.run(main())
"""


async def test_paused_writer_does_no_harm(nats_server: BackgroundServer, prefix: str) -> None:
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        WRITER,
        nats_server.url,
        nats_server.token,
        prefix,
        stdout=asyncio.subprocess.PIPE,
    )
    assert child.stdout is not None
    while int(await child.stdout.readline()) < 50:
        pass
    pause(child.pid)
    partition = await Partition.open("pods", await nats_server.journal(prefix), follow=True)
    assert partition.writer == "child"
    await partition.promote("parent")
    await partition.put("pods/parent/a", b"")
    child.send_signal(signal.SIGCONT)
    lines = (await asyncio.wait_for(child.stdout.read(), 240)).split(b"\n")
    assert await child.wait() == 0
    refused = next(line for line in lines if line.startswith(b"refused"))
    assert b"sees True" in lines
    await partition.barrier()
    assert partition.is_writer
    count = int(refused.split()[1])
    assert partition.count("pods", "child") == count, "what was acknowledged, and nothing else"
    assert all(partition.get(f"pods/child/{n}") is not None for n in range(count))
    await partition.close()


async def test_writes_go_on_when_the_server_is_killed(tmp_path: Path) -> None:
    server = await NatsServer.start(tmp_path)
    journal = await NatsJournal.open("pods", [server.url], token=server.token, append_seconds=120)
    one = await Partition.open("pods", journal)
    two = await Partition.open(
        "pods", await NatsJournal.open("pods", [server.url], token=server.token), follow=True
    )
    acknowledged = 0

    async def write(client: int) -> None:
        nonlocal acknowledged
        for n in range(60):
            await one.put(f"pods/{client}/{n}", b"%d" % n, expect=0)
            acknowledged += 1

    writing = asyncio.gather(*map(write, range(8)))
    while acknowledged < 100:
        await asyncio.sleep(0)
    kill(server)
    await asyncio.wait_for(writing, 120)
    await asyncio.wait_for(two.barrier(), 120)
    assert one.revision == two.revision == 481
    with pytest.raises(NotWriter):
        two.put("pods/a/b", b"")
    await one.close()
    await two.close()
    await server.stop()

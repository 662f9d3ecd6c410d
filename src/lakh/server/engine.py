"""What keeps the journals: files in the data directory, or JetStream streams that several API servers share.

A data directory belongs to the engine that it was made with; `D/engine` says which. With the file engine the server that
holds the directory's lock writes all partitions. With JetStream every server follows all partitions, and who writes which is
settled between them (`writers`).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from lakh.server.quotas import DEFAULT, Quotas
from lakh.store.errors import JournalUnavailable
from lakh.store.file_journal import FileJournal
from lakh.store.partition import Partition

MARKER = "engine"
JOURNALS = "journal"
RESTORING = "journal.restoring"
"""What a restore builds; renamed to JOURNALS when it is whole."""

Progress = Callable[[str, int, int], None]
"""Told of a partition's loading: its name, bytes read, bytes there are. Called often."""


class EngineError(Exception):
    """The data directory, or the addresses of the journal, are not of this engine."""


class Engine(Protocol):
    """Opens partitions."""

    @property
    def name(self) -> str:
        """As `--engine` has it."""

    @property
    def shared(self) -> bool:
        """Whether other servers may write the same partitions."""

    async def open(
        self, names: Sequence[str], quotas: Quotas = DEFAULT, progress: Progress | None = None
    ) -> dict[str, Partition]:
        """The partitions, as writer unless `shared`. Raises JournalError; none is left open then."""


@dataclass(frozen=True)
class FileEngine:
    """Segment files below a directory."""

    directory: Path
    name: str = "file"
    shared: bool = False

    async def open(
        self, names: Sequence[str], quotas: Quotas = DEFAULT, progress: Progress | None = None
    ) -> dict[str, Partition]:
        """One after the other: each reads its files at the speed of the disk."""
        partitions: dict[str, Partition] = {}
        try:
            for name in names:
                journal = await FileJournal.open(self.directory / name)
                partitions[name] = await Partition.open(
                    name, journal, limits=quotas.of(name), progress=_named(progress, name)
                )
        except BaseException:
            await close_all(partitions)
            raise
        return partitions


@dataclass(frozen=True)
class NatsEngine:
    """Streams `<prefix>_<partition>` of a NATS cluster. `replicas`: of each stream, 1 or 3."""

    servers: tuple[str, ...]
    token: str | None = field(default=None, repr=False)
    ca_file: Path | None = None
    replicas: int = 1
    prefix: str = "lakh"
    name: str = "nats"
    shared: bool = True

    async def open(
        self, names: Sequence[str], quotas: Quotas = DEFAULT, progress: Progress | None = None
    ) -> dict[str, Partition]:
        """All at once, as followers."""
        try:
            from lakh.store.nats_journal import NatsJournal
        except ImportError as error:
            raise JournalUnavailable(
                f"the engine nats needs the package {error.name}: install it with `pip install 'lakh[nats]'`"
            ) from error
        tls = ssl.create_default_context(cafile=str(self.ca_file)) if self.ca_file is not None else None

        async def follower(name: str) -> Partition:
            journal = await NatsJournal.open(
                name,
                self.servers,
                token=self.token,
                tls=tls,
                replicas=self.replicas,
                prefix=self.prefix,
            )
            return await Partition.open(
                name, journal, follow=True, limits=quotas.of(name), progress=_named(progress, name)
            )

        opened = await asyncio.gather(*map(follower, names), return_exceptions=True)
        partitions = {n: p for n, p in zip(names, opened, strict=True) if isinstance(p, Partition)}
        for problem in opened:
            if isinstance(problem, BaseException):
                await close_all(partitions)
                raise problem
        return partitions


def _named(progress: Progress | None, name: str) -> Callable[[int, int], None] | None:
    return None if progress is None else lambda done, total: progress(name, done, total)


async def close_all(partitions: dict[str, Partition]) -> None:
    """Closes partitions, all at once."""
    await asyncio.gather(*(partition.close() for partition in partitions.values()))


def claim_directory(directory: Path, engine: str) -> None:
    """Makes a data directory an engine's own. Raises EngineError when it is another's."""
    if (directory / RESTORING).exists():
        raise EngineError(
            f"a restore into {directory} was interrupted: run it again, or remove {directory / RESTORING}"
        )
    marker = directory / MARKER
    if marker.is_file():
        found = marker.read_text().strip()
    elif (directory / "journal").is_dir():
        found = "file"
    else:
        found = engine
    if found != engine:
        raise EngineError(
            f"the data directory {directory} was made with --engine {found} and cannot be used with --engine {engine}: "
            "use the same engine, or another directory"
        )
    if not marker.is_file():
        directory.mkdir(parents=True, exist_ok=True)
        marker.write_text(engine + "\n")

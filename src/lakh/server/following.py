"""A watch of the server's own, that begins anew when a follower had to skip events (see `store.replica`)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from lakh.store.errors import PartitionClosed
from lakh.store.hub import Sink, Watch
from lakh.store.partition import Partition


class Following:
    """Events of a table or one scope of it, from now on. `on_skipped` is called when some were missed: what was made of them is to be made anew."""

    def __init__(
        self,
        partition: Partition,
        table: str,
        sink: Sink,
        on_skipped: Callable[[], None],
        *,
        scope: str | None = None,
    ) -> None:
        self._partition = partition
        self._table = table
        self._scope = scope
        self._sink = sink
        self._on_skipped = on_skipped
        self._watch: Watch | None = self._begin()

    def _begin(self) -> Watch:
        return self._partition.watch(
            self._table, self._scope, start=None, sink=self._sink, on_end=self._ended
        )

    def _ended(self) -> None:
        if self._watch is None:
            return
        with suppress(PartitionClosed):
            self._watch = self._begin()
            self._on_skipped()

    def stop(self) -> None:
        """No more events."""
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.stop()

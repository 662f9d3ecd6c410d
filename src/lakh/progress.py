"""Progress for people: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress

# Without a terminal, a line at most this often.
PLAIN_SECONDS = 2.0


class Progress:
    """One line of progress at a time; `line` puts a lasting one above it."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stdout
        self._console = Console(file=self._out, highlight=False, soft_wrap=True)
        self._live: RichProgress | None = None
        self._task: int | None = None
        self._printed = 0.0

    def show(self, text: str) -> None:
        """A passing remark."""
        self.close()
        self._console.print(text, markup=False)

    def line(self, text: str) -> None:
        """A lasting line, the same on a terminal and in a file."""
        self.close()
        self._out.write(text + "\n")
        self._out.flush()

    def bar(self, what: str, done: int, total: int) -> None:
        """How far it is: `done` of `total`."""
        if not self._console.is_terminal:
            now = time.monotonic()
            if now - self._printed >= PLAIN_SECONDS or done >= total:
                self._printed = now
                self._out.write(f"{what}: {done}/{total}\n")
                self._out.flush()
            return
        if self._live is None:
            self._live = RichProgress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                console=self._console,
            )
            self._live.start()
            self._task = self._live.add_task(what, total=total)
        assert self._task is not None
        self._live.update(self._task, description=what, completed=done, total=total)  # type: ignore[arg-type]

    def close(self) -> None:
        """Ends the live line."""
        if self._live is not None:
            self._live.stop()
            self._live = None
            self._task = None

from __future__ import annotations

import io
import os
import pty

import pytest

from lakh import progress
from lakh.progress import Progress


def test_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    out = io.StringIO()
    shown = Progress(out)
    shown.show("starting [bold]…")
    for done in range(5):
        shown.bar("nodes Ready", done, 5)
        now[0] += 1.0
    shown.bar("nodes Ready", 5, 5)
    shown.line("ready: " + "x" * 200)
    shown.close()
    assert out.getvalue().splitlines() == [
        "starting [bold]…",
        "nodes Ready: 0/5",
        "nodes Ready: 2/5",
        "nodes Ready: 4/5",
        "nodes Ready: 5/5",
        "ready: " + "x" * 200,
    ]


def test_a_live_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as out:
        shown = Progress(out)
        shown.bar("nodes Ready", 1, 3)
        shown.bar("nodes Ready", 3, 3)
        shown.line("ready: yes")
        shown.close()
        out.write("end\n")
        out.flush()
        data = b""
        while b"end\r\n" not in data:
            data += os.read(ours, 1 << 16)
    os.close(ours)
    text = data.decode()
    assert "\x1b[" in text and "3/3" in text
    assert text.splitlines()[-2].endswith("ready: yes"), "a lasting line below the bar"

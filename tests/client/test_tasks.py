from __future__ import annotations

import asyncio

from lakh.client.tasks import TaskEnded, TaskGuard


async def test_unexpected_ends_are_logged_and_escalated(caplog):
    ended: list[tuple[str, BaseException]] = []

    async def fail() -> None:
        raise RuntimeError("oh")

    async def finish() -> int:
        return 1

    async with TaskGuard("g", lambda name, error: ended.append((name, error))) as guard:
        guard.spawn(fail(), name="fail")
        guard.spawn(finish(), name="forever", forever=True)
        done = guard.spawn(finish(), name="once")
        assert repr(guard) == "TaskGuard('g', ['g/fail', 'g/forever', 'g/once'])"
        while len(guard):
            await asyncio.sleep(0)
        assert done.result() == 1
    assert [(name, type(error)) for name, error in ended] == [
        ("g/fail", RuntimeError),
        ("g/forever", TaskEnded),
    ]
    assert "g/fail ended unexpectedly" in caplog.text


async def test_close_cancels_and_waits():
    log: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            log.append("cleaned up")

    async with TaskGuard("g") as guard:
        guard.spawn(work(), name="work")
        await asyncio.sleep(0)
    assert log == ["cleaned up"]
    assert len(guard) == 0

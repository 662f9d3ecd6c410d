"""What a controller has done but not seen yet.

A controller decides from its informers' memory, which lags behind what it wrote. After it asked for three pods it *expects* three
additions; until they were seen (or the creates failed) it must not decide again, or it would create them twice. Deletions are
expected by the pods' uids, so that a pod seen to terminate and then to vanish counts once.

An expectation that is not met within `TIMEOUT_SECONDS` is given up: something else happened to those pods, and acting late is better than
never acting again. All operations are O(1), but for `expect_deletions`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

TIMEOUT_SECONDS = 300.0
"""When an unmet expectation is given up, as upstream's ExpectationsTimeout."""


class _Expectation:
    __slots__ = ("additions", "deletions", "since")

    def __init__(self, since: float) -> None:
        self.additions = 0
        self.deletions: set[str] = set()
        self.since = since


class Expectations:
    """Expected additions and deletions per controller key."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._by_key: dict[str, _Expectation] = {}

    def satisfied(self, key: str) -> bool:
        """Whether everything expected was seen, or has taken too long."""
        expectation = self._by_key.get(key)
        if expectation is None:
            return True
        if expectation.additions <= 0 and not expectation.deletions:
            return True
        return self._monotonic() - expectation.since > TIMEOUT_SECONDS

    def _fresh(self, key: str) -> _Expectation:
        expectation = self._by_key.get(key)
        now = self._monotonic()
        if expectation is None or now - expectation.since > TIMEOUT_SECONDS:
            expectation = self._by_key[key] = _Expectation(now)
        expectation.since = now
        return expectation

    def expect_additions(self, key: str, count: int) -> None:
        """`count` more objects are about to be created."""
        expectation = self._fresh(key)
        expectation.additions = max(expectation.additions, 0) + count

    def expect_deletions(self, key: str, uids: Iterable[str]) -> None:
        """These objects are about to be deleted."""
        self._fresh(key).deletions.update(uids)

    def added(self, key: str, count: int = 1) -> None:
        """An addition was seen, or `count` creates failed and will never be."""
        expectation = self._by_key.get(key)
        if expectation is not None:
            expectation.additions -= count

    def deleted(self, key: str, uid: str) -> None:
        """A deletion was seen, or failed."""
        expectation = self._by_key.get(key)
        if expectation is not None:
            expectation.deletions.discard(uid)

    def forget(self, key: str) -> None:
        """The controller object is gone."""
        self._by_key.pop(key, None)

"""Leader election (signature first)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from .client import Client

__all__ = ["LeaderElector"]


class LeaderElector:
    """Holds a Lease while it can."""

    def __init__(
        self,
        client: Client,
        name: str,
        namespace: str,
        identity: str,
        *,
        on_started: Callable[[], Awaitable[None]],
        on_stopped: Callable[[], object] | None = None,
        lease_duration_seconds: float = 15.0,
        renew_deadline_seconds: float = 10.0,
        retry_period_seconds: float = 2.0,
        release_on_cancel: bool = True,
    ) -> None:
        self.identity = identity

    @property
    def is_leader(self) -> bool:
        """Whether we hold the lease."""
        return False

    async def run(self) -> None:
        """Acquire, lead, return when the lease is lost."""

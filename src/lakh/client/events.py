"""Event recorder (signature first)."""

from __future__ import annotations

from typing import Any

from .client import Client
from .types import ObjectReference

__all__ = ["EventRecorder"]


class EventRecorder:
    """Records core/v1 Events in the background."""

    def __init__(self, client: Client, component: str, *, host: str | None = None) -> None:
        self.client = client
        self.component = component

    def event(self, obj_ref: ObjectReference | dict[str, Any], type: str, reason: str, message: str) -> None:  # noqa: A002
        """Record; never blocks."""

    async def close(self) -> None:
        """Write what is queued."""

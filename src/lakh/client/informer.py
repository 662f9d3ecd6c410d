"""Informers (signature first; see the module below)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from .client import Client
from .resources import Resource

__all__ = ["Informer"]

T = TypeVar("T")


class Informer(Generic[T]):
    """A cache of all objects of a resource."""

    def __init__(
        self,
        client: Client,
        resource: Resource,
        view: type[T],
        *,
        namespace: str | None = None,
        label_selector: str | None = None,
        field_selector: str | None = None,
    ) -> None:
        self.items: dict[str, T] = {}
        self.synced = asyncio.Event()

    def add_handler(
        self,
        *,
        on_add: Callable[[T], object] | None = None,
        on_update: Callable[[T, T], object] | None = None,
        on_delete: Callable[[T], object] | None = None,
    ) -> None:
        """Call back for each change."""

    def add_index(self, name: str, keys: Callable[[T], Iterable[str]]) -> None:
        """Keep an index."""

    def by_index(self, name: str, key: str) -> list[T]:
        """Items with that index key."""
        return []

    @property
    def has_synced(self) -> bool:
        """The first list is complete and delivered."""
        return self.synced.is_set()

    async def wait_synced(self) -> None:
        """Wait for that."""
        await self.synced.wait()

    async def run(self) -> None:
        """List and watch until cancelled."""

"""The images that simulated nodes have: those of the pods that ran there, as a kubelet lists them in the node's status.

A list is written with the report that a kubelet makes every five minutes anyway, so it costs no request. Nodes that ran the same have one list in memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

__all__ = ["MAX_IMAGES", "Images", "status_of", "with_images"]

MAX_IMAGES = 50
"""A kubelet's --node-status-max-images."""
SMALLEST_BYTES = 50 << 20
RANGE_BYTES = 8 << 30

Images = tuple[str, ...]
"""Names, the latest first."""


@lru_cache(maxsize=4096)
def _one(images: Images) -> Images:
    return images


def with_images(known: Images, names: Iterable[str | None]) -> Images:
    """What a node has once it has run containers of these images."""
    found = dict.fromkeys(_tagged(name) for name in names if name)
    if found.keys() <= set(known):
        return known
    found.update(dict.fromkeys(known))
    return _one(tuple(found)[:MAX_IMAGES])


def _tagged(name: str) -> str:
    return name if name.rfind(":") > name.rfind("/") else f"{name}:latest"


def status_of(images: Images) -> list[dict[str, Any]]:
    """`status.images`. An image has the same size everywhere: one that follows from its name."""
    return [{"names": [name], "sizeBytes": _size_bytes(name)} for name in images]


def _size_bytes(name: str) -> int:
    return (
        SMALLEST_BYTES + int.from_bytes(hashlib.blake2b(name.encode(), digest_size=6).digest()) % RANGE_BYTES
    )

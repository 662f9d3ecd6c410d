"""Names and labels made of a hash of a template.

The hash is 32 bits of BLAKE2 over the template's canonical JSON (and the collision count), written with upstream's *safe* alphabet: no
vowels and no look-alikes, so no hash spells a word. Equal templates hash equally whatever the order of their keys.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

_SAFE = "bcdfghjklmnpqrstvwxz2456789"
_encode = msgspec.json.Encoder(order="deterministic").encode


def safe_encode(text: str) -> str:
    """Each character mapped into the safe alphabet, as `rand.SafeEncodeString`."""
    return "".join(_SAFE[ord(character) % len(_SAFE)] for character in text)


def template_hash(template: Any, collision_count: int | None = None) -> str:
    """The hash of a decoded template, for `pod-template-hash` and `controller-revision-hash`."""
    digest = hashlib.blake2b(_encode(template), digest_size=4)
    if collision_count is not None:
        digest.update(collision_count.to_bytes(8, "little"))
    return safe_encode(str(int.from_bytes(digest.digest(), "big")))

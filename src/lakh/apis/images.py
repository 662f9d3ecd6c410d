"""Image references: which pull policy follows from one."""

from __future__ import annotations

import re

from lakh.machinery.shortcache import short_cache

IMAGE_CACHE_SIZE = 16_384

# distribution's reference grammar: [domain/]path[:tag][@digest].
_DOMAIN_PART = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_PATH_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_reference = re.compile(
    rf"(?:{_DOMAIN_PART}(?:\.{_DOMAIN_PART})*(?::[0-9]+)?/)?"
    rf"{_PATH_PART}(?:/{_PATH_PART})*"
    r"(?::(?P<tag>\w[\w.-]{0,127}))?"
    r"(?:@(?P<digest>[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}))?",
    re.ASCII,
).fullmatch
# Longer ones are never references; it keeps the match cheap.
MAX_LENGTH = 1024


@short_cache(IMAGE_CACHE_SIZE)
def default_pull_policy(image: str) -> str:
    """`Always` for an image that is, or amounts to, `:latest`; `IfNotPresent` for all others."""
    match = _reference(image) if len(image) <= MAX_LENGTH else None
    if match is None:
        return "IfNotPresent"
    tag = match["tag"] or ("" if match["digest"] else "latest")
    return "Always" if tag == "latest" else "IfNotPresent"

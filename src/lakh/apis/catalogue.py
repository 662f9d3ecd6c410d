"""The catalogue: every resource that the API server serves."""

from __future__ import annotations

from functools import cache

from lakh.apis import core, groups
from lakh.apis.registry import Registry


@cache
def registry() -> Registry:
    """All built-in resources, the core group first; made once."""
    return Registry((*core.RESOURCES, *groups.RESOURCES))

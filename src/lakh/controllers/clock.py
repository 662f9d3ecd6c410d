"""Time as controllers see it: seconds since the epoch inside, RFC 3339 outside.

Decisions take `now` as an argument, so they can be tested at any moment.
"""

from __future__ import annotations

from datetime import UTC, datetime


def parse(text: str | None) -> float | None:
    """Seconds since the epoch of an RFC 3339 time; `None` of nothing or of something else."""
    if not text:
        return None
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None


def stamp(now: float) -> str:
    """`metav1.Time` of that moment: whole seconds, UTC."""
    return datetime.fromtimestamp(int(now), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def stamp_micro(now: float) -> str:
    """`metav1.MicroTime` of that moment."""
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

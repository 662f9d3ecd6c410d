"""What a partition may use, and what it counts.

At a quota a partition refuses what makes it grow (creates, updates with a longer value) and takes what makes it shrink
or keeps it going: deletes, shrinking updates, and writes that their caller calls essential, like the updates that are
part of a deletion. So there is always a way back below the quota.
"""

from __future__ import annotations

from dataclasses import dataclass

MEMORY_BYTES = 8 << 30
"""Live data, history window and queue of one partition: a million objects of 1.5 KB take about 2 GB of it."""
DISK_BYTES = 24 << 30
"""Log and snapshots of one partition. The log is compacted at about twice the live data."""


@dataclass(frozen=True)
class Limits:
    """Quotas of a partition."""

    memory_bytes: int = MEMORY_BYTES
    disk_bytes: int = DISK_BYTES


@dataclass
class Counters:
    """What happened since the partition was opened. Plain numbers that only go up, for metrics."""

    writes: int = 0
    batches: int = 0
    batch_bytes: int = 0
    followed_batches: int = 0
    conflicts: int = 0
    quota_refusals: int = 0
    full_refusals: int = 0
    step_downs: int = 0
    promotions: int = 0
    reloads: int = 0
    compactions: int = 0
    failed_compactions: int = 0

"""What a partition may use, and what it counts.

At a quota a partition refuses what makes it grow (creates, updates with a longer value) and takes what makes it shrink
or keeps it going: deletes, shrinking updates, and writes that their caller calls essential, like the updates that are
part of a deletion. So there is always a way back below the quota.
"""

from __future__ import annotations

from dataclasses import dataclass

MEMORY_BYTES = 8 << 30
"""Live data, history window and queue of one partition: a million items of 1.5 KB take about 2 GB of it."""
DISK_BYTES = 24 << 30
"""Log and snapshots of one partition. The log is compacted at about twice the live data."""
ITEM_MEMORY_BYTES = 380
"""What an item takes besides its key, value and terms: measured, with its places in dictionary and sorted table."""
HISTORY_SHARE = 8
"""The history window gets at most this part of the memory quota."""


@dataclass(frozen=True)
class Limits:
    """Quotas of a partition."""

    memory_bytes: int = MEMORY_BYTES
    disk_bytes: int = DISK_BYTES

    def history_bytes(self, wanted_bytes: int) -> int:
        """What the history window may take, when `wanted_bytes` are wanted."""
        return min(wanted_bytes, self.memory_bytes // HISTORY_SHARE)


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
    overload_refusals: int = 0
    large_refusals: int = 0
    writer_refusals: int = 0
    failed_refusals: int = 0
    unknown_outcomes: int = 0
    step_downs: int = 0
    promotions: int = 0
    reloads: int = 0
    compactions: int = 0
    failed_compactions: int = 0

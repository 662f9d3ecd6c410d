"""A process's own metrics, under the names that Prometheus' client libraries gave them."""

from __future__ import annotations

import os
import resource
import time

from lakh.machinery.metrics import Readings, Registry

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def resident_memory(pid: int | None = None) -> int:
    """Resident bytes of a process, by default this one. Linux only; raises OSError elsewhere, and when there is no such process."""
    with open(f"/proc/{pid or 'self'}/statm") as file:
        return int(file.read().split()[1]) * _PAGE_BYTES


def add_process(add: Registry) -> None:
    """Adds CPU time, memory and start time."""
    began = time.time()

    def cpu_seconds() -> Readings:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return [((), usage.ru_utime + usage.ru_stime)]

    def resident_bytes() -> Readings:
        try:
            return [((), resident_memory())]
        except OSError:  # not Linux: the peak is what there is
            return [((), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)]

    add.reading("process_cpu_seconds_total", "User and system CPU time.", (), cpu_seconds, "counter")
    add.reading("process_resident_memory_bytes", "Resident memory.", (), resident_bytes)
    add.reading("process_start_time_seconds", "Start, since the epoch.", (), lambda: [((), began)])

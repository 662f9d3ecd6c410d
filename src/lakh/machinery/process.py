"""A process's own metrics, under the names that Prometheus' client libraries and Kubernetes' components gave them."""

from __future__ import annotations

import gc
import os
import resource
import time

from lakh.machinery import version
from lakh.machinery.metrics import Readings, Registry

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def resident_memory(pid: int | None = None) -> int:
    """Resident bytes of a process, by default this one. Linux only; raises OSError elsewhere, and when there is no such process."""
    with open(f"/proc/{pid or 'self'}/statm") as file:
        return int(file.read().split()[1]) * _PAGE_BYTES


def add_process(add: Registry) -> None:
    """Adds CPU time, memory, open files, start time, the garbage collector's work, and what was built."""
    began = time.time()

    def cpu_seconds() -> Readings:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return [((), usage.ru_utime + usage.ru_stime)]

    def resident_bytes() -> Readings:
        try:
            return [((), resident_memory())]
        except OSError:  # not Linux: the peak is what there is
            return [((), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)]

    def virtual_bytes() -> Readings:
        try:
            with open("/proc/self/statm") as file:
                return [((), int(file.read().split()[0]) * _PAGE_BYTES)]
        except OSError:
            return []

    def open_files() -> Readings:
        try:
            # Newer kernels tell the number; listing a hundred thousand takes 30 ms.
            return [((), os.stat("/proc/self/fd").st_size or len(os.listdir("/proc/self/fd")))]
        except OSError:
            return []

    def collector(what: str) -> Readings:
        return [((str(number),), stats[what]) for number, stats in enumerate(gc.get_stats())]

    add.reading("process_cpu_seconds_total", "User and system CPU time.", (), cpu_seconds, "counter")
    add.reading("process_resident_memory_bytes", "Resident memory.", (), resident_bytes)
    add.reading("process_virtual_memory_bytes", "Virtual memory.", (), virtual_bytes)
    add.reading("process_open_fds", "Open files.", (), open_files)
    add.reading(
        "process_max_fds",
        "Files that may be open.",
        (),
        lambda: [((), resource.getrlimit(resource.RLIMIT_NOFILE)[0])],
    )
    add.reading("process_start_time_seconds", "Start, since the epoch.", (), lambda: [((), began)])
    for name, text, what in (
        ("python_gc_collections_total", "Collections of a generation.", "collections"),
        ("python_gc_objects_collected_total", "Objects that they freed.", "collected"),
    ):
        add.reading(name, text, ("generation",), lambda what=what: collector(what), "counter")  # type: ignore[misc]
    build = (
        *(str(version.MAJOR), str(version.MINOR), version.GIT_VERSION, "", "", version.BUILD_DATE, ""),
        *(version.COMPILER, version.PLATFORM),
    )
    names = (
        *("major", "minor", "git_version", "git_commit", "git_tree_state", "build_date", "go_version"),
        *("compiler", "platform"),
    )
    add.reading("kubernetes_build_info", "1; its labels tell what runs.", names, lambda: [(build, 1)])

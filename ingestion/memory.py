"""The memory of a process that handles millions of rows: what it keeps, and what it returns to the system."""

import ctypes
import gc
import platform
import re
import resource
import sys
from pathlib import Path

import pyarrow as pa

# From this many rows on, a stage's tables take more than 10 MB.
MANY_ROWS = 50_000
# A refresh has 300 MB resident at its peak, a backfill of years over 500.
LARGE_MB = 400
# Other systems (macOS, musl) are not changed.
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" and platform.libc_ver()[0] == "glibc" else None


def limit_malloc_arenas() -> None:
    """Limit glibc to two arenas, with mmap for blocks from 1 MB on: a month of 1m bars takes 150 MB less memory.

    By default glibc keeps what threads have freed in an arena per thread, large blocks included.
    """
    if _LIBC is not None:
        m_mmap_threshold, m_arena_max = -3, -8
        _LIBC.mallopt(m_mmap_threshold, 1 << 20)
        _LIBC.mallopt(m_arena_max, 2)


def is_large() -> bool:
    """Return whether this process has ever taken much memory: then it keeps some, and what runs beside it adds up."""
    return _peak_mb() > LARGE_MB


def _peak_mb() -> float:
    """Return the most memory that this process had resident."""
    status = Path("/proc/self/status")
    if status.exists():  # not getrusage: on Linux it also counts the process that started this one
        [kilobytes] = re.findall(r"VmHWM:\s+(\d+)", status.read_text())
        return int(kilobytes) / 1e3
    unit = 1e6 if sys.platform == "darwin" else 1e3
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def release_memory(rows: int) -> None:
    """Return what a stage of many rows freed to the system, so that the next stage's peak does not add to this one's.

    After few rows it does nothing, unless the process is large: it takes 50 ms.
    """
    if rows < MANY_ROWS and not is_large():
        return
    gc.collect()
    pa.default_memory_pool().release_unused()
    if _LIBC is not None:
        _LIBC.malloc_trim(0)

"""Memory that a worker frees stays with it: files and frames come and go by the megabyte, and new pages cost faults."""

from __future__ import annotations

import ctypes
import sys


def keep_memory() -> None:
    """Tells glibc to keep what is freed, in this process; other C libraries are left as they are."""
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        m_trim_threshold, m_mmap_threshold = -1, -3
        mallopt(m_trim_threshold, 1 << 28)
        mallopt(m_mmap_threshold, 1 << 25)

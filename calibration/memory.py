"""Makes the C library give freed memory back at once, which a board's memory needs and a calibration's large, short-lived arrays allow."""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_LARGE_BYTES, _KEPT_BYTES = 1 << 20, 4 << 20


def give_memory_back() -> None:
    """From now on, blocks above 1 MiB are mapped one by one and threads share one pool (glibc's mallopt); elsewhere nothing happens.

    glibc raises its own threshold with every large block that is freed, so that after a while nothing is returned. Smaller blocks, as one
    sample and the counts of one histogram are, come from a pool that keeps a little: fresh pages for each cost more than what is done in them.
    """
    try:
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
        library.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        library.mallopt(_M_ARENA_MAX, 1)
        library.malloc_trim(0)
    except (OSError, AttributeError):
        return

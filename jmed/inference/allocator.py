"""Freed memory that stays with the process: tensors of many megabytes come and go with every layer."""

import contextlib
import ctypes

TRIM_THRESHOLD, MMAP_MAX = -1, -4  # of mallopt, in glibc's malloc.h


def keep_freed_memory() -> None:
    """Tell glibc not to give freed memory back to the system, which would clear the pages anew for the next layer.

    Where there is no glibc (macOS, Alpine), nothing is changed.
    """
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(TRIM_THRESHOLD, 2**31 - 1)
        libc.mallopt(MMAP_MAX, 0)

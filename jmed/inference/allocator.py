"""What glibc does with freed memory: keep it for the next layer, or give it back to the system."""

import contextlib
import ctypes

TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4  # of mallopt, in glibc's malloc.h
LARGE = 1024**2  # bytes


def keep_freed_memory() -> None:
    """Tell glibc not to give freed memory back to the system, which would clear the pages anew for the next layer:
    tensors of many megabytes come and go with each.

    Where there is no glibc (macOS, Alpine), nothing is changed.
    """
    _tell({TRIM_THRESHOLD: 2**31 - 1, MMAP_MAX: 0})


def give_back_large_memory() -> None:
    """Tell glibc to give back each large piece when it is freed.

    By itself it keeps pieces as large as any that was freed before, up to 32 MB, and so a process that once ordered a
    million questions holds tens of megabytes to its end.
    """
    _tell({MMAP_THRESHOLD: LARGE})


def _tell(options: dict[int, int]) -> None:
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        for name, value in options.items():
            libc.mallopt(name, value)

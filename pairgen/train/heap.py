"""Freed memory kept for the next step, while a training lasts.

A step frees and asks again for the same gigabyte. The C library hands freed memory back to the system by
default, which hands it out again as pages to be zeroed one by one: about 5 % of a step on a CPU.
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # parameters of mallopt(3)
LARGEST = 1 << 25
"""What the C library lets the threshold for memory maps grow to on its own: 32 MiB."""


@contextmanager
def kept_heap() -> Iterator[None]:
    """Keep up to 2 GiB of freed memory; give it back at the end. Does nothing where the C library is not glibc."""
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallopt") or not hasattr(library, "malloc_trim"):
        yield
        return
    library.mallopt.argtypes = [ctypes.c_int, ctypes.c_int]
    library.mallopt(MMAP_THRESHOLD, LARGEST)
    library.mallopt(TRIM_THRESHOLD, (1 << 31) - 1)
    try:
        yield
    finally:
        library.mallopt(TRIM_THRESHOLD, 2 * LARGEST)
        library.malloc_trim(ctypes.c_size_t(0))

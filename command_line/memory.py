"""How a program that works on large pictures keeps its memory."""

import ctypes

# Of glibc's malloc.h.
_TRIM_THRESHOLD = -1
_MOST_MAPPINGS = -4


def reuse_large_blocks():
    """Lets the process use freed memory again instead of asking the system anew.

    glibc maps blocks above 32 MB afresh each time and gives them back when they are
    freed. A picture of 2048x2048 makes thousands of such blocks, and the system, which
    clears every page, then takes longer than the arithmetic. Kept blocks stay with the
    process until it ends; its largest size hardly changes.

    Does nothing where the C library has no mallopt, as on macOS.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MOST_MAPPINGS, 0)
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)

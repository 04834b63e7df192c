"""Freed memory is used again."""

import subprocess
import sys

import pytest

# Ten times 64 MB, each given back before the next; prints how many pages were new.
PROGRAM = """
import resource
from command_line.memory import reuse_large_blocks
{first}
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
bytearray(2**26)
before = faults()
for _ in range(10):
    bytearray(2**26)
print(faults() - before)
"""


def new_pages(first):
    program = [sys.executable, "-c", PROGRAM.format(first=first)]
    return int(subprocess.check_output(program, text=True))


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_large_blocks_that_were_freed_are_used_again_without_asking_the_system():
    without, kept = new_pages(""), new_pages("reuse_large_blocks()")
    assert kept < 100
    # Huge pages count one for 512; where the system uses none, 163,840 are asked for.
    assert without >= 10 * 2**26 // 2**21

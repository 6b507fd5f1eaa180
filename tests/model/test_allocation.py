"""Memory that was freed is used again without the kernel's help."""

import os
import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
from model.allocation import keep_freed_memory

if sys.argv[1] == "kept":
    assert keep_freed_memory()

def touched_pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [bytearray(20 * 2**20) for _ in range(4)]  # written with zeros, so every page is touched
    del blocks
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

touched_pages()
print(touched_pages())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_a_second_use_of_freed_memory_asks_the_kernel_for_nothing():
    def faults(how):
        run = subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True)
        return int(run.stdout)

    assert faults("kept") * 10 < faults("given back")


THREADS = """
import sys, threading
from model.allocation import share_arenas

if sys.argv[1] == "shared":
    assert share_arenas()

def reserved():
    return int(open("/proc/self/statm").read().split()[0]) * 4096

def allocate(gate):
    kept = [bytes(2000) for _ in range(100)]  # past Python's own allocator
    gate.wait()
    gate.wait()

before, gate = reserved(), threading.Barrier(7)
threads = [threading.Thread(target=allocate, args=(gate,)) for _ in range(6)]
for thread in threads:
    thread.start()
gate.wait()
print(reserved() - before)
gate.wait()
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="arenas are glibc's")
def test_a_servers_threads_share_arenas():
    """An arena reserves 64 MiB of addresses."""

    def reserved(how):
        environment = {key: value for key, value in os.environ.items() if key != "MALLOC_ARENA_MAX"}
        command = [sys.executable, "-c", THREADS, how]
        return int(
            subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
        )

    assert reserved("shared") + 3 * 2**26 < reserved("by itself")

"""The address space of this process: what it takes, and a limit to it."""

import ctypes
import resource
from pathlib import Path

_MMAP_THRESHOLD, _ARENA_MAX = -3, -8  # of malloc.h


def simple_heap() -> None:
    """From now on threads share one heap, and what is large is taken from the system and given back: else this process
    has tens of megabytes in stock, and a limit strikes nothing."""
    for name, value in ((_ARENA_MAX, 1), (_MMAP_THRESHOLD, 1 << 16)):
        assert ctypes.CDLL(None).mallopt(name, value)


def address_space() -> int:
    """Bytes that this process has of it."""
    return _of_status("VmSize")


def most_address_space() -> int:
    """The most bytes that this process had of it since it was started; a copy of a process begins with its own."""
    return _of_status("VmPeak")


def limit_address_space(more_bytes: int) -> None:
    """Lets this process take so many bytes more than it has, and no more. What was freed goes back first."""
    ctypes.CDLL(None).malloc_trim(0)
    limit = address_space() + more_bytes
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _of_status(name: str) -> int:
    return 1024 * int(Path("/proc/self/status").read_text().partition(f"{name}:")[2].split()[0])

"""One way to do the same to many things at once: threads, for decoding, resizing and hashing release Python's lock."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from gaussian_splatting.progress import progress

_MOST_THREADS = 16  # more take memory and give nothing: the memory's bandwidth is used up by then
_In = TypeVar("_In")
_Out = TypeVar("_Out")


def thread_count() -> int:
    """How many threads `parallel` uses at most."""
    return min(_MOST_THREADS, os.cpu_count() or 1)


def parallel(work: Callable[[_In], _Out], items: Iterable[_In], name: str = "") -> list[_Out]:
    """`work(item)` for all items, on `thread_count` threads, in the order of `items`.

    With `name`, progress is shown under it. Raises what `work` raises first, in that order; what has not begun by then
    is left out.
    """
    items = list(items)
    with ThreadPoolExecutor(thread_count()) as pool:
        results = pool.map(work, items)
        if name:
            return list(progress(results, desc=name, total=len(items), leave=False))
        return list(results)

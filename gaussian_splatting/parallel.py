"""One way to do the same to many things at once: threads, for decoding, resizing and hashing release Python's lock."""

import _thread
import mmap
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from gaussian_splatting.progress import progress

_MOST_THREADS = 16  # more take memory and give nothing: the memory's bandwidth is used up by then
_SHARES = 4  # of the items for each thread, so that none waits long for the last
_STACK_BYTES = 9 << 20  # of a thread's own: what Linux sets aside for its stack, and what Python needs to begin there
_PATIENCE_S = 10.0  # that a thread takes to begin on the busiest machine
_In = TypeVar("_In")
_Out = TypeVar("_Out")


def thread_count() -> int:
    """How many threads `parallel` uses at most."""
    return min(_MOST_THREADS, os.cpu_count() or 1)


def check_room_for_threads(count: int) -> None:
    """Raises MemoryError when there is no room for so many, or none can begin: a thread that finds no memory for its
    first line ends, and CPython, which has just started it, waits for a sign of it without end. This one is waited for
    by ourselves, and not for ever."""
    begun = _thread.allocate_lock()
    begun.acquire()
    try:
        mmap.mmap(-1, count * _STACK_BYTES).close()
        _thread.start_new_thread(begun.release, ())
    except (OSError, RuntimeError) as error:
        raise MemoryError(f"no room for {count} threads") from error
    if not begun.acquire(timeout=_PATIENCE_S):
        raise MemoryError("a thread found no memory to begin")


def _threads(count: int) -> ThreadPoolExecutor:
    check_room_for_threads(count)
    return ThreadPoolExecutor(count)


def parallel(work: Callable[[_In], _Out], items: Iterable[_In], name: str = "") -> list[_Out]:
    """`work(item)` for all items, on `thread_count` threads, in the order of `items`.

    With `name`, progress is shown under it. Raises what `work` raises first, in that order; what has not begun by then
    is left out.
    """
    items = list(items)
    with _threads(thread_count()) as pool:
        if name:
            return list(progress(pool.map(work, items), desc=name, total=len(items), leave=False))
        size = max(1, len(items) // (_SHARES * thread_count()))  # many small ones cost less together
        parts = [items[first : first + size] for first in range(0, len(items), size)]
        return [result for part in pool.map(lambda part: [work(item) for item in part], parts) for result in part]


def even_parts(count: int, most: int) -> list[slice]:
    """As few parts of so many items as hold at most `most` each, of nearly one size: a last one of few items would be
    of a size for which a GPU plans anew."""
    parts = -(-count // most)
    return [slice(count * i // parts, count * (i + 1) // parts) for i in range(parts)]


def ahead(items: Iterator[_Out], count: int = 2) -> Iterator[_Out]:
    """The items, made on a thread of its own while earlier ones are used, at most `count` of them before their time."""
    end = object()
    with _threads(1) as pool:
        pending = deque(pool.submit(next, items, end) for _ in range(count))
        while (item := pending.popleft().result()) is not end:
            pending.append(pool.submit(next, items, end))
            yield item  # type: ignore[misc]


def behind(work: Callable[[_In], _Out], items: Iterable[_In], count: int = 2) -> Iterator[_Out]:
    """`work(item)` in order, on a thread of its own while the next items are made, at most `count` of them late."""
    with _threads(1) as pool:
        pending: deque[Future[_Out]] = deque()
        for item in items:
            pending.append(pool.submit(work, item))
            while len(pending) > count or (pending and pending[0].done()):
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()

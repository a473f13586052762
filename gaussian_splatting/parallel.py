"""One way to do the same to many things at once: threads, for decoding, resizing and hashing release Python's lock."""

import _thread
import mmap
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext, suppress
from typing import Generic, TypeVar

from tqdm import tqdm

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
    is left out. The caller is one of the threads, and waits for none to begin. Raises MemoryError where there is no
    room for threads.
    """
    items = list(items)
    size = 1 if name else max(1, len(items) // (_SHARES * thread_count()))  # many small ones cost less together
    with progress(desc=name, total=len(items), leave=False) if name else nullcontext() as bar:
        shared = _Shared(work, items, size, bar)
        check_room_for_threads(thread_count())  # where it lacks, libgomp's threads would find none next: that ends all
        try:
            for _ in range(min(thread_count(), shared.shares) - 1):
                _begin(shared.help)
            shared.work()
        finally:
            shared.end()
        return shared.results()


class _Shared(Generic[_In, _Out]):
    """Items that several threads take shares of, and what they made of them."""

    def __init__(self, work: Callable[[_In], _Out], items: Sequence[_In], size: int, bar: tqdm | None) -> None:
        self._work, self._items, self._size, self._bar = work, items, size, bar
        self.shares = -(-len(items) // size)
        self._made: list[list[_Out]] = [[] for _ in range(self.shares)]
        self._next = self._at_work = 0
        self._failed: dict[int, BaseException] = {}
        self._changed = threading.Condition()

    def help(self) -> None:
        """Works on a thread of its own, which `end` waits for. An interrupt reaches the caller's thread alone."""
        with self._changed:
            self._at_work += 1
        try:
            self.work()
        finally:
            with self._changed:
                self._at_work -= 1
                self._changed.notify_all()

    def work(self) -> None:
        """Works until no share is left, or one has failed."""
        while (share := self._take()) is not None:
            first, made = share * self._size, self._made[share]
            try:
                made += [self._work(item) for item in self._items[first : first + self._size]]
            except BaseException as error:
                self._failed[share] = error
            if self._bar is not None:
                with self._changed:
                    self._bar.update(len(made))

    def end(self) -> None:
        """Hands out no further share, and waits until every helper is done."""
        with self._changed:
            self._next = self.shares
            while self._at_work:
                self._changed.wait()

    def results(self) -> list[_Out]:
        """All of them, or the first error."""
        if self._failed:
            raise self._failed[min(self._failed)]
        return [result for share in self._made for result in share]

    def _take(self) -> int | None:
        with self._changed:
            if self._failed or self._next == self.shares:
                return None
            self._next += 1
            return self._next - 1


def _begin(work: Callable[[], None]) -> None:
    """Work on a thread that nobody waits for to begin: `threading` would, without end, for one that lacks memory."""
    with suppress(RuntimeError):  # no thread can be had
        _thread.start_new_thread(work, ())


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

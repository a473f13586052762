"""The line that parts wait in: bounded, one thread per device, what waits together is judged together."""

import logging
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from PAD_utils.station.models import Models
from PAD_utils.station.parts import Judged, Part, RefusedError
from PAD_utils.station.pictures import Pictures
from PAD_utils.station.settings import Limits
from PAD_utils.station.store import Store

log = logging.getLogger(__name__)

FULL = 503  # the HTTP status that says: later
_PRUNE_EVERY = 100  # parts


class Admission:
    """Counts what has been accepted and not yet answered, so that memory stays bounded however much arrives."""

    def __init__(self, limits: Limits) -> None:
        self._limits, self._lock = limits, threading.Lock()
        self.parts = self.pixels = 0

    @contextmanager
    def part(self) -> Iterator[None]:
        """Room for one part until the block ends. Raises RefusedError (503) when there is none."""
        with self._room("parts", 1, self._limits.parts_in_flight):
            yield

    @contextmanager
    def decoded(self, pixels: int) -> Iterator[None]:
        """Room for so many decoded pixels until the block ends. Raises RefusedError (503) when there is none."""
        with self._room("pixels", pixels, self._limits.pixels_in_flight):
            yield

    @contextmanager
    def _room(self, what: str, count: int, most: int) -> Iterator[None]:
        with self._lock:
            taken = getattr(self, what)
            if taken and taken + count > most:  # one alone always fits: its own limits hold
                raise RefusedError(FULL, "too much is waiting to be inspected; try again in a second")
            setattr(self, what, taken + count)
        try:
            yield
        finally:
            with self._lock:
                setattr(self, what, getattr(self, what) - count)


class Line:
    """Judges parts on its devices, keeps the results, and only then answers.

    `told` is called with each answer that has been kept, by a thread of ours.
    """

    def __init__(
        self, models: Sequence[Models], store: Store, pictures: Pictures, keep: int,
        told: Callable[[dict[str, Any]], None],
    ) -> None:  # fmt: skip
        self._store, self._pictures, self._keep, self._told = store, pictures, keep, told
        self._waiting: queue.Queue[Part | None] = queue.Queue()
        self._finishing, self._drawing = ThreadPoolExecutor(1, "finish"), ThreadPoolExecutor(1, "draw")
        self._unpruned = 0
        self._workers = [
            threading.Thread(target=self._work, args=(one,), name=f"inspect {one.device}", daemon=True)
            for one in models
        ]

    def start(self) -> None:
        for worker in self._workers:
            worker.start()

    def stop(self) -> None:
        """Answers what has been put, and ends."""
        for _ in self._workers:
            self._waiting.put(None)
        for worker in self._workers:
            worker.join()
        self._finishing.shutdown()
        self._drawing.shutdown()

    def put(self, part: Part) -> None:
        """Hands a part over; `part.answer` gets the answer. Whoever puts counts by Admission."""
        part.answer.set_running_or_notify_cancel()  # a client that goes away cancels nothing: the part is judged
        self._waiting.put(part)

    @property
    def alive(self) -> bool:
        return all(worker.is_alive() for worker in self._workers)

    def _work(self, models: Models) -> None:
        while (part := self._waiting.get()) is not None:
            batch = [part]
            most = models.at_once(len(batch) + self._waiting.qsize())
            while len(batch) < most:
                try:
                    further = self._waiting.get_nowait()
                except queue.Empty:
                    break
                if further is None:
                    self._waiting.put(None)
                    break
                batch.append(further)
            for judged in self._judge(models, batch):
                self._finishing.submit(self._finish, judged)

    def _judge(self, models: Models, batch: list[Part]) -> list[list[Judged]]:
        """The batch, judged; where that fails, its parts one by one, so that one cannot spoil the others'."""
        try:
            return [models.judge(batch)]
        except Exception as error:
            if len(batch) > 1:
                return [judged for part in batch for judged in self._judge(models, [part])]
            log.exception("a part could not be inspected")
            self._pictures.remove([batch[0].id])
            batch[0].answer.set_exception(error)
            return []

    def _finish(self, judged: list[Judged]) -> None:
        """The database, then the answers, then their pictures, which clients may wait for."""
        try:
            answers = self._store.add(judged)
        except Exception as error:
            log.error("answers could not be kept, so they are not given: %s", error)
            self._pictures.remove([one.part.id for one in judged])
            for one in judged:
                one.part.answer.set_exception(error)
            return
        self._pictures.announce([one.part.id for one in judged])
        for one, answer in zip(judged, answers, strict=True):
            one.part.answer.set_result(answer)
            self._told(answer)
        self._drawing.submit(self._draw, judged)

    def _draw(self, judged: list[Judged]) -> None:
        try:
            self._pictures.write(judged)
        except Exception as error:  # the answer stands, a page shows it without them
            log.error("pictures of %d parts could not be kept: %s", len(judged), error)
        self._prune(len(judged))

    def _prune(self, count: int) -> None:
        self._unpruned += count
        if self._unpruned < _PRUNE_EVERY:
            return
        self._unpruned = 0
        try:
            self._pictures.remove(self._store.forget_pictures(self._keep))
        except Exception as error:
            log.warning("old pictures could not be removed: %s", error)

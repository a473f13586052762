"""A thread that does what was asked for last."""

import logging
import threading
from collections.abc import Callable, Hashable

log = logging.getLogger(__name__)


class Latest:
    """Does work in a thread of its own, one piece at a time: of each kind the newest that was asked for, since sliders
    and cameras move faster than pictures can be drawn."""

    def __init__(self) -> None:
        self._asked: dict[Hashable, Callable[[], None]] = {}
        self._changed = threading.Condition()
        threading.Thread(target=self._go_on, daemon=True).start()

    def ask(self, kind: Hashable, work: Callable[[], None]) -> None:
        """Has the work done soon, unless newer work of its kind comes first."""
        with self._changed:
            self._asked[kind] = work
            self._changed.notify()

    def _go_on(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._asked)
                kind = next(iter(self._asked))
                work = self._asked.pop(kind)
            try:
                work()
            except Exception:  # the next piece may succeed
                log.exception("the view could not be brought up to date")

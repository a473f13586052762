"""Pictures that are put into a folder are judged, each as a part of its own, each once."""

import logging
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

from gaussian_splatting.images import PICTURE_SUFFIXES
from PAD_utils.data.listing import is_foreign, list_pictures

log = logging.getLogger(__name__)

_SETTLED_S = 1.0  # without a change: a file is whole then
_LOOK_S = 0.25


class Watcher(FileSystemEventHandler):
    """Calls `inspect(path, origin)` on a thread of its own for each picture of a folder that is whole; `origin` names
    one state of one file. `knows` says which have been judged before."""

    def __init__(self, folder: Path, inspect: Callable[[Path, str], None], knows: Callable[[str], bool]) -> None:
        self._folder, self._inspect, self._knows = folder, inspect, knows
        self._changed: queue.Queue[Path] = queue.Queue()
        self._stopping = threading.Event()
        self._done: set[str] = set()
        self._observer = Observer()
        self._thread = threading.Thread(target=self._work, name="watch", daemon=True)

    def start(self) -> None:
        self._observer.schedule(self, str(self._folder))
        self._observer.start()  # first, so that nothing falls between
        for path in list_pictures(self._folder):
            self._changed.put(path)
        self._thread.start()
        log.info("watching %s", self._folder)

    def stop(self) -> None:
        self._stopping.set()
        self._observer.stop()
        self._observer.join()
        self._thread.join()

    def on_any_event(self, event: FileSystemEvent) -> None:
        path = Path(str(event.dest_path or event.src_path))
        if not event.is_directory and event.event_type in ("created", "modified", "moved", "closed"):
            if path.suffix.lower() in PICTURE_SUFFIXES and not is_foreign(path) and path.parent == self._folder:
                self._changed.put(path)

    def _work(self) -> None:
        """Files wait here until nobody writes to them any more."""
        pending: dict[Path, tuple[str, float]] = {}
        while not self._stopping.wait(_LOOK_S):
            while not self._changed.empty():
                pending.setdefault(self._changed.get(), ("", 0.0))
            for path, (state, since) in list(pending.items()):
                seen = _state(path)
                if seen is None:
                    del pending[path]
                elif seen != state:
                    pending[path] = (seen, time.monotonic())
                elif time.monotonic() - since >= _SETTLED_S:
                    del pending[path]
                    self._once(path, seen)

    def _once(self, path: Path, origin: str) -> None:
        if origin not in self._done and not self._knows(origin):
            self._done.add(origin)
            self._inspect(path, origin)


def _state(path: Path) -> str | None:
    """Name, size and time of a file; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return f"{path.name}:{found.st_size}:{found.st_mtime_ns}"

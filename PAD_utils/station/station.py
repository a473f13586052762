"""A station without its web server: models, line, store, watched folder, and the way of a part through them."""

import asyncio
import gc
import logging
import time
import uuid
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from PAD_utils.errors import UserError
from PAD_utils.files import explaining
from PAD_utils.run.job import choose_device
from PAD_utils.station.events import Events
from PAD_utils.station.line import FULL, Admission, Line
from PAD_utils.station.models import Models
from PAD_utils.station.parts import Part, RefusedError
from PAD_utils.station.photographs import Upload, check_upload, take_photographs
from PAD_utils.station.pictures import Pictures
from PAD_utils.station.settings import Settings
from PAD_utils.station.store import Store
from PAD_utils.station.watch import Watcher

log = logging.getLogger(__name__)

_DECODING = 8  # parts at once: each holds its files in memory until they are decoded
_FULL_S = 1.0  # until a watched picture is tried again when too much is waiting


class Station:
    """Everything behind the routes. Raises UserError when a class is not trained, a device is not there, or another
    station is at work in the same store."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._lock = _hold(settings.store)
        self.models = [Models(settings, choose_device(name)) for name in settings.devices]
        self.store = Store(settings.store)
        self.pictures = Pictures(settings.store / "pictures")
        self.events = Events(settings.limits.listeners)
        self.admission = Admission(settings.limits)
        self.line = Line(
            self.models, self.store, self.pictures, settings.keep,
            lambda answer: self.events.publish("part", answer),
        )  # fmt: skip
        self._decoding = asyncio.Semaphore(_DECODING)
        self._watcher = None
        if settings.watch is not None:
            self._watcher = Watcher(settings.watch.resolve(), self._watched, self.store.knows_origin)

    @property
    def classes(self) -> list[str]:
        return list(self.settings.classes)

    def fingerprint(self, classname: str) -> str:
        """Of the model that judges a class."""
        return self.models[0].served[classname].fingerprint

    def start(self) -> None:
        """Warms the models up and begins to work. What an earlier station was killed over is removed."""
        self.pictures.remove_unknown({row[0] for row in self.store.select("SELECT id FROM parts WHERE has_pictures")})
        for models in self.models:
            models.warm_up()
        gc.collect()
        gc.freeze()  # a look through all that was loaded, which stays, would make a photograph wait for 0.1 s
        self.line.start()
        if self._watcher is not None:
            self._watcher.start()

    def stop(self) -> None:
        """Finishes what has been accepted."""
        if self._watcher is not None:
            self._watcher.stop()
        self.line.stop()
        self.store.close()
        self._lock.release()

    def candidates(self, classname: str | None) -> list[str]:
        """The classes that a part may be of. Raises RefusedError for one that is not served."""
        if classname is None:
            return self.classes
        if classname not in self.classes:
            raise RefusedError(422, f"this class is not served; served are {', '.join(self.classes)}")
        return [classname]

    async def inspect(self, files: Sequence[tuple[str | None, Any]], classname: str | None) -> dict[str, Any]:
        """The answer to one part, kept before it is returned; `files`: names and open files. Raises RefusedError, or
        what went wrong with the disk."""
        with ExitStack() as room:
            part = await self._accepted(files, self.candidates(classname), room)
            self.line.put(part)
            return await asyncio.wrap_future(part.answer)

    async def _accepted(self, files: Sequence[tuple[str | None, Any]], classes: list[str], room: ExitStack) -> Part:
        """A part whose photographs are decoded, and `room` for them; the files themselves are let go."""
        received = time.time()
        async with self._decoding:
            uploads = [check_upload(name, await file.read(), self.settings.limits) for name, file in files]
            room.enter_context(self.admission.decoded(_pixels(uploads)))
            return await asyncio.to_thread(self._taken, uploads, classes, received)

    def _taken(self, uploads: Sequence[Upload], classes: list[str], received: float, origin: str | None = None) -> Part:
        id = uuid.uuid4().hex
        photographs = take_photographs(uploads, self.pictures.of(id), self.models[0], classes)
        return Part(id, photographs, classes, received, origin)

    def _watched(self, path: Path, origin: str) -> None:
        """Judges a picture of the watched folder, when there is room. What is no picture is told of once."""
        while True:
            try:
                with self.admission.part(), ExitStack() as room:
                    if path.stat().st_size > self.settings.limits.picture_bytes:
                        raise RefusedError(
                            413, f"{path.name}: larger than {self.settings.limits.picture_bytes >> 20} MB"
                        )
                    upload = check_upload(path.name, path.read_bytes(), self.settings.limits)
                    room.enter_context(self.admission.decoded(_pixels([upload])))
                    part = self._taken([upload], self.classes, time.time(), origin)
                    self.line.put(part)
                    part.answer.result()
                return
            except RefusedError as refused:
                if refused.status != FULL:
                    self._problem(str(refused))
                    return
                time.sleep(_FULL_S)
            except Exception as error:  # a full disk, a file that has gone: the next one may be judged
                self._problem(f"{path.name} could not be inspected ({type(error).__name__}: {error})")
                return

    def _problem(self, said: str) -> None:
        log.warning("watched folder: %s", said)
        self.events.publish("problem", {"problem": said})


def _pixels(uploads: Sequence[Upload]) -> int:
    return sum(upload.width * upload.height for upload in uploads)


def _hold(folder: Path) -> FileLock:
    """Keeps other stations out of a store; the system lets go of it when this process dies, however it dies."""
    lock = FileLock(folder / ".lock", thread_local=False)
    with explaining(folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise UserError(
                f"another station is at work in {folder}; stop it, or choose another place with --store"
            ) from None
    return lock

"""Pages are told of answers at once, by server-sent events."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from PAD_utils.station.parts import RefusedError

_BACKLOG = 200  # events that a page may be behind before it is let go; it comes back and reads the history
_ALIVE_S = 15.0


class Events:
    """Hands events to all who listen. `publish` may be called by any thread."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._listeners: set[asyncio.Queue[str | None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    def open(self) -> None:
        """Called in the event loop of the server, before anything is published."""
        self._loop = asyncio.get_running_loop()

    def publish(self, kind: str, content: dict[str, Any]) -> None:
        """Tells all listeners."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._hand_out, f"event: {kind}\ndata: {json.dumps(content)}\n\n")

    def listen(self) -> AsyncIterator[str]:
        """The stream of one page. Raises RefusedError (503) when too many listen."""
        if len(self._listeners) >= self._most:
            raise RefusedError(503, f"{self._most} pages are told already; close one")
        backlog: asyncio.Queue[str | None] = asyncio.Queue(_BACKLOG)
        self._listeners.add(backlog)
        return self._stream(backlog)

    async def _stream(self, backlog: "asyncio.Queue[str | None]") -> AsyncIterator[str]:
        try:
            yield "retry: 2000\n\n"
            while True:
                try:
                    event = await asyncio.wait_for(backlog.get(), _ALIVE_S)
                except (asyncio.TimeoutError, TimeoutError):
                    event = ": still here\n\n"
                if event is None:
                    return
                yield event
        finally:
            self._listeners.discard(backlog)

    def _hand_out(self, event: str) -> None:
        for backlog in list(self._listeners):
            if backlog.full():
                self._listeners.discard(backlog)
                backlog.get_nowait()
                backlog.put_nowait(None)
            else:
                backlog.put_nowait(event)

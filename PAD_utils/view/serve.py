"""The command: a result folder, a server on this machine, a page."""

import logging
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from PAD_utils.arguments import ArgumentParser
from PAD_utils.errors import UserError
from PAD_utils.run.job import choose_device, run_script
from PAD_utils.view.result import read_result

if TYPE_CHECKING:
    from PAD_utils.view.live import Live

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
_OWN_PAGES = re.compile(r"http://(127\.0\.0\.1|localhost)(:\d+)?")


def main(argv: Sequence[str] | None = None) -> int:
    """Serves until it is stopped, and returns the exit code: 0, or 2 with one line on stderr."""
    parser = ArgumentParser(
        "Shows a finished run in 3D, on this machine only: docs/viewer.md.", "python -m PAD_utils.view RESULT [options]"
    )
    parser.add_argument("result", type=Path, metavar="RESULT", help="result folder of a finished run")
    parser.add_argument(
        "--data_path", type=Path, metavar="FOLDER", help="where the classes lie (default: where the run had them)"
    )
    parser.add_argument("--port", type=int, default=8080, metavar="N", help="(default: %(default)s, or the next free)")
    parser.add_argument("--device", help="'cpu' or 'cuda' (default: the GPU when there is one)")
    args = parser.parse_args(argv)
    if not 0 <= args.port < 1 << 16:
        parser.error(f"--port must lie between 0 and 65535, got {args.port}")
    return run_script(lambda: view(args.result, args.data_path, args.port, args.device))


def view(folder: Path, data_path: Path | None, port: int, device: str | None) -> None:
    """Shows a result folder until SIGINT. Raises UserError when viser or something of the result is missing."""
    logging.getLogger("websockets").setLevel(logging.WARNING)  # not a line for each page that comes and goes
    try:
        live = open_view(folder, data_path, port, device)
        log.info("http://%s:%d shows %s; Ctrl-C ends it", HOST, live.server.get_port(), folder)
        threading.Event().wait()
    except KeyboardInterrupt:
        log.info("ended")


def open_view(folder: Path, data_path: Path | None = None, port: int = 0, device: str | None = None) -> "Live":
    """The running view of a result folder; `live.server.stop()` ends it. Raises as `view`."""
    try:
        import viser

        from PAD_utils.view.live import Live
    except ModuleNotFoundError as error:
        raise UserError(f"the viewer needs the package {error.name}; pip install --group view") from error
    result = read_result(folder, data_path, choose_device(device))
    with _own_pages_only():
        server = viser.ViserServer(HOST, port, label="SplatPose", verbose=False)
    return Live(result, server)


@contextmanager
def _own_pages_only() -> Iterator[None]:
    """Servers that are started meanwhile answer pages of this machine alone. viser asks nobody where he comes from, so
    that any web page that is open in the same browser could read photographs through it."""
    import websockets.asyncio.server as websockets

    serve = websockets.serve
    websockets.serve = partial(serve, origins=[_OWN_PAGES, None])  # type: ignore[misc, assignment]
    try:
        yield
    finally:
        websockets.serve = serve  # type: ignore[misc]

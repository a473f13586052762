"""Chromium without a window, for what only a browser can tell of a page."""

import functools
import json
import os
import queue
import shutil
import signal
import subprocess
import threading
from collections.abc import Sequence
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
NEEDS_BROWSER = pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome is installed")
SOFTWARE_GL = ("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")  # WebGL without a GPU
FLAGS = (
    "--headless --no-sandbox --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()
PATIENCE_S = 120  # alone it takes about 4 s; a machine of few cores may be busy
WATCH = """<script>
window.errors = [];
addEventListener("error", (event) => errors.push(String(event.message || event.target.outerHTML)), true);
addEventListener("unhandledrejection", (event) => errors.push(String(event.reason)));
addEventListener("securitypolicyviolation", (event) => errors.push("blocked " + event.blockedURI));
</script>"""
_COLLECT = """<script>
addEventListener("message", (event) => fetch("/seen", { method: "POST", body: JSON.stringify(event.data) }));
</script>"""


def use_page(
    page: Path, script: str, sizes: Sequence[tuple[int, int]], flags: Sequence[str] = ("--disable-gpu",)
) -> list[dict]:
    """Opens a page in windows of these sizes with a script added at its end, and returns what each posts to its
    parent, in the order in which they answer. Raises TimeoutError if one keeps silent."""
    text = page.read_text("utf-8").replace("<head>", f"<head>{WATCH}", 1)
    (page.parent / "checked.html").write_text(text.replace("</body>", f"<script>{script}</script></body>"), "utf-8")
    frames = "".join(
        f'<iframe src="checked.html" style="border:0;width:{w}px;height:{h}px"></iframe>' for w, h in sizes
    )
    (page.parent / "frames.html").write_text(_COLLECT + frames, "utf-8")
    return _browse(page.parent, "frames.html", len(sizes), flags)


def _browse(folder: Path, name: str, count: int, flags: Sequence[str]) -> list[dict]:
    """Opens a page of `folder` and returns the first `count` things that it posts to /seen."""
    posted: queue.Queue[dict] = queue.Queue()

    class Handler(SimpleHTTPRequestHandler):
        def do_POST(self) -> None:
            posted.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}/{name}"
    command = [str(BROWSER), *FLAGS, *flags, f"--user-data-dir={folder / 'profile'}", address]
    browser = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        return [posted.get(timeout=PATIENCE_S) for _ in range(count)]
    except queue.Empty:
        raise TimeoutError(f"the page said nothing in {PATIENCE_S} s") from None
    finally:
        os.killpg(browser.pid, signal.SIGKILL)
        browser.wait()
        server.shutdown()
        server.server_close()

"""The 3D view of a report in headless Chromium, without a GPU: seconds to the first picture, likeness, bytes.

    python -m benchmarks.bench_viewer RESULT --name viewer_X

The first picture is there when the browser has finished drawing it, counted from when it began to open report.html from
the disk; of a large model it shows only some of the Gaussians, and the whole follows. Likeness is of the whole: PSNR
against our rasterizer from the cameras of pictures, in all colors of the model, on white.
"""

import PAD_utils.run.start  # noqa: F401 (first of all)  # isort: skip
import argparse
import base64
import io
import math
import os
import re
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from playwright.sync_api import Browser, Page, Playwright, ViewportSize, sync_playwright

import PAD_utils.report
from benchmarks.results_file import save_result
from gaussian_splatting.camera import Camera
from gaussian_splatting.rendering import render
from PAD_utils.inspector_files import read_inspector
from tests.browser import BROWSER, SOFTWARE_GL

_VIEWER = Path(PAD_utils.report.__file__).parent / "viewer"
_WINDOW: ViewportSize = {"width": 1300, "height": 900}
_SMALL_WINDOW: ViewportSize = {"width": 400, "height": 300}  # each picture has the window drawn anew
_COMPARED = 24
_PATIENCE_MS = 180_000
# Told as soon as the view is ready; reading a pixel waits until the browser's GPU process has drawn.
_FIRST = """new MutationObserver((_, observer) => {
  const space = document.getElementById("space");
  if (!space?.dataset.ready || window.drawn) return;
  observer.disconnect();
  window.ready = performance.now();
  const gl = space.querySelector("canvas").getContext("webgl2");
  const drawn = () => {
    gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(4));
    return performance.now();
  };
  window.drawn = drawn();
  const frames = (left) => requestAnimationFrame(() => (left ? frames(left - 1) : (window.whole = drawn())));
  frames(3);
}).observe(document, { subtree: true, attributes: true, attributeFilter: ["data-ready"] });"""
_PICTURE = """(number) => {
  const space = document.getElementById("space");
  const [width, height, ...lens] = space.data.taken[number].lens;
  return space.picture(space.data.taken[number].pose, lens, width, height, 0);
}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("result", type=Path)
    parser.add_argument("--name", required=True)
    parser.add_argument("--times", type=int, default=7, help="browsers that are started for the first picture")
    args = parser.parse_args()
    report = args.result / "report.html"
    load = os.getloadavg()[0]
    with sync_playwright() as playwright:
        firsts = [first_picture(playwright, report) for _ in range(args.times)]
        figures = {
            "gaussians": firsts[0]["gaussians"],
            "gaussians_of_the_first_picture": firsts[0]["few"],
            "first_picture_seconds": {
                "median": statistics.median(first["seconds"] for first in firsts),
                "each": [first["seconds"] for first in firsts],
                "until_the_page_was_read": statistics.median(first["interactive_seconds"] for first in firsts),
                "of_these_drawing": statistics.median(first["drawing_seconds"] for first in firsts),
            },
            "whole_picture_seconds": statistics.median(first["whole_seconds"] for first in firsts),
            "browser_cpu_seconds": statistics.median(first["cpu_seconds"] for first in firsts),
            "likeness_db": likeness(playwright, report, args.result / "inspector"),
            "bytes": added_bytes(report),
            "machine_load": load,
        }
    print(save_result(args.name, torch.device("cpu"), figures), figures)


def first_picture(playwright: Playwright, report: Path) -> dict[str, Any]:
    """Seconds until a browser that has just started shows the view."""
    browser, page = _opened(playwright)
    before = _cpu_seconds()
    page.goto(report.resolve().as_uri(), wait_until="commit")
    page.wait_for_function("window.drawn", timeout=_PATIENCE_MS)
    spent = _cpu_seconds() - before
    page.wait_for_function("window.whole", timeout=_PATIENCE_MS)
    found = page.evaluate(
        """() => ({
          gaussians: document.getElementById("space").data.splats.count,
          few: document.getElementById("space").few,
          seconds: window.drawn / 1000,
          whole_seconds: window.whole / 1000,
          interactive_seconds: performance.getEntriesByType("navigation")[0].domInteractive / 1000,
          drawing_seconds: (window.drawn - window.ready) / 1000,
        })"""
    )
    browser.close()
    return {**found, "cpu_seconds": spent}


def _cpu_seconds() -> float:
    """What all processes that this one started have spent on processors: unlike the clock's, these seconds are the same
    on a busy machine."""
    found, todo = 0.0, [os.getpid()]
    while todo:
        place = Path(f"/proc/{todo.pop()}")
        try:
            todo += [
                int(child) for task in (place / "task").iterdir() for child in (task / "children").read_text().split()
            ]
            user, system = place.joinpath("stat").read_text().rpartition(") ")[2].split()[11:13]
        except OSError:  # it has ended
            continue
        found += (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
    return found


def likeness(playwright: Playwright, report: Path, inspector: Path) -> dict[str, float]:
    """PSNR of the page's pictures from the cameras of up to 24 pictures, evenly chosen."""
    gaussians = read_inspector(inspector, torch.device("cpu")).gaussians
    browser, page = _opened(playwright, _SMALL_WINDOW)
    page.goto(report.resolve().as_uri(), wait_until="commit")
    page.wait_for_function("window.drawn", timeout=_PATIENCE_MS)
    found, cameras = [], page.evaluate("document.getElementById('space').data.taken")
    for number in range(0, len(cameras), -(-len(cameras) // _COMPARED)):
        shown = _decoded(page.evaluate(_PICTURE, number))
        drawn = render(gaussians, [_camera(cameras[number])]).image[0].clamp(0, 1).permute(1, 2, 0).numpy()
        found.append(-10 * math.log10(float(np.square(shown - drawn).mean())))
    browser.close()
    return {"pictures": len(found), "mean": statistics.fmean(found), "least": min(found)}


def added_bytes(report: Path) -> dict[str, int]:
    """What the view adds to the page: the model and the cameras, and the program that draws them."""
    text = report.read_text("utf-8")
    data = re.search(r'<script type="application/json" id="scene-data">(.*?)</script>', text, re.DOTALL)
    if data is None:
        raise SystemExit(f"{report} has no 3D view")
    program = sum(path.stat().st_size for path in _VIEWER.iterdir())
    return {"page": len(text.encode()), "data": len(data[1]), "program": program, "added": len(data[1]) + program}


def _opened(playwright: Playwright, window: ViewportSize = _WINDOW) -> tuple[Browser, Page]:
    browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox", *SOFTWARE_GL])
    page = browser.new_page(viewport=window, bypass_csp=True)  # for wait_for_function; the page needs none
    page.add_init_script(_FIRST)
    return browser, page


def _camera(placed: dict[str, Any]) -> Camera:
    width, height, *lens = placed["lens"]
    cam_from_world = torch.eye(4, dtype=torch.float64)
    cam_from_world[:3] = torch.tensor(placed["pose"], dtype=torch.float64).reshape(3, 4)
    return Camera(int(width), int(height), *lens, cam_from_world)


def _decoded(uri: str) -> np.ndarray:
    """A picture of the canvas on white, in [0, 1]."""
    rgba = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGBA")) / 255
    return rgba[..., :3] * rgba[..., 3:] + 1 - rgba[..., 3:]


if __name__ == "__main__":
    main()

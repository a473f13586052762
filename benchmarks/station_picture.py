"""The picture of docs/station.md: the page of a station after a few photographs of the demo class, in Chromium.

python -m benchmarks.station_picture assets/demo 00Demo --prefix demo --out docs/images/station.jpg
"""

import PAD_utils.run.start  # noqa: F401 (first of all)  # isort: skip
import argparse
import shutil
import tempfile
from pathlib import Path

import httpx
from playwright.sync_api import sync_playwright

from benchmarks.station_server import station

_SIZE = {"width": 1180, "height": 900}
_SHOWN = ("good/1", "Missing/0", "good/2", "Stains/1", "good/0", "Burrs/0", "good/3", "Stains/0")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data_path", type=Path)
    parser.add_argument("classname")
    parser.add_argument("--prefix", default="splatpose")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        given = ["--data_path", str(args.data_path), "-c", args.classname, "-p", args.prefix, "--store", f"{folder}/s"]
        with station(given, Path(folder) / "log") as running:
            for name in _SHOWN:
                path = args.data_path / args.classname / "test" / f"{name}.png"
                shown = f"{name.replace('/', '_')}.png"
                httpx.post(
                    f"{running.address}/inspect", files={"picture": (shown, path.read_bytes())}, timeout=120
                ).raise_for_status()
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            page = browser.new_page(viewport=_SIZE)
            page.goto(running.address)
            page.locator(".card img.heat").nth(len(_SHOWN) - 1).wait_for()
            page.wait_for_timeout(2000)
            page.screenshot(path=args.out, type="jpeg", quality=80)
            browser.close()


if __name__ == "__main__":
    main()

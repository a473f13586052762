"""A tiny trained class and a station that serves it, for the tests of the station."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import uvicorn

from gaussian_splatting import View
from PAD_utils import Inspector
from PAD_utils.files import write_bytes
from PAD_utils.pose import bank as bank_module
from PAD_utils.station.application import make_application
from PAD_utils.station.serve import listening
from PAD_utils.station.settings import Settings
from PAD_utils.station.station import Station
from tests.pose_scene import camera_at, lopsided, photograph

SIDE = 48
NAME = "Lopsided"
OTHER = "Other"  # the same shape in other colors


_SEEDS = {NAME: 0, OTHER: 3}


def train(data_path: Path, *names: str) -> None:
    """Makes the result folders of classes, as a run leaves them, with all that a station needs."""
    views = bank_module.VIEWS
    bank_module.VIEWS = 80
    try:
        for name in names:
            inspector = Inspector(lopsided(200, _SEEDS[name]), _gallery(_SEEDS[name]), "gradient")
            inspector.save(data_path / "results_splatpose_0" / name / "inspector")
    finally:
        bank_module.VIEWS = views


def _gallery(seed: int) -> list[View]:
    generator = torch.Generator().manual_seed(0)
    model, found = lopsided(200, seed), []
    for i, direction in enumerate(torch.randn(9, 3, generator=generator).tolist()):
        camera = camera_at(direction, SIDE, SIDE)
        noise = torch.randint(-3, 4, (SIDE, SIDE, 3), generator=generator)
        found.append(View(f"{i:03d}", camera, (photograph(model, camera).int() + noise).clamp(0, 255).byte()))
    return found


def picture(seed: int = 0, stain: bool = False) -> np.ndarray:
    """A photograph of a part, (h, w, 3) RGB; with a stain it is defective."""
    found = photograph(lopsided(200, seed), camera_at((0.8, -0.7, 0.5), SIDE, SIDE)).numpy()
    if stain:
        found[20:26, 20:26] = (255, 0, 255)
    return found


def encoded(image: np.ndarray, suffix: str = ".png") -> bytes:
    done, content = cv2.imencode(suffix, image[..., ::-1])
    assert done
    return content.tobytes()


GOOD, STAINED = encoded(picture()), encoded(picture(stain=True))


def settings(data_path: Path, store: Path, **changes: Any) -> Settings:
    """Those of a station that serves both classes on the CPU."""
    given = {"data_path": data_path, "classes": [NAME, OTHER], "prefix": "splatpose", "seed": 0, "store": store}
    return Settings(**{**given, "devices": ["cpu"], "port": 0, **changes})


@contextmanager
def served(settings: Settings) -> Iterator[str]:
    """A station behind a real web server, in threads of this process; yields its address."""
    with listening(settings) as held:
        server = uvicorn.Server(
            uvicorn.Config(make_application(Station(settings)), log_config=None, timeout_graceful_shutdown=1)
        )
        thread = threading.Thread(target=server.run, args=([held],))
        thread.start()
        while not server.started:
            assert thread.is_alive(), "the station did not start"
            time.sleep(0.02)
        try:
            yield f"http://127.0.0.1:{held.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def write(data_path: Path) -> None:
    """A class with test pictures, for benchmarks/bench_station.py."""
    train(data_path, NAME)
    for kind, content in (("good", GOOD), ("stained", STAINED)):
        write_bytes(data_path / NAME / "test" / kind / "0.png", content)


if __name__ == "__main__":
    write(Path(sys.argv[1]))

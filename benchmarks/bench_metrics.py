"""Times the metrics on score maps as large as MAD-Sim's and measures how far they are from other ways to find them.

python -m benchmarks.bench_metrics
"""

import argparse
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from benchmarks.results_file import save_result
from PAD_utils.evaluate.__main__ import evaluate_folder
from PAD_utils.evaluate.maps import map_path, write_map
from PAD_utils.evaluate.metrics import PRO_LIMIT, aupro, evaluate, pixel_auroc
from PAD_utils.report.cards import ReportImage
from PAD_utils.report.report import write_report
from tests.reference_aupro import aupro_by_thresholds

KINDS = ("good", "Burrs", "Missing", "Stains")


def make_class(count: int, size: int, seed: int = 0) -> tuple[list[np.ndarray], list[np.ndarray | None], list[str]]:
    """Score maps with heavy tails, smooth as blurred feature differences are, and masks with one to three regions."""
    rng = np.random.default_rng(seed)
    maps: list[np.ndarray] = []
    masks: list[np.ndarray | None] = []
    kinds = [KINDS[i % len(KINDS)] for i in range(count)]
    for kind in kinds:
        noise = cv2.GaussianBlur(rng.standard_normal((size, size), dtype=np.float32), (0, 0), size / 100)
        score = np.exp(3 * noise / noise.std()) * 1e-4
        mask = np.zeros((size, size), np.uint8)
        if kind != "good":
            for _ in range(rng.integers(1, 4)):
                x, y = (int(v) for v in rng.integers(size // 4, 3 * size // 4, 2))
                cv2.circle(mask, (x, y), int(rng.integers(size // 80, size // 20)), 1, -1)
            score += rng.gamma(1.0, 0.02) * cv2.GaussianBlur(mask.astype(np.float32), (0, 0), size / 100)
        maps.append(score.astype(np.float32))
        masks.append(None if kind == "good" else mask.astype(bool))
    return maps, masks, kinds


def fastest(work: Callable[[], object], repeats: int) -> dict[str, float]:
    """The shortest of some runs in seconds: on the clock, and of all cores together, which other work slows less."""
    clock, cores = [], []
    for _ in range(repeats):
        start, start_cores = time.perf_counter(), time.process_time()
        work()
        clock.append(time.perf_counter() - start)
        cores.append(time.process_time() - start_cores)
    return {"clock": min(clock), "cores": min(cores)}


def time_evaluation(count: int, size: int, repeats: int) -> dict:
    """Seconds of all metrics at once, of each alone, of the command that reads the maps, and of the report."""
    maps, masks, kinds = make_class(100, size)
    maps, masks, kinds = (3 * maps)[:count], (3 * masks)[:count], (3 * kinds)[:count]
    scores, labels = [float(m.max()) for m in maps], [int(kind != "good") for kind in kinds]
    seconds = {
        "evaluate": fastest(lambda: evaluate(maps, masks, scores, labels, kinds), repeats),
        "pixel_auroc": fastest(lambda: pixel_auroc(maps, masks), repeats),
        "aupro": fastest(lambda: aupro(maps, masks), repeats),
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for i, (score, mask, kind) in enumerate(zip(maps, masks, kinds, strict=True)):
            write_map(map_path(folder / "maps", kind, str(i)), score)
            (folder / "truth" / kind).mkdir(parents=True, exist_ok=True)
            if mask is not None:
                cv2.imwrite(str(folder / "truth" / kind / f"{i}_mask.png"), mask.astype(np.uint8) * 255)
        seconds["evaluate_folder"] = fastest(lambda: evaluate_folder(folder / "maps", folder / "truth"), repeats)
        pictures = [np.repeat((255 * (1 - m / m.max())).astype(np.uint8)[..., None], 3, axis=2) for m in maps]
        shown = [
            ReportImage(kind, str(i), label, score, None, picture, picture, heat, mask)
            for i, (kind, label, score, picture, heat, mask) in enumerate(
                zip(kinds, labels, scores, pictures, maps, masks, strict=True)
            )
        ]
        report = folder / "report.html"
        seconds["report"] = fastest(lambda: write_report(report, "benchmark", {}, {}, shown), repeats)
        megabytes = report.stat().st_size / 1e6
    return {"maps": count, "size": size, "seconds": seconds, "report_mb": megabytes}


def compare(count: int, size: int) -> dict:
    """The distance from scikit-learn's pixel AUROC and from the AUPRO of a loop over every threshold."""
    maps, masks, _ = make_class(count, size, seed=1)
    full = [np.zeros(m.shape, bool) if mask is None else mask for m, mask in zip(maps, masks, strict=True)]
    truth, scores = np.concatenate([m.ravel() for m in full]), np.concatenate([m.ravel() for m in maps])
    ours_auroc, ours_aupro = pixel_auroc(maps, masks).value, aupro(maps, masks).value
    assert ours_auroc is not None and ours_aupro is not None
    return {
        "maps": count,
        "size": size,
        "pixel_auroc_minus_sklearn": ours_auroc - float(roc_auc_score(truth, scores)),
        "aupro_minus_threshold_loop": ours_aupro - float(aupro_by_thresholds(maps, full, PRO_LIMIT)),
    }


def main(argv: list[str] | None = None) -> int:
    """Measures and writes benchmarks/results/metrics.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=800, help="side of the maps in pixels (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="the fastest of so many runs counts (default: 3)")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    figures = {
        "timing": [time_evaluation(count, args.size, args.repeats) for count in (100, 300)],
        "agreement": compare(8, 48),
        "load_average": os.getloadavg()[0],  # above the number of cores, the clock measures the other work as well
    }
    path = save_result("metrics", torch.device("cpu"), figures)
    logging.info("%s: %s", path, figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())

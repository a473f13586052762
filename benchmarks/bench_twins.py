"""An object whose back has the outline of its front: is the back ever taken for the front, and called localized?

    python -m benchmarks.bench_twins [--device cuda] [--folder DIR] [--views 70] [--queries 60] [--steps 3000]

A white figure on thin legs; only a small face and a button tell its front from its back. It is rendered with Mitsuba,
trained, and looked for in pictures from the front and from the back. Needs Mitsuba (pip install mitsuba). With --folder
pictures and models are kept there, by device, and found again. Prints the figures as JSON and keeps them in
benchmarks/results.
"""

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.results_file import save_result
from gaussian_splatting.camera import Camera
from gaussian_splatting.gaussians import Gaussians
from gaussian_splatting.ply import load_ply, save_ply
from gaussian_splatting.pose.gauss_newton import GaussNewtonRefiner
from gaussian_splatting.training.schedule import TrainConfig
from gaussian_splatting.training.train import train as train_gaussians
from gaussian_splatting.views import View
from PAD_utils.evaluate.pose_metrics import pose_error
from PAD_utils.pose.bank import make_bank
from PAD_utils.pose.localize import localize
from PAD_utils.pose.retrieval import BankRetriever
from PAD_utils.run.job import choose_device
from PAD_utils.synthetic import PER_RING, RINGS, look_at, rig_poses
from PAD_utils.synthetic.animals import PALETTES, RADIUS
from PAD_utils.synthetic.render import CAMERA_ANGLE_X_RAD, Light, Renderer
from PAD_utils.synthetic.shapes import Part, brick, fitted, merge, round_part

SIZE, SAMPLES, DISTANCE = 400, 36, 3.0
HYPOTHESES = (8, 16)
WRONG_DEG = 1.0
_FRONT_DEG, _UP_DEG = 35.0, 25.0  # queries look at the front or the back from within these angles


def main() -> None:
    arguments = parse()
    device = choose_device(arguments.device)
    views, queries = pictures(arguments.folder, arguments.views, arguments.queries)
    gaussians = model(arguments.folder, views, arguments.steps, device)
    bank = make_bank(gaussians, [view.camera for view in views])
    retriever = BankRetriever(bank, "bank")
    figures = {
        "width": SIZE,
        "views": len(views),
        "gaussians": len(gaussians),
        "by_hypotheses": {str(count): measure(gaussians, queries, retriever, count) for count in HYPOTHESES},
    }
    path = save_result(f"twins_{device.type}", device, figures)
    print(json.dumps(figures, indent=2))
    print(f"written to {path}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", help="the first GPU, or the CPU, if left out")
    parser.add_argument("--folder", type=Path, help="keeps pictures and models between two runs")
    parser.add_argument("--views", type=int, default=5 * RINGS, help="training pictures: a multiple of 14 rings")
    parser.add_argument("--queries", type=int, default=60, help="pictures that are looked for")
    parser.add_argument("--steps", type=int, help="of training; the device's default if left out")
    return parser.parse_args()


def figure() -> list[Part]:
    """The same from the front and from the back but for eyes, nose and a button; x is forward."""
    colors = PALETTES["white"]
    parts = []
    for side, y in (("left", 0.7), ("right", -0.7)):
        parts.append(round_part(f"leg_{side}", (0.0, y, 0.35), "+z", 0.22, 3.3, colors.main))
        parts.append(brick(f"foot_{side}", (-0.5, y - 0.4, 0.0), (1.0, 0.8, 0.4), colors.main, studs=False))
        low = (-0.3, 1.55 if y > 0 else -2.15, 4.2)
        parts.append(brick(f"arm_{side}", low, (0.6, 0.6, 2.4), colors.main, studs=False))
        parts.append(round_part(f"eye_{side}", (0.87, 0.45 * math.copysign(1, y), 8.05), "+x", 0.16, 0.1, colors.dark))
    parts.append(brick("body", (-1.0, -1.5, 3.6), (2.0, 3.0, 3.4), colors.main, studs=False))
    parts.append(brick("head", (-0.9, -1.0, 7.0), (1.8, 2.0, 1.7), colors.main))
    parts.append(round_part("nose", (0.87, 0.0, 7.6), "+x", 0.2, 0.12, colors.mark))
    parts.append(round_part("button", (0.97, 0.0, 5.6), "+x", 0.2, 0.08, colors.mark))
    return fitted(parts, RADIUS)


def pictures(folder: Path | None, views: int, queries: int) -> tuple[list[View], list[View]]:
    """Training views on MAD-Sim's rig, and queries that look at the front or the back; rendered, or found again."""
    poses = rig_poses(DISTANCE, min(PER_RING, max(1, views // RINGS)))
    rng = np.random.default_rng(0)
    for number in range(queries):
        azimuth = math.pi * (number % 2) + math.radians(rng.uniform(-_FRONT_DEG, _FRONT_DEG))
        elevation = math.radians(rng.uniform(-_UP_DEG, _UP_DEG))
        poses.append(
            look_at(azimuth, elevation, DISTANCE * rng.uniform(0.96, 1.05), tuple(rng.uniform(-0.03, 0.03, 3)))
        )
    path = folder / f"pictures_{views}_{queries}.npy" if folder else None
    if path and path.is_file():
        images = np.load(path)
    else:
        images = rendered(poses)
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, images)
    cameras = [Camera.from_blender(torch.from_numpy(pose), CAMERA_ANGLE_X_RAD, SIZE, SIZE) for pose in poses]
    all_views = [View(f"{i}", camera, torch.from_numpy(images[i])) for i, camera in enumerate(cameras)]
    return all_views[: len(poses) - queries], all_views[len(poses) - queries :]


def rendered(poses: list[np.ndarray]) -> np.ndarray:
    """Pictures (n, SIZE, SIZE, 3) uint8 of the figure, lit from its side so that front and back are equally bright."""
    renderer = Renderer(SIZE, SAMPLES)
    scene = renderer.scene(merge(figure()), Light(azimuth_deg=90.0))
    return np.stack([renderer.picture(scene, pose, number) for number, pose in enumerate(poses)])


def model(folder: Path | None, views: list[View], steps: int | None, device: torch.device) -> Gaussians:
    """Trained with the preset `fast` of the device, or found again."""
    path = folder / f"model_{device.type}_{len(views)}_{steps}.ply" if folder else None
    if path and path.is_file():
        return load_ply(path).to(device)
    gaussians = train_gaussians(views, TrainConfig.preset("fast", device.type, steps), device=device).gaussians
    if path:
        save_ply(path, gaussians)
    return gaussians


def measure(gaussians: Gaussians, queries: list[View], retriever: BankRetriever, hypotheses: int) -> dict[str, Any]:
    """How many poses are wrong, how many of them are called localized; costs of right and wrong ones; seconds."""
    images = torch.stack([view.image for view in queries])
    lenses = [Camera.from_blender(torch.eye(4), CAMERA_ANGLE_X_RAD, SIZE, SIZE)] * len(queries)
    refiner = GaussNewtonRefiner()
    found = localize(gaussians, images, lenses, retriever, refiner, hypotheses)
    start = time.process_time()
    found = localize(gaussians, images, lenses, retriever, refiner, hypotheses)
    cpu_seconds = time.process_time() - start
    degrees = [
        pose_error(estimate.camera.to_blender(), view.camera.to_blender()).rotation_deg
        for estimate, view in zip(found.estimates, queries, strict=True)
    ]
    wrong = [angle > WRONG_DEG for angle in degrees]
    right_costs = [e.cost for e, bad in zip(found.estimates, wrong, strict=True) if not bad]
    return {
        "over_1_deg": sum(wrong),
        "over_1_deg_and_localized": sum(bad and e.converged for e, bad in zip(found.estimates, wrong, strict=True)),
        "not_localized": sum(not e.converged for e in found.estimates),
        "median_deg": float(np.median(degrees)),
        "cost_of_right_median": float(np.median(right_costs)) if right_costs else None,
        "cost_of_right_max": max(right_costs, default=None),
        "wrong": [
            {"query": i, "degrees": degrees[i], "cost": found.estimates[i].cost} for i, bad in enumerate(wrong) if bad
        ],
        "seconds_refine_per_picture": found.seconds_refine / len(queries),
        "cpu_seconds_per_picture": cpu_seconds / len(queries),
    }


if __name__ == "__main__":
    main()

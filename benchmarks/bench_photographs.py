"""What photographs of one class reach: the job as it is, other variants of the set, and queries taken otherwise.

    python -m benchmarks.bench_photographs DATA_PATH CLASS --output FOLDER --resolution 400

All queries are judged by one trained model. `--variant` trains another one, on a changed copy of the class in FOLDER:
fewer views, or each picture with an exposure of its own. The found poses are compared with the true ones of
transforms_test.json where the class has that. Writes benchmarks/results/photographs_<class>_<variant>_<device>.json.
"""

import argparse
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import UInt8

from benchmarks.results_file import save_result
from gaussian_splatting.background import flattened
from gaussian_splatting.camera import Camera
from gaussian_splatting.gaussians import Gaussians
from gaussian_splatting.geometry import rotation_angle
from gaussian_splatting.quality import mean_psnr
from gaussian_splatting.rendering import render
from gaussian_splatting.views import View
from PAD_utils.data.mad import ClassData, Sample, Source, load_class
from PAD_utils.evaluate.metrics import image_auroc
from PAD_utils.inspector import Inspector
from PAD_utils.run import steps
from PAD_utils.run.conclude import measure
from PAD_utils.run.config import RunConfig
from PAD_utils.run.job import open_job
from PAD_utils.run.judge import judge
from PAD_utils.run.lock import hold_folders
from PAD_utils.score.calibration import DEFECT, NOT_LOCALISED

Picture = UInt8[np.ndarray, "h w 3"]
GRAY, WARM, NOISE = (128, 128, 128), (200, 165, 125), 5.0  # of backdrops in gray levels; the last a deviation
LARGER, QUALITY, BARREL = 1.5, 60, 0.03  # size; of JPEG; by which share of the half diagonal its end moves
GAIN, BALANCE = 0.2, 0.07  # of the variant "exposure": of the brightness, of each color
WORLDS = ((1e-3, 0.0), (1e3, 0.0), (1.0, 1e6))  # unit and shift of the user's world


def main() -> None:
    arguments = parse()
    data_path, name = arguments.data_path, arguments.classname
    if arguments.variant != "plain":
        data_path = changed_class(data_path / name, arguments.output / "data", arguments.variant)
    output = arguments.output / arguments.variant
    job = open_job(RunConfig(name, data_path, output=output, resolution=arguments.resolution).resolved())
    with hold_folders(job):
        data = steps.load_views(job)
        model = steps.train_or_load(job, data.gallery, data.world)
        samples = steps.load_samples(job, data)
        inspector = steps.open_inspector(job, model, steps.load_features(job))
        poses = steps.localize_samples(job, model, inspector, samples)
        verdicts = judge(inspector, samples, poses)
        metrics, _ = measure(job, model, samples, poses, verdicts)
    found = [estimate.camera for estimate in poses.estimates]
    figures: dict[str, Any] = {
        "views": len(data.gallery),
        **outcome(verdicts.each, samples),
        **{key: metrics[key] for key in ("pixel_auroc", "aupro", "features", "train_psnr", "seconds")},
        "threshold": metrics["decision"] and metrics["decision"]["threshold"],
        **pose_errors(samples, found),
        "held_out_psnr": held_out_psnr(model.gaussians, samples, found, inspector),
        "worlds": same_in_other_worlds(data_path, name, arguments, data),
        "queries": {},
    }
    bad = [i for i, sample in enumerate(samples) if sample.label == 1]
    some = [i for i, sample in enumerate(samples) if sample.label == 0] + bad[:: arguments.every]
    for way in arguments.queries:
        figures["queries"][way] = taken_otherwise(
            inspector, model.gaussians, [samples[i] for i in some], [found[i] for i in some], way
        )
        print(way, figures["queries"][way], flush=True)
    print(save_result(f"photographs_{name}_{arguments.variant}_{job.device.type}", job.device, figures), figures)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data_path", type=Path)
    parser.add_argument("classname")
    parser.add_argument("--output", type=Path, required=True, help="folder to go on from if the run was cut off")
    parser.add_argument("--resolution", type=int, help="as of train_and_render.py")
    parser.add_argument("--variant", default="plain", help="plain, exposure, or a number of views")
    parser.add_argument("--queries", nargs="*", choices=WAYS, default=[], help="how the queries are taken otherwise")
    parser.add_argument("--every", type=int, default=1, help="defective query is taken otherwise")
    return parser.parse_args()


def outcome(verdicts: list[Any], samples: list[Sample]) -> dict[str, Any]:
    """Image AUROC and decisions of the pictures."""
    labels = np.array([sample.label for sample in samples])
    alarms = np.array([verdict.decision == DEFECT for verdict in verdicts])
    return {
        "good": int((labels == 0).sum()),
        "defective": int((labels == 1).sum()),
        "image_auroc": image_auroc(np.array([verdict.score for verdict in verdicts]), labels).value,
        "false_alarms": int(alarms[labels == 0].sum()),
        "found": int(alarms[labels == 1].sum()),
        "not_localized": sum(verdict.decision == NOT_LOCALISED for verdict in verdicts),
    }


def pose_errors(samples: list[Sample], found: list[Camera]) -> dict[str, float | None]:
    """Rotations from the truth in degrees, where that is known."""
    turns = [
        camera.cam_from_world[:3, :3] @ sample.camera.cam_from_world[:3, :3].T
        for sample, camera in zip(samples, found, strict=True)
        if sample.camera is not None
    ]
    if not turns:
        return {"rotation_median_deg": None, "rotation_worst_deg": None}
    degrees = torch.rad2deg(rotation_angle(torch.stack(turns)))
    return {"rotation_median_deg": degrees.median().item(), "rotation_worst_deg": degrees.max().item()}


def held_out_psnr(gaussians: Gaussians, samples: list[Sample], found: list[Camera], inspector: Inspector) -> float:
    """Of good queries at the poses that were found, dB, before the one color of the backdrop."""
    backdrop = inspector.backdrop
    good = [
        View(sample.name, camera, flattened(sample.image, backdrop.tolerance))
        for sample, camera in zip(samples, found, strict=True)
        if sample.label == 0
    ]
    return mean_psnr(gaussians, good, backdrop.color)


def taken_otherwise(
    inspector: Inspector, gaussians: Gaussians, samples: list[Sample], found: list[Camera], way: str
) -> dict[str, Any]:
    """The decisions about queries taken this way; nothing but the pictures is given."""
    rng = np.random.default_rng(0)
    pictures = []
    for sample, camera in zip(samples, found, strict=True):
        alpha = render(gaussians, [camera]).alpha[0, ..., None].cpu().numpy()
        pictures.append(torch.from_numpy(WAYS[way](sample.photograph.numpy(), alpha, rng)))
    return outcome(inspector.inspect_many(pictures), samples)


def _before(color: tuple[int, int, int], noise: float) -> Callable[[Picture, np.ndarray, np.random.Generator], Picture]:
    """The part before another backdrop: what the model's alpha leaves of the picture changes its color."""

    def change(picture: Picture, alpha: np.ndarray, rng: np.random.Generator) -> Picture:
        own = np.median(np.concatenate((picture[0], picture[-1], picture[:, 0], picture[:, -1])), axis=0)
        behind = np.array(color) - own + rng.normal(0, noise, picture.shape)
        return (picture + (1 - alpha) * behind).round().clip(0, 255).astype(np.uint8)

    return change


def _upright(picture: Picture, alpha: np.ndarray, rng: np.random.Generator) -> Picture:
    return np.ascontiguousarray(np.rot90(picture))


def _larger(picture: Picture, alpha: np.ndarray, rng: np.random.Generator) -> Picture:
    return cv2.resize(picture, None, fx=LARGER, fy=LARGER, interpolation=cv2.INTER_CUBIC)


def _jpeg(picture: Picture, alpha: np.ndarray, rng: np.random.Generator) -> Picture:
    return cv2.imdecode(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1], cv2.IMREAD_COLOR)


def _barrel(picture: Picture, alpha: np.ndarray, rng: np.random.Generator) -> Picture:
    height, width = picture.shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    dx, dy = x - (width - 1) / 2, y - (height - 1) / 2
    further = 1 + BARREL * (dx**2 + dy**2) / ((width / 2) ** 2 + (height / 2) ** 2)
    maps = dx * further + (width - 1) / 2, dy * further + (height - 1) / 2
    return cv2.remap(picture, *maps, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


def _as_it_is(picture: Picture, alpha: np.ndarray, rng: np.random.Generator) -> Picture:
    return picture


WAYS: dict[str, Callable[[Picture, np.ndarray, np.random.Generator], Picture]] = {
    "as_it_is": _as_it_is,
    "gray": _before(GRAY, 0),
    "warm": _before(WARM, 0),
    "noisy": _before(GRAY, NOISE),
    "upright": _upright,
    "larger": _larger,
    "jpeg": _jpeg,
    "barrel": _barrel,
}


def changed_class(root: Path, into: Path, variant: str) -> Path:
    """A copy of the class in `into`, which is returned: with an exposure for each picture, or with fewer views."""
    copy = into / variant / root.name
    if not copy.exists():
        shutil.copytree(root, copy)
        rng = np.random.default_rng(0)
        if variant == "exposure":
            for path in sorted([*copy.glob("train/*/*.png"), *copy.glob("test/*/*.png")]):
                picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
                gains = rng.uniform(1 - GAIN, 1 + GAIN) * rng.uniform(1 - BALANCE, 1 + BALANCE, 3)
                cv2.imwrite(str(path), (picture * gains).round().clip(0, 255).astype(np.uint8))
        else:
            content = json.loads((copy / "transforms.json").read_text())
            frames, most = content["frames"], int(variant)
            content["frames"] = [frames[i * len(frames) // most] for i in range(most)]
            (copy / "transforms.json").write_text(json.dumps(content))
    return copy.parent


def same_in_other_worlds(
    data_path: Path, name: str, arguments: argparse.Namespace, data: ClassData
) -> dict[str, float]:
    """By what share of their distance cameras differ, at most, once the world has another unit and origin: where it is
    0, training, poses and decisions are the same to the last bit."""
    differences = {}
    for unit, shift in WORLDS:
        copy = arguments.output / "data" / f"{arguments.variant}_{unit:g}_{shift:g}" / name
        if not copy.exists():
            shutil.copytree(data_path / name, copy, ignore=shutil.ignore_patterns("test", "ground_truth"))
            for file in copy.glob("transforms*.json"):
                content = json.loads(file.read_text())
                for frame in content["frames"]:
                    for row in range(3):
                        frame["transform_matrix"][row][3] = frame["transform_matrix"][row][3] * unit + shift
                file.write_text(json.dumps(content))
        moved = load_class(copy.parent, name, source=Source(arguments.resolution, with_tests=False)).gallery
        differences[f"{unit:g}, {shift:g}"] = max(
            ((a.camera.center - b.camera.center).norm() / b.camera.center.norm()).item()
            for a, b in zip(moved, data.gallery, strict=True)
        )
    return differences


if __name__ == "__main__":
    main()

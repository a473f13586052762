"""A class with defects out of a NeRF-synthetic scene: its test pictures, and once more with a defect painted in.

    python -m benchmarks.painted_defects NERF_SYNTHETIC chair --size 400 --out FOLDER

Such a scene is modeled as imperfectly as real parts are, which the scenes of prepare_synthetic_ad.py are not. The
defects are flat: good for choosing settings of the score, not for reporting figures.
"""

import argparse
import json
from pathlib import Path

import cv2
import numpy as np

from gaussian_splatting.camera import Camera
from PAD_utils.data.mad import load_class

KINDS = ("stain", "missing", "burr", "faint")
RADIUS = (3.0, 9.0)  # pixels at a width of 400
LEAST_AREA = 25  # pixels
BACKGROUND = 245  # gray level of the darkest color, above which a pixel is background


def main() -> None:
    arguments = parse()
    data = load_class(arguments.data_path, arguments.scene, arguments.size)
    folder, rng = arguments.out / arguments.scene, np.random.default_rng(arguments.seed)
    gallery = [(f"train/good/{i}", view.image.numpy(), view.camera) for i, view in enumerate(data.gallery)]
    test = []
    for i, sample in enumerate(data.test):
        assert sample.camera is not None
        image, kind = sample.image.numpy(), KINDS[i % len(KINDS)]
        painted, mask = with_defect(image, kind, rng)
        write(folder / "ground_truth" / kind / f"{i:03d}_mask.png", mask.astype(np.uint8) * 255)
        test += [(f"test/good/{i:03d}", image, sample.camera), (f"test/{kind}/{i:03d}", painted, sample.camera)]
    for name, pictures in (("transforms.json", gallery), ("transforms_test.json", test)):
        for path, picture, _ in pictures:
            write(folder / f"{path}.png", picture[..., ::-1])
        write_transforms(folder / name, [(path, camera) for path, _, camera in pictures])
    print(f"{folder}: {len(gallery)} views, {len(test)} pictures")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data_path", type=Path)
    parser.add_argument("scene")
    parser.add_argument("--size", type=int, default=400, help="width of the pictures in pixels")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def with_defect(image: np.ndarray, kind: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The picture (h, w, 3) uint8 with a ragged spot of a few pixels, and where that is: another color, white on a
    rim, material beyond a rim, or a change of brightness."""
    part = image.min(-1) < BACKGROUND
    grown, inside = (op(part.astype(np.uint8), np.ones((5, 5))) > 0 for op in (cv2.dilate, cv2.erode))
    places = np.argwhere(part & ~inside if kind in ("missing", "burr") else inside)
    rows, columns = np.indices(part.shape)
    while True:
        row, column = places[rng.integers(len(places))]
        radius = rng.uniform(*RADIUS) * image.shape[1] / 400
        ragged = cv2.GaussianBlur(rng.normal(size=part.shape), (0, 0), max(1.0, radius / 2))
        reach = radius**2 * (1 + 0.35 * np.clip(ragged / ragged.std(), -2, 2))
        mask = ((rows - row) ** 2 + (columns - column) ** 2 < reach) & (~part if kind == "burr" else part)
        if mask.sum() >= LEAST_AREA and (grown & mask).any():
            break
    painted = image.astype(np.float64)
    if kind == "stain":
        painted[:] = rng.uniform(0, 255, 3)
    elif kind == "missing":
        painted[:] = 255
    elif kind == "burr":
        painted[:] = image[row, column] * rng.uniform(0.8, 1.2)
    else:
        painted *= 1 + rng.choice((-1, 1)) * rng.uniform(0.12, 0.3)
    soft = cv2.GaussianBlur(mask.astype(np.float64), (0, 0), 0.7)[..., None]
    return np.clip(image * (1 - soft) + painted * soft + 0.5, 0, 255).astype(np.uint8), mask


def write(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), picture)


def write_transforms(path: Path, placed: list[tuple[str, Camera]]) -> None:
    frames = [{"file_path": name, "transform_matrix": camera.to_blender().tolist()} for name, camera in placed]
    path.write_text(json.dumps({"camera_angle_x": placed[0][1].camera_angle_x_rad, "frames": frames}))


if __name__ == "__main__":
    main()

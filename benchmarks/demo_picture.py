"""The README's picture: query, rendering, heat map and true mask of some test pictures, from the files of a run.

make demo
python -m benchmarks.demo_picture assets/demo 00Demo assets/demo/results_demo_0/00Demo docs/images/demo.jpg
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
import torch

from gaussian_splatting.ply import load_ply
from gaussian_splatting.rendering import render
from PAD_utils.data.mad import ClassData, Sample, load_class
from PAD_utils.evaluate.maps import MAPS_FOLDER, map_path, read_map
from PAD_utils.files import read_json

_CHOSEN = (("Burrs", 3), ("Missing", 2), ("Stains", 3), ("good", 4))  # one of each kind, seen from different sides
_CELL, _GAP = 200, 6  # px
_MARGIN = 0.2  # of the width, cut off on every side: plain background


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data_path", type=Path)
    parser.add_argument("classname")
    parser.add_argument("results", type=Path, help="folder of the run")
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    data = load_class(arguments.data_path, arguments.classname)
    samples = [next(s for s in data.test if (s.defect, s.name) == (kind, str(n))) for kind, n in _CHOSEN]
    maps = [read_map(map_path(arguments.results / MAPS_FOLDER, s.defect, s.name)) for s in samples]
    brightest = max(float(m.max()) for m in maps)
    columns = [column(data, s, arguments.results, m / brightest) for s, m in zip(samples, maps, strict=True)]
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(arguments.out), np.hstack(columns)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])


def column(data: ClassData, sample: Sample, results: Path, heat: np.ndarray) -> np.ndarray:
    """Photograph, rendering, heat map over the gray photograph, and mask, one under the other (RGB)."""
    photograph = sample.image.numpy()
    mask = np.zeros(heat.shape, bool) if sample.mask is None else sample.mask.numpy()
    colors = cv2.applyColorMap((heat.clip(0, 1) * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    gray = np.repeat(photograph.mean(-1, keepdims=True), 3, axis=-1)
    strength = (1.5 * heat[..., None]).clip(0, 0.8)
    overlay = ((1 - strength) * (0.5 * gray + 110) + strength * colors).astype(np.uint8)
    pictures = [photograph, rendered(data, sample, results), overlay, np.repeat(mask[..., None], 3, -1) * np.uint8(255)]
    frame = [(_GAP, _GAP), (_GAP, _GAP), (0, 0)]
    cut = round(_MARGIN * len(photograph))
    cells = [cv2.resize(p[cut:-cut, cut:-cut], (_CELL, _CELL), interpolation=cv2.INTER_CUBIC) for p in pictures]
    return np.vstack([np.pad(cell, frame, constant_values=90) for cell in cells])


@torch.no_grad()
def rendered(data: ClassData, sample: Sample, results: Path) -> np.ndarray:
    """What a good object looks like from the pose that the run found."""
    pose = torch.tensor(read_json(results / "poses.json")[sample.key]["world_from_camera"], dtype=torch.float64)
    height, width = sample.image.shape[:2]
    camera = sample.intrinsics.resized(width, height).at_blender(pose)
    model = load_ply(next(results.glob("point_cloud/iteration_*/point_cloud.ply")))
    image = render(model, [camera]).image[0].clamp(0, 1)
    return (image * 255).round().byte().permute(1, 2, 0).numpy()


if __name__ == "__main__":
    main()

"""How much work a step must do, counted on a trained model, and the times that bandwidth and arithmetic allow for it.

    python -m benchmarks.bench_gpu_floor DATA_PATH CLASS MODEL.ply --name gpu_floor

Counts come from the lists that the kernels themselves make, on the GPU or, without one, in the host emulator of the
tests. The rates are those of an H200 as measured for the research notes: 4.3 TB/s copied, 60 TFLOP/s of float32.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import torch
from diff_gaussian_rasterization.cuda.launch import register_runtime
from diff_gaussian_rasterization.cuda.rasterize import PARTS, Grid, project_and_bin
from diff_gaussian_rasterization.types import Scene

from benchmarks.bench_train import training_views
from benchmarks.results_file import save_result
from gaussian_splatting.camera import Camera, stack_cameras
from gaussian_splatting.gaussians import Gaussians
from gaussian_splatting.ply import load_ply
from tests.cuda_emulator import EmulatedRuntime

BYTES_PER_SECOND = 4.3e12
LANE_OPERATIONS_PER_SECOND = 30e12  # a fused multiply-add counts once
_LANES = 32
_VIEWS = 4  # that the counts are the mean of
_VIEWS_PER_STEP = 4  # that share one update of the parameters
# Bytes of a splat, its parameters, its sums, an entry and a key; lane operations per pixel of a (splat, part) pair.
_SPLAT, _RAW, _SUMS, _ENTRY, _KEY = 48, 56, 48, 4, 8
_FORWARD_OPERATIONS, _BACKWARD_OPERATIONS = 22, 52
_SSIM_OPERATIONS = 870  # per pixel: the taps of both passes over three channels, halo included


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data_path", type=Path)
    parser.add_argument("classname")
    parser.add_argument("model", type=Path)
    parser.add_argument("--name", required=True, help="of the JSON file in benchmarks/results")
    parser.add_argument("--size", type=int, default=800, help="of the pictures, in pixels")
    arguments = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu":
        register_runtime(device, EmulatedRuntime(Path(tempfile.mkdtemp())))
    model = load_ply(arguments.model).to(device)
    views = training_views(arguments.data_path, arguments.classname, None)
    chosen = views[:: len(views) // _VIEWS][:_VIEWS]
    cameras = [view.camera.resized(arguments.size, arguments.size) for view in chosen]
    counts = [count(model, camera, device) for camera in cameras]
    mean = {key: sum(c[key] for c in counts) / len(counts) for key in counts[0]}
    figures = {"class": arguments.classname, "size": arguments.size, "per_view": mean, "floor": floors(mean)}
    print(save_result(arguments.name, device, figures), figures)


def count(model: Gaussians, camera: Camera, device: torch.device) -> dict[str, float]:
    """What one view takes: list entries, pairs of a splat and a part of 8x4 px, tiles that hold splats."""
    poses, intrinsics = stack_cameras([camera], device)
    cloud = (model.means, model.scales, model.quats, model.opacities, model.sh)
    tensors = [t.contiguous() for t in (*cloud, poses, intrinsics)]
    scene = Scene(*tensors, camera.width, camera.height, torch.ones(3, device=device))
    radii, _, lists = project_and_bin(scene)
    grid = Grid(camera.width, camera.height)
    lengths = lists.ends - lists.starts
    parts = sum(int((lists.entries >> part & 1).sum()) for part in range(PARTS))
    return {
        "gaussians": len(model),
        "drawn": int((radii > 0).sum()),
        "entries": lists.entries.numel(),
        "pairs": parts,
        "tiles": grid.tiles,
        "drawn_tiles": int((lengths > 0).sum()),
        "longest_list": int(lengths.max()),
    }


def floors(c: dict[str, float]) -> dict[str, dict[str, float]]:
    """Bytes, lane operations and the larger of the two times (microseconds) for each kernel of a step of one view."""
    n, entries, pairs, pixels = c["gaussians"], c["entries"], c["pairs"], c["drawn_tiles"] * 256
    kernels = {
        "project_splats": (n * (_RAW + _SPLAT + 4), n * 300),
        "scatter_splats": (n * _SPLAT + entries * _KEY, entries * 60),
        "sort_tiles": (entries * (_KEY + _ENTRY), entries * 60),
        "blend_forward": (entries * _ENTRY + n * _SPLAT + pixels * 16, pairs * _LANES * _FORWARD_OPERATIONS),
        "photometric_gradient": (pixels * (12 + 3 + 12), pixels * _SSIM_OPERATIONS),
        "blend_backward": (
            entries * _ENTRY + n * (_SPLAT + _SUMS) + pixels * 24,
            pairs * _LANES * _BACKWARD_OPERATIONS,
        ),
        "update_splats_1": (n * (14 * 4 * 6 / _VIEWS_PER_STEP + _SPLAT + 2 * _SUMS + 24), n * 500),
    }
    return {name: _floor(moved, operations) for name, (moved, operations) in kernels.items()}


def _floor(moved: float, operations: float) -> dict[str, Any]:
    times = {"bytes": moved / BYTES_PER_SECOND, "operations": operations / LANE_OPERATIONS_PER_SECOND}
    bound = max(times, key=lambda key: times[key])
    return {"megabytes": moved / 1e6, "mega_operations": operations / 1e6, "us": times[bound] * 1e6, "bound": bound}


if __name__ == "__main__":
    main()

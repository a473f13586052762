"""3D Gaussian splatting as a small library: splats, cameras, training and pose. It knows nothing of anomalies.

The names below are the public ones (docs/api.md). Each is loaded when it is first asked for: torch takes seconds.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gaussian_splatting.camera import Camera
    from gaussian_splatting.gaussians import Gaussians
    from gaussian_splatting.images import read_image
    from gaussian_splatting.ply import load_ply, save_ply
    from gaussian_splatting.pose.adam import AdamRefiner
    from gaussian_splatting.pose.gauss_newton import GaussNewtonRefiner
    from gaussian_splatting.pose.types import PoseEstimate
    from gaussian_splatting.quality import psnr
    from gaussian_splatting.rendering import Rendering, render
    from gaussian_splatting.training.schedule import TrainConfig
    from gaussian_splatting.training.train import TrainResult, train
    from gaussian_splatting.views import View

_HOMES = {
    "Camera": "camera",
    "Gaussians": "gaussians",
    "read_image": "images",
    "load_ply": "ply",
    "save_ply": "ply",
    "AdamRefiner": "pose.adam",
    "GaussNewtonRefiner": "pose.gauss_newton",
    "PoseEstimate": "pose.types",
    "psnr": "quality",
    "Rendering": "rendering",
    "render": "rendering",
    "TrainConfig": "training.schedule",
    "TrainResult": "training.train",
    "train": "training.train",
    "View": "views",
}

__all__ = [
    "AdamRefiner", "Camera", "GaussNewtonRefiner", "Gaussians", "PoseEstimate", "Rendering", "TrainConfig",
    "TrainResult", "View", "load_ply", "psnr", "read_image", "render", "save_ply", "train",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)

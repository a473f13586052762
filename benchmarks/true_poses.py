"""True poses of test pictures, from the class itself or from the file beside it."""

import json
from pathlib import Path

import torch

from gaussian_splatting.camera import Camera
from PAD_utils.data.mad import ClassData, Sample
from PAD_utils.errors import UserError


def true_camera(data_path: Path, data: ClassData, sample: Sample) -> Camera:
    """The camera that took a test picture: the class's own, else from DATA_PATH/CLASS_test_poses.json, which holds
    world_from_camera in Blender axes by "kind/number". Raises UserError when neither knows it."""
    if sample.camera is not None:
        return sample.camera
    path = data_path / f"{data.name}_test_poses.json"
    key = f"{sample.defect}/{sample.name}"
    try:
        matrix = torch.tensor(json.loads(path.read_text())[key], dtype=torch.float64)
    except (OSError, KeyError) as error:
        raise UserError(f"{path}: no pose for {key} ({error}); give a class with known test poses") from error
    return sample.intrinsics.at_blender(data.world.inward(matrix), key)

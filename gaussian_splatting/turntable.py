"""Cameras all around a model, and films of what they see."""

import math
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from gaussian_splatting.camera import Camera, common_center
from gaussian_splatting.crop import of_object
from gaussian_splatting.files import replacing
from gaussian_splatting.gaussians import Gaussians

_ELEVATION_DEG = 20.0
_ANGLE_X_RAD = 0.69  # of MAD-Sim's and many other cameras
_ROOM = 1.15  # of the object's radius that a picture shows
_GIF_EDGE = 360  # px: GIF hardly compresses


def around_model(gaussians: Gaussians, count: int, size: tuple[int, int]) -> list[Camera]:
    """Cameras around the object of a model whose z axis points up, so far away that all of it is seen."""
    g = gaussians.detached().to("cpu", torch.float64)[of_object(gaussians).cpu()]
    center = (g.means.amin(0) + g.means.amax(0)) / 2
    radius = float(((g.means - center).norm(dim=1) + 2 * g.scales.amax(1)).max())
    fx = 0.5 * size[0] / math.tan(0.5 * _ANGLE_X_RAD)
    half_angle = math.atan(0.5 * min(size) / fx)
    distance = max(_ROOM * radius / math.sin(half_angle), 1e-6)
    blank = Camera(*size, fx, fx, size[0] / 2, size[1] / 2, torch.eye(4, dtype=torch.float64))
    return _circle(blank, center, distance, torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64), count)


def around_views(cameras: Sequence[Camera], count: int) -> list[Camera]:
    """Cameras like the first one around what all of these look at, at their median distance. Up is where the cameras'
    up points on average."""
    center = common_center(cameras)
    distance = float(torch.stack([(camera.center - center).norm() for camera in cameras]).median())
    up = -torch.stack([camera.cam_from_world[1, :3] for camera in cameras]).mean(0)
    if float(up.norm()) < 0.1:
        up = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    return _circle(cameras[0], center, distance, torch.nn.functional.normalize(up, dim=0), count)


def _circle(
    like: Camera, center: Float[Tensor, "3"], distance: float, up: Float[Tensor, "3"], count: int
) -> list[Camera]:
    axis = torch.eye(3, dtype=torch.float64)[up.abs().argmin()]
    east = torch.nn.functional.normalize(torch.linalg.cross(up, axis), dim=0)
    north = torch.linalg.cross(up, east)
    elevation = math.radians(_ELEVATION_DEG)
    cameras = []
    for i in range(count):
        turn = 2 * math.pi * i / count
        back = math.cos(elevation) * (math.cos(turn) * east + math.sin(turn) * north) + math.sin(elevation) * up
        right = torch.nn.functional.normalize(torch.linalg.cross(up, back), dim=0)
        pose = torch.eye(4, dtype=torch.float64)
        pose[:3] = torch.stack((right, torch.linalg.cross(back, right), back, center + distance * back), dim=1)
        cameras.append(like.at_blender(pose, "a camera of the turntable"))
    return cameras


def write_gif(path: Path, pictures: Sequence[UInt8[np.ndarray, "h w 3"]], seconds: float) -> None:
    """An endless GIF of at most 360 px, 256 colors in all. Whole or not at all."""
    small = [Image.fromarray(picture) for picture in pictures]
    for picture in small:
        picture.thumbnail((_GIF_EDGE, _GIF_EDGE), Image.Resampling.LANCZOS)
    palette = small[0].quantize(256, dither=Image.Dither.NONE)
    frames = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in small]
    with replacing(path) as temporary:
        each_ms = round(1000 * seconds / len(frames))
        frames[0].save(temporary, save_all=True, append_images=frames[1:], duration=each_ms, loop=0, optimize=False)


def write_mp4(path: Path, pictures: Sequence[UInt8[np.ndarray, "h w 3"]], seconds: float) -> None:
    """A film in VP9, which browsers and VLC play; OpenCV's wheels have no encoder of H.264. Whole or not at all.

    Raises ValueError where this OpenCV cannot encode VP9 either.
    """
    height, width = (n - n % 2 for n in pictures[0].shape[:2])  # the codec wants even numbers
    with replacing(path) as temporary:
        code = cv2.VideoWriter.fourcc(*"vp09")
        writer = cv2.VideoWriter(str(temporary), cv2.CAP_FFMPEG, code, len(pictures) / seconds, (width, height))
        if not writer.isOpened():
            raise ValueError(f"{path} cannot be written: this OpenCV has no encoder for VP9")
        for picture in pictures:
            writer.write(np.ascontiguousarray(picture[:height, :width, ::-1]))
        writer.release()

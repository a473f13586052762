"""What the viewer shows of a result: colors, decisions at another threshold, a photograph over a rendering."""

from collections import Counter
from collections.abc import Sequence

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from gaussian_splatting.background import Color
from gaussian_splatting.camera import Camera
from gaussian_splatting.gaussians import Gaussians
from gaussian_splatting.geometry import rigid_inverse, rotation_angle, rotation_matrices
from gaussian_splatting.rendering import render
from PAD_utils.report.cards import ReportImage
from PAD_utils.score.calibration import DEFECT, NOT_LOCALISED, OK

COLORS = {OK: (11, 132, 99), DEFECT: (204, 58, 43), NOT_LOCALISED: (168, 106, 8), None: (90, 100, 114)}  # as style.css
_LONGEST_PX = 512  # of a picture in the panel, which is not wider


def covariances(gaussians: Gaussians) -> Float[Tensor, "n 3 3"]:
    """Of each Gaussian, in world units squared."""
    spread = rotation_matrices(gaussians.quats) * gaussians.scales[:, None, :]
    return spread @ spread.mT


def glowing(color: Float[Tensor, "n 3"], heat: Float[Tensor, "n"], share: float) -> Float[Tensor, "n 3"]:
    """The colors with that share of the heat over them, black, purple, red, yellow, and what is cold dimmed: as
    report/viewer/splats.js draws it. All in [0, 1]."""
    h = heat[:, None]
    glow = torch.cat((2.4 * h, 2.6 * h - 1.1, 0.9 * torch.sin(4.2 * h)), dim=1).clamp(0, 1)
    gray = 0.65 * color @ color.new_tensor([0.3, 0.59, 0.11])
    return color + share * (torch.maximum(gray[:, None], glow) - color)


def decided(image: ReportImage, threshold: float | None) -> str | None:
    """The decision about a picture at a threshold; what was not localized is not decided by one."""
    if image.decision == NOT_LOCALISED or threshold is None or image.score is None:
        return image.decision
    return DEFECT if image.score > threshold else OK


def in_words(images: Sequence[ReportImage], threshold: float | None) -> str:
    """How many pictures get which decision, and how many of these are wrong as far as labels tell."""
    decisions = [decided(image, threshold) for image in images]
    counts = Counter(decisions)
    said = [f"{counts[decision]} {decision or 'undecided'}" for decision in COLORS if counts[decision]]
    for label, wrong, text in ((1, OK, "defective missed"), (0, DEFECT, "good called DEFECT")):
        judged = [d for i, d in zip(images, decisions, strict=True) if i.label == label and d in (OK, DEFECT)]
        if judged:
            said.append(f"{judged.count(wrong)} of {len(judged)} {text}")
    return ", ".join(said)


@torch.no_grad()
def compared(
    gaussians: Gaussians, camera: Camera, photograph: UInt8[np.ndarray, "h w 3"], share: float, backdrop: Color
) -> UInt8[np.ndarray, "h2 w2 3"]:
    """The model as our rasterizer draws it from the camera, under a share of the photograph, at most 512 px wide and
    high."""
    scale = min(1.0, _LONGEST_PX / max(camera.width, camera.height))
    size = max(1, round(camera.width * scale)), max(1, round(camera.height * scale))
    drawn = render(gaussians, [camera.resized(*size)], backdrop).image[0].clamp(0, 1).permute(1, 2, 0).cpu().numpy()
    shown = cv2.resize(photograph, size, interpolation=cv2.INTER_AREA)
    return np.round((1 - share) * 255 * drawn + share * shown).astype(np.uint8)


def apart(camera: Camera, other: Camera) -> str:
    """How far one camera is from another, in words."""
    angle = float(rotation_angle(camera.cam_from_world[:3, :3] @ other.cam_from_world[:3, :3].mT).rad2deg())
    distance = float((camera.center - other.center).norm())
    return f"{angle:.1f}° and {distance:.2f} units from where it was taken"


def placed(camera: Camera) -> tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, "3"]]:
    """World_from_camera as rotation and position."""
    pose = rigid_inverse(camera.cam_from_world).numpy()
    return pose[:3, :3], pose[:3, 3]

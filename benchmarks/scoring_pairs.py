"""Pictures and their renderings for measuring scores: a class at poses as exact as refined ones, and disturbances."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from gaussian_splatting.camera import Camera
from gaussian_splatting.gaussians import Gaussians
from gaussian_splatting.ply import load_ply, save_ply
from gaussian_splatting.pose.types import retract
from gaussian_splatting.rendering import render
from gaussian_splatting.training.train import TrainConfig, train
from gaussian_splatting.views import View
from PAD_utils.data.held_out import split
from PAD_utils.data.mad import ClassData, Sample, load_class

DISTURBANCES = ("gain", "gamma", "noise", "blur", "jpeg", "light")
POSE_SIGMA_DEG, POSE_SIGMA_UNITS = 0.03, 0.0005  # per axis: what refined poses are off by
SEEN_VIEWS = 60  # of those the model is trained on, evenly: as many as a job takes
LAMP_AZIMUTH, LAMP_ELEVATION, LAMP_TURN = 0.6, 0.96, np.radians(20)  # rad; half of the light, the rest is ambient


@dataclass(frozen=True)
class Pairs:
    """n pictures (n, h, w, 3) uint8 with their renderings (n, 3, h, w) and what is true about them."""

    queries: Tensor
    renderings: Tensor
    normals: Tensor  # (n, h, w, 3) surface normals in the world, zero beside the object
    masks: list[np.ndarray | None]
    labels: list[int]
    defects: list[str]


@dataclass(frozen=True)
class Case:
    """One class: its test set, good views that the model was trained on and such that were held out, and its test set
    under a turned light where that was rendered."""

    name: str
    test: Pairs
    seen: Pairs
    held_out: Pairs
    light: Pairs | None


def load_case(
    folder: Path,
    model: Path,
    cache: Path,
    device: torch.device,
    size: int | None = None,
    trained_as: str | None = None,
) -> Case:
    """The class at `folder` in pictures of `size` pixels (None: as they are) with the model at `model`; renderings are
    kept in `cache`.

    A model that is not there is trained by the preset of the kind of device `trained_as` ("cpu", "cuda"; None: that of
    `device`) on those views that a job does not hold out.
    """
    path = cache / f"{folder.name}_{size or 'full'}_{model.stem}.pt"
    if not path.exists():
        data = load_class(folder.parent, folder.name, size)
        gaussians = _model(data, model, device, trained_as or device.type)
        gallery = split(data.gallery)
        light = folder / "light"
        case = Case(
            folder.name,
            _pairs(gaussians, _posed(data, folder)),
            _pairs(gaussians, _good(gallery.seen[:: -(-len(gallery.seen) // SEEN_VIEWS)])),
            _pairs(gaussians, _good(gallery.held_out)),
            _pairs(gaussians, load_test(light, data)) if light.is_dir() else None,
        )
        cache.mkdir(parents=True, exist_ok=True)
        torch.save(asdict(case), path)
    stored = torch.load(path, weights_only=False)
    parts = {k: stored[k] and Pairs(**stored[k]) for k in ("test", "seen", "held_out", "light")}
    return Case(stored["name"], **parts)


def load_test(folder: Path, data: ClassData) -> list[Sample]:
    """The test pictures of a folder that has no training pictures, at the poses of its transforms_test.json."""
    frames = json.loads((folder / "transforms_test.json").read_text())["frames"]
    camera = data.gallery[0].camera
    samples = []
    for frame in frames:
        _, kind, number = frame["file_path"].split("/")
        image = cv2.imread(str(folder / "test" / kind / f"{number}.png"))[..., ::-1].copy()
        mask_path = folder / "ground_truth" / kind / f"{number}_mask.png"
        mask = torch.from_numpy(cv2.imread(str(mask_path), 0) > 0) if mask_path.exists() else None
        matrix = torch.tensor(frame["transform_matrix"], dtype=torch.float64)
        posed = camera.at_blender(data.world.inward(matrix))
        samples.append(Sample(kind, number, torch.from_numpy(image), mask, posed, posed))
    return samples


def _model(data: ClassData, path: Path, device: torch.device, trained_as: str) -> Gaussians:
    if not path.exists():
        config = TrainConfig.preset("fast", trained_as)
        save_ply(path, train(split(data.gallery).seen, config, device=device).gaussians, data.world)
    return load_ply(path, data.world).to(device)


def _good(views: list[View]) -> list[Sample]:
    return [Sample("good", view.name, view.image, None, view.camera, view.camera) for view in views]


def _posed(data: ClassData, folder: Path) -> list[Sample]:
    """The test samples with their true cameras, from the class or from <class>_test_poses.json beside it."""
    if all(sample.camera for sample in data.test):
        return data.test
    poses = json.loads((folder.parent / f"{folder.name}_test_poses.json").read_text())
    camera = data.gallery[0].camera
    samples = []
    for s in data.test:
        matrix = torch.tensor(poses[s.key.removesuffix(".png")], dtype=torch.float64)
        true = camera.at_blender(data.world.inward(matrix))
        samples.append(Sample(s.defect, s.name, s.image, s.mask, true, true))
    return samples


def _pairs(model: Gaussians, samples: list[Sample]) -> Pairs:
    """Renders every sample at its true pose but for an error like that of a refined one."""
    g = torch.Generator().manual_seed(0)
    sigma = torch.tensor([POSE_SIGMA_UNITS] * 3 + [np.radians(POSE_SIGMA_DEG)] * 3)
    renderings, normals = [], []
    for s in samples:
        twist = torch.randn(1, 6, generator=g, dtype=torch.float64) * sigma
        camera = s.camera.moved(retract(s.camera.cam_from_world[None], twist, torch.zeros(3, dtype=torch.float64))[0])
        picture = render(model, [camera])
        renderings.append(picture.image[0].clamp(0, 1).half().cpu())
        normals.append(_normals(picture.depth[0].cpu(), picture.alpha[0].cpu(), camera).half())
    return Pairs(
        torch.stack([s.image for s in samples]),
        torch.stack(renderings),
        torch.stack(normals),
        [None if s.mask is None else s.mask.numpy() for s in samples],
        [s.label for s in samples],
        [s.defect for s in samples],
    )


def _normals(depth: Tensor, alpha: Tensor, camera: Camera) -> Tensor:
    """Surface normals in the world from a rendered depth, smoothed over a few pixels."""
    z = (depth / alpha.clamp_min(1e-3)).double()
    v, u = torch.meshgrid(torch.arange(z.shape[0]), torch.arange(z.shape[1]), indexing="ij")
    points = torch.stack(((u + 0.5 - camera.cx) / camera.fx * z, (v + 0.5 - camera.cy) / camera.fy * z, z), dim=-1)
    points = torch.from_numpy(cv2.GaussianBlur(points.numpy(), (0, 0), 1.0))
    across = points.roll(-1, 1) - points.roll(1, 1)
    down = points.roll(-1, 0) - points.roll(1, 0)
    normal = torch.nn.functional.normalize(torch.linalg.cross(down, across), dim=-1)
    return (normal @ camera.cam_from_world[:3, :3]) * (alpha > 0.9)[..., None]


def as_float(queries: Tensor) -> Tensor:
    """(n, h, w, 3) uint8 to (n, 3, h, w) in [0, 1]."""
    return queries.permute(0, 3, 1, 2).float() / 255


def disturbed(case: Case, name: str, seed: int = 0) -> tuple[Pairs, Tensor]:
    """The pairs and their queries (n, 3, h, w) taken under another condition, drawn anew for every picture.

    "clean", one of DISTURBANCES, or "all" of them together; "light" is the rendered one where there is one.
    """
    rng = np.random.default_rng(seed)
    rendered = case.light if name in ("light", "all") else None
    pairs = rendered or case.test
    active = set(DISTURBANCES if name == "all" else [name]) - ({"light"} if rendered else set())
    images = zip(pairs.queries.numpy(), pairs.normals, strict=True)
    return pairs, as_float(torch.from_numpy(np.stack([disturbed_image(q, n, active, rng) for q, n in images])))


def disturbed_image(image: np.ndarray, normals: Tensor, active: set[str], rng: np.random.Generator) -> np.ndarray:
    """One picture (h, w, 3) uint8, disturbed."""
    x = image.astype(np.float32) / 255
    if "light" in active:
        x = np.clip(x * _relit(normals, rng)[..., None], 0, 1)
    if "gain" in active:
        x = np.clip(x * rng.uniform(0.85, 1.15), 0, 1)
    if "gamma" in active:
        x = x ** rng.uniform(0.9, 1.1)
    if "blur" in active:
        x = cv2.GaussianBlur(x, (0, 0), 0.7)
    if "noise" in active:
        x = x + rng.normal(0, 0.02, x.shape)
    levels = np.clip(x * 255 + 0.5, 0, 255).astype(np.uint8)
    if "jpeg" in active:
        data = cv2.imencode(".jpg", levels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])[1]
        levels = cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1]
    return np.ascontiguousarray(levels)


def _relit(normals: Tensor, rng: np.random.Generator) -> np.ndarray:
    """(h, w) factor of brightness when the lamp turns in a random direction."""
    n = normals.float().numpy()
    ca, sa, ce, se = np.cos(LAMP_AZIMUTH), np.sin(LAMP_AZIMUTH), np.cos(LAMP_ELEVATION), np.sin(LAMP_ELEVATION)
    lamp = np.array([ce * ca, ce * sa, se])
    side = np.cross(lamp, rng.standard_normal(3))
    turned = np.cos(LAMP_TURN) * lamp + np.sin(LAMP_TURN) * side / np.linalg.norm(side)
    factor = (0.5 + 0.5 * np.clip(n @ turned, 0, 1)) / (0.5 + 0.5 * np.clip(n @ lamp, 0, 1))
    factor[(n == 0).all(-1)] = 1
    return cv2.GaussianBlur(factor.astype(np.float32), (0, 0), 1.0)

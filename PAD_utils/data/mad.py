"""A class of MAD-Sim (or of another data set in one of the known layouts) in memory: posed gallery and test samples."""

import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from gaussian_splatting.camera import Camera
from gaussian_splatting.images import area_resize, read_image, target_size
from gaussian_splatting.parallel import parallel
from gaussian_splatting.views import View
from PAD_utils.data.layout import GOOD, KIND_NAMES, ClassFiles, Kind, TestFile, TrainFile, list_class
from PAD_utils.data.masks import read_mask
from PAD_utils.data.picture_cache import load_pictures
from PAD_utils.errors import UserError

CLASSES = (
    *("01Gorilla", "02Unicorn", "03Mallard", "04Turtle", "05Whale", "06Bird", "07Owl", "08Sabertooth", "09Swan"),
    *("10Sheep", "11Pig", "12Zalika", "13Pheonix", "14Elephant", "15Parrot", "16Cat", "17Scorpion", "18Obesobeso"),
    *("19Bear", "20Puppy"),
)
MASK_COVERAGE = 0.25  # a pixel of a resampled mask is anomalous when more than this share of it is

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sample:
    """A test picture. `mask` is None for a good one or where there is no ground truth; `camera` is the true pose where
    it is known, for measuring only."""

    defect: str
    name: str
    image: UInt8[Tensor, "h w 3"]
    mask: Bool[Tensor, "h w"] | None
    camera: Camera | None

    @property
    def label(self) -> int:
        """0 for good, 1 for defective."""
        return int(self.defect != GOOD)

    @property
    def key(self) -> str:
        """The name in poses.json."""
        return f"{self.defect}/{self.name}.png"


@dataclass(frozen=True)
class ClassData:
    """One object: posed pictures of it in good order, and pictures to judge; all of one size."""

    name: str
    kind: Kind
    root: Path
    gallery: list[View]
    test: list[Sample]

    @property
    def description(self) -> str:
        """What was found, in one line."""
        width, height = self.gallery[0].camera.width, self.gallery[0].camera.height
        found = f"{len(self.gallery)} training and {len(self.test)} test pictures, {width}x{height}"
        return f"{self.name}: {KIND_NAMES[self.kind]} at {self.root} ({found})"


def load_class(data_path: Path, classname: str, resolution: int | None = None) -> ClassData:
    """Reads a class; `description` says which layout was found.

    resolution: None as on disk; 1, 2, 4, 8 a divisor; larger a width in pixels. Pictures are resampled by area.
    Raises UserError, naming the file and the mend: something missing, truncated, of another size, or a broken pose.
    """
    files = list_class(Path(data_path), classname)
    first = _picture(files.train[0].path)
    size = (first.shape[1], first.shape[0])
    try:
        target = target_size(*size, resolution)
    except ValueError as error:
        raise UserError(f"--resolution: {error}") from None
    reader = _Reader(files, size, target)
    paths = [*(file.path for file in files.train), *(file.path for file in files.test)]
    pictures = load_pictures(paths, target, reader.image)
    masks = parallel(reader.mask, [file.mask for file in files.test])
    gallery = [reader.view(file, image) for file, image in zip(files.train, pictures, strict=False)]
    test = [reader.sample(*of) for of in zip(files.test, pictures[len(gallery) :], masks, strict=True)]
    data = ClassData(files.name, files.kind, files.root, gallery, test)
    check_names(data.test, files.root / "test")
    empty = [s.key for s in data.test if s.mask is not None and not s.mask.any()]
    if empty:
        _log.warning(
            "%s: %d masks mark no pixel (first: %s); repaint them, or move a picture without fault to test/good",
            files.root / "ground_truth", len(empty), empty[0],
        )  # fmt: skip
    return data


def check_names(samples: Iterable[Sample], folder: Path) -> None:
    """Raises UserError when two pictures differ in their format only: results go by names without it."""
    names = Counter(f"{sample.defect}/{sample.name}" for sample in samples)
    twice = [name for name, count in names.items() if count > 1]
    if twice:
        raise UserError(f"{folder}: two pictures go by the name {twice[0]}, in different formats; rename or remove one")


def resize_mask(mask: Bool[np.ndarray, "h w"], width: int, height: int) -> Bool[np.ndarray, "h2 w2"]:
    """The mask at another size: pixels covered by more than MASK_COVERAGE; a defect never vanishes altogether."""
    if mask.shape == (height, width):
        return mask
    smaller = width * height < mask.size
    method = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    coverage = cv2.resize(mask.astype(np.float32), (width, height), interpolation=method)
    resized = coverage > MASK_COVERAGE
    return resized if resized.any() or not mask.any() else coverage == coverage.max()


@dataclass(frozen=True)
class _Reader:
    """Reads the pictures of one class: `size` is theirs on disk, `target` what they become, both (width, height)."""

    files: ClassFiles
    size: tuple[int, int]
    target: tuple[int, int]

    def view(self, file: TrainFile, image: UInt8[Tensor, "h w 3"]) -> View:
        return View(file.path.stem, self._camera(file.world_from_camera, file.path), image)

    def sample(self, file: TestFile, image: UInt8[Tensor, "h w 3"], mask: Bool[Tensor, "h w"] | None) -> Sample:
        camera = None if file.world_from_camera is None else self._camera(file.world_from_camera, file.path)
        return Sample(file.defect, file.path.stem, image, mask, camera)

    def _camera(self, world_from_camera: Float[Tensor, "4 4"], path: Path) -> Camera:
        return Camera.from_blender(world_from_camera, self.files.camera_angle_x_rad, *self.target, name=str(path))

    def image(self, path: Path) -> UInt8[Tensor, "h w 3"]:
        image = _picture(path)
        self._check_size(path, image.shape[1], image.shape[0])
        return torch.from_numpy(area_resize(image.numpy(), *self.target))

    def mask(self, path: Path | None) -> Bool[Tensor, "h w"] | None:
        if path is None:
            return None
        mask = read_mask(path)
        self._check_size(path, mask.shape[1], mask.shape[0])
        return torch.from_numpy(resize_mask(mask, *self.target))

    def _check_size(self, path: Path, width: int, height: int) -> None:
        if (width, height) != self.size:
            expected = f"{self.size[0]}x{self.size[1]}, as {self.files.train[0].path}"
            raise UserError(f"{path} is {width}x{height} pixels, expected {expected}; a class has one picture size")


def _picture(path: Path) -> UInt8[Tensor, "h w 3"]:
    try:
        return read_image(path)
    except ValueError as error:
        raise UserError(f"{error}; fetch or make it again") from None

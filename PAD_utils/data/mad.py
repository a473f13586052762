"""A class of MAD-Sim (or of another data set in one of the known layouts) in memory: posed gallery and test samples."""

import logging
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Bool, UInt8
from torch import Tensor

from gaussian_splatting.camera import Camera
from gaussian_splatting.parallel import parallel
from gaussian_splatting.views import View
from gaussian_splatting.world import World
from PAD_utils.data.framing import (
    Framing,
    picture_size,
    query_framing,
    training_framings,
)
from PAD_utils.data.intrinsics import Lens, LensSpec
from PAD_utils.data.layout import KIND_NAMES, Kind, TestFile, TrainFile, is_good, list_class
from PAD_utils.data.listing import folded
from PAD_utils.data.masks import read_mask
from PAD_utils.data.picture_cache import load_pictures
from PAD_utils.data.transforms import some
from PAD_utils.errors import UserError

CLASSES = (
    *("01Gorilla", "02Unicorn", "03Mallard", "04Turtle", "05Whale", "06Bird", "07Owl", "08Sabertooth", "09Swan"),
    *("10Sheep", "11Pig", "12Zalika", "13Pheonix", "14Elephant", "15Parrot", "16Cat", "17Scorpion", "18Obesobeso"),
    *("19Bear", "20Puppy"),
)
MASK_COVERAGE = 0.25  # a pixel of a resampled mask is anomalous when more than this share of it is
_NO_LETTERS = ("Cc", "Cs")  # control characters, and bytes that are no UTF-8
_MOST_MARKED = 0.5  # a defect is seldom larger; an inverted mask is

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sample:
    """A test picture. `mask` is None for a good one or where there is no ground truth; `intrinsics` is the camera that
    took it, without a pose; `camera` is the same at the true pose where it is known, for measuring only. `uncut` is the
    photograph that `image` was cut out of, where that is known of it and of the training pictures."""

    defect: str
    name: str
    image: UInt8[Tensor, "h w 3"]
    mask: Bool[Tensor, "h w"] | None
    intrinsics: Camera
    camera: Camera | None = None
    uncut: UInt8[Tensor, "h w 4"] | None = None

    @property
    def photograph(self) -> UInt8[Tensor, "h w 3"]:
        """What is compared: the picture with its surroundings, where they are known."""
        return self.image if self.uncut is None else self.uncut[..., :3]

    @property
    def label(self) -> int:
        """0 for good, 1 for defective."""
        return int(not is_good(self.defect))

    @property
    def key(self) -> str:
        """The name in poses.json."""
        return f"{self.defect}/{self.name}.png"


@dataclass(frozen=True)
class ClassData:
    """One object: posed pictures of it in good order, all of one size, and pictures to judge. Cameras stand in `world`;
    `lens` is that of most training pictures, as large as they are on disk."""

    name: str
    kind: Kind
    root: Path
    gallery: list[View]
    test: list[Sample]
    world: World
    lens: Lens

    @property
    def description(self) -> str:
        """What was found, in one line."""
        width, height = self.gallery[0].camera.width, self.gallery[0].camera.height
        found = f"{len(self.gallery)} training and {len(self.test)} test pictures, {width}x{height}"
        return f"{self.name}: {KIND_NAMES[self.kind]} at {self.root} ({found})"


@dataclass(frozen=True)
class Source:
    """Where the pictures of a class come from and how large they become.

    resolution: None as on disk; 1, 2, 4, 8 a divisor; larger a width in pixels. Pictures are resampled by area.
    test_path: the folder of classes whose test pictures are taken; None: those beside the training pictures.
    with_tests: whether the test set is read, or not even looked at.
    query_lens: what took the queries; None: what the class says, else the training pictures' camera.
    """

    resolution: int | None = None
    test_path: Path | None = None
    query_lens: LensSpec | None = None
    with_tests: bool = True


def load_class(
    data_path: Path | str, classname: str, resolution: int | None = None, source: Source | None = None
) -> ClassData:
    """Reads a class; `description` says which layout was found. `resolution` is short for Source(resolution).

    Raises UserError, naming the file and the mend: something missing, truncated, a mask of another size than its
    picture, a broken pose.
    """
    source = source or Source(resolution)
    files = list_class(Path(data_path), classname, source.test_path, source.with_tests)
    framings = training_framings([(file.path, file.lens) for file in files.train], source.resolution)
    lens = Counter(framing.lens for framing in framings).most_common(1)[0][0]
    world = World.around([framing.lens.camera() for framing in framings], [f.world_from_camera for f in files.train])
    gallery = _views(files.train, framings, world)
    _warn_of_blind_views(gallery)
    chosen = [(file.path, file.lens) for file in files.test]
    test = _samples(files.test, _query_framings(chosen, source, lens), world, is_cut_out(gallery))
    check_names((f"{sample.defect}/{sample.name}" for sample in test), files.test_root / "test")
    _warn_of_masks(test, files.test_root / "ground_truth")
    return ClassData(files.name, files.kind, files.root, gallery, test, world, lens)


def is_cut_out(gallery: Sequence[View]) -> bool:
    """Whether the training pictures are cut out of photographs that are still known."""
    return any(view.uncut is not None for view in gallery)


def check_names(filed: Iterable[str], folder: Path) -> None:
    """Raises UserError when a name is no text, or two pictures, by what they are filed under (<defect>/<name>), differ
    only in what files of results cannot differ in on every system."""
    names: dict[str, str] = {}
    for name in filed:
        if any(unicodedata.category(letter) in _NO_LETTERS for letter in name):
            raise UserError(f"{folder}: the name {name!a} holds what is no letter; rename the picture")
        if (other := names.setdefault(folded(name), name)) is not name:
            also = f" and {name}" if name != other else ""
            raise UserError(
                f"{folder}: two pictures go by the name {other}{also}, in different formats, capitals or ways to write "
                "an accent; rename or remove one"
            )


def resize_mask(mask: Bool[np.ndarray, "h w"], width: int, height: int) -> Bool[np.ndarray, "h2 w2"]:
    """The mask at another size: pixels covered by more than MASK_COVERAGE; a defect never vanishes altogether."""
    if mask.shape == (height, width):
        return mask
    smaller = width * height < mask.size
    method = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    coverage = cv2.resize(mask.astype(np.float32), (width, height), interpolation=method)
    resized = coverage > MASK_COVERAGE
    return resized if resized.any() or not mask.any() else coverage == coverage.max()


def _query_framings(files: Sequence[tuple[Path, LensSpec | None]], source: Source, lens: Lens) -> list[Framing]:
    """The framings of queries, with one warning for each kind of guess about their camera."""
    found = parallel(lambda file: query_framing(file[0], source.resolution, lens, file[1], source.query_lens), files)
    guesses: dict[str, list[str]] = defaultdict(list)
    for (path, _), (framing, said) in zip(files, found, strict=True):
        if said is not None:
            guesses[
                f"{framing.lens.width}x{framing.lens.height} pixels, not {lens.width}x{lens.height}: {said}"
            ].append(path.name)
    for guess, names in guesses.items():
        _log.warning(
            "%d pictures (%s) are of %s; if that is wrong, describe their camera with --camera or --camera_angle_x",
            len(names), some(names), guess,
        )  # fmt: skip
    return [framing for framing, _ in found]


def _views(files: Sequence[TrainFile], framings: Sequence[Framing], world: World) -> list[View]:
    images = _load([file.path for file in files], framings)
    uncut = _photographs([file.path for file in files], framings)
    return [
        View(
            file.path.stem,
            framing.camera.at_blender(world.inward(file.world_from_camera), str(file.path)).rolled(framing.quarters),
            image,
            photograph,
        )
        for file, framing, image, photograph in zip(files, framings, images, uncut, strict=True)
    ]


def _samples(files: Sequence[TestFile], framings: Sequence[Framing], world: World, cut_out: bool) -> list[Sample]:
    """`cut_out`: whether the training pictures are, so that the photographs of cut-outs are wanted."""
    images = _load([file.path for file in files], framings)
    uncut = _photographs([file.path for file in files], framings) if cut_out else [None] * len(files)
    masks = parallel(lambda of: _mask(*of), list(zip(files, framings, strict=True)))
    samples = []
    for file, framing, image, mask, photograph in zip(files, framings, images, masks, uncut, strict=True):
        camera = None
        if file.world_from_camera is not None:
            camera = framing.camera.at_blender(world.inward(file.world_from_camera), str(file.path))
        samples.append(Sample(file.defect, file.path.stem, image, mask, framing.camera, camera, photograph))
    return samples


def _load(paths: Sequence[Path], framings: Sequence[Framing]) -> list[UInt8[Tensor, "h w 3"]]:
    """The pictures in order; those that become equally large are kept together for the next run."""
    groups: dict[tuple[int, int], list[int]] = defaultdict(list)
    for i, framing in enumerate(framings):
        groups[framing.size].append(i)
    images: dict[int, Tensor] = {}
    for size, members in groups.items():
        way = {paths[i]: framings[i] for i in members}

        def decode(path: Path, way: dict[Path, Framing] = way) -> UInt8[Tensor, "h w 3"]:
            return torch.from_numpy(way[path].read(path))

        recipe = repr([framings[i] for i in members])
        images |= dict(zip(members, load_pictures([paths[i] for i in members], size, decode, recipe), strict=True))
    return [images[i] for i in range(len(paths))]


def _photographs(paths: Sequence[Path], framings: Sequence[Framing]) -> list[UInt8[Tensor, "h w 4"] | None]:
    """What was photographed around cut-outs and their alpha, in the same sizes; None for other pictures."""

    def read(of: tuple[Path, Framing]) -> UInt8[Tensor, "h w 4"] | None:
        found = of[1].read_photograph(of[0])
        return None if found is None else torch.from_numpy(found)

    return parallel(read, list(zip(paths, framings, strict=True)))


def _mask(file: TestFile, framing: Framing) -> Bool[Tensor, "h w"] | None:
    if file.mask is None:
        return None
    mask = read_mask(file.mask)
    expected, _ = picture_size(file.path)
    size = (mask.shape[1], mask.shape[0])
    if size != expected:
        raise UserError(
            f"{file.mask} is {size[0]}x{size[1]} pixels, expected {expected[0]}x{expected[1]} as {file.path}"
        )
    straight = framing.straightened(mask.astype(np.uint8)) > 0 if framing.lens.distorts else mask
    return torch.from_numpy(resize_mask(straight, *framing.size))


def _warn_of_masks(samples: Sequence[Sample], folder: Path) -> None:
    """One warning for masks without a marked pixel, and one for those that mark most of the picture."""
    marked = {
        sample.key: np.count_nonzero(sample.mask.numpy()) / sample.mask.numel()
        for sample in samples
        if sample.mask is not None
    }
    empty = [key for key, share in marked.items() if share == 0]
    if empty:
        _log.warning(
            "%s: %d masks mark no pixel (first: %s); repaint them, or move a picture without fault to test/good",
            folder, len(empty), empty[0],
        )  # fmt: skip
    full = [key for key, share in marked.items() if share > _MOST_MARKED]
    if full:
        _log.warning(
            "%s: %d masks mark more than half of the picture (first: %s); what is not black counts as defective, so "
            "invert them if they are the other way round",
            folder, len(full), full[0],
        )  # fmt: skip


def _warn_of_blind_views(gallery: Sequence[View]) -> None:
    """One warning for the views that do not show the world's origin, where all others look."""
    blind = []
    for view in gallery:
        x, y, z = view.camera.cam_from_world[:3, 3].tolist()
        column, row = (
            (view.camera.fx * x / z + view.camera.cx, view.camera.fy * y / z + view.camera.cy) if z else (0, 0)
        )
        if z <= 0 or not (0 <= column <= view.camera.width and 0 <= row <= view.camera.height):
            blind.append(view.name)
    if blind:
        _log.warning(
            "%d of %d training views do not show the place where the others look (%s): check their poses",
            len(blind), len(gallery), some(blind),
        )  # fmt: skip

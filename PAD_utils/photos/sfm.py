"""Poses and lenses from photographs by structure from motion, with COLMAP as pycolmap.

Schonberger and Frahm, "Structure-from-Motion Revisited", CVPR 2016; SIFT of Lowe, IJCV 2004, with affine shape and
domain-size pooling (Dong and Soatto, CVPR 2015) where the default finds too little.
"""

import logging
import shutil
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import Float

from gaussian_splatting.progress import progress
from PAD_utils.errors import UserError
from PAD_utils.photos.lens import Lens
from PAD_utils.photos.source import Photo

_EXHAUSTIVE = 120  # photographs; of more, each is matched with its neighbors in the order of the names
_NEIGHBORS = 15
_CENTER_FROM = 12  # photographs that let the principal point be told from a turn of the cameras
_CENTER_SHARE = 0.08  # of the picture's width and height: a principal point farther off the middle is not believed
_LOSS_SHARE = 0.5  # of the mean reprojection error: where Cauchy's loss bends
_FEWEST = 3  # registered photographs that make a model at all
_ENOUGH = 0.95  # of the photographs: for the rest alone the strong options, ten times as slow, are not tried
_SEED = 0
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Posed:
    """A photograph with its lens and pose, OpenCV axes; `error_px` is its mean reprojection error over `n_points`."""

    photo: Photo
    lens: Lens
    cam_from_world: Float[np.ndarray, "4 4"]
    error_px: float
    n_points: int


@dataclass(frozen=True)
class Solution:
    """What was found: posed photographs, the names of the lost ones, the points, by which means, and up if known."""

    posed: list[Posed]
    lost: list[str]
    points: Float[np.ndarray, "n 3"]
    how: str
    up: Float[np.ndarray, "3"] | None = None

    @property
    def error_px(self) -> float:
        """The mean reprojection error of all photographs, weighted by their points."""
        weights = [max(p.n_points, 1) for p in self.posed]
        return float(np.average([p.error_px for p in self.posed], weights=weights))


@dataclass(frozen=True)
class _Attempt:
    """How features are found and matched. `masks`: the folder of masks outside of which none are looked for."""

    name: str
    sift: dict[str, Any]
    guided: bool
    masks: Path | None = None


_DEFAULT = _Attempt("default SIFT", {}, False)
_STRONG = _Attempt(
    "SIFT with affine shape, domain-size pooling and a low threshold, guided matching",
    {"peak_threshold": 0.002, "estimate_affine_shape": True, "domain_size_pooling": True},
    True,
)


def _attempts(masks: Path | None) -> list[_Attempt]:
    """All of each photograph first: a table of texture helps. Then the part alone, for before a room that does not turn
    with it the whole picture misleads. Then the strong options, ten times as slow."""
    masked = [_Attempt("default SIFT inside of the masks", {}, False, masks)] if masks else []
    return [_DEFAULT, *masked, _STRONG]


def load_pycolmap() -> ModuleType:
    """pycolmap, quiet. Raises UserError when it is not installed, or too old."""
    try:
        import pycolmap
    except ImportError as error:
        raise UserError(f"poses need pycolmap ({error}); install it with: pip install 'pycolmap>=4.1.1'") from None
    if not hasattr(pycolmap, "Rigid3d") or tuple(int(n) for n in pycolmap.__version__.split(".")[:2]) < (4, 1):
        raise UserError(f"pycolmap {pycolmap.__version__} is too old; run: pip install -U 'pycolmap>=4.1.1'")
    pycolmap.logging.minloglevel = 3  # it reports each step of its own; we report what matters
    return pycolmap


def solve(photos: Sequence[Photo], folder: Path, model: str, masks: Path | None = None) -> Solution:
    """Registers photographs, whose copies share one folder of sizes; databases are kept in `folder` and gone on from.

    model: the lens, a model of COLMAP such as "SIMPLE_RADIAL" or "OPENCV". masks: a folder of "<key of photo>.png",
    white on the part. Raises UserError when nothing fits together.
    """
    best: Solution | None = None
    for number, attempt in enumerate(_attempts(masks)):
        found = _attempt(photos, folder / str(number), model, attempt)
        if found is not None and (best is None or len(found.posed) > len(best.posed)):
            best = found
        if best is not None and len(best.posed) >= _ENOUGH * len(photos):
            break
    if best is None:
        raise UserError(
            f"no {_FEWEST} of the {len(photos)} photographs fit together; take them closer to each other (10 degrees),"
            " sharp, and with something of texture in view (a sheet of newspaper below the part)"
        )
    return best


def read_model(folder: Path, photos: Sequence[Photo]) -> Solution:
    """A model that COLMAP wrote, binary or text, for copies of the pictures it was made from.

    Raises UserError naming the folder: no model, or none of its pictures is among the photographs.
    """
    pycolmap = load_pycolmap()
    places = [p for p in (folder, folder / "sparse" / "0", folder / "sparse", folder / "0") if _holds_model(p)]
    if not places:
        raise UserError(f"{folder} holds no COLMAP model (cameras, images, points3D as .bin or .txt)")
    try:
        model = pycolmap.Reconstruction(places[0])
    except (RuntimeError, ValueError) as error:
        raise UserError(f"{places[0]} is no COLMAP model that pycolmap reads ({str(error).splitlines()[0]})") from None
    found = _solution(model, photos, f"COLMAP model {places[0]}")
    if not found.posed:
        raise UserError(f"{places[0]} names none of the photographs; give the folder that the model was made from")
    return found


def _holds_model(folder: Path) -> bool:
    return any((folder / f"images{suffix}").is_file() for suffix in (".bin", ".txt"))


def _attempt(photos: Sequence[Photo], folder: Path, model: str, attempt: _Attempt) -> Solution | None:
    """One run of features, matches and mapping; None when fewer than three photographs fit together."""
    pycolmap = load_pycolmap()
    pycolmap.set_random_seed(_SEED)
    folder.mkdir(parents=True, exist_ok=True)
    database, pictures = folder / "database.db", photos[0].copy.parent.parent
    started = time.monotonic()
    _log.info("%d photographs: %s", len(photos), attempt.name)
    _extract(pycolmap, database, photos, model, attempt)
    _match(pycolmap, database, len(photos), attempt)
    matched = time.monotonic()
    maps = _map(pycolmap, database, pictures, folder / "models", len(photos))
    if not maps:
        _log.warning("no photographs fit together")
        return None
    largest = max(maps, key=lambda m: (m.num_reg_images(), m.num_points3D()))
    if largest.num_reg_images() < _FEWEST:
        return None
    if len(maps) > 1:
        sizes = ", ".join(str(m.num_reg_images()) for m in maps)
        _log.warning("the photographs fall into %d models (%s photographs); the largest is taken", len(maps), sizes)
    found = _solution(_with_center(pycolmap, largest), photos, attempt.name)
    seconds = (matched - started, time.monotonic() - matched)
    what = f"{len(found.posed)} of {len(photos)} registered, {found.error_px:.2f} px"
    _log.info("%s (features and matches %.0f s, mapping %.0f s)", what, *seconds)
    return found


def _extract(pycolmap: ModuleType, database: Path, photos: Sequence[Photo], model: str, attempt: _Attempt) -> None:
    """Features of every photograph that the database lacks; one camera for each size of picture."""
    options = pycolmap.FeatureExtractionOptions()
    for name, value in attempt.sift.items():
        setattr(options.sift, name, value)
    groups = defaultdict(list)
    for photo in photos:
        groups[photo.copy.parent.name].append(photo)
    for members in groups.values():
        reader = pycolmap.ImageReaderOptions()
        reader.camera_model = model
        if attempt.masks is not None:
            reader.mask_path = attempt.masks
        focals = [photo.focal_px for photo in members if photo.focal_px]
        if focals:
            reader.camera_params = _first_params(pycolmap, members[0], model, float(np.median(focals)))
        pycolmap.extract_features(
            database,
            members[0].copy.parent.parent,
            image_names=[photo.key for photo in members],
            camera_mode=pycolmap.CameraMode.SINGLE,
            reader_options=reader,
            extraction_options=options,
        )


def _first_params(pycolmap: ModuleType, photo: Photo, model: str, focal_px: float) -> str:
    camera = pycolmap.Camera.create_from_model_name(1, model, focal_px, photo.width, photo.height)
    return str(camera.params_to_string())


def _match(pycolmap: ModuleType, database: Path, count: int, attempt: _Attempt) -> None:
    matching, verification = pycolmap.FeatureMatchingOptions(), pycolmap.TwoViewGeometryOptions()
    matching.guided_matching = attempt.guided
    verification.ransac.random_seed = _SEED
    options = {"matching_options": matching, "verification_options": verification}
    if count <= _EXHAUSTIVE:
        pycolmap.match_exhaustive(database, **options)
        return
    pairing = pycolmap.SequentialPairingOptions()
    pairing.overlap = _NEIGHBORS
    pycolmap.match_sequential(database, pairing_options=pairing, **options)


def _map(pycolmap: ModuleType, database: Path, pictures: Path, folder: Path, count: int) -> list[Any]:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    options = pycolmap.IncrementalPipelineOptions()
    options.random_seed = options.mapper.random_seed = options.triangulation.random_seed = _SEED
    options.extract_colors = False
    options.min_model_size = _FEWEST
    with progress(total=count, desc="registering") as bar:
        found = pycolmap.incremental_mapping(
            database, pictures, folder, options=options, next_image_callback=lambda: bar.update()
        )
    return list(found.values())


def _with_center(pycolmap: ModuleType, model: Any) -> Any:
    """The model with its principal point solved for too, which COLMAP holds in the middle, and with Cauchy's loss, at
    which wrong matches cannot pull; as it is where the result is not to be believed. Rotations on real photographs
    were wrong by 0.83 degrees (median) before, by 0.26 with the principal point, and by 0.15 with the loss too."""
    if model.num_reg_images() < _CENTER_FROM:
        return model
    trial = pycolmap.Reconstruction(model)
    options = pycolmap.BundleAdjustmentOptions()
    options.refine_principal_point, options.print_summary = True, False
    options.ceres.loss_function_type = pycolmap.LossFunctionType.CAUCHY
    options.ceres.loss_function_scale = _LOSS_SHARE * model.compute_mean_reprojection_error()
    config = pycolmap.BundleAdjustmentConfig()
    for number in trial.reg_image_ids():
        config.add_image(number)
    config.fix_gauge(pycolmap.BundleAdjustmentGauge.TWO_CAMS_FROM_WORLD)
    pycolmap.create_default_bundle_adjuster(options, config, trial).solve()
    trial.update_point_3d_errors()
    worse = trial.compute_mean_reprojection_error() > model.compute_mean_reprojection_error()
    return model if worse or max(map(_off_middle, trial.cameras.values())) > _CENTER_SHARE else trial


def _off_middle(camera: Any) -> float:
    x, y = camera.principal_point_x / camera.width, camera.principal_point_y / camera.height
    return float(max(abs(x - 0.5), abs(y - 0.5)))


def _solution(model: Any, photos: Sequence[Photo], how: str) -> Solution:
    by_name, lenses, posed = {photo.name: photo for photo in photos}, _Lenses(model), []
    for image in model.images.values():
        photo = by_name.get(Path(image.name).stem)
        if image.has_pose and photo is not None:
            pose = np.eye(4)
            pose[:3] = image.cam_from_world().matrix()
            errors = [model.points3D[p.point3D_id].error for p in image.points2D if p.has_point3D()]
            mean = float(np.mean(errors)) if errors else 0.0
            posed.append(Posed(photo, lenses.of(image.camera_id, photo), pose, mean, len(errors)))
    posed.sort(key=lambda p: photos.index(p.photo))
    found = {p.photo.name for p in posed}
    points = np.array([p.xyz for p in model.points3D.values()]).reshape(-1, 3)
    return Solution(posed, [p.name for p in photos if p.name not in found], points, how)


class _Lenses:
    """The lenses of a model at the sizes of the photographs; each is made once, since its maps are as large."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._made: dict[tuple[int, int, int], Lens] = {}

    def of(self, camera_id: int, photo: Photo) -> Lens:
        key = (camera_id, photo.width, photo.height)
        if key not in self._made:
            camera = load_pycolmap().Camera(self._model.cameras[camera_id].todict())
            if (camera.width, camera.height) != key[1:]:
                _check_shape(camera, photo)
                camera.rescale(photo.width, photo.height)
            self._made[key] = Lens(camera)
        return self._made[key]


def _check_shape(camera: Any, photo: Photo) -> None:
    ratio = camera.width / camera.height * photo.height / photo.width
    if abs(ratio - 1) > 0.01:
        size = f"{camera.width}x{camera.height}"
        raise UserError(f"{photo.source} has another shape than the {size} that the COLMAP model says; check --colmap")

"""How a picture on disk becomes the one that is compared: undistorted, turned, cropped, resampled; and its camera."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from gaussian_splatting.camera import Camera
from gaussian_splatting.images import area_resize, plain_png_size, read_exif, read_image, read_uncut, target_size
from gaussian_splatting.parallel import parallel
from PAD_utils.data.intrinsics import DISTORTION_KEYS, Lens, LensSpec, exif_focal_px, query_lens
from PAD_utils.errors import UserError

_ORIENTATION = 0x0112  # EXIF tag
_QUARTERS_BACK = {6: 1, 8: 3}  # from the upright picture to the one that the sensor stored

_log = logging.getLogger(__name__)
Size = tuple[int, int]  # (width, height) in pixels


@dataclass(frozen=True)
class Framing:
    """A picture's way from its file: turned back by `quarters_back` to how the camera that `lens` describes stored it,
    undistorted, turned by `quarters`, cropped to `crop` (left, top, width, height), resampled to `size`."""

    lens: Lens
    quarters_back: int
    quarters: int
    crop: tuple[int, int, int, int]
    size: Size

    def straightened(self, picture: UInt8[np.ndarray, "h w *c"]) -> UInt8[np.ndarray, "h2 w2 *c"]:
        """The picture undistorted and as large as on disk."""
        return self.lens.undistorted(np.ascontiguousarray(np.rot90(picture, self.quarters_back)))

    def apply(self, picture: UInt8[np.ndarray, "h w *c"]) -> UInt8[np.ndarray, "h2 w2 *c"]:
        """The picture as it is compared."""
        left, top, width, height = self.crop
        picture = np.rot90(self.straightened(picture), self.quarters)[top : top + height, left : left + width]
        return area_resize(np.ascontiguousarray(picture), *self.size)

    def read(self, path: Path) -> UInt8[np.ndarray, "h w 3"]:
        """The picture of a file as it is compared. Raises UserError naming the file, also when it is no longer as large
        as when it was listed: somebody replaces files meanwhile."""
        return self.apply(self._as_listed(path, read_picture(path)))

    def read_photograph(self, path: Path) -> UInt8[np.ndarray, "h w 4"] | None:
        """What was photographed around a cut-out, and alpha; None for other pictures. Raises as `read`."""
        found = read_photograph(path)
        return None if found is None else self.apply(self._as_listed(path, found))

    def _as_listed(self, path: Path, picture: UInt8[np.ndarray, "h w c"]) -> UInt8[np.ndarray, "h w c"]:
        height, width = picture.shape[:2] if self.quarters_back % 2 == 0 else picture.shape[1::-1]
        if (width, height) != (self.lens.width, self.lens.height):
            raise UserError(f"{path} was replaced while it was read; start again when its folder is left alone")
        return picture

    @property
    def camera(self) -> Camera:
        """The camera of the compared picture, still without a pose."""
        return self.lens.turned(self.quarters).cropped(*self.crop).resized(*self.size).camera()


def picture_size(path: Path) -> tuple[Size, int]:
    """The size of a picture once it is upright, and its EXIF orientation (1: none), without decoding it.

    Raises UserError naming a file that is no picture.
    """
    try:
        with path.open("rb") as file:
            plain = plain_png_size(file)
        if plain is not None:
            return plain, 1
        with Image.open(path) as picture:
            orientation = int(read_exif(path, picture).get(_ORIENTATION, 1))
            width, height = picture.size
            return ((height, width) if orientation >= 5 else (width, height)), orientation
    except Exception:  # Pillow raises nearly anything on bytes that are no picture; the reader words it
        picture_shape = read_picture(path).shape
        return (picture_shape[1], picture_shape[0]), 1


def read_picture(path: Path) -> UInt8[np.ndarray, "h w 3"]:
    """As `read_image`, with UserError, which names the file and the mend."""
    try:
        return read_image(path).numpy()
    except ValueError as error:
        raise UserError(f"{error}; fetch or make it again") from None


def read_photograph(path: Path) -> UInt8[np.ndarray, "h w 4"] | None:
    """As `read_uncut`, with UserError, which names the file and the mend."""
    try:
        found = read_uncut(path)
    except ValueError as error:
        raise UserError(f"{error}; fetch or make it again") from None
    return None if found is None else found.numpy()


def training_framings(files: Sequence[tuple[Path, LensSpec]], resolution: int | None) -> list[Framing]:
    """Training pictures all in one size, which the engines ask for: the most common one, resampled to `resolution`.

    Pictures held the other way are turned with their cameras, which loses nothing; those of another shape are scaled
    until they cover that size and cropped about their middle, so that no pixel is made up.
    """
    lenses = parallel(lambda file: _stored_lens(*file), files)
    canvas = Counter((lens.width, lens.height) for lens, _ in lenses).most_common(1)[0][0]
    target = _target(canvas, resolution)
    other = [path for (path, _), (lens, _) in zip(files, lenses, strict=True) if (lens.width, lens.height) != canvas]
    if other:
        _log.warning(
            "%d of %d training pictures are not %dx%d (first: %s): they are turned, resampled and cropped to that size",
            len(other), len(files), *canvas, other[0],
        )  # fmt: skip
    bent = next((lens for lens, _ in lenses if lens.distorts), None)
    if bent is not None:
        terms = ", ".join(
            f"{key} = {value:g}" for key, value in zip(DISTORTION_KEYS, bent.distortion, strict=True) if value
        )
        _log.info("the lens distorts (%s): pictures, masks and queries of it are undistorted first", terms)
    return [_covering(lens, back, canvas, target) for lens, back in lenses]


def query_framing(
    path: Path, resolution: int | None, like: Lens, spec: LensSpec | None, given: LensSpec | None
) -> tuple[Framing, str | None]:
    """A query as large and with the shape that it has, and what has to be said about its camera if that is a guess.

    like: the lens of the training pictures. spec: what the class says about this very picture. given: what the user
    says about the queries, which is believed before all else.
    """
    said = None
    if given is None and spec is not None:
        lens, back = _stored_lens(path, spec)
    else:
        (width, height), back = picture_size(path)[0], 0
        if given is None:
            lens, said = query_lens(width, height, like, exif_focal_px(path, width, height))
        else:
            lens, said = query_lens(width, height, given.lens(*given.size(width, height)), None)
    upright = (lens.width - lens.height) * (like.width - like.height) < 0
    size = (lens.height, lens.width) if upright else (lens.width, lens.height)
    target = _target(size, resolution)
    target = (target[1], target[0]) if upright else target
    return Framing(lens, back, 0, (0, 0, lens.width, lens.height), target), said


def _target(size: Size, resolution: int | None) -> Size:
    try:
        return target_size(*size, resolution)
    except ValueError as error:
        raise UserError(f"--resolution: {error}") from None


def _stored_lens(path: Path, spec: LensSpec) -> tuple[Lens, int]:
    """The lens of a picture, and the quarters back to how it was stored, where the file speaks of that one: structure
    from motion programs do not read EXIF orientations."""
    (width, height), orientation = picture_size(path)
    back = _QUARTERS_BACK.get(orientation, 0)
    stored = spec.size(width, height)
    if back and (stored[0] - stored[1]) * (width - height) < 0:
        return spec.lens(height, width), back
    return spec.lens(width, height), 0


def _covering(lens: Lens, back: int, canvas: Size, target: Size) -> Framing:
    """The largest part of a picture that has the canvas' shape, in the target's size."""
    quarters = int((lens.width - lens.height) * (canvas[0] - canvas[1]) < 0)
    width, height = (lens.height, lens.width) if quarters else (lens.width, lens.height)
    scale = max(canvas[0] / width, canvas[1] / height)
    part = min(width, round(canvas[0] / scale)), min(height, round(canvas[1] / scale))
    return Framing(lens, back, quarters, ((width - part[0]) // 2, (height - part[1]) // 2, *part), target)

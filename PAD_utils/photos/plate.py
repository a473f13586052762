"""Poses from a printed plate: the part stands on a ChArUco board, whose corners tell where each photograph was taken.

Garrido-Jurado et al., "Automatic generation and detection of highly reliable fiducial markers", Pattern Recognition
2014. For parts without texture, for turntables (the plate turns with the part), and for cameras that stand still.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float
from PIL import Image

from gaussian_splatting.parallel import parallel
from PAD_utils.errors import UserError
from PAD_utils.files import atomic_path
from PAD_utils.photos.lens import Lens
from PAD_utils.photos.sfm import Posed, Solution, load_pycolmap
from PAD_utils.photos.source import Photo

SQUARES, SQUARE_MM, MARKER_MM = (9, 13), 20.0, 15.0
_PAGE_MM, _DPI = (210.0, 297.0), 300  # A4; on Letter the plate fits too when it is printed at 100 %
_FEWEST_CORNERS, _FEWEST_PHOTOS = 12, 5
_HALF_PX = 0.5  # OpenCV puts the center of the first pixel at 0, COLMAP and this project at 0.5
_log = logging.getLogger(__name__)


def write_page(path: Path) -> None:
    """The page to print, PNG or PDF, 210 x 297 mm. Raises UserError for another suffix."""
    if path.suffix.lower() not in (".png", ".pdf"):
        raise UserError(f"{path} must end in .png or .pdf")
    dots = [round(mm / 25.4 * _DPI) for mm in _PAGE_MM]
    size = [round(count * SQUARE_MM / 25.4 * _DPI) for count in SQUARES]
    page = np.full((dots[1], dots[0]), 255, np.uint8)
    left, top = (dots[0] - size[0]) // 2, (dots[1] - size[1]) // 2
    page[top : top + size[1], left : left + size[0]] = _board().generateImage((size[0], size[1]))
    note = f"print at 100 %: the squares must be {SQUARE_MM:.0f} mm wide"
    cv2.putText(page, note, (left, top + size[1] + 90), cv2.FONT_HERSHEY_SIMPLEX, 1.6, 0, 3, cv2.LINE_AA)
    with atomic_path(path) as temporary:
        Image.fromarray(page).save(temporary, dpi=(_DPI, _DPI), resolution=float(_DPI))


def solve_plate(photos: Sequence[Photo]) -> Solution:
    """Lens and poses of photographs, of one size, that show the plate; the world's unit is a millimeter.

    Raises UserError: pictures of several sizes, or fewer than five show enough of the plate.
    """
    sizes = sorted({(photo.width, photo.height) for photo in photos})
    if len(sizes) > 1:
        raise UserError(f"--plate needs photographs of one size, got {sizes}; prepare them as two classes")
    seen = parallel(_corners, photos)
    usable = [i for i, (ids, _) in enumerate(seen) if len(ids) >= _FEWEST_CORNERS]
    if len(usable) < _FEWEST_PHOTOS:
        raise UserError(
            f"{len(usable)} of {len(photos)} photographs show {_FEWEST_CORNERS} corners of the plate; print it with"
            " --plate_page, keep it flat, in focus and mostly in view"
        )
    corners = np.asarray(_board().getChessboardCorners(), np.float32)
    objects, images = [corners[seen[i][0]] for i in usable], [seen[i][1] for i in usable]
    flags = cv2.CALIB_FIX_ASPECT_RATIO | cv2.CALIB_ZERO_TANGENT_DIST | cv2.CALIB_FIX_K3
    guess = np.array([[1.2 * sizes[0][0], 0, sizes[0][0] / 2], [0, 1.2 * sizes[0][0], sizes[0][1] / 2], [0, 0, 1.0]])
    found = cv2.calibrateCameraExtended(
        objects, images, sizes[0], guess, np.zeros(5), flags=flags | cv2.CALIB_USE_INTRINSIC_GUESS
    )
    matrix, distortion, turns, shifts, errors = found[1], found[2].ravel(), found[3], found[4], found[7].ravel()
    lens = Lens(_camera(matrix, distortion, *sizes[0]))
    posed = [
        Posed(photos[i], lens, _pose(turns[n], shifts[n]), float(errors[n]), len(objects[n]))
        for n, i in enumerate(usable)
    ]
    lost = [photo.name for i, photo in enumerate(photos) if i not in usable]
    return Solution(posed, lost, corners * np.array([1.0, -1.0, -1.0]), "printed plate", np.array([0.0, 0.0, 1.0]))


def _board() -> "cv2.aruco.CharucoBoard":
    dictionary = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_5X5_100)
    return cv2.aruco.CharucoBoard(SQUARES, SQUARE_MM, MARKER_MM, dictionary)


def _corners(photo: Photo) -> tuple[np.ndarray, np.ndarray]:
    """Numbers and places (n, 2) of the corners that a photograph shows, OpenCV's pixels."""
    gray = cv2.cvtColor(np.ascontiguousarray(photo.pixels()[..., :3]), cv2.COLOR_BGR2GRAY)
    places, ids, _, _ = cv2.aruco.CharucoDetector(_board()).detectBoard(gray)
    if ids is None or len(ids) == 0:
        return np.zeros(0, int), np.zeros((0, 2), np.float32)
    return ids.ravel(), places.reshape(-1, 2).astype(np.float32)


def _camera(matrix: Float[np.ndarray, "3 3"], k: Float[np.ndarray, "_"], width: int, height: int) -> object:
    center = (matrix[0, 2] + _HALF_PX, matrix[1, 2] + _HALF_PX)
    params = [matrix[0, 0], matrix[1, 1], *center, k[0], k[1], k[2], k[3]]
    return load_pycolmap().Camera(model="OPENCV", width=width, height=height, params=params)


def _pose(turn: np.ndarray, shift: np.ndarray) -> Float[np.ndarray, "4 4"]:
    """cam_from_world with z up: the board's own z axis points into the table."""
    pose = np.eye(4)
    pose[:3, :3] = cv2.Rodrigues(turn)[0] @ np.diag([1.0, -1.0, -1.0])
    pose[:3, 3] = shift.ravel()
    return pose

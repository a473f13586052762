"""The pictures of a report as data URIs, as large as the size of the page allows."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from gaussian_splatting.images import encoded
from gaussian_splatting.parallel import parallel

_EDGES = (800, 640, 512, 400, 320, 256, 192, 128, 96)  # longest sides to try, in pixels
_SAMPLE = 6  # pictures that are encoded to foretell the size of all
_JPEG_QUALITY = 84
_BASE64 = 4 / 3
_PALETTE = cv2.COLORMAP_INFERNO  # black at zero: the page adds it to the dimmed photograph as light
_CONTOUR_TOLERANCE_PX = 0.6
_LONGEST_PATH = 6000  # characters, so that 300 outlines stay below 2 MB


@dataclass(frozen=True)
class Source:
    """What a card shows: query and rendering (h, w, 3), score map (h, w); None is left out."""

    query: UInt8[np.ndarray, "h w 3"]
    rendering: UInt8[np.ndarray, "h w 3"] | None
    anomaly_map: Float[np.ndarray, "h w"] | None


@dataclass(frozen=True)
class Encoded:
    """The same as data URIs."""

    query: str
    rendering: str | None
    heat: str | None

    @property
    def size(self) -> int:
        """Bytes on the page."""
        return sum(len(uri) for uri in (self.query, self.rendering, self.heat) if uri)


def encode_all(sources: Sequence[Source], glaring: float | None, budget_bytes: int) -> list[Encoded]:
    """All pictures at the largest common longest side that keeps their sum below the budget, or at the smallest tried.

    Score maps share one scale, so that a bright spot means the same in every picture: `heat_scale`.
    """
    low, high = heat_scale([s.anomaly_map for s in sources if s.anomaly_map is not None], glaring)

    def encode(source: Source, edge: int) -> Encoded:
        heat = None if source.anomaly_map is None else _jpeg(_heat(source.anomaly_map, low, high, edge))
        rendering = None if source.rendering is None else _jpeg(_bgr(source.rendering, edge))
        return Encoded(_jpeg(_bgr(source.query, edge)), rendering, heat)

    sample = sources[:: max(1, len(sources) // _SAMPLE)][:_SAMPLE]
    encoded: list[Encoded] = []
    for edge in _EDGES:
        last = edge == _EDGES[-1]
        foretold = sum(encode(s, edge).size for s in sample) * len(sources) / max(1, len(sample))
        if foretold > budget_bytes and not last:
            continue
        encoded = parallel(partial(encode, edge=edge), sources)
        if sum(e.size for e in encoded) <= budget_bytes:
            break
    return encoded


def heat_scale(maps: Sequence[Float[np.ndarray, "h w"]], glaring: float | None) -> tuple[float, float]:
    """The scores drawn black and brightest: the median of all pixels, and `glaring`, the score of a usual defect.

    Where no defect was found, twice the highest score is brightest, so that the noise of good images does not glow.
    """
    if not maps:
        return 0.0, 1.0
    low = float(np.median([np.median(m[::4, ::4]) for m in maps]))
    high = 2 * float(max(m.max() for m in maps)) - low if glaring is None else glaring
    return (low, high) if high > low else (low, low + 1.0)


def outline(mask: Bool[np.ndarray, "h w"]) -> str:
    """The `d` of an SVG path around the marked pixels, in pixels of the mask; to be filled by the even-odd rule.

    A mask so speckled that its path would be long is coarsened until it is not.
    """
    marked, scale = np.ascontiguousarray(mask), 1
    while (path := _path_around(marked, scale)) is None:
        height, width = (n + n % 2 for n in marked.shape)
        even = np.zeros((height, width), bool)
        even[: marked.shape[0], : marked.shape[1]] = marked
        marked, scale = np.asarray(even.reshape(height // 2, 2, width // 2, 2).any(axis=(1, 3))), 2 * scale
    return path


def _path_around(mask: np.ndarray, scale: int) -> str | None:
    """The path around pixels that are `scale` wide, or None if it is longer than _LONGEST_PATH."""
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    marked = np.pad(mask[top : top + height, left : left + width].view(np.uint8), 1)
    doubled = marked.repeat(2, axis=0).repeat(2, axis=1)  # so that one pixel has an area
    contours, _ = cv2.findContours(doubled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    # Undo the padding and the doubling: the line runs a quarter of a pixel inside the border.
    offset = np.array([left - 0.75, top - 0.75])
    parts: list[str] = []
    for contour in contours:
        simple = cv2.approxPolyDP(contour, 2 * _CONTOUR_TOLERANCE_PX, closed=True)[:, 0]
        points = contour[:, 0] if len(simple) < 3 else simple
        places = ((points / 2 + offset) * scale).tolist()
        parts.append("M" + "L".join(f"{x:.4g} {y:.4g}" for x, y in places) + "Z")
        if sum(map(len, parts)) > _LONGEST_PATH:
            return None
    return "".join(parts)


def _heat(scores: np.ndarray, low: float, high: float, edge: int) -> np.ndarray:
    gray = np.clip((shrunk(scores, edge) - low) * (255 / (high - low)), 0, 255).astype(np.uint8)
    return cv2.applyColorMap(gray, _PALETTE)


def _bgr(picture: np.ndarray, edge: int) -> np.ndarray:
    return cv2.cvtColor(shrunk(picture, edge), cv2.COLOR_RGB2BGR)


def shrunk(picture: np.ndarray, edge: int) -> np.ndarray:
    """A picture or map with a longest side of at most `edge` pixels."""
    height, width = picture.shape[:2]
    share = edge / max(height, width)
    if share >= 1:
        return picture
    size = (max(1, round(width * share)), max(1, round(height * share)))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def _jpeg(bgr: np.ndarray) -> str:
    options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
    return "data:image/jpeg;base64," + base64.b64encode(encoded(".jpg", bgr, options)).decode("ascii")

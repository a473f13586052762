"""A brick object photographed: path-traced on a table before a backdrop, through a lens, by a camera with its faults.

Each effect can be switched alone. What is rendered is exact: pose, lens and the pixels that show the object are known.
"""

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from PAD_utils.synthetic.render import MITSUBA_FROM_BLENDER, Surface, brick_shape, load_mitsuba
from PAD_utils.synthetic.shapes import Mesh

EFFECTS = ("table", "shadow", "distortion", "center", "vignetting", "exposure", "noise", "jpeg", "path")
FIELD_OF_VIEW_DEG = 40.0  # horizontal: a phone at twice its zoom, or a 50 mm lens on a full frame
_ITERATIONS = 30  # distortion is undone to 1e-9
_FINE = 2  # pictures are rendered this many times larger, then distorted, then averaged
_DISTORTION = (-0.11, 0.03, 0.0012, -0.0009)  # k1, k2, p1, p2 of OpenCV
_CENTER = (0.022, -0.014)  # of width and height: how far the principal point lies off the middle
_VIGNETTING = 0.35  # of the light is lost in the corners
_GAIN, _BALANCE = 0.10, 0.04  # standard deviations of log exposure and of log white balance, cut off at two of them
_NOISE = 2.2  # gray levels
_TABLE_SIZE, _TEXTURE_PX = 5.0, 1024
_BACKDROP_GRAY = 0.82  # without a table
_MASK_SHARE = 0.5


@dataclass(frozen=True)
class PhotoLens:
    """OpenCV's camera model; pixels, the center of the first pixel at 0.5."""

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    k: tuple[float, float, float, float]

    def rays(self, scale: int = 1) -> Float[np.ndarray, "h w 2"]:
        """x/z and y/z of what each pixel of a picture `scale` times as fine shows (OpenCV axes), by iteration."""
        x, y = np.meshgrid(
            (np.arange(self.width * scale) + 0.5) / scale, (np.arange(self.height * scale) + 0.5) / scale
        )
        shown = np.stack([(x - self.cx) / self.fx, (y - self.cy) / self.fy], -1)
        rays = shown
        for _ in range(_ITERATIONS):
            rays = rays - (self.distorted(rays) - shown)
        return rays

    def distorted(self, rays: Float[np.ndarray, "*n 2"]) -> Float[np.ndarray, "*n 2"]:
        """Where on the plane at distance 1 the lens shows these rays."""
        x, y = rays[..., 0], rays[..., 1]
        (k1, k2, p1, p2), r2 = self.k, x * x + y * y
        radial = 1 + k1 * r2 + k2 * r2 * r2
        sideways = 2 * p1 * x * y + p2 * (r2 + 2 * x * x)
        return np.stack([x * radial + sideways, y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y], -1)


def photo_lens(width: int, height: int, effects: frozenset[str]) -> PhotoLens:
    """The lens of a class: distorted and off its middle where these effects are on."""
    f = 0.5 * width / math.tan(math.radians(FIELD_OF_VIEW_DEG) / 2)
    off = _CENTER if "center" in effects else (0.0, 0.0)
    k = _DISTORTION if "distortion" in effects else (0.0, 0.0, 0.0, 0.0)
    return PhotoLens(width, height, f, f, width * (0.5 + off[0]), height * (0.5 + off[1]), k)


@dataclass(frozen=True)
class Exposure:
    """What multiplies red, green and blue of a photograph."""

    gains: tuple[float, float, float]


def draw_exposure(rng: np.random.Generator, effects: frozenset[str]) -> Exposure:
    """At random where the effect is on; always takes as much from `rng`, so that effects do not move each other."""
    drawn = np.clip(rng.normal(size=3), -2, 2)
    if "exposure" not in effects:
        return Exposure((1.0, 1.0, 1.0))
    gain, red, blue = np.exp(drawn * [_GAIN, _BALANCE, _BALANCE]).tolist()
    return Exposure((gain * red, gain, gain * blue))


class Studio:
    """Takes photographs with one lens of objects that stand on a table at height `floor`."""

    def __init__(self, lens: PhotoLens, effects: frozenset[str], floor: float, samples: int, seed: int) -> None:
        """samples per pixel of the photograph. Raises UserError when Mitsuba is not installed or does not start."""
        self._mi = load_mitsuba()
        self.lens, self._effects, self._floor = lens, effects, floor
        self._spp = max(1, samples // _FINE**2)
        rays = lens.rays(_FINE)
        half = np.abs(rays).reshape(-1, 2).max(0) * 1.01  # half the size of the pinhole picture at distance 1
        self._size = [int(math.ceil(2 * size * lens.fx * _FINE)) for size in half]
        self._fov_deg = 2 * math.degrees(math.atan(self._size[0] / (2 * lens.fx * _FINE)))
        pixels = (rays * lens.fx * _FINE + np.array(self._size) / 2 - 0.5).astype(np.float32)
        self._map = (np.ascontiguousarray(pixels[..., 0]), np.ascontiguousarray(pixels[..., 1]))
        self._table = _texture(np.random.default_rng([seed, 90]), (0.62, 0.52, 0.40))
        self._walls = _texture(np.random.default_rng([seed, 91]), (0.48, 0.55, 0.60))

    def scene(self, mesh: Mesh, surroundings: bool = True) -> Any:
        """The object with table, backdrop and lights; without `surroundings` the object alone, for `surface`."""
        content: dict[str, Any] = {"type": "scene", "object": brick_shape(self._mi, mesh, mesh.colors)}
        if surroundings:
            content |= self._lights()
            if "table" in self._effects:
                content["table"] = self._table_shape()
        return self._mi.load_dict(content)

    def photograph(
        self, scene: Any, world_from_camera: Float[np.ndarray, "4 4"], exposure: Exposure, seed: int
    ) -> UInt8[np.ndarray, "h w 3"]:
        """The photograph, RGB, with the effects of lens and sensor."""
        linear = self._render(scene, world_from_camera, {"type": "path", "max_depth": 4}, self._spp, seed)[..., :3]
        linear = self._through_lens(linear)
        if "vignetting" in self._effects:
            linear = linear * self._falloff()[..., None]
        levels = 255 * _srgb(np.clip(linear * exposure.gains, 0, 1))
        if "noise" in self._effects:
            levels = levels + np.random.default_rng([seed, 7]).normal(0, _NOISE, levels.shape)
        return np.round(np.clip(levels, 0, 255)).astype(np.uint8)

    def surface(self, scene: Any, world_from_camera: Float[np.ndarray, "4 4"]) -> Surface:
        """What rays of the pinhole picture meet in a scene without surroundings; the same rays for every scene."""
        aov = {"type": "aov", "aovs": "color:albedo,point:position"}
        channels = self._render(scene, world_from_camera, aov, 1, 0)
        return Surface(channels[..., -6:-3], channels[..., -3:])

    def mask(self, marked: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h2 w2"]:
        """Pixels of the pinhole picture (as of `surface`) as the lens shows them."""
        return self._through_lens(marked.astype(np.float32)) > _MASK_SHARE

    def _through_lens(self, fine: Float[np.ndarray, "h w *c"]) -> Float[np.ndarray, "h2 w2 *c"]:
        shown = cv2.remap(fine, *self._map, cv2.INTER_LINEAR)
        return cv2.resize(shown, (self.lens.width, self.lens.height), interpolation=cv2.INTER_AREA)

    def _falloff(self) -> Float[np.ndarray, "h w"]:
        y, x = np.mgrid[: self.lens.height, : self.lens.width] + 0.5
        r2 = ((x - self.lens.cx) ** 2 + (y - self.lens.cy) ** 2) / (self.lens.width**2 + self.lens.height**2) * 4
        return 1 - _VIGNETTING * r2

    def _lights(self) -> dict[str, Any]:
        """An even sky; with shadow a lamp of some size takes over half of its light."""
        shadow = "shadow" in self._effects
        level = (0.4 if shadow else 1.0) * (_BACKDROP_GRAY if "table" not in self._effects else 1.0)
        bitmap = self._walls if "table" in self._effects else np.full((8, 16, 3), _BACKDROP_GRAY, np.float32)
        turn = self._mi.ScalarTransform4f().rotate([1, 0, 0], 90)
        sky = {
            "type": "envmap",
            "bitmap": self._mi.Bitmap(bitmap),
            "to_world": turn,
            "scale": level / float(bitmap.mean()),
        }
        if not shadow:
            return {"sky": sky}
        lamp = {"type": "sphere", "center": [3.5, 2.0, 6.0], "radius": 0.9}
        lamp["emitter"] = {"type": "area", "radiance": {"type": "rgb", "value": [26.0, 25.2, 24.0]}}
        return {"sky": sky, "lamp": lamp}

    def _table_shape(self) -> dict[str, Any]:
        place = self._mi.ScalarTransform4f().translate([0, 0, self._floor]).scale([_TABLE_SIZE, _TABLE_SIZE, 1])
        wood = {"type": "bitmap", "bitmap": self._mi.Bitmap(self._table), "raw": True}
        return {"type": "rectangle", "to_world": place, "bsdf": {"type": "diffuse", "reflectance": wood}}

    def _render(self, scene: Any, pose: np.ndarray, integrator: dict[str, Any], spp: int, seed: int) -> np.ndarray:
        sensor = self._mi.load_dict(
            {
                "type": "perspective",
                "fov": self._fov_deg,
                "fov_axis": "x",
                "to_world": self._mi.ScalarTransform4f(pose @ MITSUBA_FROM_BLENDER),
                "film": {
                    **{"type": "hdrfilm", "width": self._size[0], "height": self._size[1]},
                    **{"rfilter": {"type": "box"}, "pixel_format": "rgba", "component_format": "float32"},
                },
                "sampler": {"type": "independent", "sample_count": spp},
            }
        )
        image = self._mi.render(scene, sensor=sensor, integrator=self._mi.load_dict(integrator), spp=spp, seed=seed)
        return np.array(image, np.float32)


def _texture(rng: np.random.Generator, color: tuple[float, float, float]) -> Float[np.ndarray, "h w 3"]:
    """Blotches of all sizes, and scattered marks such as print or grain: something for features to hold on to."""
    size = _TEXTURE_PX
    gray = np.zeros((size, size), np.float32)
    for cells in (4, 8, 16, 32, 64, 128, 256, 512):
        coarse = rng.normal(size=(cells, cells)).astype(np.float32)
        gray += cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC) * 0.2 * cells**-0.2
    picture = np.asarray(color, np.float32) * (1 + np.clip(gray, -0.6, 0.6))[..., None]
    for _ in range(2500):
        x, y, w, h = (int(v) for v in rng.integers([0, 0, 3, 3], [size, size, 18, 10]))
        picture[y : y + h, x : x + w] *= rng.uniform(0.3, 1.5, 3).astype(np.float32)
    return np.clip(picture, 0.02, 0.95)


def _srgb(linear: np.ndarray) -> np.ndarray:
    return np.where(linear < 0.0031308, 12.92 * linear, 1.055 * np.maximum(linear, 1e-8) ** (1 / 2.4) - 0.055)

"""Pictures of brick objects with Mitsuba 3: flat matte shading without cast shadows on pure white, as in MAD-Sim."""

import math
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8

from PAD_utils.errors import UserError
from PAD_utils.synthetic.shapes import Mesh

CAMERA_ANGLE_X_RAD = 0.6911112070083618  # MAD-Sim's lens
MITSUBA_FROM_BLENDER = np.diag([-1.0, 1.0, -1.0, 1.0])  # Mitsuba's cameras look along +z with x to the left
_AMBIENT = 0.35  # share of the color that no occlusion darkens: light thrown back by neighbors, which is not traced
_KEY = 0.3  # how much the brightness of a face depends on its direction
SUBSAMPLES = 4  # masks come from SUBSAMPLES^2 rays a pixel
_SAME_POINT = 1e-4  # world units: surface points closer than this are the same
_SAME_COLOR = 1 / 512  # less than half a gray level
_VARIANTS = ("llvm_ad_rgb", "scalar_rgb")


@dataclass(frozen=True)
class Light:
    """Where faces are brightest: azimuth and elevation in degrees, in the object's frame."""

    azimuth_deg: float = 35.0
    elevation_deg: float = 55.0


@dataclass(frozen=True)
class Surface:
    """What the rays of a picture meet: color and point, zeros for the background."""

    colors: Float[np.ndarray, "h w 3"]
    points: Float[np.ndarray, "h w 3"]


class Renderer:
    """Renders meshes from Blender poses (world_from_camera) as square pictures; `variant` says which Mitsuba it is."""

    def __init__(self, size: int, samples: int) -> None:
        """size in pixels, samples per pixel. Raises UserError when Mitsuba is not installed or does not start."""
        self._mi = load_mitsuba()
        self.variant: str = self._mi.variant()
        self._size, self._samples = size, samples

    def scene(self, mesh: Mesh, light: Light) -> Any:
        """A scene to give to `picture` and `surface`."""
        shape = brick_shape(self._mi, mesh, _shaded(mesh, light))
        return self._mi.load_dict({"type": "scene", "object": shape, "sky": {"type": "constant"}})

    def picture(
        self, scene: Any, world_from_camera: Float[np.ndarray, "4 4"], seed: int, gain: float = 1.0
    ) -> UInt8[np.ndarray, "h w 3"]:
        """The picture, RGB on pure white; `gain` multiplies the brightness of the object.

        The sky is sampled by the surfaces alone, so faces that see all of it come without noise.
        """
        direct = {"type": "direct", "emitter_samples": 0, "bsdf_samples": 1, "hide_emitters": True}
        channels = self._render(scene, world_from_camera, (self._size, self._samples, seed), "color:albedo", direct)
        lit, alpha, flat = channels[..., :3], channels[..., 3:4], channels[..., 4:7]
        color = gain * ((1 - _AMBIENT) * lit + _AMBIENT * flat) + (1 - alpha)
        return np.round(255 * np.clip(color, 0, 1)).astype(np.uint8)

    def surface(self, scene: Any, world_from_camera: Float[np.ndarray, "4 4"], subsamples: int = SUBSAMPLES) -> Surface:
        """What subsamples^2 rays a pixel meet. The rays are the same for every scene, so differences are exact."""
        size = subsamples * self._size
        channels = self._render(scene, world_from_camera, (size, 1, 0), "color:albedo,point:position", None)
        return Surface(channels[..., :3], channels[..., 3:6])

    def _render(
        self, scene: Any, pose: np.ndarray, how: tuple[int, int, int], aovs: str, nested: dict[str, Any] | None
    ) -> Float[np.ndarray, "h w c"]:
        """The channels of the nested integrator, then those of `aovs`; `how` is (size, samples, seed)."""
        size, samples, seed = how
        integrator: dict[str, Any] = {"type": "aov", "aovs": aovs}
        if nested is not None:
            integrator["image"] = nested
        sensor = self._mi.load_dict(
            {
                "type": "perspective",
                "fov": math.degrees(CAMERA_ANGLE_X_RAD),
                "fov_axis": "x",
                "to_world": self._mi.ScalarTransform4f(pose @ MITSUBA_FROM_BLENDER),
                "film": {
                    "type": "hdrfilm",
                    "width": size,
                    "height": size,
                    "rfilter": {"type": "box"},
                    "pixel_format": "rgba",
                    "component_format": "float32",
                },
                "sampler": {"type": "multijitter" if samples > 1 else "independent", "sample_count": samples},
            }
        )
        image = self._mi.render(scene, sensor=sensor, integrator=self._mi.load_dict(integrator), spp=samples, seed=seed)
        return np.array(image, np.float32)


def brick_shape(mi: ModuleType, mesh: Mesh, colors: Float[np.ndarray, "_ 3"]) -> Any:
    """A mesh as a Mitsuba shape, matte, with one color for each face."""
    properties = mi.Properties()
    diffuse = {"type": "diffuse", "reflectance": {"type": "mesh_attribute", "name": "face_color"}}
    properties["material"] = mi.load_dict({"type": "twosided", "both": diffuse})
    shape = mi.Mesh("object", len(mesh.vertices), len(mesh.faces), props=properties)
    flat = colors.astype(np.float32).ravel()
    shape.add_attribute("face_color", 3, flat)
    parameters = mi.traverse(shape)
    parameters["vertex_positions"] = mesh.vertices.astype(np.float32).ravel()
    parameters["faces"] = mesh.faces.astype(np.uint32).ravel()
    parameters["face_color"] = flat
    parameters.update()
    return shape


def changed(a: Surface, b: Surface) -> Bool[np.ndarray, "h w"]:
    """The rays that meet something else: another point or another color."""
    moved = np.abs(a.points - b.points).max(-1) > _SAME_POINT
    return np.asarray(moved | (np.abs(a.colors - b.colors).max(-1) > _SAME_COLOR))


def _shaded(mesh: Mesh, light: Light) -> Float[np.ndarray, "_ 3"]:
    """Face colors, brightest toward the light and _KEY darker away from it: no shadows, no noise."""
    a, b, c = (mesh.vertices[mesh.faces[:, i]] for i in range(3))
    normals = np.cross(b - a, c - a)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True).clip(1e-12)
    azimuth, elevation = math.radians(light.azimuth_deg), math.radians(light.elevation_deg)
    toward = np.array(
        [math.cos(elevation) * math.cos(azimuth), math.cos(elevation) * math.sin(azimuth), math.sin(elevation)]
    )
    return mesh.colors * (1 - _KEY * (0.5 - 0.5 * normals @ toward))[:, None]


def load_mitsuba() -> ModuleType:
    """Mitsuba in the fastest variant that runs here: LLVM's needs libLLVM, the scalar one needs nothing."""
    try:
        import mitsuba
    except ImportError as error:
        raise UserError(f"rendering needs Mitsuba 3 ({error}); install it with: pip install mitsuba") from None
    if mitsuba.variant() is not None:
        return mitsuba
    for variant in _VARIANTS:
        try:
            mitsuba.set_variant(variant)
            mitsuba.load_dict({"type": "sphere"})  # libLLVM is looked for at the first use
        except (ImportError, RuntimeError, AttributeError):
            continue
        mitsuba.set_log_level(mitsuba.LogLevel.Error)
        return mitsuba
    raise UserError(f"Mitsuba {mitsuba.__version__} has none of the variants {', '.join(_VARIANTS)}; install it again")

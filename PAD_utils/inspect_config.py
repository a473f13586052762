"""How an inspector judges photographs, and the same read from plain JSON values."""

from dataclasses import dataclass, field
from typing import Any

from gaussian_splatting.background import Backdrop
from gaussian_splatting.world import USERS_WORLD, World
from PAD_utils.data.intrinsics import Lens
from PAD_utils.score.anomaly import ScoreConfig


@dataclass(frozen=True)
class InspectConfig:
    """How photographs are judged. `hypotheses`: first poses that are refined together, per photograph.
    `false_alarm_rate`: share of good parts that may be called defective, in (0, 1). `lens`: that of the
    photographs; None: that of the good views. `world`: the world that model and cameras stand in; its `outward` turns a
    `pose.camera.to_blender()` into a pose of the user's. `backdrop`: that of the good views; None: measured on them.
    `most_unexplained`: share of a photograph's contrast that its pose may leave unexplained, in [0, 1], or it is NOT
    LOCALISED; None: learned from the good views. `cut_out`: whether the good views are cut out of photographs, so that
    photographs are compared where the model is, and beside it where their surroundings are known; None: what the views
    say. `fitted_focal_px`: focal length in pixels of the pictures that the model was fitted to, `usual_distance`: of
    their cameras from the object, world units; None: those of the views."""

    score: ScoreConfig = field(default_factory=ScoreConfig.fast)
    hypotheses: int = 8
    false_alarm_rate: float = 0.01
    lens: Lens | None = None
    world: World = USERS_WORLD
    backdrop: Backdrop | None = None
    most_unexplained: float | None = None
    cut_out: bool | None = None
    fitted_focal_px: float | None = None
    usual_distance: float | None = None


def saved_config(saved: dict[str, Any]) -> InspectConfig:
    """The configuration from plain JSON values, which know no tuples."""
    lens, world, backdrop = saved["lens"], saved["world"], saved["backdrop"]
    parts = {
        "score": ScoreConfig(**saved["score"]),
        "lens": Lens(**{**lens, "distortion": tuple(lens["distortion"])}),
        "world": World(tuple(world["center"]), world["scale"]),
        "backdrop": Backdrop(**{**backdrop, "color": tuple(backdrop["color"])}),
    }
    return InspectConfig(**{**saved, **parts})

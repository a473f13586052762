"""The scene and its panel, shared by all browsers; what depends on where one looks is in comparison.py."""

import math
from typing import Any

import numpy as np
import viser
from jaxtyping import Float

from gaussian_splatting.camera import Camera
from PAD_utils.report.cards import usual_defect
from PAD_utils.report.charts import short
from PAD_utils.report.scene import heat_on_model
from PAD_utils.view.comparison import Comparison, Place
from PAD_utils.view.latest import Latest
from PAD_utils.view.look import COLORS, covariances, decided, glowing, in_words, placed
from PAD_utils.view.result import Result

_UNIT = 100.0  # of the splats: viser keeps covariances in half precision, which holds no square of 0.001
_SQUARE_MOST = 60_000.0  # what half precision still holds
_STEPS = 400  # of the threshold's slider
_HEAT = 0.8  # share at the start, where there is a defect
_HOT = 0.5  # heat that is worth showing at once
_VIEW_COLOR = (115, 122, 133)
_SIZE = 0.05  # of the cameras, of their distance


class Live:
    """A result on a viser server: splats, cameras, sliders, and a comparison for each browser that comes."""

    def __init__(self, result: Result, server: viser.ViserServer) -> None:
        self.result, self.server = result, server
        self.latest, self._heating = Latest(), Latest()  # the heat of many pictures takes seconds
        self.comparisons: dict[int, Comparison] = {}
        self._glaring = usual_defect(result.images, result.threshold)
        self._color = result.scene.seen().color
        self.heat_now = self._heat_at(result.threshold)
        self.places = _places(result)
        self.counts: Any = None
        server.gui.configure_theme(show_logo=False, show_share_button=False)
        self._add_panel()
        self._add_model()
        self._add_cameras()
        server.on_client_connect(self._greet)
        server.on_client_disconnect(self._forget)

    def _add_panel(self) -> None:
        gui, scores = self.server.gui, [image.score for image in self.result.images if image.score is not None]
        threshold = self.result.threshold
        most = float(f"{1.1 * max([*scores, threshold or 0.0, 1e-9]):.3g}")
        gui.add_markdown(f"**{self.result.title}**  \n{len(self.result.scene.gaussians):,} Gaussians")
        self.threshold = gui.add_slider(
            "Threshold",
            min=0.0,
            max=most,
            step=most / _STEPS,
            initial_value=most if threshold is None else threshold,
            hint="of scores; decisions and heat follow",
        )
        self.counts = gui.add_markdown(self._said(threshold))
        heat = _HEAT if bool((self.heat_now > _HOT).any()) else 0.0
        self.heat = gui.add_slider(
            "Heat", min=0.0, max=1.0, step=0.05, initial_value=heat, hint="of all pictures, on the model"
        )
        views = gui.add_checkbox("Training views", initial_value=True)
        self.threshold.on_update(lambda _: self._heating.ask("threshold", self._decide))
        self.heat.on_update(lambda _: self._heating.ask("heat", self._paint))

        @views.on_update
        def _(_: Any) -> None:
            for place, frustum in zip(self.places, self.frustums, strict=True):
                frustum.visible = place.image is not None or views.value

    def _add_model(self) -> None:
        scene, gaussians = self.result.scene, self.result.scene.gaussians
        self.server.scene.set_up_direction(np.array(scene.up()))
        squares = (covariances(gaussians) * _UNIT**2).clamp(-_SQUARE_MOST, _SQUARE_MOST)
        self.splats = self.server.scene.add_gaussian_splats(
            "/model",
            centers=(gaussians.means * _UNIT).cpu().numpy(),
            covariances=squares.cpu().numpy(),
            rgbs=self._painted(),
            opacities=gaussians.opacities[:, None].cpu().numpy(),
            scale=1 / _UNIT,
        )

    def _add_cameras(self) -> None:
        distance = math.dist(placed(self.places[0].camera)[1], self.result.scene.center())
        self.frustums = [self._frustum(number, place, _SIZE * distance) for number, place in enumerate(self.places)]
        first = self.places[self._first()].camera
        rotation, position = placed(first)
        view = self.server.initial_camera
        view.position = position
        view.look_at = position + distance * rotation[:, 2]
        view.fov = vertical_angle(first)

    def _frustum(self, number: int, place: Place, size: float) -> viser.CameraFrustumHandle:
        rotation, position = placed(place.camera)
        color = _VIEW_COLOR if place.image is None else COLORS[place.image.decision]
        frustum = self.server.scene.add_camera_frustum(
            f"/cameras/{number}",
            fov=vertical_angle(place.camera),
            aspect=place.camera.width / place.camera.height,
            scale=size if place.image is not None else 0.6 * size,
            thickness=size / 60,
            color=color,
            wxyz=viser.transforms.SO3.from_matrix(rotation).wxyz,
            position=position,
            cast_shadow=False,
            receive_shadow=False,
        )
        frustum.on_click(lambda event: self.comparisons[event.client.client_id].choose(number))
        return frustum

    def _first(self) -> int:
        """The first defect, or the first picture, or the first training view."""
        images = self.result.images
        return next((i for i, image in enumerate(images) if image.decision == "DEFECT"), 0)

    def _greet(self, client: viser.ClientHandle) -> None:
        self.comparisons[client.client_id] = Comparison(client, self.result, self.places, self._first(), self.latest)

    def _forget(self, client: viser.ClientHandle) -> None:
        self.comparisons.pop(client.client_id, None)

    def _decide(self) -> None:
        """Decisions, colors of cameras and heat at the slider's threshold."""
        threshold = float(self.threshold.value)
        for place, frustum in zip(self.places, self.frustums, strict=True):
            if place.image is not None:
                frustum.color = COLORS[decided(place.image, threshold)]
        self.counts.content = self._said(threshold)
        self.heat_now = self._heat_at(threshold)
        self._paint()

    def _paint(self) -> None:
        self.splats.rgbs = self._painted()

    def _painted(self) -> Float[np.ndarray, "n 3"]:
        return glowing(self._color, self.heat_now, float(self.heat.value)).cpu().numpy()

    def _heat_at(self, threshold: float | None) -> Any:
        return heat_on_model(self.result.scene, self.result.images, threshold, self._glaring)

    def _said(self, threshold: float | None) -> str:
        run = self.result.threshold
        of_run = "the run learned none" if run is None else f"that of the run is {short(run)}"
        return f"{in_words(self.result.images, threshold)}  \n({of_run})"


def vertical_angle(camera: Camera) -> float:
    """The vertical field of view in radians."""
    return 2 * math.atan(0.5 * camera.height / camera.fy)


def _places(result: Result) -> list[Place]:
    """The cameras of the pictures, then those of the training views."""
    taken = [
        Place(f"{image.defect}/{image.name}", camera, image.query, image)
        for image, camera in zip(result.images, result.scene.taken, strict=True)
        if camera is not None
    ]
    views = [Place(f"training view {v.name}", v.camera, v.photograph.numpy(), None) for v in result.gallery]
    return [*taken, *views]

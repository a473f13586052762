"""A photograph against a rendering, in one browser, from wherever it looks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import viser
from jaxtyping import UInt8

from gaussian_splatting.camera import Camera
from gaussian_splatting.geometry import rigid, rigid_inverse
from PAD_utils.report.cards import ReportImage
from PAD_utils.view.latest import Latest
from PAD_utils.view.look import apart, compared, placed
from PAD_utils.view.result import Result


@dataclass(frozen=True)
class Place:
    """A camera that a picture was taken by: its name, the photograph, and what was found of it (None: a training
    view)."""

    name: str
    camera: Camera
    photograph: UInt8[np.ndarray, "h w 3"]
    image: ReportImage | None


class Comparison:
    """The panel of one browser: which photograph, how much of it, over the model as our rasterizer draws it by the
    photograph's lens from where the browser looks."""

    def __init__(
        self, client: viser.ClientHandle, result: Result, places: Sequence[Place], first: int, latest: Latest
    ) -> None:
        self._client, self._result, self._places, self._latest = client, result, places, latest
        names = [place.name for place in places]
        self._numbers = {name: number for number, name in enumerate(names)}
        with client.gui.add_folder("Photograph against rendering"):
            self.picture: Any = client.gui.add_dropdown("Picture", options=names, initial_value=names[first])
            self._share = client.gui.add_slider(
                "Photograph", min=0.0, max=1.0, step=0.05, initial_value=0.5,
                hint="0: our rendering from where you look; 1: the photograph",
            )  # fmt: skip
            there = client.gui.add_button("Look from where it was taken")
            self.shown = client.gui.add_image(np.full((8, 8, 3), 255, np.uint8))
            self.said = client.gui.add_markdown("")
        self.picture.on_update(lambda _: self.fly())
        self._share.on_update(lambda _: self._ask())
        there.on_click(lambda _: self.fly())
        client.camera.on_update(lambda _: self._ask())
        self._ask()

    def choose(self, number: int) -> None:
        """Shows a picture, and looks from where it was taken."""
        if self.picture.value == self._places[number].name:
            self.fly()
        else:
            self.picture.value = self._places[number].name  # its callback flies

    def fly(self) -> None:
        """Looks from where the chosen picture was taken."""
        rotation, position = placed(self._place.camera)
        camera, center = self._client.camera, np.array(self._result.scene.center())
        with self._client.atomic():
            camera.position = position
            camera.wxyz = viser.transforms.SO3.from_matrix(rotation).wxyz
            camera.look_at = position + rotation[:, 2] * np.linalg.norm(center - position)
        self._ask()

    @property
    def _place(self) -> Place:
        return self._places[self._numbers[self.picture.value]]

    def _ask(self) -> None:
        self._latest.ask((self._client.client_id, "picture"), self._draw)

    def _draw(self) -> None:
        place = self._place
        here = place.camera.moved(_cam_from_world(self._client.camera))
        share = float(self._share.value)
        gaussians, backdrop = self._result.scene.gaussians, self._result.backdrop
        self.shown.image = compared(gaussians, here, place.photograph, share, backdrop)
        self.said.content = f"{place.name}: you look {apart(here, place.camera)}"


def _cam_from_world(camera: Any) -> torch.Tensor:
    """Of a browser's camera, whose axes are OpenCV's."""
    rotation = torch.from_numpy(viser.transforms.SO3(np.asarray(camera.wxyz)).as_matrix())
    return rigid_inverse(rigid(rotation.double(), torch.from_numpy(np.asarray(camera.position)).double()))

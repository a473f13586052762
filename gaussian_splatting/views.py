"""Posed pictures."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import UInt8
from torch import Tensor

from gaussian_splatting.background import Backdrop, Color, flattened
from gaussian_splatting.camera import Camera
from gaussian_splatting.images import area_resize
from gaussian_splatting.parallel import parallel


@dataclass(frozen=True)
class View:
    """A picture, on the CPU, with the camera that took it; a transparent background has become white. `uncut` is the
    photograph that a cut-out was made of and the cut-out's alpha, where the file still holds them."""

    name: str
    camera: Camera
    image: UInt8[Tensor, "h w 3"]
    uncut: UInt8[Tensor, "h w 4"] | None = None

    @property
    def photograph(self) -> UInt8[Tensor, "h w 3"]:
        """The picture with its surroundings, where they are known."""
        return self.image if self.uncut is None else self.uncut[..., :3]

    def resized(self, width: int, height: int) -> "View":
        """The view as a camera with so many pixels would show it."""
        if (width, height) == (self.camera.width, self.camera.height):
            return self
        image = torch.from_numpy(area_resize(self.image.numpy(), width, height))
        uncut = None if self.uncut is None else torch.from_numpy(area_resize(self.uncut.numpy(), width, height))
        return View(self.name, self.camera.resized(width, height), image, uncut)


def before_one_color(views: Sequence[View], backdrop: Backdrop) -> list[View]:
    """The views with the folds and the shine of their backdrop taken away (`flattened`)."""
    pictures = parallel(lambda view: flattened(view.image, backdrop.tolerance), views)
    return [replace(view, image=picture) for view, picture in zip(views, pictures, strict=True)]


def before(views: Sequence[View], color: Color) -> list[View]:
    """The cut-outs among the views before this color; other views as they are."""
    return parallel(lambda view: _before(view, color), views)


def _before(view: View, color: Color) -> View:
    if view.uncut is None:
        return view
    alpha = view.uncut[..., 3:].float() / 255
    picture = alpha * view.uncut[..., :3] + (1 - alpha) * 255 * torch.tensor(color)
    return replace(view, image=picture.round().to(torch.uint8))


def check_sizes(views: Sequence[View]) -> None:
    """Raises ValueError naming the first view whose picture is not the size of the first, or not that of its camera."""
    for view in views:
        size, first = tuple(view.image.shape[:2]), tuple(views[0].image.shape[:2])
        if size != first or size != (view.camera.height, view.camera.width):
            raise ValueError(
                f"{view.name}: the picture is {size[1]}x{size[0]} pixels, expected {first[1]}x{first[0]}; "
                "all pictures of one object must have one size"
            )

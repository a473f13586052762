"""Numbers on Gaussians drawn as colors are, and pictures of numbers lifted back onto Gaussians.

A pixel shows a sum over Gaussians of blending weight times number. Lifting is the adjoint: a Gaussian gets the sum over
pixels of blending weight times picture, which is the gradient of sum(drawn * picture) in its numbers.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from diff_gaussian_rasterization.checks import expect
from diff_gaussian_rasterization.ops import check_scene, rasterize
from diff_gaussian_rasterization.types import Scene

_CHANNELS = 3  # that are drawn at once, as red, green and blue


@torch.no_grad()
def rasterize_features(scene: Scene, features: Tensor) -> tuple[Tensor, Tensor]:
    """(pictures (B, C, H, W) over 0, alpha (B, H, W)) of numbers (B, N, C), which each view may have of its own. The
    scene's colors and background are not read; nothing is differentiable. Raises ValueError as `rasterize`."""
    check_scene(scene)
    views, count = scene.cam_from_world.shape[0], scene.means.shape[0]
    expect("features", features, (views, count, "C"), scene.means)
    if scene.means.is_cuda:
        from diff_gaussian_rasterization.cuda import features as cuda  # imported here: it needs NVIDIA's packages

        return cuda.rasterize(_black(scene), features)
    pictures, alphas = [], []
    for view, some in zip(_one_by_one(scene), features, strict=True):
        drawn = [rasterize(view._replace(colors=_as_colors(part))) for part in some.split(_CHANNELS, dim=1)]
        pictures.append(torch.cat([one.image[0] for one in drawn])[: some.shape[1]])
        alphas.append(drawn[0].alpha[0])
    return torch.stack(pictures), torch.stack(alphas)


@torch.no_grad()
def lift_features(scene: Scene, pictures: Tensor) -> Tensor:
    """Per view and Gaussian (B, N, C) the sums over pixels of blending weight times pictures (B, C, H, W). The scene's
    colors and background are not read; nothing is differentiable. Raises ValueError as `rasterize`."""
    check_scene(scene)
    expect("pictures", pictures, (scene.cam_from_world.shape[0], "C", scene.height, scene.width), scene.means)
    if scene.means.is_cuda:
        from diff_gaussian_rasterization.cuda import features as cuda

        return cuda.lift(_black(scene), pictures)
    lifted = []
    for view, picture in zip(_one_by_one(scene), pictures, strict=True):
        parts = [_gradient(view, some) for some in picture.split(_CHANNELS)]
        lifted.append(torch.cat(parts, dim=1))
    return torch.stack(lifted)


def _gradient(view: Scene, picture: Tensor) -> Tensor:
    """Of sum(drawn * picture) in the numbers drawn, for at most three channels."""
    with torch.enable_grad():
        colors = torch.zeros_like(view.means, requires_grad=True)
        drawn = rasterize(view._replace(colors=colors)).image[0, : len(picture)]
        return torch.autograd.grad((drawn * picture).sum(), colors)[0][:, : len(picture)]


def _as_colors(features: Tensor) -> Tensor:
    return F.pad(features, (0, _CHANNELS - features.shape[1]))


def _black(scene: Scene) -> Scene:
    """The scene without what is not read."""
    still = (value.detach().contiguous() if isinstance(value, Tensor) else value for value in scene)
    scene = Scene(*still)
    return scene._replace(colors=torch.zeros_like(scene.means), background=torch.zeros_like(scene.background))


def _one_by_one(scene: Scene) -> list[Scene]:
    scene = _black(scene)
    own = ("cam_from_world", "intrinsics", "screen_offsets")
    each = {name: getattr(scene, name).split(1) for name in own if getattr(scene, name) is not None}
    return [scene._replace(**{name: parts[i] for name, parts in each.items()}) for i in range(len(scene.intrinsics))]

"""The kernels as operations in torch.ops.diff_gaussian_rasterization: `rasterize_forward`, `rasterize_backward` and
`photometric_loss`, with shapes for tracing and with autograd. `ops` checks the arguments and calls them.

Forward keeps a list of tensors, `state`, for backward; what it holds is the backend's own affair.
"""

from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from diff_gaussian_rasterization.cpu import rasterize as cpu
from diff_gaussian_rasterization.types import Gradients, PictureGradient, Scene, Wanted

_LIBRARY = torch.library.Library("diff_gaussian_rasterization", "DEF")
_SCENE = (
    "Tensor means, Tensor scales, Tensor quats, Tensor opacities, Tensor colors, Tensor cam_from_world, "
    "Tensor intrinsics, int width, int height, Tensor background, Tensor? screen_offsets, bool antialiased, "
    "bool inverse_depth, bool tiles_of_3dgs"
)
_SCENE_SIZE = len(Scene._fields)
_LIBRARY.define(f"rasterize_forward({_SCENE}) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor[])")
_LIBRARY.define(
    f"rasterize_backward({_SCENE}, Tensor[] state, Tensor? v_image, Tensor? v_alpha, Tensor? v_depth, "
    "bool cameras, bool background_too) -> "
    "(Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)"
)
_LIBRARY.define(
    "photometric_loss(Tensor image, Tensor target, float ssim_weight, bool with_gradient) -> (Tensor, Tensor)"
)

_KERNELS = torch.ops.diff_gaussian_rasterization
Outputs = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, list[Tensor]]


def _cuda() -> ModuleType:
    from diff_gaussian_rasterization.cuda import rasterize  # imported here: it needs NVIDIA's packages

    return rasterize


def _forward(backend: Callable[[], ModuleType], *scene: Any) -> Outputs:
    return tuple(backend().forward(Scene(*scene)))


def _backward(backend: Callable[[], ModuleType], *args: Any) -> tuple[Tensor, ...]:
    scene, (state, *v), wanted = args[:_SCENE_SIZE], args[_SCENE_SIZE:-2], args[-2:]
    return tuple(backend().backward(Scene(*scene), state, PictureGradient(*v), Wanted(*wanted)))


def _loss(backend: Callable[[], ModuleType], *args: Any) -> tuple[Tensor, Tensor]:
    return backend().photometric_loss(*args)


for _name, _function in (
    ("rasterize_forward", _forward),
    ("rasterize_backward", _backward),
    ("photometric_loss", _loss),
):
    _LIBRARY.impl(_name, partial(_function, lambda: cpu), "CPU")
    _LIBRARY.impl(_name, partial(_function, _cuda), "CUDA")


@torch.library.register_fake("diff_gaussian_rasterization::rasterize_forward", lib=_LIBRARY)
def _forward_fake(*args: Any) -> Outputs:
    scene = Scene(*args)
    views, count, like = scene.cam_from_world.shape[0], scene.means.shape[0], scene.means
    image = like.new_empty((views, 3, scene.height, scene.width))
    radii = (like.new_empty((views, count), dtype=torch.int32) for _ in range(2))
    # Their sizes follow from the data and from the backend, and nobody but the backend reads them.
    context = torch.library.get_ctx()
    state = [like.new_empty((context.new_dynamic_size(),), dtype=torch.uint8) for _ in range(3)]
    return image, torch.empty_like(image[:, 0]), torch.empty_like(image[:, 0]), *radii, state


@torch.library.register_fake("diff_gaussian_rasterization::rasterize_backward", lib=_LIBRARY)
def _backward_fake(*args: Any) -> tuple[Tensor, ...]:
    scene, (cameras, background) = Scene(*args[:_SCENE_SIZE]), args[-2:]
    views, count = scene.cam_from_world.shape[0], scene.means.shape[0]
    cloud = tuple(torch.empty_like(tensor) for tensor in scene.cloud)
    views_wanted = (scene.cam_from_world, scene.intrinsics) if cameras else (scene.means[:0], scene.means[:0])
    rest = (*views_wanted, scene.background if background else scene.means[:0])
    return (*cloud, *(torch.empty_like(tensor) for tensor in rest), scene.means.new_empty((views, count, 2)))


class _Rasterize(torch.autograd.Function):
    # torch.library.register_autograd would do the same with 0.4 ms of Python per iteration: a tenth of a small picture.
    @staticmethod
    def forward(ctx: Any, *args: Any) -> tuple[Tensor, ...]:
        with torch._C._AutoDispatchBelowAutograd():
            image, alpha, depth, radii, radii_of_3dgs, state = _KERNELS.rasterize_forward(*args)
        ctx.set_materialize_grads(False)  # an output that the loss does not read costs nothing
        ctx.mark_non_differentiable(radii, radii_of_3dgs, *state)
        ctx.numbers = {at: value for at, value in enumerate(args) if not isinstance(value, Tensor)}
        picture = (image, alpha, depth, radii) if image.is_cuda else ()  # the GPU's kernels read it again
        ctx.save_for_backward(*(value for value in args if isinstance(value, Tensor)), *picture, *state)
        return image, alpha, depth, radii, radii_of_3dgs, *state

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, v_image: Tensor | None, v_alpha: Tensor | None, v_depth: Tensor | None, *_: object
    ) -> tuple[Tensor | None, ...]:
        saved = iter(ctx.saved_tensors)
        scene = Scene(*(ctx.numbers[at] if at in ctx.numbers else next(saved) for at in range(_SCENE_SIZE)))
        needed = dict(zip(Scene._fields, ctx.needs_input_grad, strict=True))
        wanted = needed["cam_from_world"] or needed["intrinsics"], needed["background"]
        v = Gradients(*_KERNELS.rasterize_backward(*scene, list(saved), v_image, v_alpha, v_depth, *wanted))._asdict()
        return tuple(v.get(name) if needed[name] else None for name in needed)


@torch.library.impl(_LIBRARY, "rasterize_forward", "Autograd")
def _forward_autograd(*scene: Any) -> Outputs:
    image, alpha, depth, radii, radii_of_3dgs, *state = _Rasterize.apply(*scene)
    return image, alpha, depth, radii, radii_of_3dgs, state


@torch.library.register_fake("diff_gaussian_rasterization::photometric_loss", lib=_LIBRARY)
def _loss_fake(image: Tensor, target: Tensor, ssim_weight: float, with_gradient: bool) -> tuple[Tensor, Tensor]:
    return image.new_empty(()), torch.empty_like(image) if with_gradient or image.is_cuda else image.new_empty(0)


class _PhotometricLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, image: Tensor, target: Tensor, ssim_weight: float, with_gradient: bool
    ) -> tuple[Tensor, Tensor]:
        with torch._C._AutoDispatchBelowAutograd():
            loss, v_image = _KERNELS.photometric_loss(image, target, ssim_weight, with_gradient)
        ctx.mark_non_differentiable(v_image)
        ctx.save_for_backward(v_image)
        return loss, v_image

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, v_loss: Tensor, _: object) -> tuple[Tensor, None, None, None]:
        (v_image,) = ctx.saved_tensors
        return v_loss * v_image, None, None, None


@torch.library.impl(_LIBRARY, "photometric_loss", "Autograd")
def _loss_autograd(image: Tensor, target: Tensor, ssim_weight: float, with_gradient: bool) -> tuple[Tensor, Tensor]:
    return _PhotometricLoss.apply(image, target, ssim_weight, with_gradient)

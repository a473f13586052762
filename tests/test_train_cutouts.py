"""Training on cut-outs whose outlines disagree between views."""

from dataclasses import replace

import torch

from gaussian_splatting.rendering import render
from gaussian_splatting.training.schedule import TrainConfig
from gaussian_splatting.training.train import train
from gaussian_splatting.views import View, before
from tests.toy_scene import ball, cameras, views

SIZE = 48


def cut_outs() -> list[View]:
    """The ball on a gray table, cut out by masks that lie up to 3 pixels off; the surroundings become white."""
    generator = torch.Generator().manual_seed(0)
    result = []
    for view in views(count=16, size=SIZE):
        alpha = render(ball(), [view.camera], (0.0, 0.0, 0.0)).alpha[0, ..., None]
        photograph = (view.image - (1 - alpha) * 155).round().clamp(0, 255)
        shift = torch.randint(-3, 4, (2,), generator=generator).tolist()
        cut = torch.roll((alpha > 0.5).float(), shift, (0, 1))
        result.append(replace(view, uncut=torch.cat((photograph, 255 * cut), 2).byte()))
    return before(result, (1.0, 1.0, 1.0))


def test_no_opaque_fringe_of_the_backdrop_is_learned_where_cut_outs_disagree() -> None:
    taken, config = cut_outs(), TrainConfig.fast(400)
    fringe = {}
    for name, gallery in (("two colors", taken), ("one", [replace(view, uncut=None) for view in taken])):
        model = train(gallery, config).gaussians
        fringe[name] = 0.0
        for camera in cameras(9, SIZE):
            beside = render(ball(), [camera]).alpha[0] < 0.02
            drawn = render(model, [camera], (0.0, 0.0, 0.0))
            fringe[name] += drawn.image[0].amin(0)[beside].mean().item()  # white above black
    assert fringe["two colors"] < 0.5 * fringe["one"], fringe


def test_a_cut_out_before_another_color_is_blended_by_its_alpha() -> None:
    view = cut_outs()[0]
    gray, black = (before([view], (c, c, c))[0].image.float() for c in (0.5, 0.0))
    alpha = view.uncut[..., 3:].float() / 255
    assert (gray - black - (1 - alpha) * 127.5).abs().max() <= 1
    plain = replace(view, uncut=None)
    assert before([plain], (0.0, 0.0, 0.0))[0] is plain


def test_a_resized_view_is_the_picture_cut_out_and_camera_of_that_size() -> None:
    view = cut_outs()[0]
    small = view.resized(view.camera.width // 2, view.camera.height // 2)
    assert view.resized(view.camera.width, view.camera.height) is view
    assert small.image.shape[:2] == small.uncut.shape[:2] == (small.camera.height, small.camera.width)
    assert small.camera.fx == view.camera.fx / 2 and torch.equal(
        small.camera.cam_from_world, view.camera.cam_from_world
    )
    mean = view.uncut.float().reshape(small.camera.height, 2, small.camera.width, 2, 4).mean((1, 3))
    assert (small.uncut.float() - mean).abs().max() <= 1

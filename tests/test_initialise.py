import numpy as np
import pytest
import torch

from gaussian_splatting.background import WHITE_BACKDROP, measured_backdrop, object_mask
from gaussian_splatting.gaussians import SH_C0
from gaussian_splatting.training.initialize import NoHull, random_cube, visual_hull
from gaussian_splatting.views import View
from tests.toy_scene import RADIUS, cameras


def solid_ball_views(count=20, size=64, color=(200, 40, 90), backdrop=(255, 255, 255)):
    """Exact silhouettes of a ball of radius 0.5, one color, in front of a plain backdrop."""
    views = []
    for i, camera in enumerate(cameras(count, size)):
        rows, columns = torch.meshgrid(torch.arange(size) + 0.5, torch.arange(size) + 0.5, indexing="ij")
        rays = torch.stack(
            ((columns - camera.cx) / camera.fx, (rows - camera.cy) / camera.fy, torch.ones(size, size)), -1
        )
        center = camera.cam_from_world[:3, 3].float()
        along = (rays @ center) / rays.norm(dim=-1)
        hit = (center @ center - along**2).clamp_min(0).sqrt() < RADIUS
        image = torch.where(
            hit[..., None], torch.tensor(color, dtype=torch.uint8), torch.tensor(backdrop, dtype=torch.uint8)
        )
        views.append(View(str(i), camera, image))
    return views


def hull(views, count, sh_degree=0, seed=0):
    backdrop = measured_backdrop([view.image for view in views])
    return visual_hull(views, count, sh_degree, torch.Generator().manual_seed(seed), 0.3, backdrop)


@pytest.mark.parametrize("backdrop", [(255, 255, 255), (0, 0, 0), (130, 128, 120), (20, 160, 60)])
def test_hull_is_the_surface_of_the_object(backdrop):
    model = hull(solid_ball_views(backdrop=backdrop), 800)
    assert len(model) == 800
    radius = model.means.norm(dim=1)
    assert radius.min() > 0.8 * RADIUS and radius.max() < 1.35 * RADIUS
    assert model.means.mean(0).abs().max() < 0.1 * RADIUS  # all around
    colors = 0.5 + SH_C0 * model.sh[:, 0]
    assert torch.allclose(colors.median(0).values, torch.tensor([200, 40, 90]) / 255, atol=0.02)
    assert torch.allclose(model.opacities, torch.tensor(0.3))


def test_one_bad_mask_does_not_cut_the_object():
    views = solid_ball_views(count=100, size=32)
    views[3] = View("3", views[3].camera, torch.full_like(views[3].image, 255))
    model = hull(views, 500)
    assert model.means.mean(0).abs().max() < 0.15 * RADIUS


def test_hull_is_deterministic():
    first, second = (hull(solid_ball_views(8), 200, sh_degree=1, seed=3) for _ in range(2))
    assert torch.equal(first.means, second.means)
    assert first.sh.shape == (200, 4, 3)


def test_hull_does_not_depend_on_the_number_of_threads():
    views, threads = solid_ball_views(), torch.get_num_threads()
    try:
        hulls = []
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            hulls.append(hull(views, 300).means)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(hulls[0], hulls[1]) and torch.equal(hulls[0], hulls[2])


def test_no_hull_says_why():
    views = solid_ball_views(6)
    noise = torch.Generator().manual_seed(0)
    cluttered = [
        View(v.name, v.camera, torch.randint(0, 256, v.image.shape, generator=noise, dtype=torch.uint8)) for v in views
    ]
    with pytest.raises(NoHull, match="of the pictures' border shows one plain backdrop"):
        hull(cluttered, 100)
    empty = [View(v.name, v.camera, torch.full_like(v.image, 255)) for v in views]
    with pytest.raises(NoHull, match="no picture shows anything but backdrop"):
        hull(empty, 100)


def test_white_inside_the_object_is_object():
    image = np.full((9, 9, 3), 255, np.uint8)
    image[2:7, 2:7] = 30
    image[4, 4] = 255
    mask = object_mask(image, WHITE_BACKDROP)
    assert mask.sum() == 25 and mask[4, 4]


def test_random_cube_is_the_papers():
    model = random_cube(2000, 0, torch.Generator().manual_seed(0))
    assert model.means.abs().max() <= 1.3 and model.means.abs().max() > 1.29
    assert model.sh.abs().max() <= 1 / 255

import pytest
import torch

from gaussian_splatting.gaussians import Gaussians
from PAD_utils.score.on_model import on_model
from tests.toy_scene import ball, cameras

VIEWS = cameras(3, 24)


def _one(mean: tuple[float, float, float]) -> Gaussians:
    """A single opaque Gaussian."""
    quats = torch.tensor([[1.0, 0, 0, 0]])
    return Gaussians(torch.tensor([mean]), torch.full((1, 3), -2.0), quats, torch.tensor([4.0]), torch.zeros(1, 1, 3))


def test_a_constant_map_is_that_constant_where_it_is_seen_and_0_elsewhere() -> None:
    model, seen = ball(60), VIEWS[0]
    found = on_model(model, [seen], [torch.full((24, 24), 3.0)])
    shown = found.pixels > 0
    assert 0 < int(shown.sum())
    torch.testing.assert_close(found.mean(0.0)[shown], torch.full_like(found.pixels[shown], 3.0))
    behind = _one((0.0, 0.0, 50.0))  # no camera sees it
    assert on_model(behind, VIEWS[:1], [torch.ones(24, 24)]).mean().tolist() == [0.0]


def test_views_count_by_how_much_they_show() -> None:
    near, far = cameras(1, 48, 3.0)[0], cameras(1, 24, 6.0)[0]
    found = on_model(_one((0.0, 0.0, 0.0)), [near, far], [torch.zeros(48, 48), torch.ones(24, 24)])
    alone = [float(on_model(_one((0.0, 0.0, 0.0)), [c], [torch.ones(c.height, c.width)]).pixels) for c in (near, far)]
    assert float(found.mean(0.0)) == pytest.approx(alone[1] / sum(alone), rel=1e-5) and float(found.mean()) < 0.2


def test_a_spot_is_found_again_on_the_gaussians_it_lies_on() -> None:
    model = ball(2000)  # tight: nothing shines through
    for camera in VIEWS:
        spot = torch.zeros(24, 24)
        spot[11:13, 11:13] = 1  # the middle: what is nearest to the camera
        hottest = model.means[on_model(model, [camera], [spot]).mean().argmax()]
        toward = torch.nn.functional.normalize(camera.center.float(), dim=0)
        assert float(hottest @ toward) > 0.45  # of a radius of 0.5


def test_wrong_maps_are_refused() -> None:
    with pytest.raises(ValueError, match="no map"):
        on_model(ball(5), [], [])
    with pytest.raises(ValueError, match="20x24"):
        on_model(ball(5), VIEWS[:1], [torch.zeros(24, 20)])

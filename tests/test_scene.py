"""The 3D view of a report: what is packed, and what a browser shows of it."""

import base64
import io
import math
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gaussian_splatting.camera import Camera
from gaussian_splatting.gaussians import SH_C0, Gaussians
from gaussian_splatting.geometry import rotation_matrices
from gaussian_splatting.rendering import render, render_features
from PAD_utils.report import scene as scene_module
from PAD_utils.report.cards import ReportImage
from PAD_utils.report.report import Whole, write_report
from PAD_utils.report.scene import Scene, heat_on_model, scene_data
from PAD_utils.report.splats import colors_seen, pack
from PAD_utils.score.regions import Region
from tests.browser import NEEDS_BROWSER, SOFTWARE_GL, use_page
from tests.toy_scene import ball, cameras

SIZE = 96
CAMERAS = cameras(9, SIZE)


def _model(count: int = 1500) -> Gaussians:
    """A ball whose Gaussians are long and turned, some of them nearly transparent."""
    g = torch.Generator().manual_seed(3)
    scales = math.log(0.02) + torch.randn(count, 3, generator=g) * 0.6
    quats, opacity = torch.randn(count, 4, generator=g), torch.randn(count, generator=g) * 2
    return replace(ball(count), log_scales=scales, quats=quats, opacity_logits=opacity)


def _images(count: int) -> list[ReportImage]:
    """Pictures of the ball; every third has a hot spot in its middle."""
    images = []
    for i, camera in enumerate(CAMERAS[:count]):
        drawn = render(_model(), [camera]).image[0].clamp(0, 1).permute(1, 2, 0)
        heat = np.full((SIZE, SIZE), 0.1, np.float32)
        decision = "OK" if i % 3 else "DEFECT"
        if not i % 3:
            heat[36:60, 36:60] = 1.0
        regions = [] if i % 3 else [Region(36, 36, 24, 24, 576, 1.0)]
        query = (255 * drawn).round().byte().numpy()
        pose = camera.to_blender().numpy()
        images.append(
            ReportImage("good", str(i), None, float(heat.max()), decision, query, query, heat, None, pose, regions)
        )
    return images


def _scene(model: Gaussians, count: int) -> Scene:
    return Scene(model, CAMERAS, list(CAMERAS[:count]))


def _planes(packed: dict) -> np.ndarray:
    return np.frombuffer(zlib.decompress(base64.b64decode(packed["data"])), np.uint8).reshape(17, -1)


def test_what_is_packed_can_be_unpacked() -> None:
    model = _model(500)
    g = torch.Generator().manual_seed(1)
    color, heat = torch.rand(500, 3, generator=g), torch.rand(500, generator=g)
    packed = pack(model, color, heat)
    planes = _planes(packed).astype(np.int64)
    steps = np.cumsum(planes[:3] + 256 * planes[3:6], axis=1) & 0xFFFF
    means = torch.tensor(packed["low"]) + torch.from_numpy(steps.T.astype(np.float32)) * packed["side"] / 65535
    nearest = torch.cdist(means, model.means).argmin(1)
    assert len(nearest.unique()) == 500 == packed["count"]
    g = model[nearest]
    assert float((means - g.means).abs().max()) <= packed["side"] / 65535 / 2 + 1e-6
    low, high = packed["logScales"]
    scales = low + (high - low) * torch.from_numpy((np.cumsum(planes[6:9], axis=1) & 255).T / 255)
    assert float((scales - g.log_scales).abs().max()) <= (high - low) / 255 / 2 + 1e-6
    largest = torch.from_numpy((planes[9] >> 7) | (planes[10] >> 7) << 1)
    others = (torch.from_numpy((planes[9:12] & 127).T) / 127 - 0.5) * math.sqrt(2)
    quats = torch.empty(500, 4, dtype=torch.float64)
    quats[torch.arange(4) != largest[:, None]] = others.flatten().double()
    quats[torch.arange(500), largest] = (1 - others.double().square().sum(1)).clamp_min(0).sqrt()
    turn = rotation_matrices(quats).mT @ rotation_matrices(g.quats.double())
    assert float(((turn.diagonal(dim1=1, dim2=2).sum(1) - 1) / 2).clamp(-1, 1).arccos().max()) < 0.04
    green, red, blue = np.cumsum(planes[12:15], axis=1) & 255
    rgb = np.stack([red + green, green, blue + green], 1) & 255
    assert np.abs(rgb - 255 * color[nearest].numpy()).max() <= 0.5 + 1e-3
    assert np.abs(planes[15] - 255 * g.opacities.numpy()).max() <= 0.5 + 1e-3
    assert np.abs(planes[16] - 255 * heat[nearest].numpy()).max() <= 0.5 + 1e-3


def test_one_gaussian_can_be_packed() -> None:
    assert pack(_model(1), torch.ones(1, 3), torch.zeros(1))["count"] == 1


def test_the_color_seen_is_the_mean_over_the_views_by_what_they_see() -> None:
    plain = _model(300)
    g = torch.Generator().manual_seed(2)
    model = replace(plain, sh=torch.cat((plain.sh, torch.randn(300, 8, 3, generator=g) * 0.1), dim=1))
    seen = colors_seen(model, CAMERAS)
    for i in (0, 140):
        alone = torch.zeros(1, 300, 1)
        alone[0, i] = 1
        weights, colors = [], []
        for camera in CAMERAS:
            weights.append(float(render_features(model, alone, [camera])[0].sum()))
            solid = replace(model[torch.tensor([i])], opacity_logits=torch.tensor([9.0]))
            drawn = render(solid, [camera], background=(0.0, 0.0, 0.0))
            x, y = divmod(int(drawn.alpha[0].argmax()), SIZE)
            colors.append((drawn.image[0] / drawn.alpha[0])[:, x, y])
        expected = (torch.stack(colors) * torch.tensor(weights)[:, None]).sum(0) / sum(weights)
        torch.testing.assert_close(seen.color[i], expected.clamp(0, 1), atol=2e-3, rtol=0)
        assert float(seen.pixels[i]) == pytest.approx(sum(weights), rel=1e-3)


def test_what_no_view_sees_keeps_its_own_color() -> None:
    behind = replace(_model(1), means=torch.tensor([[0.0, 0, 50]]))
    seen = colors_seen(behind, CAMERAS[:1])
    torch.testing.assert_close(seen.color, (0.5 + SH_C0 * behind.sh[:, 0]).clamp(0, 1))
    assert float(seen.pixels) == 0


def test_heat_lies_where_pictures_score_above_the_threshold() -> None:
    model, images = ball(2000), _images(3)  # tight: nothing shines through
    heat = heat_on_model(_scene(model, 3), images, 0.5, 1.0)
    toward = torch.nn.functional.normalize(CAMERAS[0].center.float(), dim=0)
    hot = model.means[heat > 0.5]
    assert len(hot) > 5 and float((hot @ toward).min()) > 0.2
    assert float(heat[(model.means @ toward) < 0].max()) < 0.1
    lost = [replace(image, decision="NOT LOCALISED") for image in images]
    assert float(heat_on_model(_scene(model, 3), lost, 0.5, 1.0).max()) == 0
    assert float(heat_on_model(_scene(model, 3), images, 1.5, 2.0).max()) == 0


def test_a_large_model_is_thinned_to_what_shows_most(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(scene_module, "MOST_GAUSSIANS", 400)
    hidden = replace(_model(300), means=_model(300).means * 0.2)  # inside of the ball
    both = Gaussians(
        *(torch.cat(pair) for pair in zip(*(m.as_dict().values() for m in (ball(400), hidden)), strict=True))
    )
    data = scene_data(_scene(both, 3), _images(3), 0.5, 1.0)
    assert data["splats"]["count"] == 400 and data["total"] == 700
    assert data["splats"]["side"] > 0.9  # the shell, not what lies in it
    write_report(tmp_path / "r.html", "t", {}, {}, _images(3), 0.5, whole=Whole(scene=_scene(both, 3)))
    assert "400 of 700 Gaussians are drawn" in (tmp_path / "r.html").read_text("utf-8")


def test_a_report_without_a_scene_has_none(tmp_path: Path) -> None:
    write_report(tmp_path / "r.html", "t", {}, {}, _images(2), 0.5)
    page = (tmp_path / "r.html").read_text("utf-8")
    assert 'id="space"' not in page and "decodeSplats" not in page


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """What a script saw that used the 3D view in Chromium."""
    folder = tmp_path_factory.mktemp("scene")
    write_report(folder / "report.html", "Ball", {}, {}, _images(5), 0.5, whole=Whole(scene=_scene(_model(), 5)))
    page = (folder / "report.html").read_text("utf-8")
    assert page.count("FEWEST = 20000") == 1  # of 1500 a rough picture is drawn first too
    (folder / "report.html").write_text(page.replace("FEWEST = 20000", "FEWEST = 500"), "utf-8")
    check = (Path(__file__).parent / "scene_browser_check.js").read_text("utf-8")
    return use_page(folder / "report.html", check, [(900, 800)], SOFTWARE_GL)[0]


def _decoded(uri: str) -> np.ndarray:
    """A picture of the canvas on white, in [0, 1]."""
    rgba = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGBA")) / 255
    return rgba[..., :3] * rgba[..., 3:] + 1 - rgba[..., 3:]


def _likeness(picture: str, model: Gaussians, camera: Camera) -> float:
    """PSNR of a picture of the page against our rendering."""
    expected = render(model, [camera]).image[0].clamp(0, 1).permute(1, 2, 0).numpy()
    return -10 * math.log10(float(np.square(_decoded(picture) - expected).mean()))


@NEEDS_BROWSER
def test_the_page_draws_what_our_rasterizer_draws(seen: dict) -> None:
    assert seen["errors"] == [] and "failed" not in seen and seen["said"] == ""
    for camera, picture in zip(CAMERAS, seen["pictures"], strict=False):
        assert _likeness(picture, _model(), camera) > 35


@NEEDS_BROWSER
def test_a_rough_picture_is_of_those_that_cover_most(seen: dict) -> None:
    model = _model()
    covering = model.opacities * model.scales.square().sum(1)
    most, least = covering.argsort(descending=True)[:500], covering.argsort()[:500]
    assert _likeness(seen["rough"], model[most], CAMERAS[0]) > 30  # a few are equally large in 8 bits
    assert _likeness(seen["rough"], model, CAMERAS[0]) > 5 + _likeness(seen["rough"], model[least], CAMERAS[0])


@NEEDS_BROWSER
def test_the_defect_glows_in_its_place(seen: dict) -> None:
    hot, plain = _decoded(seen["hot"][0]), _decoded(seen["pictures"][0])
    middle, corner = (slice(45, 51), slice(45, 51)), (slice(25, 29), slice(45, 51))
    assert hot[middle][..., 0].mean() > 0.7 and hot[middle][..., 2].mean() < 0.5 < plain[middle][..., 2].mean()
    spread = np.ptp(hot[corner].mean((0, 1)))
    assert spread < 0.1 < np.ptp(plain[corner].mean((0, 1)))  # gray


@NEEDS_BROWSER
def test_the_view_turns_zooms_and_stays_upright(seen: dict) -> None:
    assert seen["orbit"]["distance"] == pytest.approx(1, abs=1e-6) and seen["orbit"]["moved"] > 0.2
    assert seen["rigid"] == pytest.approx([1, 0, 0, 1], abs=1e-6)
    assert seen["pole"] > 0.04
    assert seen["pinch"] < 0.5 < seen["wheel"] / seen["pinch"] - 0.5
    assert seen["overflow"] <= 0 and seen["fetched"] == []


@NEEDS_BROWSER
def test_a_camera_opens_its_picture_and_a_picture_flies_to_its_camera(seen: dict) -> None:
    pressed = seen["pressed"]
    assert pressed["ahead"] > 0 and pressed["open"] and pressed["name"] == pressed["wanted"]
    assert seen["closed"] and seen["back"] and seen["left"]
    flown = seen["flown"]
    assert flown["off"] < 1e-6 and flown["said"] == pressed["wanted"] and flown["visible"] and flown["inside"]
    assert flown["ratio"] == pytest.approx(1, abs=0.01)
    assert not seen["note"]  # nothing was thinned

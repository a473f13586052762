"""The live view of a finished run: what it reads, what it draws, and a browser that uses it."""

import json
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import websockets
from playwright.sync_api import Page, sync_playwright
from websockets.sync.client import connect

from gaussian_splatting.rendering import render
from PAD_utils.evaluate.maps import read_table
from PAD_utils.run.config import RunConfig
from PAD_utils.score.calibration import DEFECT, NOT_LOCALISED
from PAD_utils.view.latest import Latest
from PAD_utils.view.live import Live
from PAD_utils.view.look import COLORS, apart, compared, decided, glowing, in_words
from PAD_utils.view.result import Result, read_result
from PAD_utils.view.serve import main, open_view
from tests.browser import BROWSER, NEEDS_BROWSER, SOFTWARE_GL
from tests.fake_class import NAME, write_fake_class
from train_and_render import main as run

QUICK = ["-c", NAME, "-gauss_iters", "60", "-k", "3", "--features", "gradient", "--retrieval", "nearest"]
CPU = torch.device("cpu")
PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def data_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A class, a run over its test pictures, and an inspection of some of them."""
    folder = tmp_path_factory.mktemp("view")
    write_fake_class(folder)
    shutil.copytree(folder / NAME / "test" / "Burrs", folder / "photos")
    for more in ([], ["--images", str(folder / "photos")]):
        assert run([*QUICK, "-data_path", str(folder), *more]) == 0
    return folder


@pytest.fixture(scope="module")
def folder(data_path: Path) -> Path:
    return data_path / "results_splatpose_0" / NAME


@pytest.fixture(scope="module")
def result(folder: Path) -> Result:
    return read_result(folder, None, CPU)


@pytest.fixture(scope="module")
def live(folder: Path) -> Iterator[Live]:
    live = open_view(folder, device="cpu")
    yield live
    live.server.stop()


def until(done: Callable[[], bool], page: Page | None = None) -> None:
    end = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < end, "waited in vain"
        if page is None:
            time.sleep(0.02)
        else:
            page.wait_for_timeout(20)


def test_a_configuration_reads_back() -> None:
    config = RunConfig(images=Path("photos"), resolution=2, device="cpu").resolved()
    assert RunConfig.from_json(json.loads(json.dumps(config.as_json()))) == config


def test_a_result_is_what_the_run_left(folder: Path, result: Result) -> None:
    rows, poses = read_table(folder / "images.csv"), json.loads((folder / "poses.json").read_text())
    assert [(i.defect, i.name, i.score, i.decision) for i in result.images] == [
        (row.defect, row.name, row.score, row.decision) for row in rows
    ]
    inspector = json.loads((folder / "inspector" / "inspector.json").read_text())
    assert result.threshold == inspector["calibration"]["threshold"]
    center, scale = inspector["config"]["world"]["center"], inspector["config"]["world"]["scale"]
    for row, camera in zip(rows, result.scene.taken, strict=True):
        assert camera is not None
        expected = (np.array(poses[row.key]["world_from_camera"])[:3, 3] - center) * scale
        np.testing.assert_allclose(camera.center, expected, atol=1e-6)
    fit = render(result.scene.gaussians, [result.scene.gallery[0]]).image[0].permute(1, 2, 0)
    assert float((fit - result.gallery[0].image / 255).abs().mean()) < 0.05  # model and cameras are of one world


def test_an_inspection_is_read_too(data_path: Path, folder: Path, tmp_path: Path) -> None:
    result = read_result(folder / "inspections" / "photos", None, CPU)
    assert [image.defect for image in result.images] == ["images"] * 3
    assert {image.label for image in result.images} == {None} and len(result.scene.gallery) == 18
    shutil.copytree(data_path / NAME, tmp_path / NAME)
    moved = shutil.copytree(folder, tmp_path / "moved")
    assert len(read_result(moved / "inspections" / "photos", tmp_path, CPU).images) == 3


def test_a_photograph_lies_over_our_rendering(result: Result) -> None:
    camera, photograph = result.scene.gallery[3], result.gallery[3].photograph.numpy()
    gaussians, backdrop = result.scene.gaussians, result.backdrop
    np.testing.assert_array_equal(compared(gaussians, camera, photograph, 1.0, backdrop), photograph)
    drawn = render(gaussians, [camera], backdrop).image[0].clamp(0, 1).permute(1, 2, 0).numpy()
    np.testing.assert_allclose(compared(gaussians, camera, photograph, 0.0, backdrop), 255 * drawn, atol=0.51)
    turned = camera.rolled(1)
    assert apart(turned, camera).startswith("90.0° and 0.00 units")


def test_another_threshold_decides_anew(result: Result) -> None:
    images = [replace(result.images[0], decision=NOT_LOCALISED), *result.images[1:]]
    lost = sum(image.decision == NOT_LOCALISED for image in images)
    assert {decided(image, -1.0) for image in images} == {DEFECT, NOT_LOCALISED}
    assert decided(images[0], None) == NOT_LOCALISED
    assert in_words(images, -1.0).startswith(f"{len(images) - lost} DEFECT, {lost} NOT LOCALISED, 0 of ")


def test_heat_covers_colors_by_its_share() -> None:
    color, heat = torch.rand(5, 3), torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0])
    assert torch.equal(glowing(color, heat, 0.0), color)
    hot = glowing(color, heat, 1.0)
    assert float(hot[0].max() - hot[0].min()) < 1e-6 and hot[4].tolist() == pytest.approx([1, 1, 0], abs=0.66)
    torch.testing.assert_close(glowing(color, heat, 0.5), (color + hot) / 2)


def test_of_each_kind_the_newest_work_is_done() -> None:
    latest, gate, done = Latest(), threading.Event(), []
    latest.ask("slow", lambda: (gate.wait(PATIENCE_S), done.append("slow")) and None)
    for number in range(5):
        latest.ask("slider", lambda number=number: done.append(number))
    latest.ask("wrong", lambda: 1 / 0 and None)
    latest.ask("last", lambda: done.append("last"))
    gate.set()
    until(lambda: "last" in done)
    assert done[-2:] == [4, "last"] and len(done) <= 4


def test_only_pages_of_this_machine_are_answered(live: Live) -> None:
    import viser

    place = f"ws://127.0.0.1:{live.server.get_port()}"
    protocols = [websockets.Subprotocol(f"viser-v{viser.__version__}")]
    with pytest.raises(websockets.InvalidStatus, match="403"):
        connect(place, origin=websockets.Origin("http://evil.example"), subprotocols=protocols)
    with connect(place, origin=websockets.Origin(place.replace("ws", "http")), subprotocols=protocols) as own:
        assert own.recv(timeout=PATIENCE_S)
    assert live.server.get_host() == "127.0.0.1"


@pytest.fixture(scope="module")
def page(live: Live) -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox", *SOFTWARE_GL])
        page = browser.new_page(viewport={"width": 700, "height": 500})
        page.set_default_timeout(1000 * PATIENCE_S)
        page.goto(f"http://127.0.0.1:{live.server.get_port()}")
        until(lambda: len(live.comparisons) == 1, page)
        yield page
        browser.close()


@NEEDS_BROWSER
def test_a_browser_moves_the_threshold_and_all_is_recolored(page: Page, live: Live) -> None:
    before, run_colors = live.splats.rgbs.copy(), [tuple(frustum.color) for frustum in live.frustums]
    assert COLORS[DEFECT] not in run_colors and set(run_colors[12:]) == {(115, 122, 133)}
    page.get_by_text("Threshold").wait_for()
    for box, number in zip(page.get_by_role("textbox").all(), ("5", "0.9"), strict=False):  # threshold, heat
        box.fill(number)
        box.press("Enter")
    until(lambda: live.threshold.value == 5 and live.heat.value == 0.9, page)
    plain = torch.tensor(before) / 255
    until(lambda: np.abs(glowing(plain, live.heat_now, 0.9).numpy() - live.splats.rgbs / 255).max() < 0.01, page)
    assert float(live.heat_now.max()) > 0.2
    expected = [COLORS[decided(image, 5.0)] for image in live.result.images]
    assert [tuple(frustum.color) for frustum in live.frustums[:12]] == expected and COLORS[DEFECT] in expected
    page.get_by_text(live.counts.content.split("  \n")[0]).wait_for()


@NEEDS_BROWSER
def test_a_camera_is_chosen_flown_to_and_compared(page: Page, live: Live) -> None:
    (comparison,) = live.comparisons.values()
    until(lambda: "you look" in comparison.said.content, page)
    comparison.choose(4)
    until(lambda: comparison.said.content.startswith(f"{live.places[4].name}: you look 0.0° and 0.00"), page)
    page.get_by_text(comparison.said.content).wait_for()
    camera = next(iter(live.server.get_clients().values())).camera
    np.testing.assert_allclose(camera.position, live.places[4].camera.center, atol=1e-4)


def test_what_is_wrong_is_said_in_one_line(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def said(*arguments: str) -> str:
        assert main([*arguments, "--device", "cpu"]) == 2
        lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1
        return lines[0]

    assert "is no result folder" in said(str(tmp_path))
    assert "elsewhere" in said(str(folder), "--data_path", str(tmp_path / "elsewhere"))
    other = shutil.copytree(folder, tmp_path / "other", ignore=shutil.ignore_patterns("inspections"))
    poses = json.loads((other / "poses.json").read_text())
    del poses["good/0.png"]
    (other / "poses.json").write_text(json.dumps(poses))
    assert "was changed since the run" in said(str(other))
    (other / "run.json").write_text('{"configuration": {"colour": 1}}')
    assert "another version" in said(str(other))
    monkeypatch.setitem(sys.modules, "viser", None)
    assert "pip install --group view" in said(str(folder))

"""The paper's coarse pose: kornia's LoFTR with weights made here, split so that each picture is looked at once."""

import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch

from gaussian_splatting.camera import Camera
from gaussian_splatting.views import View
from PAD_utils.errors import UserError
from PAD_utils.pose.loftr import CoarseMatcher, LoftrRetriever, load_loftr
from PAD_utils.pose.retrieval import Retriever
from PAD_utils.run.config import RunConfig
from PAD_utils.run.job import Job
from PAD_utils.run.ledger import Ledger
from PAD_utils.run.steps import Model, make_retriever
from tests.pose_scene import ANGLE_X, camera_at, lopsided

kornia_loftr = pytest.importorskip("kornia.feature.loftr.loftr", reason="--retrieval loftr needs kornia")

SIDE = 80


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights as PAD's file holds them; coarse features are loud enough for confident matches."""
    torch.manual_seed(0)
    state = kornia_loftr.LoFTR(pretrained=None).state_dict()
    state["backbone.layer3_outconv.weight"] *= 4
    path = tmp_path_factory.mktemp("weights") / "indoor_ds_new.ckpt"
    torch.save({"state_dict": {f"matcher.{name}": tensor for name, tensor in state.items()}}, path)
    return path


@pytest.fixture(scope="module")
def loftr(checkpoint: Path) -> Any:
    return load_loftr(checkpoint)


@pytest.fixture(scope="module")
def gallery() -> list[View]:
    generator = torch.Generator().manual_seed(0)
    cameras = [camera_at(direction, SIDE, SIDE) for direction in ((1.0, 0.2, 0.1), (0.0, 1.0, 0.3), (-1.0, 0.1, 0.5))]
    pictures = torch.randint(0, 256, (3, SIDE, SIDE, 3), generator=generator, dtype=torch.uint8)
    return [View(str(i), camera, picture) for i, (camera, picture) in enumerate(zip(cameras, pictures, strict=True))]


def counted_by_kornia(loftr: Any, first: torch.Tensor, second: torch.Tensor) -> list[int]:
    with torch.no_grad():
        return loftr({"image0": first, "image1": second})["batch_indexes"].bincount(minlength=len(first)).tolist()


def test_the_checkpoint_is_loaded_with_the_mended_encoding(checkpoint: Path, loftr: Any) -> None:
    stored = torch.load(checkpoint, weights_only=True)["state_dict"]
    for name, tensor in loftr.state_dict().items():
        assert torch.equal(tensor, stored[f"matcher.{name}"])
    assert loftr.pos_encoding.temp_bug_fix and not loftr.training
    assert not kornia_loftr.default_cfg["coarse"]["temp_bug_fix"]  # kornia's own default is left alone
    matcher = CoarseMatcher(loftr)
    assert (matcher.threshold, matcher.border, matcher.temperature) == (0.2, 2, 0.1)


@pytest.mark.parametrize("size", [(SIDE, SIDE), (64, 96)])
def test_the_split_network_counts_what_kornia_counts(loftr: Any, size: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(1)
    query = torch.rand(1, 1, SIDE, SIDE, generator=generator)
    gallery = torch.rand(3, 1, *size, generator=generator)
    h, w = min(SIDE, size[0]), min(SIDE, size[1])
    gallery[1, :, :h, :w] = query[0, :, :h, :w]
    gallery[2, :, 8:h, : w - 16] = query[0, :, : h - 8, 16:w]
    matcher = CoarseMatcher(loftr)
    counts = matcher.count_matches(matcher.cells(query), matcher.cells(gallery)).tolist()
    assert counts == counted_by_kornia(loftr, query.expand(3, -1, -1, -1), gallery)
    assert counts[1] > 10 > counts[0]


def test_views_come_by_their_matches_at_the_size_of_the_query(loftr: Any, gallery: list[View]) -> None:
    retriever = LoftrRetriever(gallery, CoarseMatcher(loftr), SIDE)
    assert isinstance(retriever, Retriever) and retriever.name == "loftr"
    # View 1 on the left, view 2 on the right: more of the one, then of the other.
    halves = [torch.cat((gallery[1].image[:, :cut], gallery[2].image[:, cut:]), dim=1) for cut in (28, 40)]
    queries = torch.stack(halves).repeat_interleave(2, 1).repeat_interleave(2, 2)
    found = retriever.hypotheses(queries, [Camera.from_blender(torch.eye(4), 0.8, 2 * SIDE, 2 * SIDE)] * 2, 2)
    for candidates, order in zip(found, ((2, 1), (1, 2)), strict=True):
        for camera, i in zip(candidates, order, strict=True):
            assert torch.equal(camera.cam_from_world, gallery[i].camera.cam_from_world)
            assert (camera.width, camera.height) == (2 * SIDE, 2 * SIDE)
            assert camera.camera_angle_x_rad == pytest.approx(0.8)


def test_a_picture_without_matches_keeps_the_order_of_the_gallery(loftr: Any, gallery: list[View]) -> None:
    retriever = LoftrRetriever(gallery, CoarseMatcher(loftr), SIDE)
    (candidates,) = retriever.hypotheses(
        torch.full((1, 64, 80, 3), 255, dtype=torch.uint8), [Camera.from_blender(torch.eye(4), ANGLE_X, 80, 64)], 5
    )
    for camera, view in zip(candidates, gallery, strict=True):
        assert torch.equal(camera.cam_from_world, view.camera.cam_from_world)
    assert (candidates[0].width, candidates[0].height) == (80, 64)


def test_what_is_no_loftr_checkpoint_is_said(checkpoint: Path, tmp_path: Path) -> None:
    broken = tmp_path / "weights.ckpt"
    with pytest.raises(UserError, match="--loftr_weights .*no such file"):
        load_loftr(broken)
    broken.write_bytes(checkpoint.read_bytes()[:10000])
    with pytest.raises(UserError, match="--loftr_weights .*cut short"):
        load_loftr(broken)
    torch.save({"state_dict": {"_conv_stem.weight": torch.zeros(3)}}, broken)
    with pytest.raises(UserError, match="not LoFTR's weights, it lacks backbone.* give PAD's indoor_ds_new.ckpt"):
        load_loftr(broken)
    state = torch.load(checkpoint, weights_only=True)
    state["state_dict"]["matcher.backbone.conv1.weight"] = torch.zeros(64, 1, 7, 7)
    torch.save(state, broken)
    with pytest.raises(UserError, match="another LoFTR's weights .*backbone.conv1.weight"):
        load_loftr(broken)


def test_without_kornia_the_mend_is_named(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kornia.feature.loftr.loftr", None)
    with pytest.raises(UserError, match="pip install kornia"):
        load_loftr(checkpoint)


def test_without_network_the_way_round_is_named(
    gallery: list[View], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_network(**_: object) -> str:
        raise OSError("Name or service not known")

    monkeypatch.setitem(sys.modules, "gdown", types.SimpleNamespace(download=no_network))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    config = RunConfig(retrieval="loftr", output=tmp_path)
    job = Job(config, torch.device("cpu"), tmp_path, Ledger(tmp_path), 0.0)
    model = Model(lopsided(), gallery, tmp_path / "point_cloud.ply", "", None, None)
    with pytest.raises(UserError, match="Name or service not known.*--loftr_weights"):
        make_retriever(job, model)

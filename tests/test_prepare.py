import json
import math
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import prepare_lego_ad
import prepare_subset_lego_ad
from PAD_utils.data.mad import load_class
from PAD_utils.data.prepare import alpha_of_white, prepare_class
from PAD_utils.data.prepare_subset import prepare_subset, split
from PAD_utils.errors import UserError
from tests.fake_class import NAME


def snapshot(root: Path) -> dict[str, tuple[bytes, int]]:
    return {str(p.relative_to(root)): (p.read_bytes(), p.stat().st_mtime_ns) for p in root.rglob("*") if p.is_file()}


def contents(root: Path) -> dict[str, bytes]:
    return {name: content for name, (content, _) in snapshot(root).items()}


@pytest.fixture
def prepared(fake_mad: Path, tmp_path: Path) -> Path:
    prepare_class(fake_mad, NAME, tmp_path / "out")
    return tmp_path / "out"


def test_the_source_stays_as_it_is(fake_mad: Path, tmp_path: Path) -> None:
    before = snapshot(fake_mad)
    prepare_class(fake_mad, NAME, tmp_path / "out")
    prepare_subset(fake_mad, NAME, tmp_path / "subsets", "pose", 0.8, 0)
    assert snapshot(fake_mad) == before


def test_the_prepared_class_reads_back_as_the_raw_one(fake_mad: Path, prepared: Path) -> None:
    raw, data = load_class(fake_mad, NAME), load_class(prepared, NAME)
    assert data.kind == "prepared"
    for got, want in zip(data.gallery, raw.gallery, strict=True):
        assert got.name == want.name and torch.equal(got.image, want.image)
        assert torch.equal(got.camera.cam_from_world, want.camera.cam_from_world)
    for sample, other in zip(data.test, raw.test, strict=True):
        assert sample.key == other.key and torch.equal(sample.image, other.image)
        assert (sample.mask is None) == (other.mask is None) and (sample.camera is None) == (other.camera is None)
        assert sample.mask is None or torch.equal(sample.mask, other.mask)


def test_the_prepared_class_stands_on_its_own(fake_mad: Path, prepared: Path) -> None:
    fake_mad.rename(fake_mad.with_name("gone"))
    assert not [p for p in prepared.rglob("*") if p.is_symlink()]
    assert len(load_class(prepared, NAME).test) == 12


def test_unknown_test_poses_are_not_made_up(fake_mad: Path, tmp_path: Path) -> None:
    (fake_mad / NAME / "transforms_test.json").unlink()
    root = prepare_class(fake_mad, NAME, tmp_path / "out")
    assert json.loads((root / "transforms_test.json").read_text())["frames"] == []
    assert all(s.camera is None for s in load_class(tmp_path / "out", NAME).test)


def test_preparing_again_writes_nothing_and_goes_on_after_a_cut(fake_mad: Path, prepared: Path) -> None:
    before = snapshot(prepared / NAME / "train")
    (prepared / NAME / "train" / "5.png").unlink()
    (prepared / NAME / "transforms_train.json").unlink()
    prepare_class(fake_mad, NAME, prepared)
    after = snapshot(prepared / NAME / "train")
    assert {k: v[0] for k, v in after.items()} == {k: v[0] for k, v in before.items()}
    assert {k: v[1] for k, v in after.items() if k != "5.png"} == {k: v[1] for k, v in before.items() if k != "5.png"}
    assert len(load_class(prepared, NAME).gallery) == 18


def test_a_changed_source_is_prepared_anew(fake_mad: Path, prepared: Path) -> None:
    source, target = fake_mad / NAME / "train" / "good" / "0.png", prepared / NAME / "train" / "0.png"
    cv2.imwrite(str(source), np.zeros((32, 32, 3), np.uint8))
    os.utime(source, ns=(target.stat().st_mtime_ns + 10**9,) * 2)
    prepare_class(fake_mad, NAME, prepared)
    assert not cv2.imread(str(target), cv2.IMREAD_UNCHANGED)[..., :3].any()


def test_what_cannot_be_prepared_is_said(fake_mad: Path, prepared: Path) -> None:
    with pytest.raises(UserError, match="already in Blender's format"):
        prepare_class(prepared, NAME, prepared.parent / "again")
    with pytest.raises(UserError, match="write into the source"):
        prepare_class(fake_mad, NAME, fake_mad)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_alpha_on_white_gives_back_any_picture(seed: int) -> None:
    rng = np.random.default_rng(seed)
    image = rng.choice(np.array([0, 200, 254, 255], np.uint8), (9, 7, 3), p=[0.1, 0.1, 0.1, 0.7])
    alpha = alpha_of_white(image)
    assert set(np.unique(alpha)) <= {0, 255}
    assert np.array_equal(np.where(alpha[..., None] == 0, np.uint8(255), image), image)


def test_white_on_the_object_stays_opaque() -> None:
    image = np.full((8, 8, 3), 255, np.uint8)
    image[2:6, 2:6] = (250, 255, 250)  # nearly white is no background
    image[3:5, 3:5] = 255  # enclosed
    expected = np.zeros((8, 8), np.uint8)
    expected[2:6, 2:6] = 255
    assert np.array_equal(alpha_of_white(image), expected)


def test_the_pose_subset_turns_views_into_posed_tests(fake_mad: Path, tmp_path: Path) -> None:
    root = prepare_subset(fake_mad, NAME, tmp_path, "pose", 0.8, 0)
    assert root == tmp_path / "0.8_0" / "pose" / NAME
    raw, data = {v.name: v for v in load_class(fake_mad, NAME).gallery}, load_class(root.parent, NAME)
    assert len(data.gallery) == 14 and len(data.test) == 4
    assert {v.name for v in data.gallery} | {s.name for s in data.test} == set(raw)
    for sample in data.test:
        assert sample.label == 0 and sample.camera is not None
        assert torch.equal(sample.image, raw[sample.name].image)
        assert torch.equal(sample.camera.cam_from_world, raw[sample.name].camera.cam_from_world)


@pytest.mark.parametrize("source", ["raw", "prepared"])
def test_the_sparse_subset_keeps_the_test_pictures(fake_mad: Path, prepared: Path, tmp_path: Path, source: str) -> None:
    data_path = fake_mad if source == "raw" else prepared
    root = prepare_subset(data_path, NAME, tmp_path / "sub", "sparse", 0.5, 3)
    data = load_class(root.parent, NAME)
    assert len(data.gallery) == 9 and len(data.test) == 12 and sum(s.mask is not None for s in data.test) == 9


def test_the_same_seed_gives_the_same_bytes_and_another_another_split(fake_mad: Path, tmp_path: Path) -> None:
    a = prepare_subset(fake_mad, NAME, tmp_path / "a", "pose", 0.5, 1)
    b = prepare_subset(fake_mad, NAME, tmp_path / "b", "pose", 0.5, 1)
    assert contents(a) == contents(b)
    assert split(18, 0.5, 1) != split(18, 0.5, 2)


@pytest.mark.parametrize("share", [0.0, 0.01, 1.0, 1.5, -1.0, math.nan])
def test_a_share_that_leaves_a_side_empty_is_said(share: float) -> None:
    with pytest.raises(UserError, match="--share"):
        split(18, share, 0)


def test_a_negative_seed_is_said() -> None:
    with pytest.raises(UserError, match="--seed must not be negative"):
        split(18, 0.5, -1)


def test_the_scripts(fake_mad: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data_path, out = ["--data_path", str(fake_mad)], str(tmp_path / "out")
    assert prepare_lego_ad.main([*data_path, "--out", out]) == 0
    assert (
        prepare_subset_lego_ad.main(["-data_path", out, "--out", out + "_sub", "-c", NAME, "-seed", "2", "-k", "0.5"])
        == 0
    )
    assert len(load_class(Path(out + "_sub") / "0.5_2" / "pose", NAME).gallery) == 9
    assert prepare_lego_ad.main([*data_path, "--out", out, "-c", "07Owl"]) == 2
    assert prepare_subset_lego_ad.main(["--data_path", str(tmp_path / "none")]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert "no class 07Owl" in errors[-2] and "holds no class" in errors[-1]


@pytest.mark.parametrize("script", [prepare_lego_ad, prepare_subset_lego_ad])
def test_help(script, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        script.main(["--help"])
    assert exit_.value.code == 0 and "--data_path" in capsys.readouterr().out


@pytest.mark.parametrize("prepare", [prepare_class, lambda *to: prepare_subset(*to, "sparse", 0.5, 0)])
def test_names_that_would_meet_are_refused_before_anything_is_written(fake_mad: Path, tmp_path: Path, prepare) -> None:
    transforms = fake_mad / NAME / "transforms.json"
    content = json.loads(transforms.read_text())
    (fake_mad / NAME / "train/good/cam1").mkdir()
    frame = content["frames"][1]
    picture = fake_mad / NAME / f"{frame['file_path'].removesuffix('.png')}.png"
    frame["file_path"] = "train/good/cam1/0.png"
    picture.rename(fake_mad / NAME / frame["file_path"])
    transforms.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"good/(cam1/)?0.png and .*good/(cam1/)?0.png would both become ./train/0"):
        prepare(fake_mad, NAME, tmp_path / "out")
    assert not (tmp_path / "out").exists()

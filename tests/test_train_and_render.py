"""The main job as a user runs it, on a tiny class in a temporary folder."""

import csv
import errno
import json
import runpy
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from PAD_utils.evaluate.__main__ import evaluate_folder
from PAD_utils.evaluate.maps import read_map
from PAD_utils.inspector import Inspector
from PAD_utils.run import steps
from PAD_utils.run.steps import newest_model
from tests.fake_class import NAME, QUICK
from train_and_render import main

ROOT = Path(__file__).parent.parent


AREAS = ("image_auroc", "pixel_auroc", "aupro")


def run(data_path: Path, *more: str) -> Path:
    """Runs the job and returns its folder."""
    assert main([*QUICK, "-data_path", str(data_path), "--refiner", "adam", *more]) == 0
    return data_path / "results_splatpose_0" / "00Fake"


def results(folder: Path) -> dict[str, object]:
    """All that a run leaves behind and that must not depend on how often it was interrupted, by file: times aside."""
    content: dict[str, object] = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in (*folder.glob("point_cloud/*/*"), *folder.glob("anomaly_maps/*/*"), folder / "regions.json")
    }
    content["poses.json"] = (folder / "poses.json").read_bytes()
    metrics = json.loads((folder / "metrics.json").read_text())
    rows = list(csv.DictReader((folder / "images.csv").open()))
    for timed in (metrics, *rows):
        del timed["seconds"]
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
    return {**content, "metrics.json": metrics, "images.csv": rows, "names": names}


def test_files_of_the_contract(fake_mad: Path) -> None:
    folder = run(fake_mad)
    metrics = json.loads((folder / "metrics.json").read_text())
    poses = json.loads((folder / "poses.json").read_text())
    rows = list(csv.DictReader((folder / "images.csv").open()))
    assert {"image_auroc", "pixel_auroc", "aupro", "n_test", "n_gaussians", "train_psnr"} <= set(metrics)
    assert {"features", "retrieval", "refiner", "seconds"} <= set(metrics)
    per_picture = {"retrieve_per_image", "refine_per_image", "score_per_image"}
    assert set(metrics["seconds"]) == {"train", "surroundings", "cross_fitting", "calibration", "total"} | per_picture
    assert metrics["seconds"]["total"] > metrics["seconds"]["train"] + metrics["seconds"]["calibration"] > 0
    assert metrics["n_test"] == len(rows) == len(poses) == 12
    assert list(rows[0]) == ["defect", "name", "label", "score", "decision", "seconds"]
    for row in rows:
        assert f"{row['defect']}/{row['name']}.png" in poses
        assert read_map(folder / "anomaly_maps" / row["defect"] / f"{row['name']}.tiff").shape == (32, 32)
        assert row["label"] == str(int(row["defect"] != "good"))
        assert float(row["score"]) == read_map(folder / "anomaly_maps" / row["defect"] / f"{row['name']}.tiff").max()
    again = evaluate_folder(folder / "anomaly_maps", fake_mad / NAME / "ground_truth")
    assert {key: again[key] for key in AREAS} == {key: metrics[key] for key in AREAS}
    assert {"configuration", "seed", "versions", "device", "git_commit", "start", "end"} <= set(
        json.loads((folder / "run.json").read_text())
    )
    assert (folder / "point_cloud" / "iteration_60" / "point_cloud.ply").exists()
    assert (folder / "report.html").exists()


@pytest.mark.determinism
def test_killed_run_goes_on_to_the_same_result(fake_mad: Path) -> None:
    """kill -9 as soon as the run has trained, saved the model, localized, and begun to write maps; then to the end."""
    # Both in processes of their own: the number of threads, which other tests change, decides the last bits of sums.
    job = [sys.executable, "train_and_render.py", *QUICK, "--refiner", "adam", "-data_path", str(fake_mad), "--output"]
    undisturbed, killed = fake_mad / "undisturbed", fake_mad / "killed"
    subprocess.run([*job, str(undisturbed)], cwd=ROOT, check=True, capture_output=True)
    for awaited in ("checkpoint.pt", "state.json", "poses.partial.json", "anomaly_maps"):
        process = subprocess.Popen([*job, str(killed)], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and not (killed / awaited).exists():
            time.sleep(0.001)
        process.kill()
        assert process.wait() == -signal.SIGKILL
    assert not (killed / "metrics.json").exists()
    subprocess.run([*job, str(killed)], cwd=ROOT, check=True, capture_output=True)
    assert results(killed) == results(undisturbed)


def test_trained_model_is_used_without_training(fake_mad: Path) -> None:
    folder = run(fake_mad)
    before = (folder / "metrics.json").read_text()
    (folder / "poses.partial.json").unlink()
    assert run(fake_mad, "-train", "0") == folder
    assert json.loads((folder / "metrics.json").read_text())["image_auroc"] == json.loads(before)["image_auroc"]


def test_an_inspection_has_a_folder_of_its_own_and_makes_nothing_a_second_time(
    fake_mad: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = run(fake_mad)
    before = results(folder)
    good = fake_mad / "00Fake" / "test" / "good"
    monkeypatch.setattr(Inspector, "_learn", lambda *_: pytest.fail("learned a second time"))
    monkeypatch.setattr(steps, "make_retriever", lambda *_: pytest.fail("made a second time"))
    decisions = []
    for _ in range(2):
        run(fake_mad, "-train", "0", "--images", str(good))
        inspection = folder / "inspections" / "good"
        metrics = json.loads((inspection / "metrics.json").read_text())
        rows = list(csv.DictReader((inspection / "images.csv").open()))
        assert metrics["image_auroc"] is None and "--images" in metrics["undefined"]["image_auroc"]
        assert all(row["label"] == "" for row in rows)
        assert {path.name for path in (inspection / "anomaly_maps").glob("*")} == {"images"}
        decisions.append([(row["name"], row["score"], row["decision"]) for row in rows])
        assert (inspection / "report.html").exists()
    tested = [row for row in csv.DictReader((folder / "images.csv").open()) if row["defect"] == "good"]
    assert decisions[0] == decisions[1] == [(row["name"], row["score"], row["decision"]) for row in tested]
    shutil.copytree(good, fake_mad / "others" / "good")
    elsewhere = [*QUICK, "--refiner", "adam", "-data_path", str(fake_mad), "-p", "other", "--model", str(folder)]
    assert main([*elsewhere, "--images", str(fake_mad / "others" / "good")]) == 0
    assert (folder / "inspections" / "good_2" / "metrics.json").exists()
    assert main([*elsewhere, "--images", str(good), "--output", str(fake_mad / "chosen")]) == 0
    assert (fake_mad / "chosen" / "metrics.json").exists()
    shutil.rmtree(folder / "inspections")
    assert results(folder) == before


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["-c", "99Nothing"], "99Nothing"),
        (["-train", "0"], "-train 1"),
        (["--device", "cuda:77"], "cuda:77"),
        (["--device", "meta"], "meta"),
        (["--images", "no_such_folder"], "no_such_folder"),
        (["--model", "no_such_model"], "no_such_model"),
        (["--weights", "no_such_file.pth", "--features", "efficientnet-b4"], "no_such_file.pth"),
    ],
)
def test_errors_are_one_line_and_exit_2(
    fake_mad: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], named: str
) -> None:
    assert main([*QUICK, "-data_path", str(fake_mad), "--refiner", "adam", *arguments]) == 2
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(error) == 1 and named in error[0]


def test_an_inspection_needs_no_test_set_and_leaves_out_what_cannot_be_read(
    fake_mad: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = fake_mad / "photos"
    (fake_mad / NAME / "test" / "good").rename(photos)
    shutil.rmtree(fake_mad / NAME / "test")
    (photos / "1.png").write_bytes(b"half")
    command = [*QUICK, "-data_path", str(fake_mad), "--refiner", "adam", "--images", str(photos)]
    assert main([*command, "--false_alarm_rate", "0.9"]) == 0
    metrics = json.loads((fake_mad / "results_splatpose_0/00Fake/inspections/photos/metrics.json").read_text())
    assert metrics["n_test"] == 2 and any(f"{photos / '1.png'}: not a complete" in said for said in metrics["warnings"])
    for path in photos.iterdir():
        path.write_bytes(b"half")
    capsys.readouterr()
    assert main(command) == 2
    assert "0.png: not a complete picture" in capsys.readouterr().err.splitlines()[-1]


def test_two_pictures_of_one_name_are_said(fake_mad: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = fake_mad / NAME / "test" / "good"
    photos = Path(shutil.copytree(folder, fake_mad / "photos"))
    shutil.copy(folder / "1.png", photos / "1.jpg")
    assert main([*QUICK, "-data_path", str(fake_mad), "--images", str(photos)]) == 2
    assert "two pictures go by the name images/1," in capsys.readouterr().err.splitlines()[-1]
    shutil.copy(folder / "1.png", folder / "1.jpg")
    assert main([*QUICK, "-data_path", str(fake_mad)]) == 2
    assert "two pictures go by the name good/1," in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("angle", ["0", "-1", "3.2", "nan"])
def test_an_impossible_field_of_view_is_said(capsys: pytest.CaptureFixture[str], angle: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--camera_angle_x", angle])
    assert "--camera_angle_x must lie between 0 and pi" in capsys.readouterr().err


def test_a_full_disk_while_training_is_one_line(
    fake_mad: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("gaussian_splatting.training.train.save_checkpoint", full)
    assert main([*QUICK, "-data_path", str(fake_mad)]) == 2
    assert "the disk is full" in capsys.readouterr().err.splitlines()[-1]


def test_the_model_of_the_most_iterations_is_taken(tmp_path: Path) -> None:
    for name in ("iteration_90", "iteration_1000", "iteration_best"):
        (tmp_path / "point_cloud" / name).mkdir(parents=True)
        (tmp_path / "point_cloud" / name / "point_cloud.ply").touch()
    assert newest_model(tmp_path).parent.name == "iteration_1000"


@pytest.mark.parametrize("script", sorted(p.name for p in ROOT.glob("*.py") if p.name != "setup.py"))
def test_help_is_complete(script: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", [script, "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / script), run_name="__main__")
    assert ended.value.code == 0 and f"usage: {script}" in capsys.readouterr().out

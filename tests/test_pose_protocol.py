"""Published pose benchmarks: the start poses are theirs to the digit, the figures are counted as theirs."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from gaussian_splatting.camera import Camera
from gaussian_splatting.world import World
from PAD_utils.data.mad import Sample
from PAD_utils.evaluate.pose_metrics import pose_error
from PAD_utils.report.published import published
from PAD_utils.run.pose_protocol import PROTOCOLS, draw_starts
from tests.fake_class import NAME
from train_and_pose_est import main

# The second frame of NeRF-synthetic's chair/transforms_test.json that is a multiple of four, and what GSFeatLoc's
# program makes of it as its fifth frame, in OpenCV axes.
R_4 = [
    [-0.9685832262039185, 0.18230323493480682, -0.1691514402627945, -0.6818711757659912],
    [-0.2486899346113205, -0.7100241184234619, 0.6588013172149658, 2.655712842941284],
    [7.450580596923828e-09, 0.6801700592041016, 0.7330543994903564, 2.9550364017486572],
    [0.0, 0.0, 0.0, 1.0],
]
START_OF_R_4 = [
    [-0.9955006428259958, -0.08483287665730899, 0.04221372366113681, -0.9743569202926201],
    [-0.09009945601146449, 0.7095244610151495, -0.6988971563340136, 2.2656665739218553],
    [0.02933779145697083, -0.6995558946696758, -0.7139754241395252, 1.7506868162485947],
    [0.0, 0.0, 0.0, 1.0],
]


def sample(name: str, world: World) -> Sample:
    camera = Camera.from_blender(world.inward(torch.tensor(R_4, dtype=torch.float64)), 0.69, 8, 8)
    return Sample("good", name, torch.zeros(8, 8, 3, dtype=torch.uint8), None, camera, camera)


@pytest.mark.parametrize("world", [World(), World((0.5, -2.0, 1.0), 0.25)])
def test_start_poses_are_the_published_ones(world: World) -> None:
    starts = draw_starts("gsfeatloc", [sample("r_0", world), sample("r_4", world)], world)
    ours = world.outward(starts[1][0].to_blender()) @ torch.diag(torch.tensor([1.0, -1, -1, 1], dtype=torch.float64))
    torch.testing.assert_close(ours, torch.tensor(START_OF_R_4, dtype=torch.float64), rtol=0, atol=1e-5)


def test_starts_of_chen_are_within_their_ranges() -> None:
    world = World()
    true = torch.tensor(R_4, dtype=torch.float64)
    starts = draw_starts("chen", [sample(str(i), world) for i in range(40)], world)
    errors = [pose_error(start.to_blender(), true) for some in starts for start in some]
    assert len(errors) == 200
    assert all(10 <= e.rotation_deg <= 40 and e.translation <= 0.2 for e in errors)
    assert max(e.rotation_deg for e in errors) > 38 and max(e.translation for e in errors) > 0.19


@pytest.mark.parametrize("protocol", list(PROTOCOLS))
def test_protocol_from_training_to_table(fake_mad: Path, capsys: pytest.CaptureFixture[str], protocol: str) -> None:
    for defect in ("Burrs", "Missing", "Stains"):
        shutil.rmtree(fake_mad / NAME / "test" / defect)
        shutil.rmtree(fake_mad / NAME / "ground_truth" / defect)
    command = ["-c", NAME, "-data_path", str(fake_mad), "-gauss_iters", "200", "--hypotheses", "3"]
    assert main([*command, "--protocol", protocol]) == 0
    said = capsys.readouterr()
    assert "those of NeRF-synthetic 4" in said.err  # its cameras stand 2.8 units away
    result = json.loads((fake_mad / "results_splatpose_0" / NAME / f"pose_protocol_{protocol}.json").read_text())
    beside, alone, nothing = result["rows"]
    each = {"gsfeatloc": 1, "chen": 5}[protocol]
    assert (beside["n"], alone["n"], nothing["n"]) == (3 * each, 3 * each, 3)
    assert nothing["start"] == "none" and nothing["rotation_deg"]["median"] < 5
    for row in result["rows"]:
        good = [turn < 5 and shift < 0.05 for _, turn, shift in row["pictures"]]
        assert row["success"] == pytest.approx(sum(good) / len(good))
        assert row["seconds"]["mean"] > 0 and row["rotation_deg"]["median"] <= row["rotation_deg"]["max"]
    assert all(row["method"] in said.out for row in published()["protocols"][protocol]["rows"])


def test_a_protocol_takes_no_combinations(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--protocol", "chen", "--combinations", "bank+adam"])
    assert "--combinations" in capsys.readouterr().err

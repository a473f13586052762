"""The command line: every script takes flags in every spelling, lists what it uses, and answers a typo in one line."""

from pathlib import Path

import pytest

import prepare_lego_ad
import prepare_photos
import prepare_subset_lego_ad
import prepare_synthetic_ad
import train_and_pose_est
import train_and_render
from PAD_utils.run.config import RunConfig, config_from, make_parser
from PAD_utils.run.job import run_script

SCRIPTS = (train_and_render, train_and_pose_est, prepare_lego_ad, prepare_subset_lego_ad, prepare_synthetic_ad)


@pytest.fixture(params=SCRIPTS, ids=lambda script: script.__name__)
def script(request: pytest.FixtureRequest) -> object:
    return request.param


def _config(*argv: str) -> RunConfig:
    parser = make_parser("what it does")
    return config_from(parser, parser.parse_args(list(argv)))


@pytest.mark.parametrize("flag", ["--data_path", "--data-path", "-data_path", "-data-path"])
def test_a_flag_of_two_words_is_known_in_every_spelling(flag: str) -> None:
    assert _config(flag, "x").data_path == _config(f"{flag}=x").data_path == Path("x")
    assert (
        prepare_lego_ad.parse([flag, "x"]).data_path == prepare_subset_lego_ad.parse([flag, "x"]).data_path == Path("x")
    )


def test_the_flags_of_the_original_still_work() -> None:
    original = "-c 02Unicorn -k 9 -p mine -seed 4 -gauss_iters 70 -train 0 -v 1 -wandb 1 -data_path data"
    config = _config(*original.split())
    assert (config.classname, config.k, config.prefix, config.seed) == ("02Unicorn", 9, "mine", 4)
    assert (config.gauss_iters, config.train, config.verbose, config.wandb) == (70, 0, 1, 1)
    assert _config("-classname", "a", "-prefix", "b").folder == Path("MAD-Sim/results_b_0/a")


def test_a_value_may_look_like_a_flag_of_another_spelling() -> None:
    assert _config("-p=-data-path").prefix == "-data-path"


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--featurs", "gradient"], "unrecognized argument --featurs; did you mean --features?"),
        (["-gaus_iters=3"], "unrecognized argument -gaus_iters=3; did you mean --gauss_iters?"),
        (["--false-alarm-rat", "0.1"], "did you mean --false_alarm_rate?"),
        (["--nothing_like_it"], "unrecognized argument --nothing_like_it (--help"),
        (["--preset", "fst"], "argument --preset: invalid choice: 'fst'"),
        (["-train", "2"], "argument --train: invalid choice: 2"),
        (["-k", "0"], "--k must be at least 1"),
    ],
)
def test_a_wrong_command_line_is_one_line(capsys: pytest.CaptureFixture[str], argv: list[str], said: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        train_and_render.main(argv)
    captured = capsys.readouterr()
    assert said in captured.err and captured.err.startswith("error: ") and captured.err.count("\n") == 1
    assert captured.out == ""


def test_every_script_answers_a_typo_alike(script: object, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        script.main(["--sed", "1", "--out", "x"])  # type: ignore[attr-defined]
    err = capsys.readouterr().err
    assert "did you mean --seed?" in err or (script is prepare_lego_ad and "unrecognized argument --sed" in err)
    assert err.count("\n") == 1


def _help(script: object, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit, match="0"):
        script.main(["--help"])  # type: ignore[attr-defined]
    return " ".join(capsys.readouterr().out.split())


def test_help_lists_only_what_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ("--images", "--weights", "--false_alarm_rate", "--fail_on_defect")
    render, pose = _help(train_and_render, capsys), _help(train_and_pose_est, capsys)
    assert all(f"{flag} " in render and f"{flag} " not in pose for flag in flags)


def test_help_tells_what_the_preset_decides(capsys: pytest.CaptureFixture[str]) -> None:
    text = _help(train_and_render, capsys)
    assert "training iterations (preset: fast 3000 on a CPU and 4000 on a GPU, paper 30000)" in text
    assert "how a pose is refined (preset: fast gauss-newton, paper adam)" in text
    assert "spherical harmonics (preset: fast 2, paper 0)" in text
    assert "(default: 0.01)" in text and "default: None" not in text and "default: False" not in text


@pytest.mark.parametrize("flag", ["--output", "--model"])
@pytest.mark.parametrize("classes", [["a", "b"], ["all"]])
def test_one_result_folder_is_for_one_class(capsys: pytest.CaptureFixture[str], flag: str, classes: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        train_and_render.main(["-c", *classes, flag, "x"])
    assert f"{flag} is the folder of one class" in capsys.readouterr().err


def test_a_wrong_name_among_several_is_said_before_any_work(fake_mad: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(fake_mad.rglob("*"))
    assert train_and_render.main(["-c", "00Fake", "01Gorila", "-data_path", str(fake_mad)]) == 2
    assert "there is no class 01Gorila" in capsys.readouterr().err
    assert sorted(fake_mad.rglob("*")) == before


CLASS_SCRIPTS = (train_and_render, train_and_pose_est, prepare_lego_ad, prepare_subset_lego_ad)


@pytest.mark.parametrize("script", CLASS_SCRIPTS, ids=lambda script: script.__name__)
@pytest.mark.parametrize("name", ["{data}/00Fake", "../{here}/00Fake", "..", ".", "00Fake/"])
def test_a_class_given_as_a_path_is_refused_and_nothing_is_written(
    fake_mad: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], script, name
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(fake_mad.rglob("*"))
    name = name.format(data=fake_mad, here=fake_mad.name)
    assert script.main(["-c", name, "--data_path", str(fake_mad)]) == 2
    assert f"error: {name!r} is no name of a class; say -c " in capsys.readouterr().err.splitlines()[-1]
    assert sorted(fake_mad.rglob("*")) == before


def test_a_class_to_be_made_is_no_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    elsewhere = str(tmp_path / "elsewhere")
    assert prepare_photos.main([str(tmp_path), "-c", elsewhere, "--out", str(tmp_path / "out")]) == 2
    assert prepare_synthetic_ad.main(["--name", elsewhere, "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.count("is no name of a class; say -c elsewhere") == 2
    assert list(tmp_path.iterdir()) == []


def test_all_means_every_class(fake_mad: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []
    monkeypatch.setattr(train_and_render, "run_class", lambda config: ran.append(config.classname) or len(ran))
    config = RunConfig(data_path=fake_mad)
    assert train_and_render.run_classes(config, ["all"]) == 1 and ran == ["00Fake"]
    assert run_script(lambda: train_and_render.run_classes(config, ["00Fake", "00Fake"])) == 3


def test_an_inspection_can_fail_a_build(fake_mad: Path) -> None:
    quick = ["-c", "00Fake", "-gauss_iters", "60", "-k", "3", "--features", "gradient", "--retrieval", "nearest"]
    job = [*quick, "--refiner", "adam", "-data_path", str(fake_mad), "--false-alarm-rate", "0.9"]
    assert train_and_render.main(job) == 0
    assert train_and_render.main([*job, "--fail-on-defect"]) == 1  # the threshold is that low
    rows = (fake_mad / "results_splatpose_0" / "00Fake" / "images.csv").read_text()
    assert ",DEFECT," in rows

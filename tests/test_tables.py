"""What the tables say of given records, and how they are written; no run is made."""

import csv
import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pylatexenc.latexwalker import LatexEnvironmentNode, LatexWalker

import paper_tables
from PAD_utils.errors import UserError
from PAD_utils.evaluate.maps import write_map
from PAD_utils.files import write_json, write_text
from PAD_utils.run.config import RunConfig
from PAD_utils.tables import plan
from PAD_utils.tables.collect import Record, collect_maps
from PAD_utils.tables.schedule import Needs, share_of_machine
from PAD_utils.tables.summary import summary
from PAD_utils.tables.table import tables
from PAD_utils.tables.work import run_task
from PAD_utils.tables.write import write_tables
from tests.browser import BROWSER, FLAGS, NEEDS_BROWSER, PATIENCE_S
from tests.fake_class import NAME

SECONDS = {"train": 4.0, "retrieve_per_image": 0.01, "refine_per_image": 0.02, "score_per_image": None, "total": 9.0}


def record(name: str, seed: int, image: float | None, method: str = "ours, fast", share: float = 1.0) -> Record:
    figures = {"image_auroc": image, "pixel_auroc": 0.9, "aupro": 0.8, "n_test": 10, "n_not_localised": 1}
    return Record(method, share, name, seed, figures | {"features": "lite", "seconds": SECONDS})


def some_records() -> list[Record]:
    lost = Record("ours, fast", 1.0, "03<b>", 0, {}, "ended by SIGKILL & 50 % of_it", failed=True)
    few = [record("01Gorilla", seed, 0.6, share=0.2) for seed in (0, 1)]
    missing = Record("ours, fast", 1.0, "20Puppy", 0, {}, "is not there")
    return [record("01Gorilla", 0, 0.9), record("01Gorilla", 1, 0.8), record("02Unicorn", 0, 1.0), lost, missing, *few]


def test_means_and_deviations_are_over_what_they_say() -> None:
    whole, few = summary(some_records())
    gorilla = whole["classes"]["01Gorilla"]["image_auroc"]
    assert gorilla == pytest.approx({"mean": 0.85, "std": 0.1 / 2**0.5, "n": 2, "of": 2})
    assert whole["mean"]["image_auroc"]["mean"] == pytest.approx((0.85 + 1.0) / 2)  # of classes, not of runs
    assert (whole["mean"]["image_auroc"]["n"], whole["mean"]["image_auroc"]["of"]) == (2, 4)
    assert whole["mean"]["image_auroc"]["std"] is None  # seed 1 lacks a class
    assert few["mean"]["image_auroc"] == pytest.approx({"mean": 0.6, "std": 0.0, "n": 1, "of": 1})
    assert (whole["pictures"], whole["not_localised"]) == (30, 3)


def test_what_is_missing_is_shown_and_named(tmp_path: Path) -> None:
    write_tables(tmp_path, some_records())
    text = (tmp_path / "tables.md").read_text()
    rows = {line.split(" | ")[0].strip("| "): line.split(" | ") for line in text.splitlines() if line.startswith("| ")}
    first = {name: rows[name][1] for name in ("01Gorilla", "02Unicorn", "03<b>", "20Puppy")}
    assert first == {"01Gorilla": "80.0 ± 0.0", "02Unicorn": "80.0", "03<b>": "failed", "20Puppy": "missing"}  # AUPRO
    assert "| 01Gorilla | 85.0 ± 7.1 |" in text and "03<b>, seed 0, ours, fast: ended by SIGKILL" in text
    assert "91.7 ± 1.1" in text and "98.0" in text and "400x400" in text  # SplatPose's Gorilla, IGSPAD, a caution
    assert "20 % of the views" in text and "58.4" in text
    found = list(csv.DictReader((tmp_path / "tables.csv").open()))
    assert {row["mean"] for row in found if row["class"] == "03<b>"} == {""}
    assert json.loads((tmp_path / "tables.json").read_text())["problems"]


def test_latex_is_whole(tmp_path: Path) -> None:
    """A strict parser reads all of it, each row has the columns of its table; where LaTeX is installed it compiles."""
    write_tables(tmp_path, some_records())
    text = (tmp_path / "tables.tex").read_text("utf-8")
    nodes, _, length = LatexWalker(text, tolerant_parsing=False).get_latex_nodes()
    assert length == len(text)
    assert {node.environmentname for node in nodes if isinstance(node, LatexEnvironmentNode)} >= {"table", "itemize"}
    found = re.findall(r"\\begin\{tabular\}\{(l[^\n]*)\}\n(.*?)\\end\{tabular\}", text, re.DOTALL)
    assert len(found) == text.count("{table}") // 2 > 3
    for columns, body in found:
        rows = [row for row in body.replace("\\hline\n", "").splitlines() if row]
        assert {len(re.findall(r"(?<!\\)&", row)) + 1 for row in rows} == {len(re.sub(r"\{.*?\}", "", columns))}
        assert all(row.endswith(r" \\") for row in rows)
    if shutil.which("pdflatex"):
        write_text(tmp_path / "paper.tex", r"\documentclass{article}\begin{document}\input{tables}\end{document}")
        command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace")
        assert done.returncode == 0, done.stdout[-2000:]


@NEEDS_BROWSER
def test_page_opens_in_a_browser(tmp_path: Path) -> None:
    """Drawn without an error, and nothing is fetched: it lies alone in a folder."""
    write_tables(tmp_path, some_records())
    flags = [
        *FLAGS,
        "--disable-gpu",
        f"--user-data-dir={tmp_path / 'profile'}",
        "--enable-logging=stderr",
        "--dump-dom",
    ]
    command = [str(BROWSER), *flags, (tmp_path / "tables.html").as_uri()]
    with (tmp_path / "page").open("wb") as seen, (tmp_path / "said").open("wb") as said:  # helpers may outlive it
        assert subprocess.run(command, stdout=seen, stderr=said, timeout=PATIENCE_S).returncode == 0
    assert b"CONSOLE" not in (tmp_path / "said").read_bytes()
    page = (tmp_path / "page").read_text("utf-8")
    assert page.count('class="bar ') >= 6 + 2 and page.count('class="line ') == 6  # means, classes; sparse curves
    assert "85.0 ± 7.1" in page and "03&lt;b&gt;" in page and "Missing, and why" in page
    assert "src=" not in page and "http" not in page.replace("http-equiv", "").replace("http://www.w3.org", "")


def test_a_run_is_done_only_with_the_same_settings_and_data(
    fake_mad: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell, folder = plan.Cell("fast", 1.0, NAME, 0), tmp_path / "run"
    config = replace(RunConfig(data_path=fake_mad).resolved(), gauss_iters=7)

    def task(config: RunConfig = config) -> plan.Task:
        return plan.make_task(cell, config, tmp_path, folder, plan.class_content(fake_mad, NAME, None))

    write_json(folder / "metrics.json", {})
    monkeypatch.setattr("PAD_utils.tables.work._run", lambda *_: (None, 5))
    assert not task().is_done()
    assert run_task(task()) is None and task().is_done()
    assert task(replace(config, verbose=1)).is_done() and not task(replace(config, k=9)).is_done()
    write_json(folder / "metrics.json", {"another": "run"})
    assert not task().is_done()
    run_task(task())
    (fake_mad / NAME / "test" / "good" / "1.png").unlink()
    assert not task().is_done()


def test_command_line_means_the_configuration(tmp_path: Path) -> None:
    from train_and_render import config_from, make_parser

    config = replace(RunConfig(data_path=tmp_path).resolved(), classname="A", seed=3, hypotheses=2, output=tmp_path)
    parser = make_parser(None, several_classes=True)
    parsed = parser.parse_args(plan.arguments(config))
    parsed.classname = parsed.classname[0]
    assert config_from(parser, parsed) == config


def test_classes_of_mad_sim_are_all_expected_where_one_is_there(fake_mad: Path) -> None:
    assert plan.expected_classes(fake_mad, None) == [NAME]
    shutil.copytree(fake_mad / NAME, fake_mad / "04Turtle")
    assert plan.expected_classes(fake_mad, None)[:2] == ["01Gorilla", "02Unicorn"]
    assert len(plan.expected_classes(fake_mad, None)) == 21


@pytest.mark.parametrize(
    ("needs", "expected"),
    [(Needs(0.0, 4 * 10**9), (1, 10)), (Needs(0.25, 4 * 10**9), (4, 8)), (Needs(1.0, 20 * 10**9), (16, 2))],
)
def test_machine_is_shared(needs: Needs, expected: tuple[int, int]) -> None:
    node = {"Alive": True, "Resources": {"CPU": 32.0, "GPU": 2.0, "memory": 4e10}}
    nodes = [node, {"Alive": False, "Resources": {"CPU": 99.0, "memory": 1e12}}]
    assert share_of_machine(nodes, needs) == expected
    with pytest.raises(UserError, match="GB of free memory") as raised:
        share_of_machine(nodes, replace(needs, memory=10**12))
    assert ("--device cpu" in str(raised.value)) == (needs.gpus > 0)


def test_maps_of_another_program(fake_mad: Path, tmp_path: Path) -> None:
    for picture in sorted((fake_mad / NAME / "test").glob("*/*.png")):
        defective = picture.parent.name != "good"
        scores = np.full((32, 32), float(defective), np.float32)
        write_map(tmp_path / NAME / "test" / picture.parent.name / f"{picture.stem}.tiff", scores)
    found = collect_maps("Other", tmp_path, NAME, fake_mad)
    assert found.problem is None and found.figures["image_auroc"] == 1.0
    (titles, *_) = [table.header for table in tables(summary([found]), [])]
    assert titles[1] == "Other"
    assert "is no folder" in str(collect_maps("Other", tmp_path / "nowhere", NAME, fake_mad).problem)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--shares", "0"], "--shares"),
        (["--maps", "folder"], "NAME=FOLDER"),
        (["--presets", "quick"], "quick"),
    ],
)
def test_wrong_flags_are_named(capsys: pytest.CaptureFixture[str], arguments: list[str], named: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        paper_tables.main(arguments)
    assert named in capsys.readouterr().err


def test_tables_only_makes_no_run(fake_mad: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert paper_tables.main(["--data_path", str(fake_mad), "--tables_only", "--seeds", "0", "1"]) == 2
    output = fake_mad / "paper_tables"
    assert f"2 of 2 runs are missing (first: {NAME}: not run yet)" in capsys.readouterr().err
    assert (output / "tables.html").exists() and not (output / "jobs").exists()

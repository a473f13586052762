"""How far a long step is, where there is a terminal and where there is none."""

import logging

import pytest

from gaussian_splatting import progress as module
from gaussian_splatting.progress import progress


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> list[float]:
    """tqdm's clock, to be set by hand."""
    now = [0.0]
    monkeypatch.setattr("time.time", lambda: now[0])
    monkeypatch.setattr("tqdm.std.time", lambda: now[0])
    caplog.set_level(logging.INFO, "gaussian_splatting")
    return now


def test_without_a_terminal_there_is_a_line_a_minute(seconds: list[float], caplog: pytest.LogCaptureFixture) -> None:
    with progress(desc="train", total=300, initial=0) as bar:
        for second in range(1, 301):
            seconds[0] = float(second)
            bar.set_postfix({"loss": "0.5"}, refresh=False)
            bar.update(1)
    lines = [record.message for record in caplog.records]
    assert len(lines) == 5
    assert lines[0] == "train: 60 of 300 after 01:00, about 04:00 left, loss=0.5"


def test_a_short_step_says_nothing(
    seconds: list[float], caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    assert list(progress(range(40), desc="score")) == list(range(40))
    assert caplog.records == [] and capsys.readouterr().err == ""


def test_a_terminal_has_a_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "on_terminal", lambda: True)
    assert list(progress(range(3), desc="score")) == [0, 1, 2]
    assert "score: 100%" in capsys.readouterr().err and caplog.records == []


def test_tqdm_s_monitor_adds_no_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """It refreshes bars that have been silent for `maxinterval`, unless they count every step anyway."""
    monkeypatch.setattr(module, "EVERY_S", 0.01)
    with progress(desc="train", total=10) as bar:
        assert bar.miniters == 1 and not bar.dynamic_miniters

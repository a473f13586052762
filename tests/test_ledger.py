"""Which stages are done: only those that finished on the same input."""

from pathlib import Path

import pytest

from PAD_utils.run.ledger import Ledger


def test_a_finished_stage_is_found_again_on_the_same_input_only(tmp_path: Path) -> None:
    Ledger(tmp_path).record("train", "mark", {"psnr": 1.25})
    assert Ledger(tmp_path).find("train", "mark") == {"psnr": 1.25}
    assert Ledger(tmp_path).find("train", "another") is None
    assert Ledger(tmp_path).find("score", "mark") is None
    assert Ledger(tmp_path).last("train") == {"psnr": 1.25}


@pytest.mark.parametrize("damage", ["", "{", "[]", "null", '{"train": {}}', '{"train": {"fingerprint": "mark"}}'])
def test_a_damaged_ledger_knows_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str) -> None:
    (tmp_path / "state.json").write_text(damage)
    ledger = Ledger(tmp_path)
    assert ledger.find("train", "mark") is None and ledger.last("train") is None
    assert "state.json is damaged" in caplog.text
    ledger.record("train", "mark", {})
    assert Ledger(tmp_path).find("train", "mark") == {}

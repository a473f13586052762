"""What reaches the user when a script's work ends early."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from PAD_utils.errors import UserError
from PAD_utils.run.job import run_script


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (UserError("a.png is missing"), 2, "error: a.png is missing"),
        (
            torch.OutOfMemoryError("CUDA out of memory.\nmore"),
            2,
            "error: the GPU's memory is full (CUDA out of memory.);",
        ),
        (KeyboardInterrupt(), 130, "interrupted; the same command goes on"),
    ],
)
def test_an_end_that_is_no_bug_is_one_line(
    capsys: pytest.CaptureFixture[str], raised: BaseException, code: int, said: str
) -> None:
    def work() -> None:
        raise raised

    assert run_script(work) == code
    assert capsys.readouterr().err.splitlines()[-1].startswith(said)


def test_a_bug_keeps_its_traceback() -> None:
    def work() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_script(work)


LEAVING = """
import atexit, threading, time
from pathlib import Path
from PAD_utils.data import picture_cache
from PAD_utils.run.job import leave
def keep():
    time.sleep(0.5)
    Path("kept").touch()
threading.Thread(target=keep, name=picture_cache._WRITER).start()
atexit.register(lambda: Path("registered").touch())
print("a last word", end="")
leave(3)
"""


def test_a_process_that_leaves_has_done_what_was_to_be_done(tmp_path: Path) -> None:
    environment = {"PYTHONPATH": str(Path(__file__).parent.parent)}
    done = subprocess.run(
        [sys.executable, "-c", LEAVING], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (3, "a last word", "")
    assert (tmp_path / "kept").exists() and (tmp_path / "registered").exists()

"""What reaches the user when a script's work ends early."""

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

"""Where the C++ and CUDA sources lie that are compiled at run time."""

from pathlib import Path


def csrc_dir() -> Path:
    """The folder of `common/` and `cuda/`: inside the package when installed, beside it in an editable install."""
    package = Path(__file__).parent
    for folder in (package / "csrc", package.parent / "csrc"):
        if (folder / "common" / "constants.h").is_file():
            return folder
    raise FileNotFoundError(f"the kernel sources are missing: no csrc/common/constants.h in {package} or beside it")

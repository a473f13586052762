"""The house rules that a tool can hold: imports go one way, and files stay short."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# Each layer may import those to its right only: scripts -> PAD_utils -> gaussian_splatting -> kernels.
LAYERS = {
    "PAD_utils": {"PAD_utils", "gaussian_splatting", "diff_gaussian_rasterization", "simple_knn"},
    "gaussian_splatting": {"gaussian_splatting", "diff_gaussian_rasterization", "simple_knn"},
    "submodules/diff-gaussian-rasterization/diff_gaussian_rasterization": {"diff_gaussian_rasterization"},
    # On a GPU it borrows the other's compiler and launcher; without it, it falls back to plain torch.
    "submodules/simple-knn/simple_knn": {"simple_knn", "diff_gaussian_rasterization"},
}
OURS = {"PAD_utils", "gaussian_splatting", "diff_gaussian_rasterization", "simple_knn", "tests", "benchmarks"} | {
    path.stem for path in ROOT.glob("*.py")
}
LONGEST_FILE = 400


def imported_packages(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_go_one_way(layer: str) -> None:
    files = list((ROOT / layer).rglob("*.py"))
    assert files
    for path in files:
        upward = (imported_packages(path) & OURS) - LAYERS[layer]
        assert not upward, f"{path.relative_to(ROOT)} imports {sorted(upward)} from a layer above"


def test_files_are_short() -> None:
    folders = ("gaussian_splatting", "PAD_utils", "submodules", "tests", "benchmarks")
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*") if "build" not in path.parts]
    sources = [path for path in paths if path.suffix in {".py", ".h", ".cpp", ".cu", ".cuh"}]
    long = {
        str(path.relative_to(ROOT)): n for path in sources if (n := len(path.read_text().splitlines())) > LONGEST_FILE
    }
    assert not long, f"two rooms in one? {long}"

"""The dependencies are those of requirements.txt, the one place that names them; all else is in pyproject.toml."""

from pathlib import Path

from setuptools import setup

# Ours, from submodules/: PyPI takes no versions with a "+", so that nobody else's simple-knn is ever installed.
_KERNELS = ["diff-gaussian-rasterization==1.0.0+splatpose", "simple-knn==1.0.0+splatpose"]
_LINES = [line.partition(" #")[0].strip() for line in Path("requirements.txt").read_text("utf-8").splitlines()]

setup(install_requires=[*(line for line in _LINES if line and not line.startswith(("#", "./"))), *_KERNELS])

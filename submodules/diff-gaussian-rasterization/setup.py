"""Ships csrc as data for the GPU's run-time compiler."""

from setuptools import setup

NAME = "diff_gaussian_rasterization"
SOURCES = {f"{NAME}.csrc.{part}": f"csrc/{part}" for part in ("common", "cuda")}

setup(
    packages=[NAME, *SOURCES],
    package_dir=SOURCES,
    package_data={NAME: ["py.typed"], **{package: ["*.h", "*.cuh", "*.cu"] for package in SOURCES}},
)

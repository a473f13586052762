"""Builds the CPU kernel as a plain shared library (no torch, no Python ABI). Without a compiler the reference runs."""

import os
import platform

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

OPENMP = [] if platform.system() == "Darwin" else ["-fopenmp"]
KERNEL = Extension(
    "simple_knn._cpu",
    ["csrc/neighbors.cpp"],
    extra_compile_args=["-std=c++17", "-O3", "-fvisibility=hidden", *OPENMP],
    extra_link_args=OPENMP,
    optional=True,
)


class BuildLibrary(build_ext):
    """An extension as a library for ctypes: no Python ABI in its name."""

    def get_ext_filename(self, fullname: str) -> str:
        return os.path.join(*fullname.split(".")) + ".so"

    def get_export_symbols(self, ext: Extension) -> list[str]:
        return []


class PlatformWheel(bdist_wheel):
    """A wheel for one platform and any Python 3."""

    def get_tag(self) -> tuple[str, str, str]:
        return "py3", "none", super().get_tag()[2]


setup(
    packages=["simple_knn"],
    package_data={"simple_knn": ["py.typed"]},
    ext_modules=[KERNEL],
    cmdclass={"build_ext": BuildLibrary, "bdist_wheel": PlatformWheel},
)

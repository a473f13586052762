"""Builds the CPU kernel as a plain shared library (no torch, no Python ABI)."""

from setuptools import setup

setup(packages=["simple_knn"], package_data={"simple_knn": ["py.typed"]})

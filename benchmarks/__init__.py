"""Measurements; see README.md."""

import gaussian_splatting  # noqa: F401 (first of all: it tells OpenMP how to wait)

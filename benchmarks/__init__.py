"""Measurements; see README.md."""

import PAD_utils.run.start  # noqa: F401 (first of all: it tells OpenMP how to wait)

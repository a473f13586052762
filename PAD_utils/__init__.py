"""Pose-agnostic anomaly detection built on `gaussian_splatting`: data sets, localization, scoring, metrics, report."""

import gaussian_splatting  # noqa: F401 (first of all: it tells OpenMP how to wait)

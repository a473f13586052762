"""Pose-agnostic anomaly detection built on `gaussian_splatting`: data sets, localisation, scoring, metrics, report."""

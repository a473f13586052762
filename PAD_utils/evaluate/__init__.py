"""Metrics of anomaly maps and poses."""

"""Campaigns of faults: processes killed, disks full, hostile files, long runs. `python -m benchmarks.faults --help`."""

"""Imported before everything else by the scripts, never by the packages: settings that torch reads when it loads."""

import os

# Threads that wait should soon sleep: spinning ones take the other hardware thread of their core from the work that is
# left. At once is too soon, as many parallel regions are short: GNU's OpenMP spins for a tenth of a millisecond first.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ["OMP_WAIT_POLICY"] = "passive"
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")

"""Imported before everything else by the scripts, never by the packages: settings that torch reads when it loads."""

import os

# Threads that wait should sleep: spinning ones take the other hardware thread of their core from the work that is left,
# and training on two threads takes half as long again.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

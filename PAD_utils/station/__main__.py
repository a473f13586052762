"""`python -m PAD_utils.station`: serves inspections of trained classes."""

import PAD_utils.run.start  # noqa: F401 (first of all)  # isort: skip
import sys

from PAD_utils.station.serve import main

if __name__ == "__main__":
    sys.exit(main())

"""`python -m PAD_utils.view RESULT`: shows a finished run in 3D."""

import PAD_utils.run.start  # noqa: F401 (first of all)  # isort: skip
import sys

from PAD_utils.view.serve import main

if __name__ == "__main__":
    sys.exit(main())

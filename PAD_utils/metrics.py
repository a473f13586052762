"""`python -m PAD_utils.metrics`, the earlier name of `python -m PAD_utils.evaluate`."""

from PAD_utils.evaluate.__main__ import main

if __name__ == "__main__":
    raise SystemExit(main())

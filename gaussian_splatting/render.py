"""`python -m gaussian_splatting.render`. The function of this name, which the package exports, is in rendering.py."""

if __name__ != "__main__":  # imported, this module would take the function's place in the package
    raise ImportError(
        "run it: python -m gaussian_splatting.render; the function is gaussian_splatting.rendering.render"
    )

from gaussian_splatting.render_command import main

raise SystemExit(main())

"""A finished run in 3D, live: the model, its cameras, and photographs against renderings (viser)."""

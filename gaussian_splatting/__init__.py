"""3D Gaussian splatting as a small library: splats, cameras, training and pose. It knows nothing of anomalies."""

import os

# Threads that wait should sleep: spinning ones take the other hardware thread of their core from the work that is left,
# and training on two threads takes half as long again. OpenMP reads this when torch loads it, so it must come first.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

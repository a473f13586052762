"""3D Gaussian splatting as a small library: splats, cameras, training and pose. It knows nothing of anomalies."""

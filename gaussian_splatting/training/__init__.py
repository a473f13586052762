"""Training: pictures in, Gaussians out."""

"""Plain torch: what the kernels are checked against, and the fallback without a compiler."""

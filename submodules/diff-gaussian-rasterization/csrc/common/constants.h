// Every number that shapes a picture, with its reason. diff_gaussian_rasterization/constants.py holds the same numbers under
// the same names, and a test keeps the two equal: one `constexpr` per line.
#pragma once

namespace gs {

// A Gaussian whose center is nearer than this (world units along the camera's z) is not drawn, as in 3DGS.
constexpr double NEAR_PLANE = 0.2;
// Added to both variances of a projected Gaussian (px^2): no splat gets thinner than about a pixel, as in 3DGS.
constexpr double COVARIANCE_DILATION = 0.3;
// An antialiased splat keeps at least the root of this share of its opacity, as in 3DGS: the gradient stays finite.
constexpr double ANTIALIASING_MIN = 2.5e-5;
// The linearization of the perspective is clamped this far beyond the picture's border (share of half the picture's
// size): for a centered camera where 3DGS clamps it, 1.3 times the half field of view.
constexpr double FIELD_MARGIN = 0.3;
// A splat covers at most this much of a pixel, so that 1 - alpha can be divided by.
constexpr double ALPHA_MAX = 0.99;
// A splat that covers less than this is skipped: it is below one step of an 8-bit picture.
constexpr double ALPHA_MIN = 1.0 / 255.0;
// A pixel stops before the splat that would bring its transmittance below this.
constexpr double TRANSMITTANCE_MIN = 1e-4;
// Quaternions are divided by their length, but never by less than this.
constexpr double QUAT_LENGTH_MIN = 1e-12;
// Spherical harmonics give color minus this, so that zero coefficients are mid gray.
constexpr double SH_OFFSET = 0.5;

// SSIM (Wang et al. 2004, https://doi.org/10.1109/TIP.2003.819861) for pictures in [0, 1].
constexpr int SSIM_RADIUS = 5;
constexpr double SSIM_SIGMA = 1.5;
constexpr double SSIM_C1 = 0.0001;
constexpr double SSIM_C2 = 0.0009;

}  // namespace gs

// One splat over one pixel. (dx, dy) is the pixel's center minus the splat's mean. A pixel's picture is, front to back,
//   image = sum_i w_i color_i + T_end background,  alpha = 1 - T_end,  depth = sum_i w_i z_i,  w_i = T_i alpha_i,
// with T_0 = 1 and T_(i+1) = T_i (1 - alpha_i). A loop over splats reads
//   if (power < power_min) skip;  alpha = alpha_of(...);  if (T * (1 - alpha) < TRANSMITTANCE_MIN) stop;  blend.
//
// Backward, with g the gradient of the loss in the pixel's outputs: let e_i = g_image . color_i + g_depth z_i and
//   S_i = sum_(j > i) w_j e_j + T_end (g_image . background - g_alpha).
// Then dL/dalpha_i = T_i e_i - S_i / (1 - alpha_i): one running scalar, whatever the number of channels.
#pragma once

#include "constants.h"
#include "platform.h"

namespace gs {

template <typename T>
GS_FN T power_of(T a, T b, T c, T dx, T dy) {
    return T(-0.5) * (a * dx * dx + c * dy * dy) - b * dx * dy;
}

// The power at which a splat of this opacity fades to ALPHA_MIN.
template <typename T>
GS_FN T power_min_of(T opacity) {
    return -log(opacity / T(ALPHA_MIN));
}

// Opacity times the Gaussian, capped. `power` is at most 0 up to rounding.
template <typename T>
GS_FN T alpha_of(T opacity, T power) {
    return min_of(T(ALPHA_MAX), opacity * exp(min_of(power, T(0))));
}

// The gradient of the power and of the opacity from that of alpha; both vanish where alpha is capped.
template <typename T>
GS_FN T power_backward(T alpha, T v_alpha) {
    return alpha < T(ALPHA_MAX) ? alpha * v_alpha : T(0);
}

template <typename T>
GS_FN T opacity_backward(T opacity, T v_power) {
    return v_power / opacity;
}

}  // namespace gs

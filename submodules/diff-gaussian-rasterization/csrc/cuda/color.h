// Colors from 0 (given), 1, 4, 9 or 16 coefficients; the switches make the count a constant, so that the basis stays
// in registers.
#pragma once

#include "common/sh.h"
#include "device.h"

namespace gs {

GS_FN int color_floats(int coefficients) { return coefficients == 0 ? 3 : 3 * coefficients; }

GS_FN Vec3<float> color_of(int coefficients, Vec3<float> view, const float* color) {
    switch (coefficients) {
        case 0: return load3(color);
        case 1: return sh_color(1, view, color);
        case 4: return sh_color(4, view, color);
        case 9: return sh_color(9, view, color);
        default: return sh_color(16, view, color);
    }
}

}  // namespace gs

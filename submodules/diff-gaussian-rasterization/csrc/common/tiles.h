// Which part of a strip of the picture an ellipse covers. Exact: an interval is empty only if no point of the strip is
// inside, and every tile that meets the interval holds a point of the ellipse.
#pragma once

#include "projection.h"

namespace gs {

template <typename T>
struct Interval {
    T low, high;  // empty when high < low
};

// The ellipse {a dx^2 + 2 b dx dy + c dy^2 <= level} of a splat, cut into strips. Its right border is a concave function
// of y with the peak at y* = -(b / c) extent_x, so the largest x of a strip is the border at y* moved into the strip; the
// left border is the same mirrored. On the border dx = (-b dy +- sqrt(a level - det dy^2)) / a, a level = det extent_y^2.
template <typename T>
struct EllipseStrips {
    Vec2<T> mean;
    T extent_y, peak, slope, spread;  // dx = slope dy +- sqrt(spread (extent_y^2 - dy^2))

    GS_FN explicit EllipseStrips(const Projection<T>& p) {
        const T inverse_a = T(1) / p.a;
        mean = p.mean;
        extent_y = p.extent_y;
        peak = -(p.b / p.c) * p.extent_x;
        slope = -p.b * inverse_a;
        spread = max_of(p.a * p.c - p.b * p.b, T(0)) * inverse_a * inverse_a;
    }

    // The x-range (px) that the ellipse reaches within low_y <= y <= high_y.
    GS_FN Interval<T> interval(T low_y, T high_y) const {
        const T low = max_of(low_y - mean.y, -extent_y), high = min_of(high_y - mean.y, extent_y);
        if (!(low <= high)) return {T(1), T(0)};
        const T y_right = min_of(max_of(peak, low), high), y_left = min_of(max_of(-peak, low), high);
        return {mean.x + slope * y_left - half_width(y_left), mean.x + slope * y_right + half_width(y_right)};
    }

private:
    GS_FN T half_width(T dy) const { return sqrt(spread * max_of((extent_y - dy) * (extent_y + dy), T(0))); }
};

template <typename T>
GS_FN Interval<T> covered_interval(const Projection<T>& p, T low_y, T high_y) {
    return EllipseStrips<T>(p).interval(low_y, high_y);
}

}  // namespace gs

// Which part of a strip of the picture an ellipse covers. Exact: an interval is empty only if no point of the strip is
// inside, and every tile that meets the interval holds a point of the ellipse.
#pragma once

#include "projection.h"

namespace gs {

template <typename T>
struct Interval {
    T low, high;  // empty when high < low
};

// The x-range (px) that {a dx^2 + 2 b dx dy + c dy^2 <= level} reaches within low_y <= y <= high_y. The right border of
// an ellipse is a concave function of y with its peak at y* = -(b / c) extent_x, so the largest x of a strip is the
// border at y* moved into the strip; the left border is the same mirrored.
template <typename T>
GS_FN Interval<T> covered_interval(const Projection<T>& p, T low_y, T high_y) {
    const T low = max_of(low_y - p.mean.y, -p.extent_y), high = min_of(high_y - p.mean.y, p.extent_y);
    if (!(low <= high)) return {T(1), T(0)};
    const T peak = -(p.b / p.c) * p.extent_x;
    const T y_right = min_of(max_of(peak, low), high), y_left = min_of(max_of(-peak, low), high);
    // On the border dx = (-b dy +- sqrt(a level - det dy^2)) / a, and a level = det extent_y^2.
    const T inverse_a = T(1) / p.a, determinant = p.a * p.c - p.b * p.b;
    const T reach = p.extent_y * p.extent_y;
    const T root_right = sqrt(max_of(determinant * (reach - y_right * y_right), T(0)));
    const T root_left = sqrt(max_of(determinant * (reach - y_left * y_left), T(0)));
    return {p.mean.x + (-p.b * y_left - root_left) * inverse_a, p.mean.x + (-p.b * y_right + root_right) * inverse_a};
}

}  // namespace gs

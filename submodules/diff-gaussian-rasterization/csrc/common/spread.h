// The covariance of a Gaussian in the picture: from its shape and the rows of the projection, and back.
#pragma once

#include "constants.h"
#include "linalg.h"

namespace gs {

// A Gaussian's shape: its scales (> 0) and a quaternion, normalized here ...
template <typename T>
struct Ellipsoid {
    Vec3<T> scale;
    Vec4<T> quat;
};

// ... or its covariance in the world, as given. Its axes are those of the world, each of scale 1.
template <typename T>
struct GivenCovariance {
    Symmetric3<T> covariance;
};

template <typename T>
GS_FN Mat3<T> rotation_of_shape(const Ellipsoid<T>& shape) {
    T inverse_length;
    return rotation_of(normalized(shape.quat, T(QUAT_LENGTH_MIN), &inverse_length));
}

template <typename T>
GS_FN Mat3<T> rotation_of_shape(const GivenCovariance<T>&) {
    return {{{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}};
}

template <typename T>
GS_FN Vec3<T> scale_of(const Ellipsoid<T>& shape) {
    return shape.scale;
}

template <typename T>
GS_FN Vec3<T> scale_of(const GivenCovariance<T>&) {
    return {1, 1, 1};
}

// The covariance in the picture (px^2) before it is dilated, and the determinant of that.
template <typename T>
struct Spread {
    T xx, xy, yy, bare;

    GS_FN T dilated() const {
        const T d = T(COVARIANCE_DILATION);
        return bare + d * (xx + yy) + d * d;
    }
    // The share of its opacity that an antialiased splat keeps, as the dilation has widened it.
    GS_FN T kept() const { return sqrt(max_of(T(ANTIALIASING_MIN), bare / dilated())); }
};

template <typename T>
struct SpreadGradient {
    T xx, xy, yy;
};

// |x|^2 |y|^2 - (x.y)^2 = |x cross y|^2 keeps the determinant positive for needle-shaped splats in float.
template <typename T>
GS_FN Spread<T> spread_of(const Ellipsoid<T>&, Vec3<T> row_x, Vec3<T> row_y) {
    const Vec3<T> normal = cross(row_x, row_y);
    return {dot(row_x, row_x), dot(row_x, row_y), dot(row_y, row_y), dot(normal, normal)};
}

template <typename T>
GS_FN Spread<T> spread_of(const GivenCovariance<T>& shape, Vec3<T> row_x, Vec3<T> row_y) {
    const Vec3<T> x = shape.covariance * row_x, y = shape.covariance * row_y;
    const T xx = dot(row_x, x), xy = dot(row_x, y), yy = dot(row_y, y);
    return {xx, xy, yy, max_of(xx * yy - xy * xy, T(0))};
}

// The gradient of the two rows from that of the spread.
template <typename T>
GS_FN void rows_backward(const Ellipsoid<T>&, Vec3<T> row_x, Vec3<T> row_y, const SpreadGradient<T>& v,
                         Vec3<T>* v_row_x, Vec3<T>* v_row_y) {
    *v_row_x = T(2) * v.xx * row_x + v.xy * row_y;
    *v_row_y = T(2) * v.yy * row_y + v.xy * row_x;
}

template <typename T>
GS_FN void rows_backward(const GivenCovariance<T>& shape, Vec3<T> row_x, Vec3<T> row_y, const SpreadGradient<T>& v,
                         Vec3<T>* v_row_x, Vec3<T>* v_row_y) {
    const Vec3<T> x = shape.covariance * row_x, y = shape.covariance * row_y;
    *v_row_x = T(2) * v.xx * x + v.xy * y;
    *v_row_y = T(2) * v.yy * y + v.xy * x;
}

// The gradient of a covariance's six entries; one beside the diagonal stands for two.
template <typename T>
GS_FN Symmetric3<T> covariance_backward(Vec3<T> x, Vec3<T> y, const SpreadGradient<T>& v) {
    return {v.xx * x.x * x.x + v.xy * x.x * y.x + v.yy * y.x * y.x,
            T(2) * (v.xx * x.x * x.y + v.yy * y.x * y.y) + v.xy * (x.x * y.y + x.y * y.x),
            T(2) * (v.xx * x.x * x.z + v.yy * y.x * y.z) + v.xy * (x.x * y.z + x.z * y.x),
            v.xx * x.y * x.y + v.xy * x.y * y.y + v.yy * y.y * y.y,
            T(2) * (v.xx * x.y * x.z + v.yy * y.y * y.z) + v.xy * (x.y * y.z + x.z * y.y),
            v.xx * x.z * x.z + v.xy * x.z * y.z + v.yy * y.z * y.z};
}

// Adds the gradient of the spread that comes through `kept`.
template <typename T>
GS_FN void kept_backward(const Spread<T>& s, T v_kept, SpreadGradient<T>* v) {
    const T whole = s.dilated(), share = s.bare / whole, d = T(COVARIANCE_DILATION);
    if (!(share > T(ANTIALIASING_MIN))) return;
    const T g = v_kept / (T(2) * sqrt(share) * whole);  // of the determinant before; -share g of the one after
    v->xx += g * (s.yy - share * (s.yy + d));
    v->yy += g * (s.xx - share * (s.xx + d));
    v->xy -= g * T(2) * s.xy * (T(1) - share);
}

// The radius (px) that 3DGS gives a splat, and by which its users prune: three standard deviations along the longer
// axis, rounded up; 0 where the square of this radius meets none of the picture's tiles of 16x16 px.
template <typename T>
GS_FN int screen_radius(const Spread<T>& s, Vec2<T> mean, int width, int height) {
    const T d = T(COVARIANCE_DILATION), middle = T(0.5) * (s.xx + s.yy + T(2) * d);
    const T root = sqrt(max_of(T(0.1), middle * middle - s.dilated()));  // 0.1: its floor
    const T radius = ceil(T(3) * sqrt(middle + root));
    const T x = mean.x - T(0.5), y = mean.y - T(0.5);  // it counts pixels from their centers
    const T tiles_x = T((width + 15) / 16), tiles_y = T((height + 15) / 16);
    const bool met = x + radius >= T(1) && y + radius >= T(1) && x - radius < T(16) * tiles_x && y - radius < T(16) * tiles_y;
    return radius < T(1e9) && met ? int(radius) : 0;
}

// The pixels from `low` on and before `high`.
template <typename T>
struct Box {
    Vec2<T> low, high;
};

// Where 3DGS draws a splat at all: in the tiles of 16x16 px that the square of screen_radius meets. Radius 0: no limit.
template <typename T>
GS_FN Box<T> box_of_3dgs(Vec2<T> mean, T radius) {
    if (!(radius > 0)) return {{T(0), T(0)}, {T(1e9), T(1e9)}};
    const T x = mean.x - T(0.5), y = mean.y - T(0.5), tile = T(16);
    return {{tile * floor(max_of(x - radius, T(0)) / tile), tile * floor(max_of(y - radius, T(0)) / tile)},
            {tile * floor((x + radius + tile - T(1)) / tile), tile * floor((y + radius + tile - T(1)) / tile)}};
}

}  // namespace gs

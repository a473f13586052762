// The few small vectors and matrices that the projection needs. Matrices are row-major and act on column vectors.
#pragma once

#include "platform.h"

namespace gs {

template <typename T>
struct Vec2 {
    T x, y;
};

template <typename T>
struct Vec3 {
    T x, y, z;
};

template <typename T>
struct Vec4 {  // quaternions are stored w, x, y, z
    T w, x, y, z;
};

template <typename T>
struct Mat3 {
    Vec3<T> row[3];
};

template <typename T>
struct Symmetric3 {
    T xx, xy, xz, yy, yz, zz;
};

template <typename T>
GS_FN Vec3<T> operator+(Vec3<T> a, Vec3<T> b) {
    return {a.x + b.x, a.y + b.y, a.z + b.z};
}

template <typename T>
GS_FN Vec3<T> operator-(Vec3<T> a, Vec3<T> b) {
    return {a.x - b.x, a.y - b.y, a.z - b.z};
}

template <typename T>
GS_FN Vec3<T> operator*(T s, Vec3<T> v) {
    return {s * v.x, s * v.y, s * v.z};
}

// Componentwise product: multiplies the columns of a matrix row by the three scales.
template <typename T>
GS_FN Vec3<T> scaled(Vec3<T> a, Vec3<T> b) {
    return {a.x * b.x, a.y * b.y, a.z * b.z};
}

template <typename T>
GS_FN T dot(Vec3<T> a, Vec3<T> b) {
    return a.x * b.x + a.y * b.y + a.z * b.z;
}

template <typename T>
GS_FN Vec3<T> cross(Vec3<T> a, Vec3<T> b) {
    return {a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x};
}

template <typename T>
GS_FN Vec3<T> operator*(const Mat3<T>& m, Vec3<T> v) {
    return {dot(m.row[0], v), dot(m.row[1], v), dot(m.row[2], v)};
}

template <typename T>
GS_FN Vec3<T> operator*(const Symmetric3<T>& m, Vec3<T> v) {
    return {m.xx * v.x + m.xy * v.y + m.xz * v.z, m.xy * v.x + m.yy * v.y + m.yz * v.z,
            m.xz * v.x + m.yz * v.y + m.zz * v.z};
}

// transpose(m) * v
template <typename T>
GS_FN Vec3<T> transposed_times(const Mat3<T>& m, Vec3<T> v) {
    return v.x * m.row[0] + v.y * m.row[1] + v.z * m.row[2];
}

template <typename T>
GS_FN Mat3<T> operator*(const Mat3<T>& a, const Mat3<T>& b) {
    return {{transposed_times(b, a.row[0]), transposed_times(b, a.row[1]), transposed_times(b, a.row[2])}};
}

template <typename T>
GS_FN Mat3<T> transposed(const Mat3<T>& m) {
    return {{{m.row[0].x, m.row[1].x, m.row[2].x},
             {m.row[0].y, m.row[1].y, m.row[2].y},
             {m.row[0].z, m.row[1].z, m.row[2].z}}};
}

// m += column * transpose(row): the gradient of m in `m * row` when `column` is the gradient of the product.
template <typename T>
GS_FN void add_outer(Mat3<T>& m, Vec3<T> column, Vec3<T> row) {
    m.row[0] = m.row[0] + column.x * row;
    m.row[1] = m.row[1] + column.y * row;
    m.row[2] = m.row[2] + column.z * row;
}

template <typename T>
GS_FN void add(Mat3<T>& m, const Mat3<T>& other) {
    for (int i = 0; i < 3; ++i) m.row[i] = m.row[i] + other.row[i];
}

// q / |q|; `inverse_length` is kept for the backward pass.
template <typename T>
GS_FN Vec4<T> normalized(Vec4<T> q, T smallest_length, T* inverse_length) {
    const T length = sqrt(q.w * q.w + q.x * q.x + q.y * q.y + q.z * q.z);
    *inverse_length = T(1) / max_of(length, smallest_length);
    const T s = *inverse_length;
    return {s * q.w, s * q.x, s * q.y, s * q.z};
}

// The gradient of the raw quaternion from that of unit = normalized(raw).
template <typename T>
GS_FN Vec4<T> normalized_backward(Vec4<T> unit, T inverse_length, Vec4<T> v_unit) {
    const T along = unit.w * v_unit.w + unit.x * v_unit.x + unit.y * v_unit.y + unit.z * v_unit.z;
    const T s = inverse_length;
    return {s * (v_unit.w - along * unit.w), s * (v_unit.x - along * unit.x), s * (v_unit.y - along * unit.y),
            s * (v_unit.z - along * unit.z)};
}

// The rotation of a unit quaternion.
template <typename T>
GS_FN Mat3<T> rotation_of(Vec4<T> q) {
    const T w = q.w, x = q.x, y = q.y, z = q.z;
    return {{{1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)},
             {2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)},
             {2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)}}};
}

// The gradient of the unit quaternion from that of its rotation, entry by entry of rotation_of.
template <typename T>
GS_FN Vec4<T> rotation_backward(Vec4<T> q, const Mat3<T>& v) {
    const T w = q.w, x = q.x, y = q.y, z = q.z;
    const Vec3<T> r0 = v.row[0], r1 = v.row[1], r2 = v.row[2];
    return {2 * (x * (r2.y - r1.z) + y * (r0.z - r2.x) + z * (r1.x - r0.y)),
            2 * (w * (r2.y - r1.z) + y * (r0.y + r1.x) + z * (r0.z + r2.x) - 2 * x * (r1.y + r2.z)),
            2 * (w * (r0.z - r2.x) + x * (r0.y + r1.x) + z * (r1.z + r2.y) - 2 * y * (r0.x + r2.z)),
            2 * (w * (r1.x - r0.y) + x * (r0.z + r2.x) + y * (r1.z + r2.y) - 2 * z * (r0.x + r1.y))};
}

}  // namespace gs

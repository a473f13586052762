// View-dependent color: real spherical harmonics of degree 0 to 3 (1, 4, 9 or 16 coefficients per channel), in the
// order and with the signs of 3DGS (Condon-Shortley phase). Color = max(0, SH_OFFSET + sum_k basis_k(direction) sh_k).
#pragma once

#include "constants.h"
#include "projection.h"

namespace gs {

constexpr int SH_MAX = 16;
constexpr double SH_C0 = 0.28209479177387814;    // sqrt(1 / (4 pi))
constexpr double SH_C1 = 0.4886025119029199;     // sqrt(3 / (4 pi))
constexpr double SH_C2_0 = 1.0925484305920792;   // sqrt(15 / (4 pi))
constexpr double SH_C2_1 = 0.31539156525252005;  // sqrt(5 / (16 pi))
constexpr double SH_C2_2 = 0.5462742152960396;   // sqrt(15 / (16 pi))
constexpr double SH_C3_0 = 0.5900435899266435;   // sqrt(35 / (32 pi))
constexpr double SH_C3_1 = 2.890611442640554;    // sqrt(105 / (4 pi))
constexpr double SH_C3_2 = 0.4570457994644658;   // sqrt(21 / (32 pi))
constexpr double SH_C3_3 = 0.3731763325901154;   // sqrt(7 / (16 pi))
constexpr double SH_C3_4 = 1.445305721320277;    // sqrt(105 / (16 pi))

// The vector from the camera to the Gaussian, not normalized: mean - camera center, with center = -R^T t.
template <typename T>
GS_FN Vec3<T> view_vector(const Camera<T>& camera, Vec3<T> mean) {
    return mean + transposed_times(camera.rotation, camera.translation);
}

// Adds the gradient of a view vector to those of the Gaussian's mean and of the camera.
template <typename T>
GS_FN void view_vector_backward(const Camera<T>& camera, Vec3<T> v_view, Vec3<T>* v_mean,
                                CameraGradient<T>* v_camera) {
    *v_mean = *v_mean + v_view;
    v_camera->translation = v_camera->translation + camera.rotation * v_view;
    add_outer(v_camera->rotation, camera.translation, v_view);
}

// The first `count` basis functions at the unit vector d.
template <typename T>
GS_FN void sh_basis(int count, Vec3<T> d, T* basis) {
    const T x = d.x, y = d.y, z = d.z;
    basis[0] = T(SH_C0);
    if (count <= 1) return;
    basis[1] = -T(SH_C1) * y;
    basis[2] = T(SH_C1) * z;
    basis[3] = -T(SH_C1) * x;
    if (count <= 4) return;
    const T xx = x * x, yy = y * y, zz = z * z;
    basis[4] = T(SH_C2_0) * x * y;
    basis[5] = -T(SH_C2_0) * y * z;
    basis[6] = T(SH_C2_1) * (2 * zz - xx - yy);
    basis[7] = -T(SH_C2_0) * x * z;
    basis[8] = T(SH_C2_2) * (xx - yy);
    if (count <= 9) return;
    basis[9] = -T(SH_C3_0) * y * (3 * xx - yy);
    basis[10] = T(SH_C3_1) * x * y * z;
    basis[11] = -T(SH_C3_2) * y * (4 * zz - xx - yy);
    basis[12] = T(SH_C3_3) * z * (2 * zz - 3 * xx - 3 * yy);
    basis[13] = -T(SH_C3_2) * x * (4 * zz - xx - yy);
    basis[14] = T(SH_C3_4) * z * (xx - yy);
    basis[15] = -T(SH_C3_0) * x * (xx - 3 * yy);
}

// The gradient of sum_k weight[k] * basis_k(d) in d, with d taken as a free vector.
template <typename T>
GS_FN Vec3<T> sh_basis_backward(int count, Vec3<T> d, const T* weight) {
    const T x = d.x, y = d.y, z = d.z;
    Vec3<T> v = {0, 0, 0};
    if (count <= 1) return v;
    v = T(SH_C1) * Vec3<T>{-weight[3], -weight[1], weight[2]};
    if (count <= 4) return v;
    const T w4 = T(SH_C2_0) * weight[4], w5 = -T(SH_C2_0) * weight[5], w6 = T(2 * SH_C2_1) * weight[6];
    const T w7 = -T(SH_C2_0) * weight[7], w8 = T(2 * SH_C2_2) * weight[8];
    v = v + Vec3<T>{w4 * y - w6 * x + w7 * z + w8 * x, w4 * x + w5 * z - w6 * y - w8 * y, w5 * y + 2 * w6 * z + w7 * x};
    if (count <= 9) return v;
    const T xx = x * x, yy = y * y, zz = z * z;
    const T w9 = -T(SH_C3_0) * weight[9], w10 = T(SH_C3_1) * weight[10], w11 = -T(SH_C3_2) * weight[11];
    const T w12 = T(SH_C3_3) * weight[12], w13 = -T(SH_C3_2) * weight[13], w14 = T(SH_C3_4) * weight[14];
    const T w15 = -T(SH_C3_0) * weight[15];
    v.x += w9 * 6 * x * y + w10 * y * z - w11 * 2 * x * y - w12 * 6 * x * z + w13 * (4 * zz - 3 * xx - yy) +
           w14 * 2 * x * z + w15 * 3 * (xx - yy);
    v.y += w9 * 3 * (xx - yy) + w10 * x * z + w11 * (4 * zz - xx - 3 * yy) - w12 * 6 * y * z - w13 * 2 * x * y -
           w14 * 2 * y * z - w15 * 6 * x * y;
    v.z += w10 * x * y + w11 * 8 * y * z + w12 * 3 * (2 * zz - xx - yy) + w13 * 8 * x * z + w14 * (xx - yy);
    return v;
}

// The color of coefficients sh[count][3] seen along `view` (any length). With one coefficient `view` is not read.
template <typename T>
GS_FN Vec3<T> sh_color(int count, Vec3<T> view, const T* sh) {
    T basis[SH_MAX];
    const Vec3<T> d = count > 1 ? (T(1) / sqrt(dot(view, view))) * view : view;
    sh_basis(count, d, basis);
    Vec3<T> sum = {T(SH_OFFSET), T(SH_OFFSET), T(SH_OFFSET)};
    for (int k = 0; k < count; ++k) sum = sum + basis[k] * Vec3<T>{sh[3 * k], sh[3 * k + 1], sh[3 * k + 2]};
    return {max_of(sum.x, T(0)), max_of(sum.y, T(0)), max_of(sum.z, T(0))};
}

// The backward pass of sh_color, `color` being its result: adds to v_sh[count][3] and returns the gradient of `view`.
template <typename T>
GS_FN Vec3<T> sh_color_backward(int count, Vec3<T> view, const T* sh, Vec3<T> color, Vec3<T> v_color, T* v_sh) {
    const Vec3<T> v = {color.x > 0 ? v_color.x : T(0), color.y > 0 ? v_color.y : T(0), color.z > 0 ? v_color.z : T(0)};
    T basis[SH_MAX], weight[SH_MAX];
    const T inverse_length = count > 1 ? T(1) / sqrt(dot(view, view)) : T(0);
    const Vec3<T> d = inverse_length * view;
    sh_basis(count, d, basis);
    for (int k = 0; k < count; ++k) {
        weight[k] = dot(v, Vec3<T>{sh[3 * k], sh[3 * k + 1], sh[3 * k + 2]});
        v_sh[3 * k] += basis[k] * v.x;
        v_sh[3 * k + 1] += basis[k] * v.y;
        v_sh[3 * k + 2] += basis[k] * v.z;
    }
    const Vec3<T> v_d = sh_basis_backward(count, d, weight);
    return inverse_length * (v_d - dot(v_d, d) * d);
}

}  // namespace gs

// How a picture changes when its camera moves: exact derivatives by a twist, carried along with the blending, and what a
// pixel then adds to the normal equations of a robust photometric fit (Gauss-Newton, the depth order held).
//
// A twist (rho, omega) moves the camera about the object's center c: R' = exp(omega) R, t' + R' c = t + R c + rho. A point
// at p in the camera moves by rho + omega x q, q = p - (R c + t), and the camera's axes turn by omega.
//
// Blending goes front to back with T' = T (1 - alpha), C' = C + T alpha color; its derivative needs no second pass:
//   dC' = dC + (dT alpha + T dalpha) color + T alpha dcolor,   dT' = dT (1 - alpha) - T dalpha.
// Color depends on the camera only through the viewing vector v = m - camera center, and dv is the same for every
// Gaussian, so a pixel sums T alpha dcolor/dv (3 x 3) and applies dv (3 x 6) once at the end.
//
// Pictures smaller than those that the model was fitted to need care: COVARIANCE_DILATION is in pixels, so it would swell
// the object. `detail` is the squared ratio of the sizes, at most 1. The splat keeps the dilation, which is then the
// low-pass filter of the smaller picture, and its opacity is lowered so that it covers as much as it did, dilated by
// detail * COVARIANCE_DILATION (cf. Mip-Splatting, Yu et al. 2024). With detail 1 nothing changes.
//
// A pixel predicts  gain * C + offset * (1 - T) + T * background,  held to [0, 1] as the query's pixels are. The weight of
// its residuals comes from e = sqrt(mean over channels of r^2), so that a stain is dropped in all its colors at once.
#pragma once

#include "blend.h"
#include "sh.h"

namespace gs {

constexpr int TWIST = 6;                 // rho (world units), omega (radians)
constexpr int POSE_PARAMETERS = 8;       // the twist, then gain and offset
constexpr int POSE_HESSIAN = 36;         // upper triangle of 8 x 8, row by row
constexpr int RESIDUAL_BINS = 128;       // histogram of e over the pixels that the model touches
constexpr double RESIDUAL_MAX = 0.5;     // e of the last bin and beyond
constexpr double HUBER_TUNING = 1.345;   // 95 % efficiency on Gaussian noise (Huber 1964)
constexpr double TUKEY_TUNING = 4.685;   // likewise (Beaton and Tukey 1974)

enum class Robust : int { L2 = 0, HUBER = 1, TUKEY = 2 };

// d ln alpha / d twist at (dx, dy) = pixel - mean2d is a quadratic, one for each entry of the twist; its constant is
// that of the compensation (0 with detail 1), which multiplies the opacity.
template <typename T>
struct PowerTangent {
    T constant[TWIST], x[TWIST], y[TWIST], xx[TWIST], xy[TWIST], yy[TWIST];
    T compensation;
};

template <typename T>
GS_FN T power_tangent_at(const PowerTangent<T>& p, int k, T dx, T dy, T dxx, T dxy, T dyy) {
    return p.constant[k] + p.x[k] * dx + p.y[k] * dy + p.xx[k] * dxx + p.xy[k] * dxy + p.yy[k] * dyy;
}

// The determinant of a splat's covariance dilated by d, and its derivative when the covariance changes.
template <typename T>
struct DilatedDeterminant {
    T xx, xy, yy, bare, d;

    GS_FN T value() const { return bare + d * (xx + yy) + d * d; }
    GS_FN T change(T d_xx, T d_xy, T d_yy) const { return d_xx * (yy + d) + d_yy * (xx + d) - T(2) * xy * d_xy; }
};

// The tangent of a Gaussian that `project` draws with the conic (a, b, c). `pivot` is R c + t.
template <typename T>
GS_FN PowerTangent<T> power_tangent(const Camera<T>& camera, Vec3<T> pivot, Vec3<T> mean, Vec3<T> scale, Vec4<T> quat,
                                    T a, T b, T c, T detail = T(1)) {
    T inverse_length;
    const Mat3<T> rotation = rotation_of(normalized(quat, T(QUAT_LENGTH_MIN), &inverse_length));
    const Vec3<T> center = camera.rotation * mean + camera.translation;
    const ProjectionFrame<T> f = projection_frame(camera, center, scale, rotation);
    const Vec3<T> lever = center - pivot;
    // Products of the rows of U (row_x, row_y) with the scaled axes: all that the covariance's derivative needs.
    const Vec3<T> a0 = scaled(f.axes.row[0], scale), a1 = scaled(f.axes.row[1], scale), a2 = scaled(f.axes.row[2], scale);
    const T x0 = dot(f.row_x, a0), x1 = dot(f.row_x, a1), x2 = dot(f.row_x, a2);
    const T y0 = dot(f.row_y, a0), y1 = dot(f.row_y, a1), y2 = dot(f.row_y, a2);
    const T iz = f.inverse_z, ratio_x = center.x * iz, ratio_y = center.y * iz;  // not clamped

    const Vec3<T> normal = cross(f.row_x, f.row_y);
    const T xx = dot(f.row_x, f.row_x), xy = dot(f.row_x, f.row_y), yy = dot(f.row_y, f.row_y);
    const DilatedDeterminant<T> wide = {xx, xy, yy, dot(normal, normal), T(COVARIANCE_DILATION)};
    const DilatedDeterminant<T> fine = {xx, xy, yy, wide.bare, detail * T(COVARIANCE_DILATION)};
    const T half_per_wide = T(0.5) / wide.value(), half_per_fine = T(0.5) / fine.value();

    PowerTangent<T> out;
    out.compensation = sqrt(fine.value() / wide.value());
    for (int k = 0; k < TWIST; ++k) {
        const Vec3<T> omega = {T(k == 3), T(k == 4), T(k == 5)};
        const Vec3<T> velocity = Vec3<T>{T(k == 0), T(k == 1), T(k == 2)} + cross(omega, lever);
        const T slide_x = velocity.x - ratio_x * velocity.z, slide_y = velocity.y - ratio_y * velocity.z;
        const T d_mean_x = f.jx * slide_x, d_mean_y = f.jy * slide_y;
        const T d_jx = -f.jx * iz * velocity.z, d_jy = -f.jy * iz * velocity.z;
        const T d_jxz = -d_jx * f.u - (f.inside_x ? f.jx * iz * slide_x : T(0));
        const T d_jyz = -d_jy * f.v - (f.inside_y ? f.jy * iz * slide_y : T(0));
        // How row_x = jx a0 + jxz a2 changes, as weights of a0, a1, a2; the axes turn with omega.
        const T x_by_0 = d_jx - f.jxz * omega.y, x_by_1 = f.jxz * omega.x - f.jx * omega.z, x_by_2 = d_jxz + f.jx * omega.y;
        const T y_by_0 = f.jy * omega.z - f.jyz * omega.y, y_by_1 = d_jy + f.jyz * omega.x, y_by_2 = d_jyz - f.jy * omega.x;
        const T d_xx = T(2) * (x_by_0 * x0 + x_by_1 * x1 + x_by_2 * x2);
        const T d_yy = T(2) * (y_by_0 * y0 + y_by_1 * y1 + y_by_2 * y2);
        const T d_xy = x_by_0 * y0 + x_by_1 * y1 + x_by_2 * y2 + y_by_0 * x0 + y_by_1 * x1 + y_by_2 * x2;
        out.constant[k] =
            half_per_fine * fine.change(d_xx, d_xy, d_yy) - half_per_wide * wide.change(d_xx, d_xy, d_yy);
        // The conic's derivative is -K dCov K, and power = -(a dx^2 + c dy^2) / 2 - b dx dy.
        out.x[k] = a * d_mean_x + b * d_mean_y;
        out.y[k] = b * d_mean_x + c * d_mean_y;
        out.xx[k] = T(0.5) * (a * a * d_xx + T(2) * a * b * d_xy + b * b * d_yy);
        out.xy[k] = a * b * d_xx + (a * c + b * b) * d_xy + b * c * d_yy;
        out.yy[k] = T(0.5) * (b * b * d_xx + T(2) * b * c * d_xy + c * c * d_yy);
    }
    return out;
}

// d color / d view vector, 3 x 3: row = color channel, zero where the color is held at 0.
template <typename T>
GS_FN Mat3<T> color_by_view(int count, Vec3<T> view, const T* sh, Vec3<T> color) {
    const T inverse_length = T(1) / sqrt(dot(view, view));
    const Vec3<T> d = inverse_length * view;
    const T positive[3] = {T(color.x > 0), T(color.y > 0), T(color.z > 0)};
    Mat3<T> out;
    for (int channel = 0; channel < 3; ++channel) {
        T weight[SH_MAX];
        for (int k = 0; k < count; ++k) weight[k] = sh[3 * k + channel];
        const Vec3<T> v = sh_basis_backward(count, d, weight);
        out.row[channel] = (positive[channel] * inverse_length) * (v - dot(v, d) * d);
    }
    return out;
}

// d view vector / d twist entry k: R^T (rho - omega x pivot).
template <typename T>
GS_FN Vec3<T> view_by_twist(const Camera<T>& camera, Vec3<T> pivot, int k) {
    const Vec3<T> rho = {T(k == 0), T(k == 1), T(k == 2)}, omega = {T(k == 3), T(k == 4), T(k == 5)};
    return transposed_times(camera.rotation, rho - cross(omega, pivot));
}

// What blending leaves of a pixel: color without the background, transmittance, and their derivatives.
template <typename T>
struct PixelTangent {
    T color[3], transmittance;
    T d_color[3][TWIST], d_transmittance[TWIST];
};

// What the normal equations are fitted with; one per picture.
template <typename T>
struct PoseFit {
    Robust robust;
    T scale;         // of the residuals e, in [0, 1]; the kernel multiplies it with the tuning constant
    T gain, offset;  // brightness of the object in the query
    T background[3];
    T detail;        // squared size of the picture over those that the model was fitted to, in (0, 1]
};

template <typename T>
GS_FN T robust_limit(const PoseFit<T>& fit) {
    return fit.scale * (fit.robust == Robust::TUKEY ? T(TUKEY_TUNING) : T(HUBER_TUNING));
}

// Weight of a residual e (derivative of the cost over e) and the cost, at most limit^2 / 6 for Tukey.
template <typename T>
GS_FN T robust_weight(Robust robust, T limit, T e, T* cost) {
    if (robust == Robust::HUBER && e > limit) {
        *cost = limit * (e - T(0.5) * limit);
        return limit / e;
    }
    if (robust == Robust::TUKEY) {
        const T ratio = e / limit, keep = max_of(T(1) - ratio * ratio, T(0));
        *cost = limit * limit * T(1.0 / 6.0) * (T(1) - keep * keep * keep);
        return keep * keep;
    }
    *cost = T(0.5) * e * e;
    return T(1);
}

// One residual of a pixel and its row of the Jacobian over twist, gain and offset.
template <typename T>
GS_FN T residual_row(const PoseFit<T>& fit, const PixelTangent<T>& p, int channel, T target, T* row) {
    const T covered = T(1) - p.transmittance;
    const T behind = fit.background[channel] - fit.offset;
    const T value = fit.gain * p.color[channel] + fit.offset * covered + p.transmittance * fit.background[channel];
    const bool free = value > T(0) && value < T(1);  // beyond, the query's pixel is saturated and tells no direction
    for (int k = 0; k < TWIST; ++k)
        row[k] = free ? fit.gain * p.d_color[channel][k] + behind * p.d_transmittance[k] : T(0);
    row[TWIST] = free ? p.color[channel] : T(0);
    row[TWIST + 1] = free ? covered : T(0);
    return min_of(max_of(value, T(0)), T(1)) - target;
}

template <typename T>
GS_FN int residual_bin(T e) {
    const int bin = int(e * T(RESIDUAL_BINS / RESIDUAL_MAX));
    return bin < RESIDUAL_BINS ? bin : RESIDUAL_BINS - 1;
}

}  // namespace gs

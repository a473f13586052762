// From a 3D Gaussian to a splat in the picture and back (EWA splatting, Zwicker et al. 2001; the conventions of 3DGS,
// Kerbl et al. 2023). With p = R m + t the center in the camera, W = R * rotation(q), U = J * W * diag(scale):
//   mean2d = (fx x/z + cx, fy y/z + cy),  covariance2d = U U^T + COVARIANCE_DILATION,  conic = covariance2d^-1,
// where J is the Jacobian of the projection at p, its x/z and y/z clamped to the picture with a margin.
#pragma once

#include "spread.h"

namespace gs {

template <typename T>
struct Camera {
    Mat3<T> rotation;     // of cam_from_world, OpenCV axes: x right, y down, z forward
    Vec3<T> translation;  // of cam_from_world
    T fx, fy, cx, cy;     // px; a pixel's center is at its index + 0.5
    Vec2<T> low, high;    // where x/z and y/z are clamped in J: around the picture, which need not be centered
    int width, height;
};

// The gradient of the loss in a camera, summed over its Gaussians.
template <typename T>
struct CameraGradient {
    Mat3<T> rotation;
    Vec3<T> translation;
    T fx, fy, cx, cy;
};

template <typename T>
struct Projection {
    Vec2<T> mean;          // px
    T a, b, c;             // conic: power(dx, dy) = -(a dx^2 + c dy^2) / 2 - b dx dy
    T depth;               // camera z
    T extent_x, extent_y;  // half sizes (px) of the box around all points where alpha >= ALPHA_MIN
    T radius;              // half length (px) of the ellipse that the box encloses
};

// The gradient of the loss in a projection, and in the opacity that is blended.
template <typename T>
struct ProjectionGradient {
    Vec2<T> mean;
    T a, b, c;
    T depth;
    T opacity;
};

// The gradient of the loss in a Gaussian; of scale and quat, as given and not normalized, or of the covariance.
template <typename T>
struct GaussianGradient {
    Vec3<T> mean;
    Vec3<T> scale;
    Vec4<T> quat;
    Symmetric3<T> covariance;
    T opacity;
};

// From cam_from_world (4x4, row-major) and intrinsics fx, fy, cx, cy.
template <typename T>
GS_FN Camera<T> make_camera(const T* cam_from_world, const T* intrinsics, int width, int height) {
    const T* m = cam_from_world;
    Camera<T> camera;
    for (int i = 0; i < 3; ++i) camera.rotation.row[i] = {m[4 * i], m[4 * i + 1], m[4 * i + 2]};
    camera.translation = {m[3], m[7], m[11]};
    camera.fx = intrinsics[0];
    camera.fy = intrinsics[1];
    camera.cx = intrinsics[2];
    camera.cy = intrinsics[3];
    const T margin_x = T(FIELD_MARGIN * 0.5) * T(width), margin_y = T(FIELD_MARGIN * 0.5) * T(height);
    camera.low = {-(camera.cx + margin_x) / camera.fx, -(camera.cy + margin_y) / camera.fy};
    camera.high = {(T(width) - camera.cx + margin_x) / camera.fx, (T(height) - camera.cy + margin_y) / camera.fy};
    camera.width = width;
    camera.height = height;
    return camera;
}

// What forward and backward both need. J = [fx/z 0 -fx*u/z; 0 fy/z -fy*v/z], u = clamp(x/z), v = clamp(y/z).
template <typename T>
struct ProjectionFrame {
    Vec3<T> center;      // p
    Mat3<T> axes;        // W
    T inverse_z, u, v;   // 1/z and the clamped x/z, y/z
    bool inside_x, inside_y;
    T jx, jxz, jy, jyz;  // the four entries of J
    Vec3<T> row_x, row_y;  // the rows of U
};

template <typename T>
GS_FN T clamped(T value, T low, T high, bool* inside) {
    *inside = value >= low && value <= high;
    return min_of(max_of(value, low), high);
}

template <typename T>
GS_FN ProjectionFrame<T> projection_frame(const Camera<T>& camera, Vec3<T> center, Vec3<T> scale,
                                          const Mat3<T>& rotation) {
    ProjectionFrame<T> f;
    f.center = center;
    f.inverse_z = T(1) / center.z;
    f.u = clamped(center.x * f.inverse_z, camera.low.x, camera.high.x, &f.inside_x);
    f.v = clamped(center.y * f.inverse_z, camera.low.y, camera.high.y, &f.inside_y);
    f.jx = camera.fx * f.inverse_z;
    f.jy = camera.fy * f.inverse_z;
    f.jxz = -f.jx * f.u;
    f.jyz = -f.jy * f.v;
    f.axes = camera.rotation * rotation;
    f.row_x = scaled(f.jx * f.axes.row[0] + f.jxz * f.axes.row[2], scale);
    f.row_y = scaled(f.jy * f.axes.row[1] + f.jyz * f.axes.row[2], scale);
    return f;
}

// Projects one Gaussian (opacity in [0, 1]; an antialiased one becomes fainter). False, and `out` unset, when it is not
// drawn: too near, too faint to reach ALPHA_MIN, outside of the picture, or not finite. `radius`: screen_radius, drawn or
// not.
template <typename T, template <typename> class Shape>
GS_FN bool project(const Camera<T>& camera, Vec3<T> mean, const Shape<T>& shape, bool antialiased, T* opacity,
                   Projection<T>* out, int* radius) {
    *radius = 0;
    const Vec3<T> center = camera.rotation * mean + camera.translation;
    if (!(center.z > T(NEAR_PLANE))) return false;
    const ProjectionFrame<T> f = projection_frame(camera, center, scale_of(shape), rotation_of_shape(shape));
    const Spread<T> s = spread_of(shape, f.row_x, f.row_y);
    const T d = T(COVARIANCE_DILATION), inverse = T(1) / s.dilated();
    if (antialiased) *opacity *= s.kept();
    // alpha >= ALPHA_MIN where a dx^2 + 2 b dx dy + c dy^2 <= level
    const T level = T(2) * log(*opacity / T(ALPHA_MIN));
    out->mean = {f.jx * center.x + camera.cx, f.jy * center.y + camera.cy};
    out->a = (s.yy + d) * inverse;
    out->b = -s.xy * inverse;
    out->c = (s.xx + d) * inverse;
    out->depth = center.z;
    out->extent_x = sqrt((s.xx + d) * level);
    out->extent_y = sqrt((s.yy + d) * level);
    *radius = screen_radius(s, out->mean, camera.width, camera.height);
    const T half_difference = T(0.5) * (s.xx - s.yy);
    out->radius = sqrt((T(0.5) * (s.xx + s.yy) + d + sqrt(half_difference * half_difference + s.xy * s.xy)) * level);
    // Written so that NaN and infinity fail.
    return level > 0 && out->radius < T(1e9) && out->mean.x + out->extent_x > 0 &&
           out->mean.x - out->extent_x < T(camera.width) && out->mean.y + out->extent_y > 0 &&
           out->mean.y - out->extent_y < T(camera.height);
}

// The gradient of the covariance entries xx, xy, yy from that of the conic a, b, c: -K G K with K the conic.
template <typename T>
GS_FN SpreadGradient<T> conic_backward(T a, T b, T c, const ProjectionGradient<T>& v) {
    const T half_b = T(0.5) * v.b;
    const T g00 = v.a * a + half_b * b, g01 = v.a * b + half_b * c;
    const T g10 = half_b * a + v.c * b, g11 = half_b * b + v.c * c;
    return {-(a * g00 + b * g10), -T(2) * (a * g01 + b * g11), -(b * g01 + c * g11)};
}

// The gradient of the shape from those of the rows of U and of the rotation that projection_frame took.
template <typename T>
GS_FN void shape_backward(const Ellipsoid<T>& shape, const ProjectionFrame<T>& f, Vec3<T> v_row_x, Vec3<T> v_row_y,
                          const SpreadGradient<T>&, const Mat3<T>& v_rotation, GaussianGradient<T>* out) {
    T inverse_length;
    const Vec4<T> unit = normalized(shape.quat, T(QUAT_LENGTH_MIN), &inverse_length);
    out->scale = scaled(v_row_x, f.jx * f.axes.row[0] + f.jxz * f.axes.row[2]) +
                 scaled(v_row_y, f.jy * f.axes.row[1] + f.jyz * f.axes.row[2]);
    out->quat = normalized_backward(unit, inverse_length, rotation_backward(unit, v_rotation));
}

template <typename T>
GS_FN void shape_backward(const GivenCovariance<T>&, const ProjectionFrame<T>& f, Vec3<T>, Vec3<T>,
                          const SpreadGradient<T>& v, const Mat3<T>&, GaussianGradient<T>* out) {
    out->covariance = covariance_backward(f.row_x, f.row_y, v);
}

// The gradient of the center in the camera (and of the intrinsics) from those of mean2d, depth and the entries of J.
template <typename T>
GS_FN Vec3<T> center_backward(const ProjectionFrame<T>& f, const ProjectionGradient<T>& v, T v_jx, T v_jxz, T v_jy,
                              T v_jyz, CameraGradient<T>* v_camera) {
    const T iz = f.inverse_z;
    const T x_z = f.center.x * iz, y_z = f.center.y * iz;  // not clamped
    // Where u is clamped, fx u = const - cx.
    v_camera->cx += v.mean.x + (f.inside_x ? T(0) : iz * v_jxz);
    v_camera->cy += v.mean.y + (f.inside_y ? T(0) : iz * v_jyz);
    v_camera->fx += v.mean.x * x_z + iz * (v_jx - (f.inside_x ? f.u * v_jxz : T(0)));
    v_camera->fy += v.mean.y * y_z + iz * (v_jy - (f.inside_y ? f.v * v_jyz : T(0)));
    Vec3<T> v_center;
    v_center.x = f.jx * (v.mean.x - (f.inside_x ? iz * v_jxz : T(0)));
    v_center.y = f.jy * (v.mean.y - (f.inside_y ? iz * v_jyz : T(0)));
    // d jxz / dz is 2 fx u / z^2 where u follows x/z, fx u / z^2 where u is clamped
    const T by_z_x = -v.mean.x * x_z + iz * (v_jxz * f.u * (f.inside_x ? T(2) : T(1)) - v_jx);
    const T by_z_y = -v.mean.y * y_z + iz * (v_jyz * f.v * (f.inside_y ? T(2) : T(1)) - v_jy);
    v_center.z = v.depth + f.jx * by_z_x + f.jy * by_z_y;
    return v_center;
}

// The backward pass of `project` for a Gaussian that was drawn with the conic (a, b, c); `opacity` as project got it. The
// gradient of the camera is added to `v_camera`.
template <typename T, template <typename> class Shape>
GS_FN GaussianGradient<T> project_backward(const Camera<T>& camera, Vec3<T> mean, const Shape<T>& shape,
                                           bool antialiased, T opacity, const Projection<T>& projected,
                                           const ProjectionGradient<T>& v, CameraGradient<T>* v_camera) {
    const Vec3<T> center = camera.rotation * mean + camera.translation, scale = scale_of(shape);
    const Mat3<T> rotation = rotation_of_shape(shape);
    const ProjectionFrame<T> f = projection_frame(camera, center, scale, rotation);

    GaussianGradient<T> out = {};
    SpreadGradient<T> v_spread = conic_backward(projected.a, projected.b, projected.c, v);
    out.opacity = v.opacity;
    if (antialiased) {
        const Spread<T> s = spread_of(shape, f.row_x, f.row_y);
        out.opacity *= s.kept();
        kept_backward(s, v.opacity * opacity, &v_spread);
    }
    Vec3<T> v_row_x, v_row_y;
    rows_backward(shape, f.row_x, f.row_y, v_spread, &v_row_x, &v_row_y);
    const Vec3<T> scaled_v_x = scaled(v_row_x, scale), scaled_v_y = scaled(v_row_y, scale);
    const T v_jx = dot(scaled_v_x, f.axes.row[0]), v_jxz = dot(scaled_v_x, f.axes.row[2]);
    const T v_jy = dot(scaled_v_y, f.axes.row[1]), v_jyz = dot(scaled_v_y, f.axes.row[2]);
    const Mat3<T> v_axes = {{f.jx * scaled_v_x, f.jy * scaled_v_y, f.jxz * scaled_v_x + f.jyz * scaled_v_y}};

    shape_backward(shape, f, v_row_x, v_row_y, v_spread, transposed(camera.rotation) * v_axes, &out);
    const Vec3<T> v_center = center_backward(f, v, v_jx, v_jxz, v_jy, v_jyz, v_camera);
    out.mean = transposed_times(camera.rotation, v_center);
    add(v_camera->rotation, v_axes * transposed(rotation));
    add_outer(v_camera->rotation, v_center, mean);
    v_camera->translation = v_camera->translation + v_center;
    return out;
}

}  // namespace gs

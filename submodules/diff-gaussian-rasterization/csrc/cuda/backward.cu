// From the sums over pixels to the gradients of the Gaussians and cameras: what autograd asks for.
#include "color.h"
#include "device.h"

namespace gs {

// Where a Gaussian's gradient goes; `v_scales` (n, 6) where covariances are given.
struct CloudGradient {
    float *means, *scales, *quats, *opacities, *colors;
};

template <int K>
GS_FN Vec3<float> color_backward(Vec3<float> view, const float* sh, Vec3<float> color, Vec3<float> v_color, bool first,
                                 float* v_colors) {
    float v_sh[3 * K] = {};
    const Vec3<float> v_view = sh_color_backward(K, view, sh, color, v_color, v_sh);
    for (int j = 0; j < 3 * K; ++j) v_colors[j] = first ? v_sh[j] : v_colors[j] + v_sh[j];
    return v_view;
}

// Writes the gradient of the colors, or adds to it after the first view, and returns that of the view vector.
GS_FN Vec3<float> color_backward(int coefficients, Vec3<float> view, const float* sh, Vec3<float> color,
                                 Vec3<float> v_color, bool first, float* v_colors) {
    switch (coefficients) {
        case 0:
            v_colors[0] = first ? v_color.x : v_colors[0] + v_color.x;
            v_colors[1] = first ? v_color.y : v_colors[1] + v_color.y;
            v_colors[2] = first ? v_color.z : v_colors[2] + v_color.z;
            return {0, 0, 0};
        case 1: return color_backward<1>(view, sh, color, v_color, first, v_colors);
        case 4: return color_backward<4>(view, sh, color, v_color, first, v_colors);
        case 9: return color_backward<9>(view, sh, color, v_color, first, v_colors);
        default: return color_backward<16>(view, sh, color, v_color, first, v_colors);
    }
}

// Adds a view's share to the sum over views; what the other kind of shape has stays 0.
GS_FN void add_gradient(GaussianGradient<float>& sum, const GaussianGradient<float>& g) {
    sum.mean = sum.mean + g.mean;
    sum.scale = sum.scale + g.scale;
    sum.quat = {sum.quat.w + g.quat.w, sum.quat.x + g.quat.x, sum.quat.y + g.quat.y, sum.quat.z + g.quat.z};
    Symmetric3<float>&c = sum.covariance;
    const Symmetric3<float>& d = g.covariance;
    c = {c.xx + d.xx, c.xy + d.xy, c.xz + d.xz, c.yy + d.yy, c.yz + d.yz, c.zz + d.zz};
    sum.opacity += g.opacity;
}

GS_FN void store3(float* out, Vec3<float> v) {
    out[0] = v.x;
    out[1] = v.y;
    out[2] = v.z;
}

GS_FN void store_gradient(const CloudGradient& out, int i, const GaussianGradient<float>& g) {
    store3(out.means + 3 * i, g.mean);
    out.opacities[i] = g.opacity;
    if (out.quats == nullptr) {
        store3(out.scales + 6 * i, {g.covariance.xx, g.covariance.xy, g.covariance.xz});
        store3(out.scales + 6 * i + 3, {g.covariance.yy, g.covariance.yz, g.covariance.zz});
        return;
    }
    store3(out.scales + 3 * i, g.scale);
    out.quats[4 * i] = g.quat.w;
    store3(out.quats + 4 * i + 1, {g.quat.x, g.quat.y, g.quat.z});
}

// Sums a value over the warp and adds it once.
GS_FN void add_warp(float* out, float value) {
    for (int step = WARP / 2; step > 0; step /= 2) value += __shfl_xor_sync(ALL_LANES, value, step);
    if (threadIdx.x % WARP == 0 && value != 0) atomicAdd(out, value);
}

GS_FN void add_camera(const CameraGradient<float>& v, float* camera, float* intrinsics) {
    const float translation[3] = {v.translation.x, v.translation.y, v.translation.z};
    for (int row = 0; row < 3; ++row) {
        add_warp(camera + 4 * row, v.rotation.row[row].x);
        add_warp(camera + 4 * row + 1, v.rotation.row[row].y);
        add_warp(camera + 4 * row + 2, v.rotation.row[row].z);
        add_warp(camera + 4 * row + 3, translation[row]);
    }
    add_warp(intrinsics, v.fx);
    add_warp(intrinsics + 1, v.fy);
    add_warp(intrinsics + 2, v.cx);
    add_warp(intrinsics + 3, v.cy);
}

}  // namespace gs

using namespace gs;

// A thread owns a Gaussian and writes its gradient, summed over the views, and v_offsets (slots, n, 2). The cameras'
// (slots, 16), the last row unused, and (slots, 4), are added to, or null.
extern "C" __global__ void __launch_bounds__(128)
    backward_splats(int n, int slots, int antialiased, int inverse_depth, int coefficients, const float* means,
                    const float* scales, const float* quats, const float* opacities, const float* colors,
                    const float* cam_from_world, const float* intrinsics, int width, int height, const Splat* splats,
                    const int* radii, const SplatSums* sums, float* v_means, float* v_scales, float* v_quats,
                    float* v_opacities, float* v_colors, float* v_cameras, float* v_intrinsics, float* v_offsets) {
    const int i = blockIdx.x * 128 + threadIdx.x, floats = color_floats(coefficients);
    const CloudGradient out = {v_means, v_scales, v_quats, v_opacities, v_colors};
    GaussianGradient<float> sum = {};
    bool first = true;
    for (int slot = 0; slot < slots; ++slot) {
        const int place = slot * n + i;
        CameraGradient<float> v_camera = {};
        Vec2<float> v_offset = {0, 0};
        if (i < n && radii[place] > 0) {
            const Camera<float> camera = make_camera(cam_from_world + 16 * slot, intrinsics + 4 * slot, width, height);
            const Splat s = splats[place];
            SplatGradient v = splat_gradient(s, sums[place]);
            if (inverse_depth) v.projection.depth /= -s.depth * s.depth;
            const Vec3<float> mean = load3(means + 3 * i);
            GaussianGradient<float> g =
                quats == nullptr ? project_backward(camera, mean, load_covariance(scales, i), antialiased != 0,
                                                    opacities[i], projection_of(s), v.projection, &v_camera)
                                 : project_backward(camera, mean, load_ellipsoid(scales, quats, i), antialiased != 0,
                                                    opacities[i], projection_of(s), v.projection, &v_camera);
            const Vec3<float> v_view =
                color_backward(coefficients, view_vector(camera, mean), colors + floats * i,
                               {s.red, s.green, s.blue}, v.color, first, v_colors + floats * i);
            view_vector_backward(camera, v_view, &g.mean, &v_camera);
            add_gradient(sum, g);
            v_offset = v.projection.mean;
            first = false;
        }
        if (i < n) {
            v_offsets[2 * place] = v_offset.x;
            v_offsets[2 * place + 1] = v_offset.y;
        }
        if (v_cameras != nullptr) add_camera(v_camera, v_cameras + 16 * slot, v_intrinsics + 4 * slot);
    }
    if (i >= n) return;
    store_gradient(out, i, sum);
    if (first)
        for (int j = 0; j < floats; ++j) v_colors[floats * i + j] = 0;
}

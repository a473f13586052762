// From the sums over pixels to the gradients of the Gaussians and cameras: what autograd asks for.
#include "color.h"
#include "device.h"

namespace gs {

template <int K>
GS_FN Vec3<float> color_backward(Vec3<float> view, const float* sh, Vec3<float> color, Vec3<float> v_color,
                                 float* v_colors) {
    float v_sh[3 * K] = {};
    const Vec3<float> v_view = sh_color_backward(K, view, sh, color, v_color, v_sh);
    for (int j = 0; j < 3 * K; ++j) atomicAdd(&v_colors[j], v_sh[j]);
    return v_view;
}

// Adds to the gradient of the coefficients and returns that of the view vector.
GS_FN Vec3<float> color_backward(int coefficients, Vec3<float> view, const float* sh, Vec3<float> color,
                                 Vec3<float> v_color, float* v_colors) {
    switch (coefficients) {
        case 0:
            atomicAdd(&v_colors[0], v_color.x);
            atomicAdd(&v_colors[1], v_color.y);
            atomicAdd(&v_colors[2], v_color.z);
            return {0, 0, 0};
        case 1: return color_backward<1>(view, sh, color, v_color, v_colors);
        case 4: return color_backward<4>(view, sh, color, v_color, v_colors);
        case 9: return color_backward<9>(view, sh, color, v_color, v_colors);
        default: return color_backward<16>(view, sh, color, v_color, v_colors);
    }
}

GS_FN void add3(float* out, Vec3<float> v) {
    atomicAdd(out, v.x);
    atomicAdd(out + 1, v.y);
    atomicAdd(out + 2, v.z);
}

// Sums a value over the warp and adds it once.
GS_FN void add_warp(float* out, float value) {
    for (int step = WARP / 2; step > 0; step /= 2) value += __shfl_xor_sync(ALL_LANES, value, step);
    if (threadIdx.x % WARP == 0 && value != 0) atomicAdd(out, value);
}

}  // namespace gs

using namespace gs;

// All outputs are added to, but v_offsets (slots, n, 2), which is written. v_cameras: (slots, 16), its last row unused.
extern "C" __global__ void __launch_bounds__(128)
    backward_splats(int n, int coefficients, const float* means, const float* scales, const float* quats,
                    const float* colors, const float* cam_from_world, const float* intrinsics, int width, int height,
                    const Splat* splats, const int* radii, const SplatSums* sums, float* v_means, float* v_scales,
                    float* v_quats, float* v_opacities, float* v_colors, float* v_cameras, float* v_intrinsics,
                    float* v_offsets) {
    const int i = blockIdx.x * 128 + threadIdx.x, slot = blockIdx.y, place = slot * n + i;
    const Camera<float> camera = make_camera(cam_from_world + 16 * slot, intrinsics + 4 * slot, width, height);
    CameraGradient<float> v_camera = {};
    if (i < n && radii[place] > 0) {
        const Splat s = splats[place];
        const SplatGradient v = splat_gradient(s, sums[place]);
        const Vec3<float> mean = load3(means + 3 * i);
        GaussianGradient<float> g = project_backward(camera, mean, load3(scales + 3 * i), load4(quats + 4 * i),
                                                     projection_of(s), v.projection, &v_camera);
        const int floats = color_floats(coefficients);
        const Vec3<float> v_view =
            color_backward(coefficients, view_vector(camera, mean), colors + floats * i, {s.red, s.green, s.blue},
                           v.color, v_colors + floats * i);
        view_vector_backward(camera, v_view, &g.mean, &v_camera);
        add3(v_means + 3 * i, g.mean);
        add3(v_scales + 3 * i, g.scale);
        add3(v_quats + 4 * i, {g.quat.w, g.quat.x, g.quat.y});
        atomicAdd(&v_quats[4 * i + 3], g.quat.z);
        atomicAdd(&v_opacities[i], v.opacity);
        v_offsets[2 * place] = v.projection.mean.x;
        v_offsets[2 * place + 1] = v.projection.mean.y;
    }
    const float translation[3] = {v_camera.translation.x, v_camera.translation.y, v_camera.translation.z};
    for (int row = 0; row < 3; ++row) {
        float* out = v_cameras + 16 * slot + 4 * row;
        add_warp(out, v_camera.rotation.row[row].x);
        add_warp(out + 1, v_camera.rotation.row[row].y);
        add_warp(out + 2, v_camera.rotation.row[row].z);
        add_warp(out + 3, translation[row]);
    }
    add_warp(v_intrinsics + 4 * slot, v_camera.fx);
    add_warp(v_intrinsics + 4 * slot + 1, v_camera.fy);
    add_warp(v_intrinsics + 4 * slot + 2, v_camera.cx);
    add_warp(v_intrinsics + 4 * slot + 3, v_camera.cy);
}

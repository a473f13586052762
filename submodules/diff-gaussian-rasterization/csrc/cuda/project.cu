// Projection of all splats into all cameras of a batch, with the count of tile entries.
#include "color.h"
#include "device.h"
#include "tile_walk.h"

using namespace gs;

// `raw` parameters are the model's own (log scales, opacity logits); otherwise scales and opacities as they act.
// coefficients: 0 for given colours. stride: splats per slot in the outputs. offsets: (slots, n, 2) px or null.
extern "C" __global__ void __launch_bounds__(128)
    project_splats(const int* live, int n, int stride, int raw, int coefficients, const float* means,
                   const float* scales, const float* quats, const float* opacities, const float* colors,
                   const float* cam_from_world, const float* intrinsics, const int* order, const int* step, int width,
                   int height, int tiles_x, int tiles_y, const float* offsets, Splat* splats, int* radii, int* counts,
                   const int* overflow) {
    const int i = blockIdx.x * 128 + threadIdx.x, slot = blockIdx.y;
    if (i >= live_count(live, n) || *overflow != 0) return;
    const int view = view_of(order, step, gridDim.y, slot);
    Camera<float> camera = make_camera(cam_from_world + 16 * view, intrinsics + 4 * view, width, height);
    if (offsets != nullptr) {  // a shift of the principal point is one of the picture
        camera.cx += offsets[2 * (slot * n + i)];
        camera.cy += offsets[2 * (slot * n + i) + 1];
    }

    const Vec3<float> mean = load3(means + 3 * i);
    Vec3<float> scale = load3(scales + 3 * i);
    float opacity = opacities[i];
    if (raw) {
        scale = {exp(scale.x), exp(scale.y), exp(scale.z)};
        opacity = 1.0f / (1.0f + exp(-opacity));
    }
    Projection<float> p;
    const int place = slot * stride + i;
    const bool drawn = project(camera, mean, scale, load4(quats + 4 * i), opacity, &p);
    radii[place] = drawn ? int(ceilf(p.radius)) : 0;
    if (!drawn) {
        splats[place].opacity = 0;  // how backward_splats knows
        return;
    }
    const int floats = coefficients == 0 ? 3 : 3 * coefficients;
    const Vec3<float> color = color_of(coefficients, view_vector(camera, mean), colors + floats * i);
    splats[place] = {p.mean.x, p.mean.y, p.a,       p.b,         p.c,        opacity,
                     p.depth,  p.extent_y, color.x, color.y, color.z, p.extent_x};
    int* slot_counts = counts + slot * tiles_x * tiles_y;
    for_each_tile(p, tiles_x, tiles_y, [&](int tile, u32) { atomicAdd(&slot_counts[tile], 1); });
}

// options: --use_fast_math
// Projection of all splats into all cameras of a batch, with the count of tile entries.
#include "color.h"
#include "device.h"
#include "tile_walk.h"

namespace gs {

// Projects Gaussian i into view `view` and writes its splat and radii at `place`; whether it is drawn. p->radius becomes
// what projection_of takes as its limit.
GS_FN bool project_one(int i, int slot, int place, int n, int raw, int antialiased, int tiles_of_3dgs,
                       int coefficients, const float* means, const float* scales, const float* quats, const float* opacities,
                       const float* colors, const float* cam_from_world, const float* intrinsics, int view, int width,
                       int height, const float* offsets, Splat* splats, int* radii, int* radii_of_3dgs,
                       Projection<float>* p) {
    Camera<float> camera = make_camera(cam_from_world + 16 * view, intrinsics + 4 * view, width, height);
    if (offsets != nullptr) {  // a shift of the principal point is one of the picture
        camera.cx += offsets[2 * (slot * n + i)];
        camera.cy += offsets[2 * (slot * n + i) + 1];
    }
    const Vec3<float> mean = load3(means + 3 * i);
    float opacity = raw ? 1.0f / (1.0f + exp(-opacities[i])) : opacities[i];
    int radius;
    bool drawn;
    if (quats == nullptr) {
        drawn = project(camera, mean, load_covariance(scales, i), antialiased != 0, &opacity, p, &radius);
    } else {
        Ellipsoid<float> shape = load_ellipsoid(scales, quats, i);
        if (raw) shape.scale = {exp(shape.scale.x), exp(shape.scale.y), exp(shape.scale.z)};
        drawn = project(camera, mean, shape, antialiased != 0, &opacity, p, &radius);
    }
    if (tiles_of_3dgs) drawn = drawn && radius > 0;
    radii[place] = drawn ? int(ceilf(p->radius)) : 0;
    if (radii_of_3dgs != nullptr) radii_of_3dgs[place] = radius;
    p->radius = tiles_of_3dgs ? float(radius) : 0;
    if (!drawn) return false;
    const Vec3<float> color =
        color_of(coefficients, view_vector(camera, mean), colors + size_t(color_floats(coefficients)) * i);
    splats[place] = {p->mean.x, p->mean.y,   p->a,    p->b,    p->c,    opacity,
                     p->depth,  p->extent_y, color.x, color.y, color.z, p->extent_x};
    return true;
}

}  // namespace gs

using namespace gs;

// `raw` parameters are the model's own (log scales, opacity logits); otherwise scales and opacities as they act, and
// covariances (n, 6) in the place of the scales where `quats` is null. coefficients: 0 for given colors. stride: splats
// per slot in the outputs. offsets: (slots, n, 2) px or null. radii_of_3dgs may be null.
extern "C" __global__ void __launch_bounds__(128)
    project_splats(const int* live, int n, int stride, int raw, int antialiased, int tiles_of_3dgs,
                   int coefficients, const float* means, const float* scales, const float* quats, const float* opacities, const float* colors,
                   const float* cam_from_world, const float* intrinsics, const int* order, const int* step, int width,
                   int height, int tiles_x, int tiles_y, const float* offsets, Splat* splats, int* radii,
                   int* radii_of_3dgs, int* counters, const int* overflow) {
    __shared__ WarpRows rows[128 / WARP];
    const int i = blockIdx.x * 128 + threadIdx.x, slot = blockIdx.y;
    const bool live_here = i < live_count(live, n);
    if (!__any_sync(ALL_LANES, live_here) || *overflow != 0) return;
    Projection<float> p = {};
    const bool drawn =
        live_here && project_one(i, slot, slot * stride + i, n, raw, antialiased, tiles_of_3dgs, coefficients, means,
                                 scales, quats,
                                 opacities, colors, cam_from_world, intrinsics, view_of(order, step, gridDim.y, slot),
                                 width, height, offsets, splats, radii, radii_of_3dgs, &p);
    int* slot_counters = counters + size_t(slot) * tiles_x * tiles_y * COUNTER_STRIDE;
    for_each_tile_of_warp(rows[threadIdx.x / WARP], drawn, p, tiles_x, tiles_y,
                          [&](int, const Projection<float>&, int tile, u32) {
                              atomicAdd(&slot_counters[tile * COUNTER_STRIDE], 1);
                          });
}

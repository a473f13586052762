// options: --use_fast_math
// Normal equations of camera poses: J^T W J, J^T W r and the robust cost of many poses, each against its own picture.
// The mathematics is in common/pose.h; a warp blends 8x4 px with their derivatives by the twist, then adds them up.
#include "common/pose.h"
#include "part_walk.h"

namespace gs {

constexpr int POSE_SUMS = POSE_HESSIAN + POSE_PARAMETERS + 1;  // of one pose: upper triangle, gradient, cost
constexpr int POSE_BATCH = 16;                                 // splats that wait in shared memory

// While a splat waits in shared memory, the field extent_x holds the power at which it fades out.
GS_FN Splat staged(Splat s) {
    s.extent_x = power_min_of(s.opacity);
    return s;
}

// A splat and what it adds to a pixel's derivatives.
struct MovingSplat {
    Splat splat;
    PowerTangent<float> power;
    Mat3<float> color;  // by the viewing vector; used with spherical harmonics only
};

struct PoseStage {
    MovingSplat splats[POSE_BATCH];
    u32 ring[RING];
};

// The cloud as given, and one camera that moves about the pivot, the object's center in that camera.
struct PoseCloud {
    const float *means, *scales, *quats, *colors;
    int coefficients;
    Camera<float> camera;
    Vec3<float> pivot;
    float detail;
};

template <bool VIEW>
GS_FN MovingSplat moving(const PoseCloud& cloud, const Splat& s, u32 i) {
    MovingSplat out;
    out.splat = staged(s);
    const Vec3<float> mean = load3(cloud.means + 3 * i);
    out.power = power_tangent(cloud.camera, cloud.pivot, mean, load3(cloud.scales + 3 * i), load4(cloud.quats + 4 * i),
                              s.a, s.b, s.c, cloud.detail);
    out.splat.opacity *= out.power.compensation;
    out.splat.extent_x = power_min_of(out.splat.opacity);  // where a staged splat keeps it
    if (VIEW) {
        const Vec3<float> view = view_vector(cloud.camera, mean), color = {s.red, s.green, s.blue};
        const float* sh = cloud.colors + size_t(3 * cloud.coefficients) * i;
        if (cloud.coefficients == 4) out.color = color_by_view(4, view, sh, color);
        else if (cloud.coefficients == 9) out.color = color_by_view(9, view, sh, color);
        else out.color = color_by_view(16, view, sh, color);
    }
    return out;
}

// Blends one splat and its derivatives; `color_view` sums weight * dcolor/dview.
template <bool VIEW>
GS_FN void blend_moving(const MovingSplat& m, float x, float y, bool& done, PixelTangent<float>& p,
                        Mat3<float>& color_view) {
    const Splat& s = m.splat;
    const float dx = x - s.x, dy = y - s.y;
    const float power = power_of(s.a, s.b, s.c, dx, dy);
    const float alpha = power < s.extent_x ? 0.0f : alpha_of(s.opacity, power);
    done = done || p.transmittance * (1 - alpha) < float(TRANSMITTANCE_MIN);
    if (done || alpha == 0) return;
    const float weight = p.transmittance * alpha;
    const float slope = alpha < float(ALPHA_MAX) ? weight : 0.0f;  // T d alpha / d power
    const float dxx = dx * dx, dxy = dx * dy, dyy = dy * dy;
#pragma unroll
    for (int k = 0; k < TWIST; ++k) {
        const float d_power = power_tangent_at(m.power, k, dx, dy, dxx, dxy, dyy);
        const float d_weight = p.d_transmittance[k] * alpha + slope * d_power;
        p.d_color[0][k] += d_weight * s.red;
        p.d_color[1][k] += d_weight * s.green;
        p.d_color[2][k] += d_weight * s.blue;
        p.d_transmittance[k] -= d_weight;
    }
    p.color[0] += weight * s.red;
    p.color[1] += weight * s.green;
    p.color[2] += weight * s.blue;
    if (VIEW) {
#pragma unroll
        for (int c = 0; c < 3; ++c) color_view.row[c] = color_view.row[c] + weight * m.color.row[c];
    }
    p.transmittance -= weight;
}

// The pixel of this lane, blended, with the derivatives of its color by the twist.
template <bool VIEW>
GS_FN PixelTangent<float> blend_pixel(PoseStage& stage, const PoseCloud& cloud, const Place& at, Walker walker,
                                      const Splat* splats) {
    PixelTangent<float> p = {};
    p.transmittance = 1;
    Mat3<float> color_view = {};
    const float x = float(at.x) + 0.5f, y = float(at.y) + 0.5f;
    bool done = !at.inside;
    walker.look_ahead(POSE_BATCH);
    while (walker.count > 0 && !__all_sync(ALL_LANES, done)) {
        const int count = min_of(int(walker.count), POSE_BATCH);
        if (at.lane < count) {
            const u32 i = walker.waiting(at.lane);
            stage.splats[at.lane] = moving<VIEW>(cloud, splats[i], i);
        }
        walker.take(count);
        walker.look_ahead(POSE_BATCH);
        for (int k = 0; k < count; ++k) blend_moving<VIEW>(stage.splats[k], x, y, done, p, color_view);
        __syncwarp();
    }
    if (VIEW) {
#pragma unroll
        for (int k = 0; k < TWIST; ++k) {
            const Vec3<float> d = view_by_twist(cloud.camera, cloud.pivot, k);
#pragma unroll
            for (int c = 0; c < 3; ++c) p.d_color[c][k] += dot(color_view.row[c], d);
        }
    }
    return p;
}

// What one pixel adds, channel by channel; everything stays in registers.
struct PoseTerms {
    float hessian[POSE_HESSIAN], gradient[POSE_PARAMETERS], cost;

    GS_FN void add(float weight, float residual, const float* row) {
        int entry = 0;
#pragma unroll
        for (int i = 0; i < POSE_PARAMETERS; ++i) {
            const float weighted = weight * row[i];
            gradient[i] += weighted * residual;
#pragma unroll
            for (int j = i; j < POSE_PARAMETERS; ++j) hessian[entry++] += weighted * row[j];
        }
    }
};

// `target`: the pixel's red, green and blue in [0, 1].
GS_FN PoseTerms pose_terms(const PoseFit<float>& fit, const PixelTangent<float>& p, const float* target, float* e) {
    float row[3][POSE_PARAMETERS], residual[3];
#pragma unroll
    for (int c = 0; c < 3; ++c) residual[c] = residual_row(fit, p, c, target[c], row[c]);
    const float share = 1.0f / 3.0f;
    const float square = residual[0] * residual[0] + residual[1] * residual[1] + residual[2] * residual[2];
    *e = sqrt(square * share);
    PoseTerms out = {};
    const float weight = robust_weight(fit.robust, robust_limit(fit), *e, &out.cost) * share;
#pragma unroll
    for (int c = 0; c < 3; ++c) out.add(weight, residual[c], row[c]);
    return out;
}

GS_FN float sum_warp(float value) {
    for (int step = WARP / 2; step > 0; step /= 2) value += __shfl_xor_sync(ALL_LANES, value, step);
    return value;
}

// Adds the terms of all pixels of the block to the sums of its pose; `any`: some pixel of this warp shows the model.
GS_FN void add_terms(const PoseTerms& terms, bool any, double* sums) {
    __shared__ float warp_sums[BLEND_WARPS][POSE_SUMS];
    const int lane = threadIdx.x % WARP;
    float* own = warp_sums[threadIdx.x / WARP];
#pragma unroll
    for (int k = 0; k < POSE_HESSIAN; ++k) {
        const float sum = any ? sum_warp(terms.hessian[k]) : 0.0f;
        if (lane == 0) own[k] = sum;
    }
#pragma unroll
    for (int k = 0; k < POSE_PARAMETERS; ++k) {
        const float sum = any ? sum_warp(terms.gradient[k]) : 0.0f;
        if (lane == 0) own[POSE_HESSIAN + k] = sum;
    }
    const float cost = sum_warp(terms.cost);
    if (lane == 0) own[POSE_SUMS - 1] = cost;
    __syncthreads();
    if (threadIdx.x < POSE_SUMS) {
        double sum = 0;
        for (int w = 0; w < BLEND_WARPS; ++w) sum += double(warp_sums[w][threadIdx.x]);
        if (sum != 0) atomicAdd(&sums[threadIdx.x], sum);
    }
}

}  // namespace gs

using namespace gs;

// For each of the B poses (grid.y): sums (B, 45) and histogram (B, 128), both added to. targets (Q, height, width, 3)
// are bytes; pose b is compared with picture target_index[b]. Lists that had no room (`overflow`) and poses whose scale
// is 0 add nothing.
extern "C" __global__ void __launch_bounds__(BLEND_WARPS* WARP)
    pose_sums(int tiles_x, int tiles, int n, int coefficients, int width, int height, const int* overflow,
              const int* starts, const int* ends, const u32* entries, const Splat* splats, const float* means,
              const float* scales, const float* quats, const float* colors, const float* cam_from_world,
              const float* intrinsics,
              const float* center, int robust, const float* scale, const float* gain, const float* offset,
              const float* background, float detail, const long long* target_index,
              const unsigned char* targets, double* sums, int* histogram) {
    __shared__ PoseStage stages[BLEND_WARPS];
    const int b = blockIdx.y;
    if (*overflow != 0 || !(scale[b] > 0)) return;
    const Place at = place_of_thread(tiles_x, width, height);
    const int start = starts[b * tiles + at.tile], end = ends[b * tiles + at.tile];
    PoseStage& stage = stages[threadIdx.x / WARP];
    PoseCloud cloud = {means, scales, quats, colors, coefficients,
                       make_camera(cam_from_world + 16 * b, intrinsics + 4 * b, width, height), {}, detail};
    cloud.pivot = cloud.camera.rotation * load3(center) + cloud.camera.translation;
    const Walker walker = {entries, start, end, at.part, at.lane, stage.ring, 0, 0};
    const Splat* own_splats = splats + size_t(b) * n;
    const PixelTangent<float> p = coefficients > 1 ? blend_pixel<true>(stage, cloud, at, walker, own_splats)
                                                   : blend_pixel<false>(stage, cloud, at, walker, own_splats);

    const float* behind = background + 3 * b;
    const PoseFit<float> fit = {Robust(robust), scale[b],     gain[b], offset[b], {behind[0], behind[1], behind[2]},
                                detail};
    PoseTerms terms = {};
    if (at.inside) {
        const size_t pixel = (size_t(target_index[b]) * height + at.y) * width + at.x;
        float target[3], e;
        for (int c = 0; c < 3; ++c) target[c] = float(targets[3 * pixel + c]) * (1.0f / 255.0f);
        terms = pose_terms(fit, p, target, &e);
        if (p.transmittance < 1) atomicAdd(&histogram[RESIDUAL_BINS * b + residual_bin(e)], 1);
    }
    add_terms(terms, start != end, sums + size_t(POSE_SUMS) * b);
}

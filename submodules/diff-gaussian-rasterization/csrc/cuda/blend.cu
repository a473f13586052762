// options: --use_fast_math
// Blending of the sorted tile lists, forward and backward. A warp owns 8x4 px and walks only the entries whose bit for
// its part is set; nothing synchronises beyond the warp.
#include "part_walk.h"

namespace gs {

constexpr int BACKWARD_BLOCKS = 6;  // that a multiprocessor shall hold at once, which limits the registers

GS_FN void add_to(float* sums, float a, float b, float c, float d) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    atomicAdd(reinterpret_cast<float4*>(sums), make_float4(a, b, c, d));
#else
    atomicAdd(sums, a);
    atomicAdd(sums + 1, b);
    atomicAdd(sums + 2, c);
    atomicAdd(sums + 3, d);
#endif
}

constexpr double LOG2_E = 1.4426950408889634;
constexpr double LOG2_ALPHA_MIN = -7.994353436858858;  // log2(ALPHA_MIN)

// A splat that waits in shared memory, as the inner loops want it: alpha_of and power_of of common/blend.h in one
// exponent of two, alpha = 2^(log_opacity + a dx^2 + b dx dy + c dy^2). Three loads of 16 bytes.
struct alignas(16) Waiting {
    float x, y, a, b;
    float c, log_opacity, depth, unused;
    float red, green, blue, unused_too;
};

// inverse: whether the depth picture sums 1 / z.
GS_FN Waiting waiting_of(const Splat& s, int inverse) {
    const float half = float(-0.5 * LOG2_E);
    const float a = half * s.a, b = -float(LOG2_E) * s.b, c = half * s.c;
    return {s.x, s.y, a, b, c, log2f(s.opacity), inverse ? 1.0f / s.depth : s.depth, 0, s.red, s.green, s.blue, 0};
}

// 0 where the splat is skipped. Rounding must not lift the power above 0.
GS_FN float alpha_at(const Waiting& s, float dx, float dy) {
    const float exponent = s.log_opacity + dx * (s.a * dx + s.b * dy) + dy * (s.c * dy);
    const float alpha = min_of(float(ALPHA_MAX), exp2f(min_of(exponent, s.log_opacity)));
    return exponent < float(LOG2_ALPHA_MIN) ? 0.0f : alpha;
}

// What has been blended of a pixel. There are no branches, so that several splats are under way at once: only `left`
// has to wait for the splat before.
struct ForwardPixel {
    float x, y, left, red, green, blue, depth;
    bool done;
};

GS_FN void blend_one(const Waiting& s, ForwardPixel& p) {
    const float would = p.left * alpha_at(s, p.x - s.x, p.y - s.y);
    p.done = p.done || p.left - would < float(TRANSMITTANCE_MIN);
    const float weight = p.done ? 0.0f : would;
    p.red += weight * s.red;
    p.green += weight * s.green;
    p.blue += weight * s.blue;
    p.depth += weight * s.depth;
    p.left -= weight;
}

}  // namespace gs

using namespace gs;

// image (slots, 3, height, width), alpha and depth (slots, height, width), both may be null.
extern "C" __global__ void __launch_bounds__(BLEND_WARPS* WARP)
    blend_forward(int tiles_x, int tiles, int stride, int width, int height, const int* starts, const int* ends,
                  const u32* entries, const Splat* splats, const float* background, int inverse_depth, float* image,
                  float* alpha, float* depth, const int* overflow) {
    __shared__ Waiting stage[BLEND_WARPS][WARP];
    __shared__ u32 rings[BLEND_WARPS][RING];
    if (*overflow != 0) return;
    const Place at = place_of_thread(tiles_x, width, height);
    const int slot = blockIdx.y, warp = threadIdx.x / WARP;
    const Splat* slot_splats = splats + size_t(slot) * stride;
    Waiting* batch = stage[warp];
    Walker walker = {entries, starts[slot * tiles + at.tile], ends[slot * tiles + at.tile], at.part, at.lane,
                     rings[warp], 0, 0};

    ForwardPixel pixel = {float(at.x) + 0.5f, float(at.y) + 0.5f, 1, 0, 0, 0, 0, !at.inside};
    walker.look_ahead(WARP);
    Splat own = {};
    if (u32(at.lane) < walker.count) own = slot_splats[walker.waiting(at.lane)];
    while (walker.count > 0 && !__all_sync(ALL_LANES, pixel.done)) {
        const int count = min_of(int(walker.count), WARP);
        batch[at.lane] = waiting_of(own, inverse_depth);
        walker.take(count);
        walker.look_ahead(WARP);
        if (u32(at.lane) < walker.count) own = slot_splats[walker.waiting(at.lane)];  // arrives while these are blended
#pragma unroll 4
        for (int k = 0; k < count; ++k) blend_one(batch[k], pixel);
        __syncwarp();
    }
    if (!at.inside) return;
    const size_t plane = size_t(width) * height, offset = size_t(at.y) * width + at.x;
    float* out = image + 3 * plane * slot + offset;
    out[0] = pixel.red + pixel.left * background[0];
    out[plane] = pixel.green + pixel.left * background[1];
    out[2 * plane] = pixel.blue + pixel.left * background[2];
    if (alpha != nullptr) alpha[plane * slot + offset] = 1 - pixel.left;
    if (depth != nullptr) depth[plane * slot + offset] = pixel.depth;
}

namespace gs {

constexpr int BATCH = 16;      // splats that the backward pass blends before it sums over their pixels
constexpr int ROW = WARP + 1;  // padded, so that the lanes' rows lie in different banks

// What a warp of the backward pass keeps in shared memory.
struct BackwardStage {
    Waiting splats[BATCH];
    float4 gradient[WARP];     // of the picture, per pixel: red, green, blue, depth
    float2 terms[BATCH * ROW]; // [splat][pixel]: gradient of the power, blending weight
    u32 ring[RING];
};

// The running state of a pixel: transmittance, and S of common/blend.h.
struct BackwardPixel {
    float x, y, left, behind;
    float4 gradient;
    bool done;
};

// One splat over one pixel: fills its two terms and returns whether it was blended.
template <bool DEPTH>
GS_FN bool blend_backward_one(const Waiting& s, BackwardPixel& p, float2* terms) {
    const float alpha = alpha_at(s, p.x - s.x, p.y - s.y), would = p.left * alpha;
    p.done = p.done || p.left - would < float(TRANSMITTANCE_MIN);
    const float weight = p.done ? 0.0f : would;
    const bool blended = weight > 0;
    const float4 g = p.gradient;
    float value = g.x * s.red + g.y * s.green + g.z * s.blue;
    if (DEPTH) value += g.w * s.depth;
    p.behind -= weight * value;
    const float v_power = power_backward(alpha, p.left * value - p.behind / (1 - alpha));
    *terms = {blended ? v_power : 0.0f, weight};
    p.left -= weight;
    return blended;
}

// Sums over half the pixels of the part, rows 2 `half` and 2 `half` + 1, for the splat in row `k`.
template <bool DEPTH>
GS_FN SplatSums sum_half(const BackwardStage& stage, const Splat& s, int k, int half, float first_x, float first_y) {
    SplatSums v = {};
#pragma unroll
    for (int row = 0; row < PART_H / 2; ++row) {
        const int first = (half * (PART_H / 2) + row) * PART_W;
        const float dy = first_y + float(half * (PART_H / 2) + row) - s.y;
        float h = 0, hx = 0, hxx = 0;
#pragma unroll
        for (int column = 0; column < PART_W; ++column) {
            const float dx = first_x + float(column) - s.x;
            const float2 term = stage.terms[k * ROW + first + column];
            const float4 g = stage.gradient[first + column];
            const float moment = term.x * dx;
            h += term.x;
            hx += moment;
            hxx += moment * dx;
            v.red += term.y * g.x;
            v.green += term.y * g.y;
            v.blue += term.y * g.z;
            if (DEPTH) v.depth += term.y * g.w;
        }
        v.h += h;
        v.hx += hx;
        v.hxx += hxx;
        v.hy += dy * h;
        v.hxy += dy * hx;
        v.hyy += dy * dy * h;
    }
    return v;
}

GS_FN float with_other_half(float value) { return value + __shfl_xor_sync(ALL_LANES, value, WARP / 2); }

// The two lanes that share a splat add their halves up and then each a part of the result to its gradient.
template <bool DEPTH>
GS_FN void add_sums(SplatSums v, int half, bool any, SplatSums* out) {
    v.h = with_other_half(v.h);
    v.hx = with_other_half(v.hx);
    v.hy = with_other_half(v.hy);
    v.hxx = with_other_half(v.hxx);
    v.hxy = with_other_half(v.hxy);
    v.hyy = with_other_half(v.hyy);
    v.red = with_other_half(v.red);
    v.green = with_other_half(v.green);
    v.blue = with_other_half(v.blue);
    if (DEPTH) v.depth = with_other_half(v.depth);
    if (!any) return;
    if (half == 0) {
        add_to(&out->h, v.h, v.hx, v.hy, v.hxx);
        atomicAdd(&out->blue, v.blue);
    } else {
        add_to(&out->hxy, v.hxy, v.hyy, v.red, v.green);
        if (DEPTH) atomicAdd(&out->depth, v.depth);
    }
}

// A part of the backward pass of a picture; the kernels' arguments are explained there.
template <bool DEPTH>
GS_FN void blend_backward_part(BackwardStage& stage, const Place& at, BackwardPixel pixel, Walker walker,
                               const Splat* splats, int inverse_depth, SplatSums* sums) {
    stage.gradient[at.lane] = pixel.gradient;
    const float first_x = pixel.x - float(at.lane % PART_W), first_y = pixel.y - float(at.lane / PART_W);
    const int k = at.lane % BATCH, half = at.lane / BATCH;
    walker.look_ahead(BATCH);
    Splat coming = {};
    if (u32(k) < walker.count) coming = splats[walker.waiting(k)];
    while (walker.count > 0 && !__all_sync(ALL_LANES, pixel.done)) {
        const int count = min_of(int(walker.count), BATCH);
        const Splat own = coming;
        const u32 index = k < count ? walker.waiting(k) : 0;
        if (half == 0) stage.splats[k] = waiting_of(own, inverse_depth);
        walker.take(count);
        walker.look_ahead(BATCH);
        if (u32(k) < walker.count) coming = splats[walker.waiting(k)];  // arrives while these are blended
        u32 blended = 0;
#pragma unroll 4
        for (int j = 0; j < count; ++j) {
            const bool hit = blend_backward_one<DEPTH>(stage.splats[j], pixel, &stage.terms[j * ROW + at.lane]);
            blended |= u32(__any_sync(ALL_LANES, hit)) << j;
        }
        __syncwarp();
        if (blended != 0) {
            const SplatSums v = sum_half<DEPTH>(stage, own, k, half, first_x, first_y);
            add_sums<DEPTH>(v, half, (blended >> k & 1) != 0, &sums[index]);
        }
        __syncwarp();
    }
}

}  // namespace gs

// The gradient of every splat, added to `sums` (slots, stride), from those of the picture, and of alpha and depth
// where these are given. Walks front to back again, so that what is drawn is decided exactly as forward.
extern "C" __global__ void __launch_bounds__(BLEND_WARPS* WARP, BACKWARD_BLOCKS)
    blend_backward(int tiles_x, int tiles, int stride, int width, int height, const int* starts, const int* ends,
                   const u32* entries, const Splat* splats, int inverse_depth, const float* image, const float* alpha,
                   const float* depth, const float* v_image, const float* v_alpha, const float* v_depth,
                   SplatSums* sums, const int* overflow) {
    __shared__ BackwardStage stages[BLEND_WARPS];
    if (*overflow != 0) return;
    const Place at = place_of_thread(tiles_x, width, height);
    const int slot = blockIdx.y;
    const int start = starts[slot * tiles + at.tile], end = ends[slot * tiles + at.tile];
    if (start == end) return;
    BackwardStage& stage = stages[threadIdx.x / WARP];

    BackwardPixel pixel = {float(at.x) + 0.5f, float(at.y) + 0.5f, 1, 0, {0, 0, 0, 0}, !at.inside};
    if (at.inside) {
        const size_t plane = size_t(width) * height, offset = size_t(at.y) * width + at.x;
        const size_t place = plane * slot + offset;
        const float* g = v_image + 3 * plane * slot + offset;
        const float* color = image + 3 * plane * slot + offset;
        pixel.gradient = {g[0], g[plane], g[2 * plane], v_depth == nullptr ? 0.0f : v_depth[place]};
        pixel.behind = g[0] * color[0] + g[plane] * color[plane] + g[2 * plane] * color[2 * plane];
        if (v_depth != nullptr) pixel.behind += pixel.gradient.w * depth[place];
        if (v_alpha != nullptr) pixel.behind -= v_alpha[place] * (1 - alpha[place]);
    }
    const Walker walker = {entries, start, end, at.part, at.lane, stage.ring, 0, 0};
    const Splat* slot_splats = splats + size_t(slot) * stride;
    SplatSums* slot_sums = sums + size_t(slot) * stride;
    if (v_depth == nullptr) blend_backward_part<false>(stage, at, pixel, walker, slot_splats, 0, slot_sums);
    else blend_backward_part<true>(stage, at, pixel, walker, slot_splats, inverse_depth, slot_sums);
}

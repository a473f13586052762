// options: --use_fast_math
// Blending of the sorted tile lists, forward and backward. A warp owns 8x4 px and walks only the entries whose bit for
// its part is set; nothing synchronises beyond the warp.
#include "device.h"

namespace gs {

constexpr int BLEND_WARPS = 4;  // warps of a block, and so parts of a tile that a block blends
constexpr int ROW = WARP + 1;   // padded, so that a column of the per-splat buffers hits all banks

// Which tile, part and pixel a thread has.
struct Place {
    int tile, part, lane, x, y;
    bool inside;
};

GS_FN Place place_of_thread(int tiles_x, int width, int height) {
    Place p;
    p.lane = threadIdx.x % WARP;
    p.tile = blockIdx.x / (PARTS / BLEND_WARPS);
    p.part = blockIdx.x % (PARTS / BLEND_WARPS) * BLEND_WARPS + threadIdx.x / WARP;
    p.x = p.tile % tiles_x * TILE + p.part % 2 * PART_W + p.lane % PART_W;
    p.y = p.tile / tiles_x * TILE + p.part / 2 * PART_H + p.lane / PART_W;
    p.inside = p.x < width && p.y < height;
    return p;
}

// While a splat waits in shared memory, the field extent_x holds the power at which it fades out.
GS_FN Splat staged(Splat s) {
    s.extent_x = power_min_of(s.opacity);
    return s;
}

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

}  // namespace gs

using namespace gs;

// image (slots, 3, height, width), remaining (slots, height, width) = transmittance at the end; depth may be null.
extern "C" __global__ void __launch_bounds__(BLEND_WARPS* WARP)
    blend_forward(int tiles_x, int tiles, int stride, int width, int height, const int* starts, const int* ends,
                  const u32* entries, const Splat* splats, const float* background, float* image, float* remaining,
                  float* depth, const int* overflow) {
    __shared__ Splat stage[BLEND_WARPS][WARP];
    if (*overflow != 0) return;
    const Place at = place_of_thread(tiles_x, width, height);
    const int slot = blockIdx.y;
    const int start = starts[slot * tiles + at.tile], end = ends[slot * tiles + at.tile];
    const Splat* slot_splats = splats + slot * stride;
    Splat* queue = stage[threadIdx.x / WARP];

    const float px = float(at.x) + 0.5f, py = float(at.y) + 0.5f;
    float left = 1, red = 0, green = 0, blue = 0, z = 0;
    bool done = !at.inside;
    for (int base = start; base < end; base += WARP) {
        if (__all_sync(ALL_LANES, done)) break;
        const u32 entry = base + at.lane < end ? entries[base + at.lane] : 0;
        const u32 hits = __ballot_sync(ALL_LANES, (entry >> at.part & 1) != 0);
        if (entry >> at.part & 1) {
            queue[__popc(hits & ((1u << at.lane) - 1))] = staged(slot_splats[entry >> PARTS]);
        }
        __syncwarp();
        const int count = __popc(hits);
        for (int k = 0; k < count; ++k) {
            const Splat s = queue[k];
            const float power = power_of(s.a, s.b, s.c, px - s.x, py - s.y);
            if (done || power < s.extent_x) continue;
            const float alpha = alpha_of(s.opacity, power);
            const float next = left * (1 - alpha);
            if (next < float(TRANSMITTANCE_MIN)) {
                done = true;
                continue;
            }
            const float weight = left * alpha;
            red += weight * s.red;
            green += weight * s.green;
            blue += weight * s.blue;
            z += weight * s.depth;
            left = next;
        }
        __syncwarp();
    }
    if (!at.inside) return;
    const size_t plane = size_t(width) * height, pixel = size_t(at.y) * width + at.x;
    float* out = image + 3 * plane * slot + pixel;
    out[0] = red + left * background[0];
    out[plane] = green + left * background[1];
    out[2 * plane] = blue + left * background[2];
    remaining[plane * slot + pixel] = left;
    if (depth != nullptr) depth[plane * slot + pixel] = z;
}

namespace gs {

// What a warp of the backward pass keeps in shared memory.
struct BackwardStage {
    Splat splats[WARP];
    float4 gradient[WARP];        // of the picture, per pixel: red, green, blue, depth
    float power[WARP * ROW];      // [splat][pixel] gradient of the power
    float weight[WARP * ROW];     // [splat][pixel] blending weight
    u32 waiting[2 * WARP];        // splats gathered and not yet blended
};

// The running state of a pixel: transmittance, and S of common/blend.h.
struct BackwardPixel {
    float x, y, left, behind;
    float4 gradient;
    bool done;
};

// One splat over one pixel: fills its two entries and returns whether it was blended.
GS_FN bool blend_backward_one(const Splat& s, BackwardPixel& p, float* power_out, float* weight_out) {
    *power_out = 0;
    *weight_out = 0;
    const float power = power_of(s.a, s.b, s.c, p.x - s.x, p.y - s.y);
    if (p.done || power < s.extent_x) return false;
    const float alpha = alpha_of(s.opacity, power);
    const float next = p.left * (1 - alpha);
    if (next < float(TRANSMITTANCE_MIN)) {
        p.done = true;
        return false;
    }
    const float weight = p.left * alpha;
    const float4 g = p.gradient;
    const float value = g.x * s.red + g.y * s.green + g.z * s.blue + g.w * s.depth;
    p.behind -= weight * value;
    *power_out = power_backward(alpha, p.left * value - p.behind / (1 - alpha));
    *weight_out = weight;
    p.left = next;
    return true;
}

// A lane sums over the 32 pixels for one splat (its own copy `s`; row `k` of the buffers) and adds to its gradient.
GS_FN void sum_pixels(const BackwardStage& stage, const Splat& s, int k, float first_x, float first_y, bool with_depth,
                      SplatSums* out) {
    SplatSums v = {};
    for (int row = 0; row < PART_H; ++row) {
        const float dy = first_y + float(row) - s.y;
        float h = 0, hx = 0, hxx = 0;
#pragma unroll
        for (int column = 0; column < PART_W; ++column) {
            const int pixel = row * PART_W + column;
            const float dx = first_x + float(column) - s.x;
            const float power = stage.power[k * ROW + pixel], weight = stage.weight[k * ROW + pixel];
            const float4 g = stage.gradient[pixel];
            const float moment = power * dx;
            h += power;
            hx += moment;
            hxx += moment * dx;
            v.red += weight * g.x;
            v.green += weight * g.y;
            v.blue += weight * g.z;
            if (with_depth) v.depth += weight * g.w;
        }
        v.h += h;
        v.hx += hx;
        v.hxx += hxx;
        v.hy += dy * h;
        v.hxy += dy * hx;
        v.hyy += dy * dy * h;
    }
    add_to(&out->h, v.h, v.hx, v.hy, v.hxx);
    add_to(&out->hxy, v.hxy, v.hyy, v.red, v.green);
    atomicAdd(&out->blue, v.blue);
    if (with_depth) atomicAdd(&out->depth, v.depth);
}

// Blends the first `count` waiting splats of the warp and adds up their gradients.
GS_FN void blend_backward_batch(BackwardStage& stage, BackwardPixel& pixel, int count, int lane, float first_x,
                                float first_y, bool with_depth, const Splat* splats, SplatSums* sums) {
    Splat own = {};
    u32 index = 0;
    if (lane < count) {
        index = stage.waiting[lane];
        own = staged(splats[index]);
        stage.splats[lane] = own;
    }
    __syncwarp();
    u32 blended = 0;
    for (int k = 0; k < count; ++k) {
        const bool hit = blend_backward_one(stage.splats[k], pixel, &stage.power[k * ROW + lane],
                                            &stage.weight[k * ROW + lane]);
        blended |= u32(__any_sync(ALL_LANES, hit)) << k;
    }
    __syncwarp();
    if (blended >> lane & 1) sum_pixels(stage, own, lane, first_x, first_y, with_depth, &sums[index]);
    __syncwarp();
}

}  // namespace gs

// The gradient of every splat, added to `sums` (slots, stride), from those of the picture, and of remaining and depth
// where these are given. Walks front to back again, so that what is drawn is decided exactly as forward.
extern "C" __global__ void __launch_bounds__(BLEND_WARPS* WARP)
    blend_backward(int tiles_x, int tiles, int stride, int width, int height, const int* starts, const int* ends,
                   const u32* entries, const Splat* splats, const float* image, const float* remaining,
                   const float* depth, const float* v_image, const float* v_remaining, const float* v_depth,
                   SplatSums* sums, const int* overflow) {
    __shared__ BackwardStage stages[BLEND_WARPS];
    if (*overflow != 0) return;
    const Place at = place_of_thread(tiles_x, width, height);
    const int slot = blockIdx.y, lane = at.lane;
    const int start = starts[slot * tiles + at.tile], end = ends[slot * tiles + at.tile];
    if (start == end) return;
    BackwardStage& stage = stages[threadIdx.x / WARP];

    BackwardPixel pixel = {float(at.x) + 0.5f, float(at.y) + 0.5f, 1, 0, {0, 0, 0, 0}, !at.inside};
    if (at.inside) {
        const size_t plane = size_t(width) * height, offset = size_t(at.y) * width + at.x;
        const float* g = v_image + 3 * plane * slot + offset;
        const float* color = image + 3 * plane * slot + offset;
        pixel.gradient = {g[0], g[plane], g[2 * plane], v_depth == nullptr ? 0.0f : v_depth[plane * slot + offset]};
        pixel.behind = g[0] * color[0] + g[plane] * color[plane] + g[2 * plane] * color[2 * plane];
        if (v_depth != nullptr) pixel.behind += pixel.gradient.w * depth[plane * slot + offset];
        if (v_remaining != nullptr) pixel.behind += v_remaining[plane * slot + offset] * remaining[plane * slot + offset];
    }
    stage.gradient[lane] = pixel.gradient;
    const float first_x = pixel.x - float(lane % PART_W), first_y = pixel.y - float(lane / PART_W);
    const Splat* slot_splats = splats + slot * stride;
    SplatSums* slot_sums = sums + slot * stride;

    int waiting = 0;
    for (int base = start; base < end; base += WARP) {
        if (__all_sync(ALL_LANES, pixel.done)) return;
        const u32 entry = base + lane < end ? entries[base + lane] : 0;
        const u32 hits = __ballot_sync(ALL_LANES, (entry >> at.part & 1) != 0);
        if (entry >> at.part & 1) stage.waiting[waiting + __popc(hits & ((1u << lane) - 1))] = entry >> PARTS;
        waiting += __popc(hits);
        __syncwarp();
        if (waiting < WARP) continue;
        blend_backward_batch(stage, pixel, WARP, lane, first_x, first_y, v_depth != nullptr, slot_splats, slot_sums);
        const u32 rest = stage.waiting[WARP + lane];
        __syncwarp();
        stage.waiting[lane] = rest;
        waiting -= WARP;
    }
    __syncwarp();
    if (waiting > 0)
        blend_backward_batch(stage, pixel, waiting, lane, first_x, first_y, v_depth != nullptr, slot_splats, slot_sums);
}

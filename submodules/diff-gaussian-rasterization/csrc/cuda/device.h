// What all kernels share: the layout of tiles, projected splats and their gradients. A picture is cut into tiles of
// 16x16 px that own sorted lists of splats; a warp blends one of a tile's eight parts of 8x4 px, a lane one pixel.
#pragma once

#include "common/blend.h"
#include "common/projection.h"

namespace gs {

using u32 = unsigned int;
using u64 = unsigned long long;

constexpr int WARP = 32;
constexpr u32 ALL_LANES = 0xffffffffu;
constexpr int TILE = 16;
constexpr int PART_W = 8, PART_H = 4;
constexpr int PARTS = (TILE / PART_W) * (TILE / PART_H);
static_assert(PART_W * PART_H == WARP, "one lane, one pixel");
// An entry of a tile's list is index << PARTS | (which parts the splat touches).
// Counters of tiles lie this many ints apart: atomics on one line of the cache wait for each other.
constexpr int COUNTER_STRIDE = 32;
constexpr int MAX_SPLATS = 1 << (32 - PARTS);

// A projected splat: 3 x 16 bytes, so that a lane fetches it with three wide loads.
struct alignas(16) Splat {
    float x, y, a, b;                     // mean (px) and conic
    float c, opacity, depth, extent_y;    // extent: half size (px) of the box where alpha >= ALPHA_MIN
    float red, green, blue, extent_x;
};

// Sums over the pixels of a splat, from which the gradients of its projection follow (see splat_gradient). h is the
// gradient of the power, w the blending weight, (dx, dy) the pixel minus the mean, g the gradient of the picture.
struct alignas(16) SplatSums {
    float h, hx, hy, hxx;             // sum h, h dx, h dy, h dx^2
    float hxy, hyy, red, green;       // sum h dx dy, h dy^2, w g_red, w g_green
    float blue, depth, unused0, unused1;  // sum w g_blue, w g_depth
};

struct SplatGradient {
    ProjectionGradient<float> projection;
    Vec3<float> color;
};

// power = -(a dx^2 + c dy^2) / 2 - b dx dy with d = pixel - mean, and dL/dopacity = dL/dpower / opacity.
GS_FN SplatGradient splat_gradient(const Splat& s, const SplatSums& v) {
    SplatGradient out;
    out.projection.mean = {s.a * v.hx + s.b * v.hy, s.b * v.hx + s.c * v.hy};
    out.projection.a = -0.5f * v.hxx;
    out.projection.b = -v.hxy;
    out.projection.c = -0.5f * v.hyy;
    out.projection.depth = v.depth;
    out.color = {v.red, v.green, v.blue};
    out.projection.opacity = opacity_backward(s.opacity, v.h);
    return out;
}

// `limit`: the radius for box_of_3dgs, 0 for none; nobody needs the splat's own any more.
GS_FN Projection<float> projection_of(const Splat& s, float limit = 0) {
    Projection<float> p;
    p.mean = {s.x, s.y};
    p.a = s.a;
    p.b = s.b;
    p.c = s.c;
    p.depth = s.depth;
    p.extent_x = s.extent_x;
    p.extent_y = s.extent_y;
    p.radius = limit;
    return p;
}

GS_FN Vec3<float> load3(const float* p) { return {p[0], p[1], p[2]}; }
GS_FN Vec4<float> load4(const float* p) { return {p[0], p[1], p[2], p[3]}; }
GS_FN Ellipsoid<float> load_ellipsoid(const float* scales, const float* quats, int i) {
    return {load3(scales + 3 * i), load4(quats + 4 * i)};
}
GS_FN GivenCovariance<float> load_covariance(const float* covariances, int i) {
    const float* c = covariances + 6 * i;
    return {{c[0], c[1], c[2], c[3], c[4], c[5]}};
}

// Which view a slot of this step shows: the slot itself, or its entry in the schedule `order` (steps, slots).
GS_FN int view_of(const int* order, const int* step, int slots, int slot) {
    return order == nullptr ? slot : order[*step * slots + slot];
}

// The number of live splats: read on the device while training, so that growth needs no new graph.
GS_FN int live_count(const int* live, int n) { return live == nullptr ? n : *live; }

}  // namespace gs

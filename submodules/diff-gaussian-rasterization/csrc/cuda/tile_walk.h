// Which tiles, and which parts of them, the splats of a warp touch: the exact spans of common/tiles.h strip by strip.
// The rows of tiles of all 32 splats are dealt out evenly to the lanes, so that one large splat does not hold up 31.
#pragma once

#include "common/tiles.h"
#include "device.h"

namespace gs {

// Widens a span (px) against rounding; the pixels themselves decide what is drawn.
constexpr float SPAN_MARGIN = 0.02f;
constexpr int STRIPS = TILE / PART_H;

GS_FN int clamp_int(float value, int low, int high) {
    return int(min_of(max_of(value, float(low)), float(high)));
}

// Calls visit(tile, parts) for every tile of one row of tiles with a pixel center inside the ellipse, within box_of_3dgs
// of p.radius; bit 2 r + c of
// `parts` stands for the part in row r of 4 and column c of 2.
template <typename Visit>
GS_FN void visit_row(const Projection<float>& p, int row, int tiles_x, Visit visit) {
    int low[STRIPS], high[STRIPS];
    int first = tiles_x, last = -1;
#pragma unroll
    for (int strip = 0; strip < STRIPS; ++strip) {
        const float y = float(row * TILE + strip * PART_H);
        const Interval<float> span =
            covered_interval(p, y + 0.5f - SPAN_MARGIN, y + float(PART_H) - 0.5f + SPAN_MARGIN);
        const float margin = SPAN_MARGIN + 2e-3f * (span.high - span.low);
        // Part column k has pixel centers from 8 k + 0.5 to 8 k + 7.5.
        low[strip] = clamp_int(ceilf((span.low - margin - (PART_W - 0.5f)) / PART_W), 0, 2 * tiles_x);
        high[strip] = clamp_int(floorf((span.high + margin - 0.5f) / PART_W), -1, 2 * tiles_x - 1);
        if (!(span.low <= span.high)) high[strip] = -1;
        if (low[strip] > high[strip]) continue;
        first = min_of(first, low[strip] / 2);
        last = max_of(last, high[strip] / 2);
    }
    const Box<float> box = box_of_3dgs(p.mean, p.radius);
    first = max_of(first, int(box.low.x) / TILE);
    last = min_of(last, int(box.high.x) / TILE - 1);
    for (int column = first; column <= last; ++column) {
        u32 parts = 0;
#pragma unroll
        for (int strip = 0; strip < STRIPS; ++strip) {
            const bool left = low[strip] <= 2 * column && 2 * column <= high[strip];
            const bool right = low[strip] <= 2 * column + 1 && 2 * column + 1 <= high[strip];
            parts |= (u32(left) | u32(right) << 1) << (2 * strip);
        }
        if (parts != 0) visit(row * tiles_x + column, parts);
    }
}

// What the lanes of a warp share while they deal out rows.
struct WarpRows {
    Projection<float> splats[WARP];
    int first_row[WARP];
    int rows_before[WARP + 1];
};

// The sum of `value` over this lane and those before it.
GS_FN int inclusive_sum(int value, int lane) {
    for (int step = 1; step < WARP; step *= 2) {
        const int other = __shfl_up_sync(ALL_LANES, value, step);
        if (lane >= step) value += other;
    }
    return value;
}

// Calls visit(lane that has the splat, its projection, tile, parts) for all tiles of all splats of the warp. All lanes
// must come here; one without a splat says so by `drawn`.
template <typename Visit>
GS_FN void for_each_tile_of_warp(WarpRows& shared, bool drawn, const Projection<float>& p, int tiles_x, int tiles_y,
                                 Visit visit) {
    const int lane = threadIdx.x % WARP;
    int first = 0, rows = 0;
    if (drawn) {
        first = clamp_int(floorf((p.mean.y - p.extent_y - 0.5f) / TILE), 0, tiles_y);
        const Box<float> box = box_of_3dgs(p.mean, p.radius);
        first = max_of(first, int(box.low.y) / TILE);
        const int last = min_of(clamp_int(floorf((p.mean.y + p.extent_y) / TILE), -1, tiles_y - 1),
                                int(box.high.y) / TILE - 1);
        rows = max_of(last + 1 - first, 0);
        shared.splats[lane] = p;
        shared.first_row[lane] = first;
    }
    const int until = inclusive_sum(rows, lane);
    shared.rows_before[lane + 1] = until;
    if (lane == 0) shared.rows_before[0] = 0;
    __syncwarp();
    const int total = shared.rows_before[WARP];
    for (int item = lane; item < total; item += WARP) {
        int owner = 0;  // the last lane with rows_before <= item
#pragma unroll
        for (int step = WARP / 2; step > 0; step /= 2)
            if (shared.rows_before[owner + step] <= item) owner += step;
        const int row = shared.first_row[owner] + item - shared.rows_before[owner];
        const Projection<float>& splat = shared.splats[owner];
        visit_row(splat, row, tiles_x, [&](int tile, u32 parts) { visit(owner, splat, tile, parts); });
    }
    __syncwarp();
}

}  // namespace gs

// Which tiles, and which parts of them, an ellipse touches: the exact spans of common/tiles.h strip by strip.
#pragma once

#include "common/tiles.h"
#include "device.h"

namespace gs {

// Widens a span (px) against rounding; the pixels themselves decide what is drawn.
constexpr float SPAN_MARGIN = 0.02f;

GS_FN int clamp_int(float value, int low, int high) {
    return int(min_of(max_of(value, float(low)), float(high)));
}

// Calls visit(tile, parts) for every tile with a pixel centre inside the ellipse; bit 2 r + c of `parts` stands for the
// part in row r of 4 and column c of 2.
template <typename Visit>
GS_FN void for_each_tile(const Projection<float>& p, int tiles_x, int tiles_y, Visit visit) {
    const float bottom = p.mean.y + p.extent_y, top = p.mean.y - p.extent_y;
    const int first_row = clamp_int(floorf((top - 0.5f) / TILE), 0, tiles_y);
    const int last_row = clamp_int(floorf(bottom / TILE), -1, tiles_y - 1);
    for (int row = first_row; row <= last_row; ++row) {
        int low[TILE / PART_H], high[TILE / PART_H];
        int first = tiles_x, last = -1;
        for (int strip = 0; strip < TILE / PART_H; ++strip) {
            const float y = float(row * TILE + strip * PART_H);
            const Interval<float> span =
                covered_interval(p, y + 0.5f - SPAN_MARGIN, y + float(PART_H) - 0.5f + SPAN_MARGIN);
            const float margin = SPAN_MARGIN + 2e-3f * (span.high - span.low);
            // Part column k has pixel centres from 8 k + 0.5 to 8 k + 7.5.
            low[strip] = clamp_int(ceilf((span.low - margin - (PART_W - 0.5f)) / PART_W), 0, 2 * tiles_x);
            high[strip] = clamp_int(floorf((span.high + margin - 0.5f) / PART_W), -1, 2 * tiles_x - 1);
            if (!(span.low <= span.high)) high[strip] = -1;
            if (low[strip] > high[strip]) continue;
            first = min_of(first, low[strip] / 2);
            last = max_of(last, high[strip] / 2);
        }
        for (int column = first; column <= last; ++column) {
            u32 parts = 0;
            for (int strip = 0; strip < TILE / PART_H; ++strip) {
                const bool left = low[strip] <= 2 * column && 2 * column <= high[strip];
                const bool right = low[strip] <= 2 * column + 1 && 2 * column + 1 <= high[strip];
                parts |= (u32(left) | u32(right) << 1) << (2 * strip);
            }
            if (parts != 0) visit(row * tiles_x + column, parts);
        }
    }
}

}  // namespace gs

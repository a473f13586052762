// The pixels of one tile as SIMD vectors. A vector holds part of a row, a row or several rows, as wide as the machine is.
#pragma once

#include "scene.h"
#include "simd.h"

namespace gs {

template <typename T>
struct TileLanes {
    static constexpr int COUNT = LANES<T>;
    static constexpr int VECTORS = TILE_PIXELS / COUNT;
    static constexpr int COLUMNS = COUNT < TILE ? TILE / COUNT : 1;  // vectors side by side; they repeat row after row
};

template <typename T>
using TileVectors = Simd<T>[TileLanes<T>::VECTORS];
template <typename T>
using TileMasks = SimdMask<T>[TileLanes<T>::VECTORS];

// The pixel that a lane of a vector stands for, as its place in the tile's 64, row by row.
template <typename T>
constexpr int pixel_of(int vector, int lane) {
    return vector * LANES<T> + lane;
}

// Where a tile lies: the centers of its pixels (px), and which of them are inside of the picture.
template <typename T>
struct TilePixels {
    TileVectors<T> x, y;
    TileMasks<T> inside;
    int left, top, columns, rows;  // the part inside of the picture

    TilePixels(int tile, const Views<T>& views) {
        static const Offsets OFFSETS;
        left = tile % views.tiles_x() * TILE;
        top = tile / views.tiles_x() * TILE;
        columns = min_of(TILE, views.width - left);
        rows = min_of(TILE, views.height - top);
        for (int v = 0; v < TileLanes<T>::VECTORS; ++v) {
            x[v] = OFFSETS.x[v] + T(left);
            y[v] = OFFSETS.y[v] + T(top);
            inside[v] = (x[v] < splat<T>(T(views.width))) & (y[v] < splat<T>(T(views.height)));
        }
    }

    bool whole() const { return columns == TILE && rows == TILE; }

private:
    struct Offsets {
        TileVectors<T> x, y;
        Offsets() {
            for (int v = 0; v < TileLanes<T>::VECTORS; ++v)
                for (int lane = 0; lane < LANES<T>; ++lane) {
                    x[v][lane] = T(pixel_of<T>(v, lane) % TILE) + T(0.5);
                    y[v][lane] = T(pixel_of<T>(v, lane) / TILE) + T(0.5);
                }
        }
    };
};

// Calls copy(pixels of the tile from `values`, place in a plane of the picture, how many) for every row of the tile.
template <typename T, typename Copy>
inline void for_each_row(const TilePixels<T>& pixels, int width, Copy copy) {
    const int64_t first = int64_t(pixels.top) * width + pixels.left;
    if (pixels.whole())  // with numbers that the compiler knows
        for (int row = 0; row < TILE; ++row) copy(row * TILE, first + int64_t(row) * width, TILE);
    else
        for (int row = 0; row < pixels.rows; ++row) copy(row * TILE, first + int64_t(row) * width, pixels.columns);
}

// The powers of one splat at all pixels of a tile.
template <typename T>
struct TilePowers {
    TileVectors<T> power;
    uint32_t reached;  // bit v: some lane of vector v is at or above the splat's power_min

    TilePowers(const Splat<T>& s, const TilePixels<T>& pixels, uint32_t live) {
        using L = TileLanes<T>;
        const Projection<T>& p = s.projection;
        Simd<T> by_x[L::COLUMNS], by_xx[L::COLUMNS];
        for (int column = 0; column < L::COLUMNS; ++column) {
            const Simd<T> dx = pixels.x[column] - p.mean.x;
            by_x[column] = dx * -p.b;
            by_xx[column] = dx * dx * (T(-0.5) * p.a);
        }
        const Simd<T> by_yy = splat<T>(T(-0.5) * p.c), threshold = splat<T>(s.power_min);
        reached = 0;
#pragma GCC unroll 16
        for (int v = 0; v < L::VECTORS; ++v) {
            const int column = v % L::COLUMNS;
            const Simd<T> dy = pixels.y[v] - p.mean.y;
            power[v] = dy * (dy * by_yy + by_x[column]) + by_xx[column];
            reached |= uint32_t(any_lane(power[v] >= threshold)) << v;
        }
        reached &= live;
    }
};

}  // namespace gs

// What the stages of the CPU rasterizer hand to one another. Memory belongs to the caller.
#pragma once

#include <cstdint>

#include "../common/blend.h"
#include "../common/sh.h"
#include "../common/tiles.h"

namespace gs {

constexpr int TILE = 8;  // px per side: at the usual splat sizes half the evaluations of 16
constexpr int TILE_PIXELS = TILE * TILE;

// N Gaussians; sh_count 0 means that `colors` is (N, 3) and taken as it is, else (N, sh_count, 3). Where `quats` is null
// `scales` holds covariances (N, 6).
template <typename T>
struct Cloud {
    int64_t count;
    const T *means, *scales, *quats, *opacities, *colors;
    int sh_count;
    bool antialiased = false;

    Vec3<T> mean(int64_t i) const { return {means[3 * i], means[3 * i + 1], means[3 * i + 2]}; }
    Ellipsoid<T> ellipsoid(int64_t i) const {
        const T *s = scales + 3 * i, *q = quats + 4 * i;
        return {{s[0], s[1], s[2]}, {q[0], q[1], q[2], q[3]}};
    }
    GivenCovariance<T> covariance(int64_t i) const {
        const T* c = scales + 6 * i;
        return {{c[0], c[1], c[2], c[3], c[4], c[5]}};
    }
    const T* color(int64_t i) const { return colors + 3 * (sh_count ? sh_count : 1) * i; }
};

// B views of one size. `offsets` (B, N, 2), px, may be null. inverse_depth: the depth picture sums 1 / z, not z.
template <typename T>
struct Views {
    int64_t count;
    const T *cam_from_world, *intrinsics, *offsets;
    int width, height;
    bool inverse_depth = false;

    int tiles_x() const { return (width + TILE - 1) / TILE; }
    int tiles_y() const { return (height + TILE - 1) / TILE; }
    int tiles() const { return tiles_x() * tiles_y(); }
    Camera<T> camera(int64_t view) const {
        return make_camera(cam_from_world + 16 * view, intrinsics + 4 * view, width, height);
    }
};

// One Gaussian in one view. Sixteen scalars: one cache line in float.
template <typename T>
struct Splat {
    Projection<T> projection;
    T opacity, power_min;
    Vec3<T> color;
    T shown_depth;  // what the depth picture sums
    T limit;        // the radius for box_of_3dgs
};
static_assert(sizeof(Splat<float>) == 64, "the Python side allocates 16 scalars per splat");

// The gradient of the loss in a splat, as one tile sees it or summed.
template <typename T>
struct SplatGradient {
    T mean_x, mean_y, a, b, c, depth, opacity, red, green, blue;
};
constexpr int SPLAT_GRADIENT = 10;

// A splat in the list of a tile. `slot` is where this tile writes its share of the splat's gradient.
struct Entry {
    int32_t gaussian;
    int32_t slot;
};

// Calls visit(tile row, first tile column, last tile column) for the tiles with a pixel center that the splat reaches,
// within box_of_3dgs of `limit`.
template <typename T, typename Visit>
inline void for_each_tile_row(const Projection<T>& p, T limit, int width, int height, Visit visit) {
    const T half = T(0.5), last = T(TILE) - half, inverse = T(1) / T(TILE);
    const int tiles_x = (width + TILE - 1) / TILE, tiles_y = (height + TILE - 1) / TILE;
    const EllipseStrips<T> strips(p);
    const Box<T> box = box_of_3dgs(p.mean, limit);
    const T top = max_of(p.mean.y - p.extent_y, box.low.y);
    const T bottom = min_of(min_of(p.mean.y + p.extent_y, T(height)), box.high.y - half);
    const int row_end = min_of(int(bottom * inverse), tiles_y - 1);
    for (int row = int(top * inverse); row <= row_end; ++row) {
        const T y = T(row * TILE);
        const Interval<T> x = strips.interval(y + half, min_of(y + last, T(height) - half));
        // Compared before they are made whole numbers: an interval may reach far outside of the picture.
        const T low = max_of(x.low - last, box.low.x) * inverse;
        const T high = min_of(min_of(x.high - half, box.high.x - half) * inverse, T(tiles_x - 1));
        if (!(low <= high)) continue;
        const int first = int(ceil(low)), end = int(high);
        if (first <= end) visit(row, first, end);
    }
}

}  // namespace gs

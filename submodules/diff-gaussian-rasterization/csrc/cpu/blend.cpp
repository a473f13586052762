// Blending of all tiles of all views, and its backward pass. One thread owns a tile; nothing is shared, so that the
// result does not depend on the number of threads.

#include <cstring>
#include <limits>
#include <utility>

#include "parallel.h"
#include "tile_simd.h"

namespace gs {
namespace {

constexpr int64_t AHEAD = 4;  // entries; splats lie scattered in memory

// What the forward pass keeps for the backward pass, per tile and pixel of the tile (64), in the order of TilePixels.
template <typename T>
struct Kept {
    T* transmittance;   // (B, tiles, 64) after the last splat
    int32_t* stop;      // (B, tiles, 64) entries from this one on do not reach the pixel
    int32_t* used;      // (B, tiles) entries that reach some pixel: the forward pass moves them to the front of their list
};

template <typename T>
struct Picture {
    T *image, *alpha, *depth;  // (B, 3, H, W), (B, H, W), (B, H, W)
};

template <typename T>
struct TileState {
    TileVectors<T> transmittance, red, green, blue, depth;
    TileMasks<T> live;  // pixels that did not stop yet
    int32_t stop[TILE_PIXELS];
    uint32_t live_vectors;

    explicit TileState(const TilePixels<T>& pixels) : live_vectors(0) {
        for (int v = 0; v < TileLanes<T>::VECTORS; ++v) {
            transmittance[v] = splat<T>(1);
            red[v] = green[v] = blue[v] = depth[v] = Simd<T>{};
            live[v] = pixels.inside[v];
            live_vectors |= uint32_t(any_lane(live[v])) << v;
        }
        for (int32_t& index : stop) index = std::numeric_limits<int32_t>::max();
    }
};

// Blends one splat over one vector of pixels. True if some pixel took it. `index` is its place among the used entries.
template <typename T>
inline bool blend_vector(const Splat<T>& s, Simd<T> power, int v, int index, TileState<T>& state) {
    SimdMask<T> takes = (power >= splat<T>(s.power_min)) & state.live[v];
    if (!any_lane(takes)) return false;
    const Simd<T> before = state.transmittance[v];
    Simd<T> alpha = min_lanes(exp_lanes(min_lanes(power, Simd<T>{})) * s.opacity, splat<T>(T(ALPHA_MAX)));
    const SimdMask<T> stops = takes & (before * (T(1) - alpha) < splat<T>(T(TRANSMITTANCE_MIN)));
    if (any_lane(stops)) {
        for (int lane = 0; lane < LANES<T>; ++lane)
            if (stops[lane]) state.stop[pixel_of<T>(v, lane)] = index;
        takes &= ~stops;
        state.live[v] &= ~stops;
        if (!any_lane(state.live[v])) state.live_vectors &= ~(1u << v);
    }
    alpha = takes ? alpha : Simd<T>{};
    const Simd<T> weight = alpha * before;
    state.red[v] += weight * s.color.x;
    state.green[v] += weight * s.color.y;
    state.blue[v] += weight * s.color.z;
    state.depth[v] += weight * s.shown_depth;
    state.transmittance[v] = before - weight;
    return any_lane(takes);
}

// Blends the entries of a tile until every pixel has stopped, and moves those that reach a pixel to the front.
template <typename T>
int32_t blend_tile(const TilePixels<T>& pixels, const Splat<T>* splats, Entry* entries, int64_t count,
                   TileState<T>& state) {
    int32_t used = 0;
    for (int64_t k = 0; k < count && state.live_vectors; ++k) {
        __builtin_prefetch(&splats[entries[min_of(k + AHEAD, count - 1)].gaussian]);
        const Splat<T>& s = splats[entries[k].gaussian];
        const TilePowers<T> powers(s, pixels, state.live_vectors);
        bool taken = false;
        for (uint32_t rest = powers.reached; rest; rest &= rest - 1) {
            const int v = __builtin_ctz(rest);
            taken |= blend_vector(s, powers.power[v], v, used, state);
        }
        if (taken) std::swap(entries[used++], entries[k]);
    }
    return used;
}

template <typename T>
void write_plane(const TilePixels<T>& pixels, const TileVectors<T>& from, T* plane, int width) {
    const T* values = reinterpret_cast<const T*>(from);
    for_each_row(pixels, width, [&](int pixel, int64_t at, int count) {
        std::memcpy(plane + at, values + pixel, sizeof(T) * count);
    });
}

template <typename T>
void write_tile(const TilePixels<T>& pixels, TileState<T>& state, const T* background, const Views<T>& views, int64_t view,
                const Picture<T>& out) {
    const int64_t plane = int64_t(views.width) * views.height;
    TileVectors<T> alpha;
    for (int v = 0; v < TileLanes<T>::VECTORS; ++v) {
        const Simd<T> behind = state.transmittance[v];
        state.red[v] += behind * background[0];
        state.green[v] += behind * background[1];
        state.blue[v] += behind * background[2];
        alpha[v] = T(1) - behind;
    }
    write_plane(pixels, state.red, out.image + plane * 3 * view, views.width);
    write_plane(pixels, state.green, out.image + plane * (3 * view + 1), views.width);
    write_plane(pixels, state.blue, out.image + plane * (3 * view + 2), views.width);
    write_plane(pixels, alpha, out.alpha + plane * view, views.width);
    write_plane(pixels, state.depth, out.depth + plane * view, views.width);
}

template <typename T>
void blend_all(const Views<T>& views, int64_t count, const Splat<T>* splats, const int64_t* tile_begin, Entry* entries,
               const T* background, const Picture<T>& out, const Kept<T>& kept) {
    const int64_t tiles = views.tiles();
#pragma omp parallel for schedule(dynamic, 4)
    for (int64_t k = 0; k < views.count * tiles; ++k) {
        const int64_t view = k / tiles;
        const TilePixels<T> pixels(int(k % tiles), views);
        TileState<T> state(pixels);
        kept.used[k] = blend_tile(pixels, splats + view * count, entries + tile_begin[k],
                                  tile_begin[k + 1] - tile_begin[k], state);
        for (int v = 0; v < TileLanes<T>::VECTORS; ++v)
            store(kept.transmittance + k * TILE_PIXELS + v * LANES<T>, state.transmittance[v]);
        std::memcpy(kept.stop + k * TILE_PIXELS, state.stop, sizeof state.stop);
        write_tile(pixels, state, background, views, view, out);
    }
}

}  // namespace
}  // namespace gs

#define GS_BLEND(T, SUFFIX)                                                                                            \
    GS_EXPORT void gs_blend_##SUFFIX(int64_t count, int64_t view_count, int64_t width, int64_t height,                         \
                                     const gs::Splat<T>* splats, const int64_t* tile_begin, gs::Entry* entries,        \
                                     const T* background, T* image, T* alpha, T* depth, T* transmittance,              \
                                     int32_t* stop, int32_t* used) {                                                   \
        const gs::Views<T> views = {view_count, nullptr, nullptr, nullptr, int(width), int(height)};                             \
        gs::blend_all(views, count, splats, tile_begin, entries, background, {image, alpha, depth},                    \
                      {transmittance, stop, used});                                                                    \
    }

GS_BLEND(float, f32)
#ifdef GS_DOUBLE
GS_BLEND(double, f64)
#endif

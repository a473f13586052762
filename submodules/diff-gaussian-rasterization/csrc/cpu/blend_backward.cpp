// The backward pass of blending: every tile walks its used entries back to front and writes its share of each splat's
// gradient to the splat's slot; project_backward adds the shares up. See common/blend.h for the formulas.

#include <cstring>

#include "parallel.h"
#include "tile_simd.h"

namespace gs {
namespace {

constexpr int AHEAD = 4;  // entries; splats lie scattered in memory

// The gradients of the loss in the picture, as blending gave them out. Any may be null: zero.
template <typename T>
struct PictureGradient {
    const T *image, *alpha, *depth;
};

// The walk's state: transmittance in front of the current entry, S of common/blend.h, and the pixels' gradients.
template <typename T>
struct BackwardState {
    TileVectors<T> transmittance, behind, red, green, blue, depth;
    TileMasks<T> stop;
};

template <typename T>
struct Sums {
    // Down the columns of the tile, with h = dL/dpower: a lane keeps its column, so that dx can wait until the end.
    Simd<T> h[TileLanes<T>::COLUMNS]{}, hy[TileLanes<T>::COLUMNS]{}, hyy[TileLanes<T>::COLUMNS]{};
    Simd<T> red{}, green{}, blue{}, depth{};
};

template <typename T>
void read_plane(const TilePixels<T>& pixels, const T* plane, int width, TileVectors<T>& to) {
    std::memset(&to, 0, sizeof to);
    T* values = reinterpret_cast<T*>(to);
    if (plane)
        for_each_row(pixels, width, [&](int pixel, int64_t at, int count) {
            std::memcpy(values + pixel, plane + at, sizeof(T) * count);
        });
}

template <typename T>
BackwardState<T> start(const TilePixels<T>& pixels, const Views<T>& views, int64_t view, const PictureGradient<T>& v,
                       const T* background, const T* transmittance, const int32_t* stop, T* v_background) {
    const int64_t plane = int64_t(views.width) * views.height;
    const auto at = [&](const T* from, int64_t index) { return from ? from + index * plane : nullptr; };
    BackwardState<T> state;
    TileVectors<T> v_alpha;
    read_plane(pixels, at(v.image, 3 * view), views.width, state.red);
    read_plane(pixels, at(v.image, 3 * view + 1), views.width, state.green);
    read_plane(pixels, at(v.image, 3 * view + 2), views.width, state.blue);
    read_plane(pixels, at(v.depth, view), views.width, state.depth);
    read_plane(pixels, at(v.alpha, view), views.width, v_alpha);
    Simd<T> sum_red{}, sum_green{}, sum_blue{};
    for (int i = 0; i < TileLanes<T>::VECTORS; ++i) {
        const Simd<T> end = load(transmittance + i * LANES<T>);
        state.transmittance[i] = end;
        for (int lane = 0; lane < LANES<T>; ++lane) state.stop[i][lane] = stop[i * LANES<T> + lane];
        state.behind[i] = end * (state.red[i] * background[0] + state.green[i] * background[1] +
                                 state.blue[i] * background[2] - v_alpha[i]);
        sum_red += end * state.red[i];
        sum_green += end * state.green[i];
        sum_blue += end * state.blue[i];
    }
    v_background[0] = sum_lanes<T>(sum_red);
    v_background[1] = sum_lanes<T>(sum_green);
    v_background[2] = sum_lanes<T>(sum_blue);
    return state;
}

// DEPTH: whether the loss reads the depth, which training does not.
template <bool DEPTH, typename T>
inline void backward_vector(const Splat<T>& s, const TilePixels<T>& pixels, Simd<T> power, int v, int index,
                            BackwardState<T>& state, Sums<T>& sums) {
    using Lane = typename SimdOf<T>::Lane;
    const SimdMask<T> took = (power >= splat<T>(s.power_min)) & (SimdMask<T>{} + Lane(index) < state.stop[v]);
    if (!any_lane(took)) return;
    const Simd<T> raw = exp_lanes(min_lanes(power, Simd<T>{})) * s.opacity, limit = splat<T>(T(ALPHA_MAX));
    const Simd<T> alpha = took ? min_lanes(raw, limit) : Simd<T>{};
    const Simd<T> inverse = T(1) / (T(1) - alpha);
    const Simd<T> before = state.transmittance[v] * inverse, weight = alpha * before;
    Simd<T> e = state.red[v] * s.color.x + state.green[v] * s.color.y + state.blue[v] * s.color.z;
    if (DEPTH) e += state.depth[v] * s.shown_depth;
    const Simd<T> v_alpha = before * e - state.behind[v] * inverse;
    state.behind[v] += weight * e;
    state.transmittance[v] = before;
    sums.red += weight * state.red[v];
    sums.green += weight * state.green[v];
    sums.blue += weight * state.blue[v];
    if (DEPTH) sums.depth += weight * state.depth[v];
    const Simd<T> h = raw < limit ? alpha * v_alpha : Simd<T>{};
    const Simd<T> dy = pixels.y[v] - s.projection.mean.y, hy = h * dy;
    const int column = v % TileLanes<T>::COLUMNS;
    sums.h[column] += h;
    sums.hy[column] += hy;
    sums.hyy[column] += hy * dy;
}

template <typename T>
SplatGradient<T> gradient_of(const Splat<T>& s, const TilePixels<T>& pixels, const Sums<T>& sums) {
    Simd<T> parts[SPLAT_GRADIENT] = {};  // h, hx, hxx, hy, hxy, hyy, and the four values
    for (int column = 0; column < TileLanes<T>::COLUMNS; ++column) {
        const Simd<T> dx = pixels.x[column] - s.projection.mean.x, hx = sums.h[column] * dx;
        parts[0] += sums.h[column];
        parts[1] += hx;
        parts[2] += hx * dx;
        parts[3] += sums.hy[column];
        parts[4] += sums.hy[column] * dx;
        parts[5] += sums.hyy[column];
    }
    parts[6] = sums.red, parts[7] = sums.green, parts[8] = sums.blue, parts[9] = sums.depth;
    T total[SPLAT_GRADIENT + 2];
    sum_each<T, SPLAT_GRADIENT>(parts, total);
    const Projection<T>& p = s.projection;
    return {p.a * total[1] + p.b * total[3],
            p.b * total[1] + p.c * total[3],
            T(-0.5) * total[2],
            -total[4],
            T(-0.5) * total[5],
            total[9],
            opacity_backward(s.opacity, total[0]),
            total[6],
            total[7],
            total[8]};
}

template <bool DEPTH, typename T>
void backward_all(const Views<T>& views, int64_t count, const Splat<T>* splats, const int64_t* tile_begin,
                  const Entry* entries, const T* background, const T* transmittance, const int32_t* stop,
                  const int32_t* used, const PictureGradient<T>& v, SplatGradient<T>* slots, T* v_background) {
    const int64_t tiles = views.tiles();
#pragma omp parallel for schedule(dynamic, 4)
        for (int64_t k = 0; k < views.count * tiles; ++k) {
            const int64_t view = k / tiles;
            const TilePixels<T> pixels(int(k % tiles), views);
            BackwardState<T> state = start(pixels, views, view, v, background, transmittance + k * TILE_PIXELS,
                                           stop + k * TILE_PIXELS, v_background + 3 * k);
            const Entry* list = entries + tile_begin[k];
            for (int64_t index = used[k]; index < tile_begin[k + 1] - tile_begin[k]; ++index) slots[list[index].slot] = {};
            for (int index = used[k] - 1; index >= 0; --index) {
                const Entry& ahead = list[max_of(index - AHEAD, 0)];
                __builtin_prefetch(&splats[view * count + ahead.gaussian]);
                __builtin_prefetch(&slots[ahead.slot], 1);
                const Splat<T>& s = splats[view * count + list[index].gaussian];
                const TilePowers<T> powers(s, pixels, ~0u);
                Sums<T> sums;
                for (uint32_t rest = powers.reached; rest; rest &= rest - 1) {
                    const int vector = __builtin_ctz(rest);
                    backward_vector<DEPTH>(s, pixels, powers.power[vector], vector, index, state, sums);
                }
                slots[list[index].slot] = gradient_of(s, pixels, sums);
            }
        }
}

}  // namespace
}  // namespace gs

// v_background is (B, tiles, 3): one share per tile.
#define GS_BLEND_BACKWARD(T, SUFFIX)                                                                                   \
    GS_EXPORT void gs_blend_backward_##SUFFIX(                                                                         \
        int64_t count, int64_t view_count, int64_t width, int64_t height, const gs::Splat<T>* splats,                          \
        const int64_t* tile_begin, const gs::Entry* entries, const T* background, const T* transmittance,              \
        const int32_t* stop, const int32_t* used, const T* v_image, const T* v_alpha, const T* v_depth,                \
        gs::SplatGradient<T>* slots, T* v_background) {                                                                \
        const gs::Views<T> views = {view_count, nullptr, nullptr, nullptr, int(width), int(height)};                             \
        const auto backward = v_depth ? gs::backward_all<true, T> : gs::backward_all<false, T>;                        \
        backward(views, count, splats, tile_begin, entries, background, transmittance, stop, used,                     \
                 {v_image, v_alpha, v_depth}, slots, v_background);                                                    \
    }

GS_BLEND_BACKWARD(float, f32)
#ifdef GS_DOUBLE
GS_BLEND_BACKWARD(double, f64)
#endif

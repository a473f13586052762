// Normal equations of camera poses: J^T W J, J^T W r and the robust cost of many pictures and poses in one call. The
// splats and the lists of the tiles come from project.cpp and bin.cpp; the mathematics is in ../common/pose.h.
//
// Sums are taken per row of tiles, in double from there on, and added in order: the number of threads changes nothing.

#include <vector>

#include "../common/pose.h"
#include "parallel.h"
#include "tile_simd.h"

namespace gs {
namespace {

// One fit per view: view b is compared with targets[target_index[b]].
template <typename T>
struct PoseProblems {
    Robust robust;
    const T *scale, *gain, *offset, *background, *center;  // (B,), (B,), (B,), (B, 3), (3,) world units
    T detail;
    const int64_t* target_index;
    const uint8_t* targets;  // (Q, H, W, 3)

    PoseFit<T> fit(int64_t b) const {
        const T* behind = background + 3 * b;
        return {robust, scale[b], gain[b], offset[b], {behind[0], behind[1], behind[2]}, detail};
    }
};

struct PoseSums {
    double hessian[POSE_HESSIAN] = {}, gradient[POSE_PARAMETERS] = {}, cost = 0;
    int32_t histogram[RESIDUAL_BINS] = {};

    void add(const PoseSums& other) {
        for (int i = 0; i < POSE_HESSIAN; ++i) hessian[i] += other.hessian[i];
        for (int i = 0; i < POSE_PARAMETERS; ++i) gradient[i] += other.gradient[i];
        for (int i = 0; i < RESIDUAL_BINS; ++i) histogram[i] += other.histogram[i];
        cost += other.cost;
    }
};

// What a splat adds to a pixel's derivatives: those of its power, and those of its color by the viewing vector.
template <typename T>
struct SplatTangent {
    PowerTangent<T> power;
    T opacity, power_min;
    Mat3<T> color;
};

// PixelTangent for as many pixels as there are lanes, and the sum of T alpha dcolor/dview.
template <typename T>
struct LaneTangent {
    Simd<T> transmittance, color[3], d_transmittance[TWIST], d_color[3][TWIST], color_view[3][3];
};

// A splat as the pixels of one tile read it, one after the other; the lists name splats all over memory.
template <typename T>
struct TileSplat {
    T x, y, a, b, c, opacity, power_min, extent_y;
    T color[3];
    const SplatTangent<T>* tangent;
};

template <typename T>
void gather_tile(const Splat<T>* splats, const SplatTangent<T>* tangents, const Entry* entries, int64_t count,
                 std::vector<TileSplat<T>>& out) {
    out.resize(count);
    for (int64_t e = 0; e < count; ++e) {
        const Splat<T>& g = splats[entries[e].gaussian];
        const SplatTangent<T>& t = tangents[entries[e].gaussian];
        const Projection<T>& p = g.projection;
        out[e] = {p.mean.x,    p.mean.y,   p.a,
                  p.b,         p.c,        t.opacity,
                  t.power_min, p.extent_y, {g.color.x, g.color.y, g.color.z},
                  &t};
    }
}

template <typename T, bool VIEW>
void blend_lanes(const std::vector<TileSplat<T>>& splats, Simd<T> x, Simd<T> y, SimdMask<T> live, LaneTangent<T>& out) {
    using V = Simd<T>;
    LaneTangent<T> s = {};
    s.transmittance = splat<T>(1);
    const V zero = {};
    const T top = y[0], bottom = y[LANES<T> - 1];
    for (const TileSplat<T>& g : splats) {
        if (g.y + g.extent_y < top || g.y - g.extent_y > bottom) continue;
        const V dx = x - g.x, dy = y - g.y;
        const V dxx = dx * dx, dxy = dx * dy, dyy = dy * dy;
        const V power = T(-0.5) * (g.a * dxx + g.c * dyy) - g.b * dxy;
        SimdMask<T> takes = (power >= splat<T>(g.power_min)) & live;
        if (!any_lane(takes)) continue;
        V alpha = exp_lanes(max_lanes(min_lanes(power, zero), splat<T>(g.power_min))) * g.opacity;
        const SimdMask<T> capped = alpha >= splat<T>(T(ALPHA_MAX));
        alpha = min_lanes(alpha, splat<T>(T(ALPHA_MAX)));
        const SimdMask<T> stops = takes & (s.transmittance * (T(1) - alpha) < splat<T>(T(TRANSMITTANCE_MIN)));
        takes &= ~stops;
        live &= ~stops;
        alpha = takes ? alpha : zero;
        const V weight = s.transmittance * alpha;
        const V slope = capped ? zero : weight;  // T d alpha / d power
        const SplatTangent<T>& t = *g.tangent;
#pragma GCC unroll 6
        for (int k = 0; k < TWIST; ++k) {
            const V d_power = t.power.constant[k] + dx * t.power.x[k] + dy * t.power.y[k] + dxx * t.power.xx[k] +
                              dxy * t.power.xy[k] + dyy * t.power.yy[k];
            const V d_weight = s.d_transmittance[k] * alpha + slope * d_power;
            for (int c = 0; c < 3; ++c) s.d_color[c][k] += d_weight * g.color[c];
            s.d_transmittance[k] -= d_weight;
        }
        for (int c = 0; c < 3; ++c) {
            s.color[c] += weight * g.color[c];
            if (!VIEW) continue;
            s.color_view[c][0] += weight * t.color.row[c].x;
            s.color_view[c][1] += weight * t.color.row[c].y;
            s.color_view[c][2] += weight * t.color.row[c].z;
        }
        s.transmittance -= weight;
        if (!any_lane(live)) break;
    }
    out = s;
}

// Adds the motion of the viewing vector, which is the same for every splat, to the colors' derivatives.
template <typename T>
void add_view_motion(const Camera<T>& camera, Vec3<T> pivot, LaneTangent<T>& s) {
    for (int k = 0; k < TWIST; ++k) {
        const Vec3<T> d = view_by_twist(camera, pivot, k);
        for (int c = 0; c < 3; ++c)
            s.d_color[c][k] += s.color_view[c][0] * d.x + s.color_view[c][1] * d.y + s.color_view[c][2] * d.z;
    }
}

// The residuals of one pixel for each lane: and their rows of the Jacobian.
template <typename T>
struct LaneResiduals {
    Simd<T> residual[3], row[3][POSE_PARAMETERS];

    LaneResiduals(const PoseFit<T>& fit, const LaneTangent<T>& s, const Simd<T>* target) {
        const Simd<T> zero = {}, one = splat<T>(1), covered = one - s.transmittance;
        for (int c = 0; c < 3; ++c) {
            const Simd<T> value = fit.gain * s.color[c] + fit.offset * covered + fit.background[c] * s.transmittance;
            const SimdMask<T> free = (value > zero) & (value < one);
            residual[c] = min_lanes(max_lanes(value, zero), one) - target[c];
            const T behind = fit.background[c] - fit.offset;
            for (int k = 0; k < TWIST; ++k)
                row[c][k] = free ? fit.gain * s.d_color[c][k] + behind * s.d_transmittance[k] : zero;
            row[c][TWIST] = free ? s.color[c] : zero;
            row[c][TWIST + 1] = free ? covered : zero;
        }
    }
};

// The sums over one row of tiles; lanes are added up at its end.
template <typename T>
struct LaneSums {
    Simd<T> hessian[POSE_HESSIAN] = {}, gradient[POSE_PARAMETERS] = {};
    double cost = 0;
    int32_t histogram[RESIDUAL_BINS] = {};

    void add(const LaneResiduals<T>& r, Simd<T> weight, int channel) {
        const Simd<T>* row = r.row[channel];
        const Simd<T> pull = weight * r.residual[channel];
        int entry = 0;
#pragma GCC unroll 8
        for (int i = 0; i < POSE_PARAMETERS; ++i) {
            const Simd<T> weighted = weight * row[i];
            gradient[i] += pull * row[i];
#pragma GCC unroll 8
            for (int j = i; j < POSE_PARAMETERS; ++j) hessian[entry++] += weighted * row[j];
        }
    }

    PoseSums total() const {
        PoseSums out;
        for (int i = 0; i < POSE_HESSIAN; ++i) out.hessian[i] = double(sum_lanes<T>(hessian[i]));
        for (int i = 0; i < POSE_PARAMETERS; ++i) out.gradient[i] = double(sum_lanes<T>(gradient[i]));
        for (int i = 0; i < RESIDUAL_BINS; ++i) out.histogram[i] = histogram[i];
        out.cost = cost;
        return out;
    }
};

// The target's pixels under one vector of a tile: red, green and blue in [0, 1].
template <typename T>
void load_target(const uint8_t* target, const TilePixels<T>& pixels, int v, int width, Simd<T>* out) {
    alignas(VECTOR_BYTES) T channels[3][LANES<T>] = {};
    for (int lane = 0; lane < LANES<T>; ++lane) {
        const int p = v * LANES<T> + lane, row = p / TILE, column = p % TILE;
        if (row >= pixels.rows || column >= pixels.columns) continue;
        const int64_t at = int64_t(pixels.top + row) * width + pixels.left + column;
        for (int c = 0; c < 3; ++c) channels[c][lane] = T(target[3 * at + c]);
    }
    for (int c = 0; c < 3; ++c) out[c] = load<T>(channels[c]) * T(1.0 / 255.0);
}

// One vector of pixels: their robust weights, and with them everything that they add.
template <typename T>
void add_pixels(const PoseFit<T>& fit, const LaneTangent<T>& s, const Simd<T>* target, SimdMask<T> inside, bool touched,
                LaneSums<T>& sums) {
    const LaneResiduals<T> r(fit, s, target);
    const T limit = robust_limit(fit), share = T(1) / T(3);
    const Simd<T> square = r.residual[0] * r.residual[0] + r.residual[1] * r.residual[1] + r.residual[2] * r.residual[2];
    Simd<T> weight = {};
    for (int lane = 0; lane < LANES<T>; ++lane) {
        if (!inside[lane]) continue;
        const T e = sqrt(square[lane] * share);
        T cost;
        weight[lane] = robust_weight(fit.robust, limit, e, &cost) * share;
        sums.cost += double(cost);
        if (touched && s.transmittance[lane] < T(1)) ++sums.histogram[residual_bin(e)];
    }
    if (!touched) return;
    for (int c = 0; c < 3; ++c) sums.add(r, weight, c);
}

// All that the tiles of one view share.
template <typename T>
struct PoseView {
    const Views<T>& views;
    const PoseProblems<T>& problems;
    int64_t index;
    Camera<T> camera;
    Vec3<T> pivot;  // the object's center in the camera
    const Splat<T>* splats;
    const SplatTangent<T>* tangents;
    const int64_t* tile_begin;
    const Entry* entries;
    bool by_view;
};

template <typename T>
PoseSums tile_row_sums(const PoseView<T>& view, int row) {
    const int64_t pixels_per_picture = int64_t(view.views.width) * view.views.height;
    const PoseProblems<T>& problems = view.problems;
    const PoseFit<T> fit = problems.fit(view.index);
    const int64_t picture = problems.target_index[view.index];
    const uint8_t* target = problems.targets + 3 * pixels_per_picture * picture;
    LaneSums<T> sums;
    static thread_local std::vector<TileSplat<T>> splats;
    for (int tile = row * view.views.tiles_x(); tile < (row + 1) * view.views.tiles_x(); ++tile) {
        const TilePixels<T> pixels(tile, view.views);
        const Entry* entries = view.entries + view.tile_begin[tile];
        const int64_t count = view.tile_begin[tile + 1] - view.tile_begin[tile];
        gather_tile(view.splats, view.tangents, entries, count, splats);
        for (int v = 0; v < TileLanes<T>::VECTORS; ++v) {
            LaneTangent<T> s = {};
            s.transmittance = splat<T>(1);
            const int column = v % TileLanes<T>::COLUMNS;
            if (count && view.by_view) {
                blend_lanes<T, true>(splats, pixels.x[column], pixels.y[v], pixels.inside[v], s);
                add_view_motion(view.camera, view.pivot, s);
            } else if (count) {
                blend_lanes<T, false>(splats, pixels.x[column], pixels.y[v], pixels.inside[v], s);
            }
            Simd<T> colors[3];
            load_target<T>(target, pixels, v, view.views.width, colors);
            add_pixels(fit, s, colors, pixels.inside[v], count > 0, sums);
        }
    }
    return sums.total();
}

// The derivatives of the splats of one view that are drawn.
template <typename T>
void fill_tangents(const Cloud<T>& cloud, const Camera<T>& camera, Vec3<T> pivot, T detail, const Splat<T>* splats,
                   const int64_t* slot_begin, std::vector<SplatTangent<T>>& out) {
    if (int64_t(out.size()) < cloud.count) out.resize(cloud.count);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < cloud.count; ++i) {
        if (slot_begin[i] == slot_begin[i + 1]) continue;
        const Projection<T>& p = splats[i].projection;
        const Ellipsoid<T> shape = cloud.ellipsoid(i);
        out[i].power =
            power_tangent(camera, pivot, cloud.mean(i), shape.scale, shape.quat, p.a, p.b, p.c, detail);
        out[i].opacity = splats[i].opacity * out[i].power.compensation;
        out[i].power_min = power_min_of(out[i].opacity);
        if (cloud.sh_count > 1)
            out[i].color = color_by_view(cloud.sh_count, view_vector(camera, cloud.mean(i)), cloud.color(i), splats[i].color);
    }
}

template <typename T>
struct PoseOutput {
    T *hessian, *gradient, *cost;  // (B, 36), (B, 8), (B,)
    int32_t* histogram;            // (B, 128)
};

template <typename T>
void write_sums(const PoseSums& sums, int64_t b, const PoseOutput<T>& out) {
    for (int i = 0; i < POSE_HESSIAN; ++i) out.hessian[POSE_HESSIAN * b + i] = T(sums.hessian[i]);
    for (int i = 0; i < POSE_PARAMETERS; ++i) out.gradient[POSE_PARAMETERS * b + i] = T(sums.gradient[i]);
    for (int i = 0; i < RESIDUAL_BINS; ++i) out.histogram[RESIDUAL_BINS * b + i] = sums.histogram[i];
    out.cost[b] = T(sums.cost);
}

template <typename T>
void pose_all(const Cloud<T>& cloud, const Views<T>& views, const PoseProblems<T>& problems, const Splat<T>* splats,
              const int64_t* slot_begin, const int64_t* tile_begin, const Entry* entries, const PoseOutput<T>& out) {
    const Vec3<T> center = {problems.center[0], problems.center[1], problems.center[2]};
    for_each_view(views.count, [&](int64_t b) {
        if (!(problems.scale[b] > 0)) return write_sums(PoseSums(), b, out);
        static thread_local std::vector<SplatTangent<T>> tangents;  // kept: fresh memory costs as much as its use
        const Camera<T> camera = views.camera(b);
        const Vec3<T> pivot = camera.rotation * center + camera.translation;
        fill_tangents(cloud, camera, pivot, problems.detail, splats + b * cloud.count, slot_begin + b * cloud.count, tangents);
        const PoseView<T> view = {views,           problems,
                                  b,               camera,
                                  pivot,           splats + b * cloud.count,
                                  tangents.data(), tile_begin + b * views.tiles(),
                                  entries,         cloud.sh_count > 1};
        std::vector<PoseSums> rows(views.tiles_y());
        Region region;
#pragma omp parallel for schedule(dynamic, 1)
        for (int row = 0; row < views.tiles_y(); ++row) region.run([&] { rows[row] = tile_row_sums(view, row); });
        region.end();
        PoseSums sums;
        for (const PoseSums& row : rows) sums.add(row);
        write_sums(sums, b, out);
    });
}

}  // namespace
}  // namespace gs

#define GS_POSE(T, SUFFIX)                                                                                             \
    GS_EXPORT void gs_pose_##SUFFIX(                                                                                   \
        int64_t count, const T* means, const T* scales, const T* quats, const T* opacities, const T* colors,           \
        int64_t sh_count, int64_t view_count, const T* cam_from_world, const T* intrinsics, int64_t width, int64_t height,         \
        const gs::Splat<T>* splats, const int64_t* slot_begin, const int64_t* tile_begin, const gs::Entry* entries,    \
        int64_t robust, const T* scale, const T* gain, const T* offset, const T* background, const T* center,              \
        double detail, const int64_t* target_index, const uint8_t* targets, T* hessian, T* gradient, T* cost,       \
        int32_t* histogram) {                                                                                          \
        const gs::Cloud<T> cloud = {count, means, scales, quats, opacities, colors, int(sh_count)};                         \
        const gs::Views<T> views = {view_count, cam_from_world, intrinsics, nullptr, int(width), int(height)};                   \
        const gs::PoseProblems<T> problems = {gs::Robust(int(robust)), scale,     gain,         offset, background,      \
                                              center,                  T(detail), target_index, targets};              \
        gs::guarded([&] {                                                                                              \
            gs::pose_all(cloud, views, problems, splats, slot_begin, tile_begin, entries,                              \
                         {hessian, gradient, cost, histogram});                                                        \
        });                                                                                                            \
    }

GS_POSE(float, f32)
#ifdef GS_DOUBLE
GS_POSE(double, f64)
#endif

// Gaussians to splats for a batch of views, and the gradients of the splats back to Gaussians and cameras.

#include <vector>

#include "parallel.h"
#include "scene.h"

namespace gs {
namespace {

constexpr int64_t CHUNK = 256;  // Gaussians per task; sums over cameras are kept per chunk and added in order

template <typename T>
Vec3<T> seen_color(const Cloud<T>& cloud, const Camera<T>& camera, int64_t i) {
    const T* c = cloud.color(i);
    if (cloud.sh_count == 0) return {c[0], c[1], c[2]};
    return sh_color(cloud.sh_count, view_vector(camera, cloud.mean(i)), c);
}

// The camera whose picture is shifted by a Gaussian's screen offset.
template <typename T>
Camera<T> shifted(Camera<T> camera, const Views<T>& views, int64_t k) {
    camera.cx += views.offsets[2 * k];
    camera.cy += views.offsets[2 * k + 1];
    return camera;
}

// Calls visit(chunk, view, camera, i, place of Gaussian i in (B, N) arrays); one thread sees a chunk of Gaussians whole.
// The camera is copied only where there are offsets.
template <typename T, typename Visit>
void for_each_in_parallel(const Views<T>& views, int64_t count, Visit visit) {
    const int64_t chunks = (count + CHUNK - 1) / CHUNK;
#pragma omp parallel for schedule(static)
    for (int64_t chunk = 0; chunk < chunks; ++chunk)
        for (int64_t view = 0; view < views.count; ++view) {
            const Camera<T> camera = views.camera(view);
            for (int64_t i = chunk * CHUNK; i < min_of((chunk + 1) * CHUNK, count); ++i) {
                const int64_t k = view * count + i;
                if (views.offsets)
                    visit(chunk, view, shifted(camera, views, k), i, k);
                else
                    visit(chunk, view, camera, i, k);
            }
        }
}

// Writes the splat and returns the number of tiles that it touches; 0 when it is not drawn. LIMITED: by box_of_3dgs; a
// limit that is known only at run time makes all projections take half as long again.
template <bool LIMITED, typename T>
int64_t project_one(const Cloud<T>& cloud, const Camera<T>& camera, const Views<T>& views, int64_t i, Splat<T>* out,
                    int32_t* radius, int32_t* radius_of_3dgs) {
    T opacity = cloud.opacities[i];
    Projection<T> p;
    const Vec3<T> mean = cloud.mean(i);
    bool drawn =
        cloud.quats ? project(camera, mean, cloud.ellipsoid(i), cloud.antialiased, &opacity, &p, radius_of_3dgs)
                    : project(camera, mean, cloud.covariance(i), cloud.antialiased, &opacity, &p, radius_of_3dgs);
    if (LIMITED) drawn = drawn && *radius_of_3dgs > 0;
    *radius = drawn ? int32_t(ceil(p.radius)) : 0;
    if (!drawn) return 0;
    const T limit = LIMITED ? T(*radius_of_3dgs) : T(0);
    int64_t tiles = 0;
    for_each_tile_row(p, limit, camera.width, camera.height, [&](int, int first, int last) { tiles += last - first + 1; });
    const T shown_depth = views.inverse_depth ? T(1) / p.depth : p.depth;
    if (tiles) *out = {p, opacity, power_min_of(opacity), seen_color(cloud, camera, i), shown_depth, limit};
    return tiles;
}

// Fills splats (B, N), both kinds of radii (B, N) and slot_begin (B * N + 1), the running count of tiles. Returns the
// number of entries.
template <bool LIMITED, typename T>
int64_t project_all(const Cloud<T>& cloud, const Views<T>& views, Splat<T>* splats, int32_t* radii,
                    int32_t* radii_of_3dgs, int64_t* slot_begin) {
    const int64_t all = views.count * cloud.count;
    for_each_in_parallel(views, cloud.count, [&](int64_t, int64_t, const Camera<T>& camera, int64_t i, int64_t k) {
        slot_begin[k + 1] = project_one<LIMITED>(cloud, camera, views, i, splats + k, radii + k, radii_of_3dgs + k);
    });
    slot_begin[0] = 0;
    for (int64_t k = 0; k < all; ++k) slot_begin[k + 1] += slot_begin[k];
    return slot_begin[all];
}

// Where project_backward puts its results; all of them start at zero.
template <typename T>
struct CloudGradient {
    T *means, *scales, *quats, *opacities, *colors;
    T *cam_from_world, *intrinsics;  // (B, 4, 4), (B, 4)
    T* offsets;                      // (B, N, 2) or null
};

template <typename T>
SplatGradient<T> gather(const SplatGradient<T>* slots, int64_t begin, int64_t end) {
    SplatGradient<T> sum = {};
    T* to = &sum.mean_x;
    for (int64_t slot = begin; slot < end; ++slot) {
        const T* from = &slots[slot].mean_x;
        for (int k = 0; k < SPLAT_GRADIENT; ++k) to[k] += from[k];
    }
    return sum;
}

template <typename T>
GaussianGradient<T> shape_and_place(const Cloud<T>& cloud, const Camera<T>& camera, int64_t i, const Splat<T>& splat,
                                    const ProjectionGradient<T>& v, CameraGradient<T>* v_camera) {
    const T opacity = cloud.opacities[i];
    if (cloud.quats)
        return project_backward(camera, cloud.mean(i), cloud.ellipsoid(i), cloud.antialiased, opacity,
                                splat.projection, v, v_camera);
    return project_backward(camera, cloud.mean(i), cloud.covariance(i), cloud.antialiased, opacity, splat.projection, v,
                            v_camera);
}

// Adds the gradient of the scales and the quaternion, or of the covariance.
template <typename T>
void add_shape(const GaussianGradient<T>& g, bool by_covariance, int64_t i, const CloudGradient<T>& out) {
    if (by_covariance) {
        const Symmetric3<T>& c = g.covariance;
        const T entries[6] = {c.xx, c.xy, c.xz, c.yy, c.yz, c.zz};
        for (int k = 0; k < 6; ++k) out.scales[6 * i + k] += entries[k];
        return;
    }
    T *s = out.scales + 3 * i, *q = out.quats + 4 * i;
    s[0] += g.scale.x, s[1] += g.scale.y, s[2] += g.scale.z;
    q[0] += g.quat.w, q[1] += g.quat.x, q[2] += g.quat.y, q[3] += g.quat.z;
}

template <typename T>
void backward_one(const Cloud<T>& cloud, const Camera<T>& camera, bool inverse_depth, int64_t i, const Splat<T>& splat,
                  const SplatGradient<T>& v, const CloudGradient<T>& out, CameraGradient<T>* v_camera) {
    const T v_depth = inverse_depth ? -splat.shown_depth * splat.shown_depth * v.depth : v.depth;
    GaussianGradient<T> g = shape_and_place(
        cloud, camera, i, splat, ProjectionGradient<T>{{v.mean_x, v.mean_y}, v.a, v.b, v.c, v_depth, v.opacity}, v_camera);
    const Vec3<T> v_color = {v.red, v.green, v.blue};
    if (cloud.sh_count == 0) {
        out.colors[3 * i] += v_color.x;
        out.colors[3 * i + 1] += v_color.y;
        out.colors[3 * i + 2] += v_color.z;
    } else {
        const Vec3<T> v_view = sh_color_backward(cloud.sh_count, view_vector(camera, cloud.mean(i)), cloud.color(i),
                                                 splat.color, v_color, out.colors + 3 * cloud.sh_count * i);
        if (cloud.sh_count > 1) view_vector_backward(camera, v_view, &g.mean, v_camera);
    }
    out.opacities[i] += g.opacity;
    T* m = out.means + 3 * i;
    m[0] += g.mean.x, m[1] += g.mean.y, m[2] += g.mean.z;
    add_shape(g, !cloud.quats, i, out);
}

template <typename T>
void add_camera(const CameraGradient<T>& v, T* cam_from_world, T* intrinsics) {
    for (int r = 0; r < 3; ++r) {
        cam_from_world[4 * r] += v.rotation.row[r].x;
        cam_from_world[4 * r + 1] += v.rotation.row[r].y;
        cam_from_world[4 * r + 2] += v.rotation.row[r].z;
    }
    cam_from_world[3] += v.translation.x;
    cam_from_world[7] += v.translation.y;
    cam_from_world[11] += v.translation.z;
    intrinsics[0] += v.fx;
    intrinsics[1] += v.fy;
    intrinsics[2] += v.cx;
    intrinsics[3] += v.cy;
}

template <typename T>
void backward_all(const Cloud<T>& cloud, const Views<T>& views, const Splat<T>* splats, const int64_t* slot_begin,
                  const SplatGradient<T>* slots, const CloudGradient<T>& out) {
    const int64_t chunks = (cloud.count + CHUNK - 1) / CHUNK;
    std::vector<CameraGradient<T>> partial(chunks * views.count, CameraGradient<T>{});
    for_each_in_parallel(views, cloud.count, [&](int64_t chunk, int64_t view, const Camera<T>& camera, int64_t i,
                                                 int64_t k) {
        if (slot_begin[k] == slot_begin[k + 1]) return;
        const SplatGradient<T> v = gather(slots, slot_begin[k], slot_begin[k + 1]);
        backward_one(cloud, camera, views.inverse_depth, i, splats[k], v, out,
                     &partial[chunk * views.count + view]);
        if (out.offsets) {
            out.offsets[2 * k] = v.mean_x;
            out.offsets[2 * k + 1] = v.mean_y;
        }
    });
    for (int64_t chunk = 0; chunk < chunks; ++chunk)
        for (int64_t view = 0; view < views.count; ++view)
            add_camera(partial[chunk * views.count + view], out.cam_from_world + 16 * view, out.intrinsics + 4 * view);
}

}  // namespace
}  // namespace gs

#define GS_PROJECT(T, SUFFIX)                                                                                          \
    GS_EXPORT int64_t gs_project_##SUFFIX(                                                                             \
        int64_t count, const T* means, const T* scales, const T* quats, const T* opacities, const T* colors,           \
        int64_t sh_count, int64_t view_count, const T* cam_from_world, const T* intrinsics, const T* offsets,          \
        int64_t width, int64_t height, int64_t antialiased, int64_t inverse_depth, int64_t tiles_of_3dgs,              \
        gs::Splat<T>* splats, int32_t* radii, int32_t* radii_of_3dgs, int64_t* slot_begin) {                           \
        const gs::Cloud<T> cloud = {count, means, scales, quats, opacities, colors, int(sh_count), antialiased != 0};  \
        const gs::Views<T> views = {view_count, cam_from_world, intrinsics, offsets, int(width), int(height),          \
                                    inverse_depth != 0};                                                               \
        const auto project_all = tiles_of_3dgs ? gs::project_all<true, T> : gs::project_all<false, T>;                 \
        return project_all(cloud, views, splats, radii, radii_of_3dgs, slot_begin);                                    \
    }                                                                                                                  \
    GS_EXPORT void gs_project_backward_##SUFFIX(                                                                       \
        int64_t count, const T* means, const T* scales, const T* quats, const T* opacities, const T* colors,           \
        int64_t sh_count, int64_t view_count, const T* cam_from_world, const T* intrinsics, const T* offsets,          \
        int64_t width, int64_t height, int64_t antialiased, int64_t inverse_depth, const gs::Splat<T>* splats,         \
        const int64_t* slot_begin, const gs::SplatGradient<T>* slots, T* v_means, T* v_scales, T* v_quats,             \
        T* v_opacities, T* v_colors, T* v_cam_from_world, T* v_intrinsics, T* v_offsets) {                             \
        const gs::Cloud<T> cloud = {count, means, scales, quats, opacities, colors, int(sh_count), antialiased != 0};  \
        const gs::Views<T> views = {view_count, cam_from_world, intrinsics, offsets, int(width), int(height),          \
                                    inverse_depth != 0};                                                               \
        gs::guarded([&] {                                                                                              \
            gs::backward_all(cloud, views, splats, slot_begin, slots,                                                  \
                             {v_means, v_scales, v_quats, v_opacities, v_colors, v_cam_from_world, v_intrinsics,       \
                              v_offsets});                                                                             \
        });                                                                                                            \
    }

GS_PROJECT(float, f32)
#ifdef GS_DOUBLE
GS_PROJECT(double, f64)
#endif

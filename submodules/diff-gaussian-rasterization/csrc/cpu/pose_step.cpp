// The steps of many poses at once: see common/pose_step.h.
#include "../common/pose_step.h"

#include <cstdint>
#include <cstring>
#include <vector>

#include "parallel.h"

namespace gs {
namespace {

template <typename T>
void propose_all(const PoseBatch<T>& all, int64_t count, const T* center, const T* background, bool brightness,
                 bool follow_scale, double least_scale) {
    std::vector<double> own(all.per_picture);
    for (int64_t first = 0; first < count; first += all.per_picture, background += 3) {
        if (follow_scale) {
            for (int i = 0; i < all.per_picture; ++i)
                own[i] = scale_of(all.histogram + RESIDUAL_BINS * (first + i), least_scale);
            const double scale = smallest_scale(own.data(), all.per_picture);
            for (int i = 0; i < all.per_picture; ++i) all.scale[first + i] = scale;
        }
        for (int i = 0; i < all.per_picture; ++i) propose(all, int(first + i), center, background, brightness);
    }
}

template <typename T>
void copy_row(T* to, const T* from, int64_t row, int length) {
    std::memcpy(to + row * length, from + row * length, sizeof(T) * length);
}

template <typename T>
void accept_all(const PoseBatch<T>& all, int64_t count, const PoseBatch<T>& found, bool always, double shortest_step) {
    for (int64_t p = 0; p < count; ++p) {
        const bool better = is_better(all, int(p), found.cost[p], always);
        if (better) {
            copy_row(all.hessian, found.hessian, p, POSE_PARAMETERS * POSE_PARAMETERS);
            copy_row(all.gradient, found.gradient, p, POSE_PARAMETERS);
            copy_row(all.histogram, found.histogram, p, RESIDUAL_BINS);
            all.cost[p] = found.cost[p];
        }
        settle(all, int(p), better, shortest_step);
    }
}

}  // namespace
}  // namespace gs

#define GS_POSE_BATCH(T)                                                                                               \
    int64_t count, int64_t per_picture, double *cam_from_world, double *gain, double *offset, double *scale,           \
        double *damping, double *step, long long *steps, bool *active, T *hessian, T *gradient, T *cost,               \
        int *histogram, double *trial_cam_from_world, double *trial_gain, double *trial_offset, double *length,        \
        T *drawn_cam_from_world, T *drawn_gain, T *drawn_offset, T *drawn_scale, T *drawn_background
#define GS_POSE_BATCH_VALUES                                                                                           \
    int(per_picture), cam_from_world, gain, offset, scale, damping, step, steps, active, hessian, gradient, cost,      \
        histogram, trial_cam_from_world, trial_gain, trial_offset, length, drawn_cam_from_world, drawn_gain,           \
        drawn_offset, drawn_scale, drawn_background

#define GS_POSE_STEP(T, SUFFIX)                                                                                        \
    GS_EXPORT void gs_pose_propose_##SUFFIX(GS_POSE_BATCH(T), const T* center, const T* background,                    \
                                            int64_t brightness, int64_t follow_scale, double least_scale) {            \
        gs::guarded([&] {                                                                                              \
            gs::propose_all<T>({GS_POSE_BATCH_VALUES}, count, center, background, brightness != 0, follow_scale != 0,  \
                               least_scale);                                                                           \
        });                                                                                                            \
    }                                                                                                                  \
    GS_EXPORT void gs_pose_accept_##SUFFIX(GS_POSE_BATCH(T), T* found_hessian, T* found_gradient, T* found_cost,       \
                                           int* found_histogram, int64_t always, double shortest_step) {               \
        gs::PoseBatch<T> found = {};                                                                                   \
        found.hessian = found_hessian, found.gradient = found_gradient;                                                \
        found.cost = found_cost, found.histogram = found_histogram;                                                    \
        gs::accept_all<T>({GS_POSE_BATCH_VALUES}, count, found, always != 0, shortest_step);                           \
    }

GS_POSE_STEP(float, f32)
#ifdef GS_DOUBLE
GS_POSE_STEP(double, f64)
#endif

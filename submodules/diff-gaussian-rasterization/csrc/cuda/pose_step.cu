// The steps of many poses at once: see common/pose_step.h. A block is a picture or a pose; every pose is one thread's.
#include "common/pose_step.h"
#include "device.h"

using namespace gs;

#define POSE_BATCH                                                                                                     \
    int per_picture, double *cam_from_world, double *gain, double *offset, double *scale, double *damping,             \
        double *step, long long *steps, bool *active, float *hessian, float *gradient, float *cost, int *histogram,    \
        double *trial_cam_from_world, double *trial_gain, double *trial_offset, double *length,                        \
        float *drawn_cam_from_world, float *drawn_gain, float *drawn_offset, float *drawn_scale,                       \
        float *drawn_background
#define POSE_BATCH_VALUES                                                                                              \
    per_picture, cam_from_world, gain, offset, scale, damping, step, steps, active, hessian, gradient, cost,           \
        histogram, trial_cam_from_world, trial_gain, trial_offset, length, drawn_cam_from_world, drawn_gain,           \
        drawn_offset, drawn_scale, drawn_background

// One block for each picture. With follow_scale the scale of its residuals becomes the smallest among its poses; `own`
// (P,) is room for theirs.
extern "C" __global__ void pose_propose(POSE_BATCH, const float* center, const float* background, int brightness,
                                        int follow_scale, float least_scale, double* own) {
    const PoseBatch<float> all = {POSE_BATCH_VALUES};
    const int picture = blockIdx.x, first = picture * per_picture, last = first + per_picture;
    if (follow_scale) {
        for (int p = first + threadIdx.x; p < last; p += blockDim.x)
            own[p] = scale_of(histogram + RESIDUAL_BINS * p, double(least_scale));
        __syncthreads();
    }
    for (int p = first + threadIdx.x; p < last; p += blockDim.x) {
        if (follow_scale) scale[p] = smallest_scale(own + first, per_picture);
        propose(all, p, center, background + 3 * picture, brightness != 0);
    }
}

// One block for each pose. found_*: the equations of what it tried.
extern "C" __global__ void pose_accept(POSE_BATCH, const float* found_hessian, const float* found_gradient,
                                       const float* found_cost, const int* found_histogram, int always,
                                       float shortest_step) {
    const PoseBatch<float> all = {POSE_BATCH_VALUES};
    const int p = blockIdx.x;
    const bool better = is_better(all, p, found_cost[p], always != 0);
    __syncthreads();
    if (better) {
        constexpr int SQUARE = POSE_PARAMETERS * POSE_PARAMETERS;
        for (int i = threadIdx.x; i < RESIDUAL_BINS; i += blockDim.x)
            histogram[RESIDUAL_BINS * p + i] = found_histogram[RESIDUAL_BINS * p + i];
        for (int i = threadIdx.x; i < SQUARE; i += blockDim.x) hessian[SQUARE * p + i] = found_hessian[SQUARE * p + i];
        for (int i = threadIdx.x; i < POSE_PARAMETERS; i += blockDim.x)
            gradient[POSE_PARAMETERS * p + i] = found_gradient[POSE_PARAMETERS * p + i];
        if (threadIdx.x == 0) cost[p] = found_cost[p];
    }
    if (threadIdx.x == 0) settle(all, p, better, double(shortest_step));
}

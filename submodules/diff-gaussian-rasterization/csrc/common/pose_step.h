// One damped Gauss-Newton step of a pose: from its normal equations to the camera to try next, and whether to stay there.
// All in double, one pose after the other, so that a pose does not depend on the others of its batch.
#pragma once

#include "linalg.h"
#include "pose.h"

namespace gs {

constexpr double NORMAL_FROM_MAD = 1.4826;  // standard deviation of normal noise over its median absolute deviation
constexpr double SCALE_START = 0.1;         // of residuals in [0, 1], while nothing is known about them
constexpr double SCALE_MAX = 0.2;
constexpr double TURN_MAX = 0.25;  // longest step: radians
constexpr double SHIFT_MAX = 0.1;  // and share of the object's distance
constexpr double DAMPING_MIN = 1e-6;
constexpr double DAMPING_MAX = 1e3;
constexpr double DAMPING_UP = 8.0;
constexpr double DAMPING_DOWN = 0.2;
constexpr double HOPELESS = 4.0;           // a step refused at this multiple of the shortest is refused for rounding
constexpr double BRIGHTNESS_PRIOR = 1e-3;  // weight of gain 1 and offset 0 per touched pixel: where the picture is silent
constexpr double BRIGHTNESS_FIXED = 1e6;   // the same where brightness is not solved for
constexpr double GAIN_MIN = 0.3;
constexpr double GAIN_MAX = 3.0;
constexpr double OFFSET_MAX = 0.5;
constexpr double SATURATED = 254.5 / 255;
constexpr double COST_ROUNDING = 1e-6;

struct Pose {
    Mat3<double> rotation;
    Vec3<double> translation;
    double gain, offset;
};

GS_FN Pose load_pose(const double* m, double gain, double offset) {
    return {{{{m[0], m[1], m[2]}, {m[4], m[5], m[6]}, {m[8], m[9], m[10]}}}, {m[3], m[7], m[11]}, gain, offset};
}

template <typename T>
GS_FN void store_camera(const Pose& pose, T* m) {
    for (int i = 0; i < 3; ++i) {
        const Vec3<double> row = pose.rotation.row[i];
        const double shift = i == 0 ? pose.translation.x : i == 1 ? pose.translation.y : pose.translation.z;
        m[4 * i] = T(row.x), m[4 * i + 1] = T(row.y), m[4 * i + 2] = T(row.z), m[4 * i + 3] = T(shift);
    }
    m[12] = m[13] = m[14] = T(0);
    m[15] = T(1);
}

// A robust standard deviation of the residuals from their median; negative where the model touched no pixel.
GS_FN double scale_of(const int* histogram, double least) {
    double total = 0, below = 0;
    for (int i = 0; i < RESIDUAL_BINS; ++i) total += histogram[i];
    if (!(total > 0)) return -1;
    int bin = 0;
    while (bin < RESIDUAL_BINS - 1 && below + histogram[bin] < total / 2) below += histogram[bin++];
    const double inside = max_of(double(histogram[bin]), 1.0);
    const double part = min_of(max_of((total / 2 - below) / inside, 0.0), 1.0);
    const double median = (bin + part) * (RESIDUAL_MAX / RESIDUAL_BINS);
    return min_of(max_of(NORMAL_FROM_MAD * median, least), SCALE_MAX);
}

// Of the scales of a picture's poses the smallest counts.
GS_FN double smallest_scale(const double* own, int count) {
    double smallest = -1;
    for (int i = 0; i < count; ++i)
        if (own[i] >= 0 && (smallest < 0 || own[i] < smallest)) smallest = own[i];
    return smallest < 0 ? SCALE_START : smallest;
}

// The rotation by |w| radians about w (Rodrigues). Near 0, where 1 - cos cancels, the series of both coefficients.
GS_FN Mat3<double> rotation_by(Vec3<double> w) {
    const double x = dot(w, w);
    double sine, cosine;  // sin(a) / a and (1 - cos(a)) / a^2
    if (x < 0.05) {
        sine = 1 - x / 6 * (1 - x / 20 * (1 - x / 42 * (1 - x / 72 * (1 - x / 110))));
        cosine = 0.5 - x / 24 * (1 - x / 30 * (1 - x / 56 * (1 - x / 90 * (1 - x / 132))));
    } else {
        const double a = sqrt(x), half = sin(a / 2) / a;
        sine = sin(a) / a;
        cosine = 2 * half * half;
    }
    const Vec3<double> u = sine * w;
    const double bare = 1 - cosine * x;
    return {{{bare + cosine * w.x * w.x, cosine * w.x * w.y - u.z, cosine * w.x * w.z + u.y},
             {cosine * w.y * w.x + u.z, bare + cosine * w.y * w.y, cosine * w.y * w.z - u.x},
             {cosine * w.z * w.x - u.y, cosine * w.z * w.y + u.x, bare + cosine * w.z * w.z}}};
}

// x becomes the solution of m x = x for a positive definite m, whose upper triangle is overwritten.
GS_FN void solve_symmetric(double (*m)[POSE_PARAMETERS], double* x) {
    GS_UNROLL for (int k = 0; k < POSE_PARAMETERS; ++k) {
        GS_UNROLL for (int i = k + 1; i < POSE_PARAMETERS; ++i) {
            const double factor = m[k][i] / m[k][k];
            GS_UNROLL for (int j = i; j < POSE_PARAMETERS; ++j) m[i][j] -= factor * m[k][j];
            x[i] -= factor * x[k];
        }
    }
    GS_UNROLL for (int k = POSE_PARAMETERS - 1; k >= 0; --k) {
        GS_UNROLL for (int j = k + 1; j < POSE_PARAMETERS; ++j) x[k] -= m[k][j] * x[j];
        x[k] /= m[k][k];
    }
}

// The step that the equations ask for, damped; zero where it is not finite.
template <typename T>
GS_FN void damped_step(const T* hessian, const T* gradient, const int* histogram, const Pose& pose, double damping,
                       bool brightness, double* step) {
    double m[POSE_PARAMETERS][POSE_PARAMETERS], touched = 0, largest = 0;
    for (int i = 0; i < RESIDUAL_BINS; ++i) touched += histogram[i];
    const double prior = touched * (brightness ? BRIGHTNESS_PRIOR : BRIGHTNESS_FIXED);
    GS_UNROLL for (int i = 0; i < POSE_PARAMETERS; ++i) {
        GS_UNROLL for (int j = i; j < POSE_PARAMETERS; ++j) m[i][j] = double(hessian[POSE_PARAMETERS * i + j]);
        step[i] = -double(gradient[i]);
    }
    m[TWIST][TWIST] += prior;
    m[TWIST + 1][TWIST + 1] += prior;
    step[TWIST] -= prior * (pose.gain - 1);
    step[TWIST + 1] -= prior * pose.offset;
    GS_UNROLL for (int i = 0; i < POSE_PARAMETERS; ++i) largest = max_of(largest, m[i][i]);
    GS_UNROLL for (int i = 0; i < POSE_PARAMETERS; ++i) m[i][i] += damping * m[i][i] + 1e-9 * largest + 1e-12;
    solve_symmetric(m, step);
    bool finite = true;
    GS_UNROLL for (int i = 0; i < POSE_PARAMETERS; ++i) finite = finite && step[i] - step[i] == 0;
    GS_UNROLL for (int i = 0; i < POSE_PARAMETERS; ++i) step[i] = finite ? step[i] : 0;
}

// The pose after the step, no longer than allowed, and its length in radians or as a share of the distance. The camera
// turns about the object's center: R' = exp(omega) R, t' + R' c = t + R c + rho.
GS_FN Pose moved(const Pose& pose, const double* step, Vec3<double> center, double* length) {
    const Vec3<double> pivot = pose.rotation * center + pose.translation;
    const Vec3<double> rho = {step[0], step[1], step[2]}, omega = {step[3], step[4], step[5]};
    const double shift = sqrt(dot(rho, rho)) / sqrt(dot(pivot, pivot)), turn = sqrt(dot(omega, omega));
    const double shorten =
        min_of(min_of(SHIFT_MAX / max_of(shift, 1e-12), TURN_MAX / max_of(turn, 1e-12)), 1.0);
    *length = max_of(shift, turn) * shorten;
    Pose out;
    out.rotation = rotation_by(shorten * omega) * pose.rotation;
    out.translation = pivot + shorten * rho - out.rotation * center;
    out.gain = min_of(max_of(pose.gain + shorten * step[TWIST], GAIN_MIN), GAIN_MAX);
    out.offset = min_of(max_of(pose.offset + shorten * step[TWIST + 1], -OFFSET_MAX), OFFSET_MAX);
    return out;
}

// A background that the camera saturated was as much brighter as the object is: it is drawn so and held to white as the
// camera did; otherwise the outline would shrink.
GS_FN double background_behind(double measured, double gain) {
    return measured >= SATURATED ? measured * max_of(gain, 1.0) : measured;
}

// All poses under way, P of them, and the buffers of the poses to try: pointers to the first of each. Names as in the
// Python types PoseState, Trial and NormalEquations.
template <typename T>
struct PoseBatch {
    int per_picture;
    double *cam_from_world, *gain, *offset, *scale, *damping, *step;
    long long* steps;
    bool* active;
    T *hessian, *gradient, *cost;
    int* histogram;
    double *trial_cam_from_world, *trial_gain, *trial_offset, *length;
    T *drawn_cam_from_world, *drawn_gain, *drawn_offset, *drawn_scale, *drawn_background;
};

// What pose p tries next, as the numbers that the sums are then taken of. `background`: (3,) of its picture.
template <typename T>
GS_FN void propose(const PoseBatch<T>& all, int p, const T* center, const T* background, bool brightness) {
    const Pose pose = load_pose(all.cam_from_world + 16 * p, all.gain[p], all.offset[p]);
    double step[POSE_PARAMETERS];
    damped_step(all.hessian + POSE_PARAMETERS * POSE_PARAMETERS * p, all.gradient + POSE_PARAMETERS * p,
                all.histogram + RESIDUAL_BINS * p, pose, all.damping[p], brightness, step);
    const Vec3<double> c = {double(center[0]), double(center[1]), double(center[2])};
    const Pose next = moved(pose, step, c, all.length + p);
    store_camera(next, all.trial_cam_from_world + 16 * p);
    store_camera(next, all.drawn_cam_from_world + 16 * p);
    all.trial_gain[p] = next.gain, all.drawn_gain[p] = T(next.gain);
    all.trial_offset[p] = next.offset, all.drawn_offset[p] = T(next.offset);
    all.drawn_scale[p] = all.active[p] ? T(all.scale[p]) : T(0);
    for (int c = 0; c < 3; ++c) all.drawn_background[3 * p + c] = T(background_behind(background[c], next.gain));
}

// Whether pose p moves to what it tried, which cost `cost`.
template <typename T>
GS_FN bool is_better(const PoseBatch<T>& all, int p, T cost, bool always) {
    return all.active[p] && (always || cost <= all.cost[p] * T(1 + COST_ROUNDING));
}

// What follows from that, but for the equations, which the caller copies.
template <typename T>
GS_FN void settle(const PoseBatch<T>& all, int p, bool better, double shortest_step) {
    const double factor = better ? DAMPING_DOWN : DAMPING_UP;
    all.damping[p] = min_of(max_of(all.damping[p] * factor, DAMPING_MIN), DAMPING_MAX);
    if (all.active[p]) {
        all.step[p] = all.length[p];
        all.steps[p] += 1;
        all.active[p] = all.length[p] > shortest_step * (better ? 1.0 : HOPELESS);
    }
    if (!better) return;
    for (int i = 0; i < 16; ++i) all.cam_from_world[16 * p + i] = all.trial_cam_from_world[16 * p + i];
    all.gain[p] = all.trial_gain[p];
    all.offset[p] = all.trial_offset[p];
}

}  // namespace gs

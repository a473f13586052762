// options: --use_fast_math
// The end of a training step in one kernel: gradients of the parameters from the sums over pixels, Adam, and the
// statistics of density control. A thread owns a Gaussian; the colors go through shared memory so that their moments
// are read and written in order.
#include "color.h"
#include "device.h"

namespace gs {

constexpr int UPDATE_THREADS = 128;
constexpr float BETA_1 = 0.9f, BETA_2 = 0.999f;  // as ADAM_BETAS and ADAM_EPS of training/state.py
constexpr float EPSILON = 1e-15f;

// One row of the table of rates.
struct alignas(16) Rates {
    float means, log_scales, quats, opacity_logits;
    float sh, sh_rest;
    float inverse_bias_1, inverse_root_bias_2;  // 1 / (1 - beta_1^t), 1 / sqrt(1 - beta_2^t)
};

// One Adam step on `Count` neighboring numbers. All are read before any is written, so that the loads overlap.
template <int Count>
GS_FN void adam(float* parameter, float* first, float* second, const float* gradient, float rate, const Rates& rates) {
    float p[Count], m[Count], v[Count];
#pragma unroll
    for (int k = 0; k < Count; ++k) {
        p[k] = parameter[k];
        m[k] = first[k];
        v[k] = second[k];
    }
#pragma unroll
    for (int k = 0; k < Count; ++k) {
        const float g = gradient[k];
        m[k] += (1 - BETA_1) * (g - m[k]);
        v[k] = BETA_2 * v[k] + (1 - BETA_2) * g * g;
        p[k] -= rate * rates.inverse_bias_1 * m[k] / (sqrt(v[k]) * rates.inverse_root_bias_2 + EPSILON);
        parameter[k] = p[k];
        first[k] = m[k];
        second[k] = v[k];
    }
}

// The raw parameters of all Gaussians, or one of their Adam moments.
struct Parameters {
    float *means, *log_scales, *quats, *opacity_logits, *sh;
};

struct Statistics {
    float *gradient_sum, *gradient_count;
};

// The gradient of one Gaussian's raw parameters, the colors apart.
struct RawGradient {
    Vec3<float> mean, log_scale;
    Vec4<float> quat;
    float opacity_logit;
};

struct StepShape {
    int slots, stride, width, height;
};

GS_FN void add_statistics(const StepShape& shape, Statistics out, int i, const SplatGradient& v) {
    const float gx = v.projection.mean.x * (0.5f * shape.width * shape.slots);
    const float gy = v.projection.mean.y * (0.5f * shape.height * shape.slots);
    out.gradient_sum[i] += sqrt(gx * gx + gy * gy);
    out.gradient_count[i] += 1;
}

// Sums the gradients of Gaussian i over the views of the step, and clears what it has read.
template <int K>
GS_FN RawGradient gather(const StepShape& shape, Parameters p, int i, const float* cam_from_world,
                         const float* intrinsics, const int* order, const int* step, const Splat* splats,
                         const int* radii, SplatSums* sums, Statistics statistics, float* v_sh) {
    const Vec3<float> mean = load3(p.means + 3 * i), raw_scale = load3(p.log_scales + 3 * i);
    const Vec3<float> scale = {exp(raw_scale.x), exp(raw_scale.y), exp(raw_scale.z)};
    const Vec4<float> quat = load4(p.quats + 4 * i);
    RawGradient out = {};
    float v_opacity = 0, opacity = 0;
    for (int slot = 0; slot < shape.slots; ++slot) {
        const int place = slot * shape.stride + i;
        if (radii[place] == 0) continue;
        const Splat s = splats[place];
        const SplatGradient v = splat_gradient(s, sums[place]);
        sums[place] = {};
        const int view = view_of(order, step, shape.slots, slot);
        const Camera<float> camera =
            make_camera(cam_from_world + 16 * view, intrinsics + 4 * view, shape.width, shape.height);
        CameraGradient<float> unused = {};
        GaussianGradient<float> g =
            project_backward(camera, mean, Ellipsoid<float>{scale, quat}, false, s.opacity, projection_of(s),
                             v.projection, &unused);
        const Vec3<float> v_view = sh_color_backward(K, view_vector(camera, mean), p.sh + 3 * K * i,
                                                     {s.red, s.green, s.blue}, v.color, v_sh);
        if (K > 1) view_vector_backward(camera, v_view, &g.mean, &unused);
        out.mean = out.mean + g.mean;
        out.log_scale = out.log_scale + scaled(g.scale, scale);
        out.quat = {out.quat.w + g.quat.w, out.quat.x + g.quat.x, out.quat.y + g.quat.y, out.quat.z + g.quat.z};
        opacity = s.opacity;
        v_opacity += g.opacity;
        add_statistics(shape, statistics, i, v);
    }
    out.opacity_logit = v_opacity * opacity * (1 - opacity);
    return out;
}

GS_FN void update_shape(Parameters p, Parameters m, Parameters v, int i, const RawGradient& g, const Rates& rates) {
    const float mean[3] = {g.mean.x, g.mean.y, g.mean.z};
    const float log_scale[3] = {g.log_scale.x, g.log_scale.y, g.log_scale.z};
    const float quat[4] = {g.quat.w, g.quat.x, g.quat.y, g.quat.z};
    adam<3>(p.means + 3 * i, m.means + 3 * i, v.means + 3 * i, mean, rates.means, rates);
    adam<3>(p.log_scales + 3 * i, m.log_scales + 3 * i, v.log_scales + 3 * i, log_scale, rates.log_scales, rates);
    adam<4>(p.quats + 4 * i, m.quats + 4 * i, v.quats + 4 * i, quat, rates.quats, rates);
    adam<1>(p.opacity_logits + i, m.opacity_logits + i, v.opacity_logits + i, &g.opacity_logit, rates.opacity_logits,
            rates);
}

// The last block to finish moves on to the next step.
GS_FN void finish_step(int* finished_blocks, int* step, u64* total) {
    __threadfence();
    __syncthreads();
    if (threadIdx.x != 0 || atomicAdd(finished_blocks, 1) != int(gridDim.x) - 1) return;
    *finished_blocks = 0;
    *step += 1;
    *total = 0;
}

template <int K>
GS_FN void update(int live, StepShape shape, Parameters p, Parameters m, Parameters v, const float* cam_from_world,
                  const float* intrinsics, const int* order, const Rates* rates_table, int* step, const Splat* splats,
                  const int* radii, SplatSums* sums, Statistics statistics, float* v_colors) {
    constexpr int FLOATS = 3 * K, ROW = FLOATS + (K > 1 && FLOATS % 2 == 0 ? 1 : 0);  // odd: no bank is hit twice
    const int first = blockIdx.x * UPDATE_THREADS, i = first + threadIdx.x;
    const Rates rates = rates_table[*step];
    if (i < live) {
        float v_sh[FLOATS] = {};
        const RawGradient g = gather<K>(shape, p, i, cam_from_world, intrinsics, order, step, splats, radii, sums,
                                        statistics, v_sh);
        update_shape(p, m, v, i, g, rates);
#pragma unroll
        for (int j = 0; j < FLOATS; ++j) v_colors[threadIdx.x * ROW + j] = v_sh[j];
    }
    __syncthreads();
    const int count = min_of(live - first, UPDATE_THREADS) * FLOATS;
    for (int j = threadIdx.x; j < count; j += UPDATE_THREADS) {
        const int k = j % FLOATS;
        const size_t at = size_t(first) * FLOATS + j;
        const float rate = k < 3 ? rates.sh : rates.sh_rest;
        adam<1>(p.sh + at, m.sh + at, v.sh + at, &v_colors[j / FLOATS * ROW + k], rate, rates);
    }
}

}  // namespace gs

using namespace gs;

// One kernel per number of coefficients. Does nothing once a list did not fit, so that no step is half done.
#define UPDATE_SPLATS(K)                                                                                              \
    extern "C" __global__ void __launch_bounds__(UPDATE_THREADS, K == 1 ? 5 : 3) update_splats_##K(                   \
        const int* live, int slots, int stride, int width, int height, float* means, float* log_scales, float* quats, \
        float* opacity_logits, float* sh, float* m_means, float* m_log_scales, float* m_quats,                        \
        float* m_opacity_logits, float* m_sh, float* v_means, float* v_log_scales, float* v_quats,                    \
        float* v_opacity_logits, float* v_sh, const float* cam_from_world, const float* intrinsics, const int* order, \
        const Rates* rates, int* step, const Splat* splats, const int* radii, SplatSums* sums, float* gradient_sum,   \
        float* gradient_count, int* finished_blocks, u64* total, const int* overflow) {                               \
        __shared__ float v_colors[UPDATE_THREADS * (3 * K + 1)];                                                      \
        if (*overflow != 0) return;                                                                                   \
        if (int(blockIdx.x) * UPDATE_THREADS < *live) {                                                               \
            update<K>(*live, {slots, stride, width, height}, {means, log_scales, quats, opacity_logits, sh},          \
                      {m_means, m_log_scales, m_quats, m_opacity_logits, m_sh},                                       \
                      {v_means, v_log_scales, v_quats, v_opacity_logits, v_sh}, cam_from_world, intrinsics, order,    \
                      rates, step, splats, radii, sums, {gradient_sum, gradient_count}, v_colors);                    \
        }                                                                                                             \
        finish_step(finished_blocks, step, total);                                                                    \
    }

UPDATE_SPLATS(1)
UPDATE_SPLATS(4)
UPDATE_SPLATS(9)
UPDATE_SPLATS(16)

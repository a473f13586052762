// What a training step does besides drawing: raw parameters to what the rasterizer draws, and one Adam step (Kingma and Ba
// 2015) on the raw parameters with the statistics that density control reads. One pass over memory each.

#include <algorithm>
#include <vector>

#include "parallel.h"
#include "simd.h"

namespace gs {
namespace {

constexpr int64_t CHUNK = 1024;  // Gaussians per task

template <typename T>
inline Simd<T> exp_of(Simd<T> x) {
    return exp_lanes(min_lanes(max_lanes(x, splat<T>(-80)), splat<T>(80)));
}

// Calls visit(first, size) for pieces of at most LANES of [begin, end).
template <typename T, typename Visit>
inline void for_each_piece(int64_t begin, int64_t end, Visit visit) {
    for (int64_t i = begin; i < end; i += LANES<T>) visit(i, int(std::min<int64_t>(LANES<T>, end - i)));
}

template <typename T>
inline Simd<T> load_some(const T* from, int size) {
    if (size == LANES<T>) return load(from);
    Simd<T> v{};
    std::memcpy(&v, from, sizeof(T) * size);
    return v;
}

template <typename T>
inline void store_some(T* to, Simd<T> v, int size) {
    if (size == LANES<T>)
        store(to, v);
    else
        std::memcpy(to, &v, sizeof(T) * size);
}

template <typename T>
void activate(int64_t count, const T* log_scales, const T* opacity_logits, T* scales, T* opacities) {
#pragma omp parallel for schedule(static)
    for (int64_t begin = 0; begin < count; begin += CHUNK) {
        const int64_t end = std::min(begin + CHUNK, count);
        for_each_piece<T>(3 * begin, 3 * end, [&](int64_t i, int size) {
            store_some(scales + i, exp_of<T>(load_some(log_scales + i, size)), size);
        });
        for_each_piece<T>(begin, end, [&](int64_t i, int size) {
            store_some(opacities + i, T(1) / (T(1) + exp_of<T>(-load_some(opacity_logits + i, size))), size);
        });
    }
}

// One array of parameters with its moments, and the gradient of the loss in what it is drawn as.
template <typename T>
struct Parameter {
    T *value, *average, *square;
    const T* gradient;
};

template <typename T>
struct Adam {
    T beta1, beta2, epsilon;
    T mean_correction, root_correction;  // 1 / (1 - beta1^t), 1 / sqrt(1 - beta2^t)

    // Updates the elements [begin, end) at the rates `rate(i, size)`; `chain(i, size)` is the derivative of what is drawn
    // in the parameter.
    template <typename Rate, typename Chain>
    void update(const Parameter<T>& p, int64_t begin, int64_t end, Rate rate, Chain chain) const {
        for_each_piece<T>(begin, end, [&](int64_t i, int size) {
            const Simd<T> g = load_some(p.gradient + i, size) * chain(i, size);
            const Simd<T> average = load_some(p.average + i, size) * beta1 + g * (T(1) - beta1);
            const Simd<T> square = load_some(p.square + i, size) * beta2 + g * g * (T(1) - beta2);
            store_some(p.average + i, average, size);
            store_some(p.square + i, square, size);
            const Simd<T> step = average * (rate(i, size) * mean_correction) / (sqrt_lanes(square) * root_correction + epsilon);
            store_some(p.value + i, load_some(p.value + i, size) - step, size);
        });
    }
};

// Density statistics of the Gaussians, see gs_train_step.
template <typename T>
struct Statistics {
    int64_t views;
    const T* v_offsets;    // (B, N, 2), px
    const int32_t* radii;  // (B, N)
    T half_width, half_height;
    T *gradient_sum, *view_count;

    void add(int64_t count, int64_t i) const {
        for (int64_t view = 0; view < views; ++view) {
            const int64_t k = view * count + i;
            if (radii[k] == 0) continue;
            const T x = v_offsets[2 * k] * half_width, y = v_offsets[2 * k + 1] * half_height;
            gradient_sum[i] += T(views) * std::sqrt(x * x + y * y);
            view_count[i] += 1;
        }
    }
};

// The rates of harmonics, of which the constant one learns at another. A vector holds those of several Gaussians: going
// Gaussian by Gaussian, with vectors half empty, takes six times as long.
template <typename T>
struct HarmonicRates {
    int64_t period;        // elements of one Gaussian
    std::vector<T> table;  // from any place within a period on, a vector's length

    HarmonicRates(int64_t sh_count, T constant, T others) : period(3 * sh_count), table(period + LANES<T>) {
        for (int64_t k = 0; k < int64_t(table.size()); ++k) table[k] = k % period < 3 ? constant : others;
    }
    Simd<T> operator()(int64_t i, int) const { return load(table.data() + i % period); }
};

// `rates`: means, log_scales, quats, opacity_logits, the constant harmonic, the other harmonics.
template <typename T>
void update(int64_t count, int64_t sh_count, const Parameter<T>* parameters, const T* scales, const T* opacities,
            const double* rates, const Adam<T>& adam, const Statistics<T>& statistics) {
    const auto plain = [](int64_t, int) { return splat<T>(1); };
    const auto at = [&](int parameter) { return [=](int64_t, int) { return T(rates[parameter]); }; };
    const HarmonicRates<T> at_harmonics(sh_count, T(rates[4]), T(rates[5]));
#pragma omp parallel for schedule(static)
    for (int64_t begin = 0; begin < count; begin += CHUNK) {
        const int64_t end = std::min(begin + CHUNK, count);
        adam.update(parameters[0], 3 * begin, 3 * end, at(0), plain);
        adam.update(parameters[1], 3 * begin, 3 * end, at(1),
                    [&](int64_t i, int size) { return load_some(scales + i, size); });
        adam.update(parameters[2], 4 * begin, 4 * end, at(2), plain);
        adam.update(parameters[3], begin, end, at(3), [&](int64_t i, int size) {
            const Simd<T> opacity = load_some(opacities + i, size);
            return opacity * (T(1) - opacity);
        });
        adam.update(parameters[4], 3 * sh_count * begin, 3 * sh_count * end, at_harmonics, plain);
        for (int64_t i = begin; i < end; ++i) statistics.add(count, i);
    }
}

}  // namespace
}  // namespace gs

// gs_train_step: for each of means, log_scales, quats, opacity_logits and sh the value, both moments (updated in place)
// and the gradient in the drawn quantity; then the drawn scales and opacities. The statistics sum |gradient in the
// projected mean| of each view's own loss, the loss being a mean over views, in units of half the picture's size.
#define GS_TRAIN(T, SUFFIX)                                                                                            \
    GS_EXPORT void gs_activate_##SUFFIX(int64_t count, const T* log_scales, const T* opacity_logits, T* scales,        \
                                        T* opacities) {                                                                \
        gs::activate(count, log_scales, opacity_logits, scales, opacities);                                            \
    }                                                                                                                  \
    GS_EXPORT void gs_train_step_##SUFFIX(                                                                             \
        int64_t count, int64_t sh_count, T* means, T* m_means, T* s_means, const T* v_means, T* log_scales,            \
        T* m_scales, T* s_scales, const T* v_scales, T* quats, T* m_quats, T* s_quats, const T* v_quats, T* logits,    \
        T* m_logits, T* s_logits, const T* v_opacities, T* sh, T* m_sh, T* s_sh, const T* v_sh, const T* scales,       \
        const T* opacities, const double* rates, double beta1, double beta2, double epsilon, int64_t step,             \
        int64_t views, const T* v_offsets, const int32_t* radii, int64_t width, int64_t height, T* gradient_sum,       \
        T* view_count) {                                                                                               \
        const gs::Parameter<T> parameters[] = {{means, m_means, s_means, v_means},                                     \
                                               {log_scales, m_scales, s_scales, v_scales},                             \
                                               {quats, m_quats, s_quats, v_quats},                                     \
                                               {logits, m_logits, s_logits, v_opacities},                              \
                                               {sh, m_sh, s_sh, v_sh}};                                                \
        const double steps = double(step);                                                                             \
        const gs::Adam<T> adam = {T(beta1), T(beta2), T(epsilon), T(1 / (1 - std::pow(beta1, steps))),                 \
                                  T(1 / std::sqrt(1 - std::pow(beta2, steps)))};                                       \
        const gs::Statistics<T> statistics = {views,         v_offsets,    radii,     T(width) / 2,                    \
                                              T(height) / 2, gradient_sum, view_count};                                \
        gs::guarded([&] {                                                                                              \
            gs::update(count, sh_count, parameters, scales, opacities, rates, adam, statistics);                       \
        });                                                                                                            \
    }

GS_TRAIN(float, f32)
#ifdef GS_DOUBLE
GS_TRAIN(double, f64)
#endif

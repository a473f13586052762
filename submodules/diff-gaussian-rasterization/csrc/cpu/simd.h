// Vectors of the machine's width through the vector extensions of gcc and clang: the same source serves SSE2, AVX2,
// AVX-512 and NEON. The build compiles it once per instruction set and the loader picks a library.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__AVX2__) || defined(__SSE2__)
#include <immintrin.h>
#endif

namespace gs {

#if defined(__AVX512F__)
constexpr int VECTOR_BYTES = 64;
#elif defined(__AVX__)
constexpr int VECTOR_BYTES = 32;
#else
constexpr int VECTOR_BYTES = 16;
#endif

template <typename T>
struct SimdOf;

template <>
struct SimdOf<float> {
    using Lane = int32_t;
    typedef float Vector __attribute__((vector_size(VECTOR_BYTES), aligned(VECTOR_BYTES)));
    typedef int32_t Mask __attribute__((vector_size(VECTOR_BYTES), aligned(VECTOR_BYTES)));
};

template <>
struct SimdOf<double> {
    using Lane = int64_t;
    typedef double Vector __attribute__((vector_size(VECTOR_BYTES), aligned(VECTOR_BYTES)));
    typedef int64_t Mask __attribute__((vector_size(VECTOR_BYTES), aligned(VECTOR_BYTES)));
};

template <typename T>
using Simd = typename SimdOf<T>::Vector;
template <typename T>
using SimdMask = typename SimdOf<T>::Mask;  // every lane is 0 or -1

template <typename T>
constexpr int LANES = VECTOR_BYTES / int(sizeof(T));

template <typename T>
inline Simd<T> splat(T value) {
    return Simd<T>{} + value;
}

template <typename T>
inline Simd<T> load(const T* from) {  // any alignment
    Simd<T> v;
    std::memcpy(&v, from, sizeof v);
    return v;
}

template <typename T>
inline void store(T* to, Simd<T> v) {
    std::memcpy(to, &v, sizeof v);
}

template <typename V>
inline V min_lanes(V a, V b) {
    return b < a ? b : a;
}

template <typename V>
inline V max_lanes(V a, V b) {
    return a < b ? b : a;
}

// Whether any lane of a mask is set.
template <typename M>
inline bool any_lane(M mask) {
#if defined(__AVX512F__)
    return _mm512_test_epi32_mask((__m512i)mask, (__m512i)mask) != 0;
#elif defined(__AVX__)
    return !_mm256_testz_si256((__m256i)mask, (__m256i)mask);
#elif defined(__SSE2__)
    return _mm_movemask_epi8((__m128i)mask) != 0;
#else
    uint64_t words[VECTOR_BYTES / 8], all = 0;
    std::memcpy(words, &mask, sizeof mask);
    for (uint64_t word : words) all |= word;
    return all != 0;
#endif
}

// The sum of all lanes, always added in the same order.
template <typename T>
inline T sum_lanes(Simd<T> v) {
    T lanes[LANES<T>];
    store<T>(lanes, v);
    for (int half = LANES<T> / 2; half > 0; half /= 2)
        for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
    return lanes[0];
}

// sum_lanes of COUNT vectors; `sums` has room for COUNT rounded up to a multiple of four.
template <typename T, int COUNT>
inline void sum_each(const Simd<T>* vectors, T* sums) {
    for (int k = 0; k < COUNT; ++k) sums[k] = sum_lanes<T>(vectors[k]);
}

#if defined(__SSE3__)
inline __m128 four_lanes(Simd<float> v) {
    __m128 quarter[VECTOR_BYTES / 16];
    std::memcpy(quarter, &v, sizeof v);
    for (int half = VECTOR_BYTES / 32; half > 0; half /= 2)
        for (int i = 0; i < half; ++i) quarter[i] += quarter[i + half];
    return quarter[0];
}

// Four vectors at a time: pairwise sums of pairs put the four totals side by side.
template <>
inline void sum_each<float, 10>(const Simd<float>* vectors, float* sums) {
    for (int k = 0; k < 12; k += 4) {
        const Simd<float> zero{};
        const __m128 a = four_lanes(vectors[k]), b = four_lanes(vectors[k + 1]);
        const __m128 c = four_lanes(k + 2 < 10 ? vectors[k + 2] : zero), d = four_lanes(k + 3 < 10 ? vectors[k + 3] : zero);
        _mm_storeu_ps(sums + k, _mm_hadd_ps(_mm_hadd_ps(a, b), _mm_hadd_ps(c, d)));
    }
}
#endif

inline Simd<float> sqrt_lanes(Simd<float> x) {
#if defined(__AVX512F__)
    return _mm512_maskz_sqrt_ps(__mmask16(-1), x);  // the plain one makes gcc warn about its own header
#elif defined(__AVX__)
    return _mm256_sqrt_ps(x);
#elif defined(__SSE2__)
    return _mm_sqrt_ps(x);
#else
    for (int i = 0; i < LANES<float>; ++i) x[i] = std::sqrt(x[i]);
    return x;
#endif
}

inline Simd<double> sqrt_lanes(Simd<double> x) {
    for (int i = 0; i < LANES<double>; ++i) x[i] = std::sqrt(x[i]);
    return x;
}

// exp(x) for -80 <= x <= 80 with a relative error below 2e-7: 2^n times a polynomial on [-1/2, 1/2] (minimax, 7.5e-8).
inline Simd<float> exp_lanes(Simd<float> x) {
    constexpr float ROUND = 12582912.0f;  // 1.5 * 2^23: adding it leaves the nearest whole number in the low bits
    const Simd<float> t = x * 1.44269504088896341f;
    const Simd<float> shifted = t + ROUND;
    const Simd<float> f = x * 1.44269504088896341f - (shifted - ROUND);
    Simd<float> p = f * 1.3276471382e-3f + 9.675541333e-3f;
    p = p * f + 5.5507132742e-2f;
    p = p * f + 2.402211972e-1f;
    p = p * f + 6.931469671e-1f;
    p = p * f + 1.0000000717f;
    SimdMask<float> bits, exponent;
    std::memcpy(&bits, &p, sizeof bits);
    std::memcpy(&exponent, &shifted, sizeof exponent);
    bits += exponent << 23;  // the bits of ROUND above the whole number fall off the left end
    std::memcpy(&p, &bits, sizeof p);
    return p;
}

inline Simd<double> exp_lanes(Simd<double> x) {  // double is for checking: exactness before speed
    for (int i = 0; i < LANES<double>; ++i) x[i] = std::exp(x[i]);
    return x;
}

}  // namespace gs

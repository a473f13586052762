// Lets one source compile for the host (gcc, clang) and for the device (NVRTC, nvcc).
#pragma once

#if defined(__CUDACC__) || defined(__CUDACC_RTC__)
#define GS_FN __host__ __device__ __forceinline__
#define GS_UNROLL _Pragma("unroll")
#else
#define GS_FN inline __attribute__((always_inline))
#define GS_UNROLL
#endif

#ifndef __CUDACC_RTC__  // NVRTC has sqrt, exp, log, ceil, floor, sin built in, overloaded, and no standard headers
#include <cmath>
#endif

namespace gs {

#ifndef __CUDACC_RTC__
using std::ceil;
using std::exp;
using std::floor;
using std::log;
using std::sin;
using std::sqrt;
#endif

template <typename T>
GS_FN T min_of(T a, T b) {
    return b < a ? b : a;
}

template <typename T>
GS_FN T max_of(T a, T b) {
    return a < b ? b : a;
}

}  // namespace gs

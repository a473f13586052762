// OpenMP, or plain loops where the compiler has none. Results never depend on the number of threads.
#pragma once

#ifdef _OPENMP
#include <omp.h>
#endif

// Functions are exported for float and, where GS_DOUBLE is set, for double: one library with it is enough for checking.
#define GS_EXPORT extern "C" __attribute__((visibility("default")))

namespace gs {

inline int thread_count() {
#ifdef _OPENMP
    return omp_in_parallel() ? 1 : omp_get_max_threads();
#else
    return 1;
#endif
}

}  // namespace gs

// OpenMP, or plain loops where the compiler has none. Results never depend on the number of threads.
#pragma once

#include <cstdint>

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

// Calls visit(view): a thread for each view where there are enough views, else one after the other, and the threads share
// what visit does. A parallel region of one thread (an `if` clause) would be slower than no threads at all in the second
// case: OpenMP starts the threads of a nested region anew every time.
template <typename Visit>
void for_each_view(int64_t count, Visit visit) {
    if (count < thread_count()) {
        for (int64_t view = 0; view < count; ++view) visit(view);
        return;
    }
#pragma omp parallel for schedule(dynamic, 1)
    for (int64_t view = 0; view < count; ++view) visit(view);
}

}  // namespace gs

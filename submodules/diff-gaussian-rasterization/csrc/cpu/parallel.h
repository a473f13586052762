// OpenMP, or plain loops where the compiler has none. Results never depend on the number of threads.
#pragma once

#include <atomic>
#include <cstdint>
#include <new>

#ifdef _OPENMP
#include <omp.h>
#endif

// Functions are exported for float and, where GS_DOUBLE is set, for double: one library with it is enough for checking.
#define GS_EXPORT extern "C" __attribute__((visibility("default")))

namespace gs {

// No exception may leave a function that C calls: that there was no memory is said by gs_no_memory(), on the same thread.
inline bool& no_memory() {
    static thread_local bool lacked = false;
    return lacked;
}

template <typename Work>
auto guarded(Work work) noexcept {
    try {
        return work();
    } catch (const std::bad_alloc&) {
        no_memory() = true;
        return decltype(work())();
    }
}

// Nor may one leave a parallel region: its threads call run, and whoever began it end, behind it.
class Region {
public:
    template <typename Work>
    void run(Work work) noexcept {
        try {
            work();
        } catch (const std::bad_alloc&) {
            failed_ = true;
        }
    }
    void end() const {
        if (failed_) throw std::bad_alloc();
    }

private:
    std::atomic<bool> failed_{false};
};

// The most threads that a region has, and the number of the calling one in it.
inline int most_threads() {
#ifdef _OPENMP
    return omp_get_max_threads();
#else
    return 1;
#endif
}
inline int thread_number() {
#ifdef _OPENMP
    return omp_get_thread_num();
#else
    return 0;
#endif
}

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
    Region region;
#pragma omp parallel for schedule(dynamic, 1)
    for (int64_t view = 0; view < count; ++view) region.run([&] { visit(view); });
    region.end();
}

}  // namespace gs

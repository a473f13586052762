/* Preloaded into a process (LD_PRELOAD): from a chosen request on, the GPU has no memory for PyTorch's allocator. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdatomic.h>
#include <stddef.h>

enum { OUT_OF_MEMORY = 2, NOT_SUPPORTED = 801 }; /* cudaErrorMemoryAllocation, cudaErrorNotSupported */

static atomic_long left = -1, seen; /* requests that still succeed; negative: all of them */

void faults_no_gpu_memory_after(long requests) { seen = 0; left = requests; }
long faults_gpu_requests(void) { return seen; }

int cudaMalloc(void** place, size_t bytes) {
    int (*real)(void**, size_t) = (int (*)(void**, size_t))dlsym(RTLD_NEXT, "cudaMalloc");
    seen++;
    *place = NULL;
    if (left == 0) return OUT_OF_MEMORY;
    if (left > 0) left--;
    return real ? real(place, bytes) : NOT_SUPPORTED;
}

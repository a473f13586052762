/* Preloaded into a process (LD_PRELOAD): from a chosen allocation on, every one of a chosen size or more finds no memory.
 * So a limit looks to a program that has almost reached it: small things still fit, larger ones do not. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

extern void* __libc_malloc(size_t);
extern void* __libc_calloc(size_t, size_t);
extern void* __libc_realloc(void*, size_t);
extern void* __libc_memalign(size_t, size_t);

static atomic_long left = -1, seen; /* allocations that still succeed; negative: all of them */
static atomic_size_t least = SIZE_MAX;

void faults_no_memory_after(long allocations, size_t bytes) { seen = 0; left = allocations; least = bytes; }
long faults_allocations(void) { return seen; }

/* Whether there is no memory for so much. */
static int lacks(size_t bytes) {
    if (bytes < least) return 0;
    seen++;
    if (left < 0) return 0;
    if (left > 0) { left--; return 0; }
    errno = ENOMEM;
    return 1;
}

void* malloc(size_t bytes) { return lacks(bytes) ? NULL : __libc_malloc(bytes); }
void* calloc(size_t count, size_t bytes) {
    size_t all;
    if (__builtin_mul_overflow(count, bytes, &all) || lacks(all)) return errno = ENOMEM, NULL;
    return __libc_calloc(count, bytes);
}
void* realloc(void* old, size_t bytes) { return lacks(bytes) ? NULL : __libc_realloc(old, bytes); }
void* memalign(size_t alignment, size_t bytes) { return lacks(bytes) ? NULL : __libc_memalign(alignment, bytes); }
void* aligned_alloc(size_t alignment, size_t bytes) { return memalign(alignment, bytes); }
int posix_memalign(void** place, size_t alignment, size_t bytes) {
    void* made = memalign(alignment, bytes);
    if (!made) return ENOMEM;
    *place = made;
    return 0;
}
/* Large pieces of Python's own, stacks of threads, libraries. */
void* mmap(void* address, size_t bytes, int protection, int flags, int descriptor, off_t offset) {
    if (lacks(bytes)) return MAP_FAILED;
    return (void*)syscall(SYS_mmap, address, bytes, protection, flags, descriptor, offset);
}
void* mmap64(void* address, size_t bytes, int protection, int flags, int descriptor, off_t offset) {
    return mmap(address, bytes, protection, flags, descriptor, offset);
}

/* Preloaded into a process (LD_PRELOAD): from a chosen call on, everything that changes a file fails with a chosen errno.
 * A disk that is full and one that has become read-only look like this to a program, whoever runs it. Only calls through
 * the C library are seen, which is how Python, torch and OpenCV write. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static long left = -1; /* calls that still succeed; negative: all of them */
static int reason;
static long seen;

void faults_fail_after(long calls, int error) { left = calls; reason = error; seen = 0; }
long faults_calls(void) { return seen; }

/* Whether this call fails. */
static int fails(void) {
    seen++;
    if (left < 0) return 0;
    if (left > 0) { left--; return 0; }
    errno = reason;
    return 1;
}

/* Pipes, terminals and where a process says what is wrong go on working. */
static int is_file(int descriptor) {
    struct stat facts;
    return descriptor > 2 && fstat(descriptor, &facts) == 0 && S_ISREG(facts.st_mode);
}

#define REAL(type, name, ...) static type (*real)(__VA_ARGS__); if (!real) real = dlsym(RTLD_NEXT, #name)
#define WRITES(flags) (((flags) & O_ACCMODE) != O_RDONLY || ((flags) & O_CREAT))

ssize_t write(int descriptor, const void* data, size_t count) {
    REAL(ssize_t, write, int, const void*, size_t);
    return is_file(descriptor) && fails() ? -1 : real(descriptor, data, count);
}
ssize_t writev(int descriptor, const struct iovec* parts, int count) {
    REAL(ssize_t, writev, int, const struct iovec*, int);
    return is_file(descriptor) && fails() ? -1 : real(descriptor, parts, count);
}
int rename(const char* from, const char* to) {
    REAL(int, rename, const char*, const char*);
    return fails() ? -1 : real(from, to);
}
int mkdir(const char* path, mode_t mode) {
    REAL(int, mkdir, const char*, mode_t);
    return fails() ? -1 : real(path, mode);
}

/* Python opens with open64, with the mode behind the flags. A full disk has no room for a new file either. */
#define OPEN(name) \
    int name(const char* path, int flags, ...) { \
        REAL(int, name, const char*, int, ...); \
        va_list more; va_start(more, flags); mode_t mode = (flags & O_CREAT) ? va_arg(more, mode_t) : 0; va_end(more); \
        if (WRITES(flags) && path[0] == '/' && __builtin_strncmp(path, "/dev/", 5) != 0 && fails()) return -1; \
        return real(path, flags, mode); \
    }
OPEN(open)
OPEN(open64)

// Runs CUDA kernels on the host, one block at a time, every thread a fibre (ucontext), so that tests hold the GPU's
// sources to the reference on machines without a GPU. Force-included before each .cu file. It finds wrong indices and
// arithmetic and barriers that not all threads reach; it does not find races between warps or blocks.
#pragma once

#include <ucontext.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __shared__ static  // blocks run one after another, so one instance serves them all

struct Index3 {
    unsigned x, y, z;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
struct alignas(8) float2 {
    float x, y;
};
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

namespace emulator {

constexpr int WARP_SIZE = 32, MAX_THREADS = 1024;
constexpr size_t STACK_BYTES = 64 * 1024;
enum class State { RUNNING, AT_WARP_BARRIER, AT_BLOCK_BARRIER, FINISHED };

struct Fibre {
    ucontext_t context;
    std::unique_ptr<char[]> stack;
    State state;
    int parity;
};

struct Block {
    std::vector<Fibre> fibres;
    ucontext_t scheduler;
    int current = 0, threads = 0;
    uint64_t exchange[2][MAX_THREADS];  // written by one warp operation, read before the next but one
    void (*entry)(void*) = nullptr;
    void* argument = nullptr;
};

inline Block& block() {
    static Block instance;
    return instance;
}

}  // namespace emulator

inline Index3 threadIdx, blockIdx, blockDim, gridDim;
#define EMULATED_SHARED_BYTES (228 * 1024)
alignas(16) inline float emulated_shared_storage[EMULATED_SHARED_BYTES / sizeof(float)];

namespace emulator {

inline void wait(State state) {
    Block& b = block();
    Fibre& f = b.fibres[b.current];
    f.state = state;
    swapcontext(&f.context, &b.scheduler);
}

inline void run_fibre() {
    Block& b = block();
    b.entry(b.argument);
    b.fibres[b.current].state = State::FINISHED;
    swapcontext(&b.fibres[b.current].context, &b.scheduler);
}

// Lets waiting threads go on where all that live have come to the same barrier. True if any could.
inline bool release(int first, int last, State barrier) {
    Block& b = block();
    int waiting = 0;
    for (int t = first; t < last; ++t) {
        if (b.fibres[t].state == State::FINISHED) continue;
        if (b.fibres[t].state != barrier) return false;
        ++waiting;
    }
    for (int t = first; t < last; ++t)
        if (b.fibres[t].state == barrier) b.fibres[t].state = State::RUNNING;
    return waiting > 0;
}

inline void run_block() {
    Block& b = block();
    for (;;) {
        int finished = 0;
        for (int t = 0; t < b.threads; ++t) {
            if (b.fibres[t].state == State::RUNNING) {
                b.current = t;
                threadIdx.x = t;
                swapcontext(&b.scheduler, &b.fibres[t].context);
            }
            finished += b.fibres[t].state == State::FINISHED;
        }
        if (finished == b.threads) return;
        bool moved = release(0, b.threads, State::AT_BLOCK_BARRIER);
        for (int w = 0; w < b.threads; w += WARP_SIZE)
            moved |= release(w, w + WARP_SIZE < b.threads ? w + WARP_SIZE : b.threads, State::AT_WARP_BARRIER);
        if (!moved) {
            std::fprintf(stderr, "emulator: block (%u, %u, %u): some threads never reach a barrier\n", blockIdx.x,
                         blockIdx.y, blockIdx.z);
            std::abort();
        }
    }
}

inline void start_block() {
    Block& b = block();
    for (Fibre& f : b.fibres) {
        getcontext(&f.context);
        if (!f.stack) f.stack.reset(new char[STACK_BYTES]);
        f.context.uc_stack.ss_sp = f.stack.get();
        f.context.uc_stack.ss_size = STACK_BYTES;
        f.context.uc_link = nullptr;
        f.state = State::RUNNING;
        f.parity = 0;
        makecontext(&f.context, run_fibre, 0);
    }
    // Poisoned, so that a kernel that reads what nothing wrote is seen.
    for (float& value : emulated_shared_storage) value = NAN;
    run_block();
}

template <typename... A, size_t... I>
void call(void (*kernel)(A...), void** args, std::index_sequence<I...>) {
    kernel(*static_cast<A*>(args[I])...);
}

template <typename... A>
struct Call {
    void (*kernel)(A...);
    void** args;
};

template <typename... A>
void launch(void (*kernel)(A...), const int* grid, int threads, void** args) {
    Block& b = block();
    Call<A...> bound{kernel, args};
    b.fibres = std::vector<Fibre>(threads);
    b.threads = threads;
    b.argument = &bound;
    b.entry = [](void* p) {
        auto* c = static_cast<Call<A...>*>(p);
        call(c->kernel, c->args, std::index_sequence_for<A...>{});
    };
    blockDim = {unsigned(threads), 1, 1};
    gridDim = {unsigned(grid[0]), unsigned(grid[1]), unsigned(grid[2])};
    for (blockIdx.z = 0; blockIdx.z < gridDim.z; ++blockIdx.z)
        for (blockIdx.y = 0; blockIdx.y < gridDim.y; ++blockIdx.y)
            for (blockIdx.x = 0; blockIdx.x < gridDim.x; ++blockIdx.x) start_block();
}

// All lanes of a warp put a value down and then may read each other's.
template <typename T>
const uint64_t* meet(T value) {
    Block& b = block();
    const int thread = b.current;
    Fibre& f = b.fibres[thread];
    f.parity ^= 1;
    uint64_t* slots = b.exchange[f.parity];
    slots[thread] = 0;
    std::memcpy(&slots[thread], &value, sizeof(T));
    wait(State::AT_WARP_BARRIER);
    return slots + thread / WARP_SIZE * WARP_SIZE;
}

template <typename T>
T lane_value(const uint64_t* slots, int lane) {
    T out;
    std::memcpy(&out, &slots[lane], sizeof(T));
    return out;
}

inline int lanes_of_warp() {
    const Block& b = block();
    const int first = b.current / WARP_SIZE * WARP_SIZE;
    return b.threads - first < WARP_SIZE ? b.threads - first : WARP_SIZE;
}

}  // namespace emulator

inline void __syncthreads() { emulator::wait(emulator::State::AT_BLOCK_BARRIER); }
inline void __syncwarp(unsigned = 0) { emulator::wait(emulator::State::AT_WARP_BARRIER); }
inline void __threadfence() {}

template <typename T>
T __shfl_xor_sync(unsigned, T value, int mask) {
    const int lane = threadIdx.x % emulator::WARP_SIZE;
    return emulator::lane_value<T>(emulator::meet(value), lane ^ mask);
}
template <typename T>
T __shfl_up_sync(unsigned, T value, int distance) {
    const int lane = threadIdx.x % emulator::WARP_SIZE;
    return emulator::lane_value<T>(emulator::meet(value), lane < distance ? lane : lane - distance);
}
template <typename T>
T __shfl_down_sync(unsigned, T value, int distance) {
    const int lane = threadIdx.x % emulator::WARP_SIZE;
    return emulator::lane_value<T>(emulator::meet(value), lane + distance > 31 ? lane : lane + distance);
}
template <typename T>
T __shfl_sync(unsigned, T value, int source) {
    return emulator::lane_value<T>(emulator::meet(value), source);
}
inline unsigned __ballot_sync(unsigned, bool value) {
    const uint64_t* slots = emulator::meet(uint64_t(value));
    unsigned out = 0;
    for (int lane = 0; lane < emulator::lanes_of_warp(); ++lane) out |= unsigned(slots[lane] != 0) << lane;
    return out;
}
inline bool __any_sync(unsigned mask, bool value) { return __ballot_sync(mask, value) != 0; }
inline bool __all_sync(unsigned mask, bool value) { return __ballot_sync(mask, !value) == 0; }

inline int __popc(unsigned value) { return __builtin_popcount(value); }
inline int __ffs(unsigned value) { return __builtin_ffs(int(value)); }
inline int __clz(unsigned value) { return value == 0 ? 32 : __builtin_clz(value); }
inline unsigned __float_as_uint(float value) {
    unsigned out;
    std::memcpy(&out, &value, sizeof(out));
    return out;
}
template <typename T>
T atomicAdd(T* address, T value) {
    const T old = *address;
    *address = old + value;
    return old;
}
template <typename T>
T atomicMax(T* address, T value) {
    const T old = *address;
    *address = old < value ? value : old;
    return old;
}
template <typename T>
T atomicExch(T* address, T value) {
    const T old = *address;
    *address = value;
    return old;
}

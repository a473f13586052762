// options: --use_fast_math
// Tile lists: count (while projecting), allocate, scatter, sort by depth. Lists lie in memory in any order of tiles, so
// that allocation is one atomic per block and not a scan over the whole picture.
#include "device.h"
#include "tile_walk.h"

namespace gs {

constexpr int SORT_THREADS = 256;
constexpr int SORT_KEYS = 4096;  // longest list sorted in shared memory; longer ones take the detour over `scratch`
constexpr int BUCKETS = 1024;

}  // namespace gs

using namespace gs;

// Gives every tile its place in the lists; its counter moves on to where the list starts. A tile that does not fit is
// left without a place; `total` then exceeds the capacity and `overflow` is set.
extern "C" __global__ void __launch_bounds__(256) allocate_tiles(int tiles, int capacity, int* counters, int* starts,
                                                                 int* ends, u64* total, int* overflow) {
    __shared__ int warp_sums[256 / WARP];
    __shared__ u64 block_base;
    const int tile = blockIdx.x * 256 + threadIdx.x, lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    const int count = tile < tiles ? counters[tile * COUNTER_STRIDE] : 0;
    const int until = inclusive_sum(count, lane);
    if (lane == WARP - 1) warp_sums[warp] = until;
    __syncthreads();
    if (threadIdx.x == 0) {
        int sum = 0;
        for (int w = 0; w < 256 / WARP; ++w) {
            const int own = warp_sums[w];
            warp_sums[w] = sum;
            sum += own;
        }
        block_base = sum > 0 ? atomicAdd(total, u64(sum)) : 0;
    }
    __syncthreads();
    if (tile >= tiles) return;
    const u64 start = block_base + u64(warp_sums[warp] + until - count);
    const bool fits = start + u64(count) <= u64(capacity);
    if (!fits) *overflow = 1;
    starts[tile] = fits ? int(start) : 0;
    ends[tile] = fits ? int(start) + count : 0;
    counters[tile * COUNTER_STRIDE] = int(start);
}

// Writes (depth, index, parts) of every splat into the lists of the tiles that it touches, by the tiles' counters.
// limits: radii_of_3dgs, or null.
extern "C" __global__ void __launch_bounds__(128) scatter_splats(const int* live, int n, int stride, int tiles_x,
                                                                 int tiles_y, int capacity, const Splat* splats,
                                                                 const int* radii, const int* limits, int* counters,
                                                                 u64* keys, const int* overflow) {
    __shared__ WarpRows rows[128 / WARP];
    const int i = blockIdx.x * 128 + threadIdx.x, slot = blockIdx.y;
    const bool live_here = i < live_count(live, n);
    if (!__any_sync(ALL_LANES, live_here) || *overflow != 0) return;
    const bool drawn = live_here && radii[slot * stride + i] != 0;
    Projection<float> p = {};
    if (drawn) p = projection_of(splats[slot * stride + i], limits == nullptr ? 0 : float(limits[slot * stride + i]));
    int* slot_counters = counters + size_t(slot) * tiles_x * tiles_y * COUNTER_STRIDE;
    const int first = i - int(threadIdx.x % WARP);
    for_each_tile_of_warp(rows[threadIdx.x / WARP], drawn, p, tiles_x, tiles_y,
                          [&](int owner, const Projection<float>& splat, int tile, u32 parts) {
                              const int place = atomicAdd(&slot_counters[tile * COUNTER_STRIDE], 1);
                              // Depths are positive, so their bits are ordered as they are.
                              const u64 depth_bits = u64(__float_as_uint(splat.depth)) << 32;
                              if (place < capacity) keys[place] = depth_bits | u64(u32(first + owner) << PARTS | parts);
                          });
}

namespace gs {

// Smallest and largest depth bits of a list, known to all threads.
GS_FN void depth_range(const u64* keys, int n, u32* low, u32* high) {
    __shared__ u32 lows[SORT_THREADS / WARP], highs[SORT_THREADS / WARP];
    u32 smallest = 0xffffffffu, largest = 0;
    for (int i = threadIdx.x; i < n; i += SORT_THREADS) {
        const u32 depth = u32(keys[i] >> 32);
        smallest = min_of(smallest, depth);
        largest = max_of(largest, depth);
    }
    for (int step = WARP / 2; step > 0; step /= 2) {
        smallest = min_of(smallest, __shfl_xor_sync(ALL_LANES, smallest, step));
        largest = max_of(largest, __shfl_xor_sync(ALL_LANES, largest, step));
    }
    if (threadIdx.x % WARP == 0) {
        lows[threadIdx.x / WARP] = smallest;
        highs[threadIdx.x / WARP] = largest;
    }
    __syncthreads();
    *low = lows[0];
    *high = highs[0];
    for (int w = 1; w < SORT_THREADS / WARP; ++w) {
        *low = min_of(*low, lows[w]);
        *high = max_of(*high, highs[w]);
    }
}

// Turns counts per bucket into the place where each bucket starts.
GS_FN void scan_buckets(int* buckets) {
    __shared__ int warp_sums[SORT_THREADS / WARP];
    constexpr int EACH = BUCKETS / SORT_THREADS;
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, first = threadIdx.x * EACH;
    int count[EACH], sum = 0;
#pragma unroll
    for (int k = 0; k < EACH; ++k) {
        count[k] = buckets[first + k];
        sum += count[k];
    }
    const int until = inclusive_sum(sum, lane);
    if (lane == WARP - 1) warp_sums[warp] = until;
    __syncthreads();
    int before = until - sum;
    for (int w = 0; w < warp; ++w) before += warp_sums[w];
#pragma unroll
    for (int k = 0; k < EACH; ++k) {
        buckets[first + k] = before;
        before += count[k];
    }
    __syncthreads();
}

// Sorts a list: into buckets by depth, in `local`, then each key by its rank within its bucket. Buckets hold a few
// keys, and even one that holds all keys is ranked by all threads.
GS_FN void sort_by_buckets(const u64* keys, int n, u64* local, int* buckets, u32* entries) {
    for (int b = threadIdx.x; b < BUCKETS; b += SORT_THREADS) buckets[b] = 0;
    u32 low, high;
    depth_range(keys, n, &low, &high);
    const float scale = float(BUCKETS - 1) / (float(high - low) + 1.0f);
    const auto bucket_of = [&](u64 key) { return int(float(u32(key >> 32) - low) * scale); };
    for (int i = threadIdx.x; i < n; i += SORT_THREADS) atomicAdd(&buckets[bucket_of(keys[i])], 1);
    __syncthreads();
    scan_buckets(buckets);
    for (int i = threadIdx.x; i < n; i += SORT_THREADS) {
        const u64 key = keys[i];
        local[atomicAdd(&buckets[bucket_of(key)], 1)] = key;  // moves a bucket's start to its end
    }
    __syncthreads();
    for (int i = threadIdx.x; i < n; i += SORT_THREADS) {
        const u64 key = local[i];
        const int bucket = bucket_of(key);
        const int begin = bucket == 0 ? 0 : buckets[bucket - 1], end = buckets[bucket];
        int rank = begin;
        for (int j = begin; j < end; ++j) rank += local[j] < key;
        entries[rank] = u32(key);
    }
}

}  // namespace gs

// Sorts the list of one tile by depth, then index, and leaves (index, parts). Clears the tile's counter for the next
// step. `scratch` is as large as `keys`.
extern "C" __global__ void __launch_bounds__(SORT_THREADS) sort_tiles(const int* starts, const int* ends, int* counters,
                                                                      const u64* keys, u64* scratch, u32* entries,
                                                                      const int* overflow) {
    __shared__ u64 local[SORT_KEYS];
    __shared__ int buckets[BUCKETS];
    if (threadIdx.x == 0) counters[blockIdx.x * COUNTER_STRIDE] = 0;
    if (*overflow != 0) return;
    const int start = starts[blockIdx.x], n = ends[blockIdx.x] - start;
    if (n == 0) return;
    // Two calls, so that the compiler knows which memory each works in.
    if (n <= SORT_KEYS) sort_by_buckets(keys + start, n, local, buckets, entries + start);
    else sort_by_buckets(keys + start, n, scratch + start, buckets, entries + start);
}

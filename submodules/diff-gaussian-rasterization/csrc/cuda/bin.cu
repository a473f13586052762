// Tile lists: count (while projecting), allocate, scatter, sort by depth. Lists lie in memory in any order of tiles, so
// that allocation is one atomic per block and not a scan over the whole picture.
#include "device.h"
#include "tile_walk.h"

namespace gs {

constexpr int SORT_KEYS = 2048;  // longest list sorted in shared memory; longer ones are sorted where they lie

// One pass of compare-exchanges. The network is bitonic with a mirrored first step per merge, so every comparison is
// ascending and the missing keys at the end of a list count as infinite without being stored.
template <typename Keys>
GS_FN void exchange(Keys keys, int n, int pair, int half, bool mirrored) {
    const int block = pair / half, offset = pair % half;
    const int low = 2 * half * block + offset;
    const int high = mirrored ? 2 * half * (block + 1) - 1 - offset : low + half;
    if (high >= n) return;
    const u64 a = keys[low], b = keys[high];
    if (b < a) {
        keys[low] = b;
        keys[high] = a;
    }
}

template <typename Keys>
GS_FN void sort_keys(Keys keys, int n) {
    int pairs = 1;
    while (2 * pairs < n) pairs *= 2;
    for (int size = 1; size <= pairs; size *= 2) {
        for (int half = size; half > 0; half /= 2) {
            for (int pair = threadIdx.x; pair < pairs; pair += blockDim.x) exchange(keys, n, pair, half, half == size);
            __syncthreads();
        }
    }
}

}  // namespace gs

using namespace gs;

// Gives every tile its place in the lists and clears the counts for the next step. A tile that does not fit is left
// without a place; `totals[0]` then exceeds the capacity and `overflow` is set.
extern "C" __global__ void __launch_bounds__(256) allocate_tiles(int tiles, int capacity, int* counts, int* starts,
                                                                 int* ends, u64* total, int* overflow) {
    __shared__ int warp_sums[256 / WARP];
    __shared__ u64 block_base;
    const int tile = blockIdx.x * 256 + threadIdx.x, lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    const int count = tile < tiles ? counts[tile] : 0;
    int before = count;  // inclusive sum over the warp
    for (int step = 1; step < WARP; step *= 2) {
        const int other = __shfl_up_sync(ALL_LANES, before, step);
        if (lane >= step) before += other;
    }
    if (lane == WARP - 1) warp_sums[warp] = before;
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
    const u64 start = block_base + u64(warp_sums[warp] + before - count);
    const bool fits = start + u64(count) <= u64(capacity);
    if (!fits) *overflow = 1;
    starts[tile] = fits ? int(start) : capacity;
    ends[tile] = fits ? int(start) : capacity;
    counts[tile] = 0;
}

// Writes (depth, index, parts) of every splat into the lists of the tiles that it touches; `ends` moves from the start
// to the end of each list.
extern "C" __global__ void __launch_bounds__(128) scatter_splats(const int* live, int n, int stride, int tiles_x,
                                                                 int tiles_y, int capacity, const Splat* splats,
                                                                 const int* radii, int* ends, u64* keys,
                                                                 const int* overflow) {
    const int i = blockIdx.x * 128 + threadIdx.x, slot = blockIdx.y;
    if (i >= live_count(live, n) || *overflow != 0) return;
    if (radii[slot * stride + i] == 0) return;
    const Projection<float> p = projection_of(splats[slot * stride + i]);
    const u64 depth_bits = u64(__float_as_uint(p.depth)) << 32;  // depths are positive, so their bits are ordered
    int* slot_ends = ends + slot * tiles_x * tiles_y;
    for_each_tile(p, tiles_x, tiles_y, [&](int tile, u32 parts) {
        const int place = atomicAdd(&slot_ends[tile], 1);
        if (place < capacity) keys[place] = depth_bits | u64(u32(i) << PARTS | parts);
    });
}

// Sorts the list of one tile by depth, then index, and leaves (index, parts).
extern "C" __global__ void __launch_bounds__(256) sort_tiles(const int* starts, const int* ends, u64* keys, u32* entries,
                                                             const int* overflow) {
    __shared__ u64 local[SORT_KEYS];
    if (*overflow != 0) return;
    const int start = starts[blockIdx.x], n = ends[blockIdx.x] - start;
    if (n == 0) return;
    if (n <= SORT_KEYS) {
        for (int i = threadIdx.x; i < n; i += 256) local[i] = keys[start + i];
        __syncthreads();
        sort_keys(&local[0], n);
        for (int i = threadIdx.x; i < n; i += 256) entries[start + i] = u32(local[i]);
    } else {
        sort_keys(keys + start, n);
        for (int i = threadIdx.x; i < n; i += 256) entries[start + i] = u32(keys[start + i]);
    }
}

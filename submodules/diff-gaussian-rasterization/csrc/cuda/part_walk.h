// How a warp that owns 8x4 px finds its splats, nearest first, in the sorted list of the tile.
#pragma once

#include "device.h"

namespace gs {

constexpr int BLEND_WARPS = 4;  // warps of a block, and so parts of a tile that a block blends
constexpr int CHUNKS = 4;       // warp-wide loads of a list that are under way at once
constexpr int RING = 256;       // room for the splats found: at most 2 batches that wait and CHUNKS * WARP new ones
constexpr u32 ROUND = RING - 1;

// Which tile, part and pixel a thread has.
struct Place {
    int tile, part, lane, x, y;
    bool inside;
};

GS_FN Place place_of_thread(int tiles_x, int width, int height) {
    Place p;
    p.lane = threadIdx.x % WARP;
    p.tile = blockIdx.x / (PARTS / BLEND_WARPS);
    p.part = blockIdx.x % (PARTS / BLEND_WARPS) * BLEND_WARPS + threadIdx.x / WARP;
    p.x = p.tile % tiles_x * TILE + p.part % 2 * PART_W + p.lane % PART_W;
    p.y = p.tile / tiles_x * TILE + p.part / 2 * PART_H + p.lane / PART_W;
    p.inside = p.x < width && p.y < height;
    return p;
}

// Finds the splats of a part in a tile's list, in order, ahead of their use.
struct Walker {
    const u32* entries;
    int next, end, part, lane;
    u32* ring;  // indices of splats found and not yet taken, `count` of them from `head` on
    u32 head, count;

    // Reads on until `wanted` splats wait or the list ends.
    GS_FN void look_ahead(u32 wanted) {
        while (count < wanted && next < end) {
            u32 entry[CHUNKS];
#pragma unroll
            for (int j = 0; j < CHUNKS; ++j) {
                const int at = next + j * WARP + lane;
                entry[j] = at < end ? entries[at] : 0;
            }
#pragma unroll
            for (int j = 0; j < CHUNKS; ++j) {
                const bool hit = (entry[j] >> part & 1) != 0;
                const u32 hits = __ballot_sync(ALL_LANES, hit);
                if (hit) ring[(head + count + __popc(hits & ((1u << lane) - 1))) & ROUND] = entry[j] >> PARTS;
                count += __popc(hits);
            }
            next += CHUNKS * WARP;
        }
        __syncwarp();
    }

    GS_FN u32 waiting(u32 k) const { return ring[(head + k) & ROUND]; }

    GS_FN void take(u32 taken) {
        head += taken;
        count -= taken;
    }
};

}  // namespace gs

// From splats to one list per tile, nearest splat first, ties by index.

#include <algorithm>
#include <cstring>
#include <vector>

#include "parallel.h"
#include "scene.h"

namespace gs {
namespace {

// The drawn Gaussians of one view sorted by depth. Depths are positive, so their bits sort like their values; counted from
// the nearest, those of an object take 24 bits or so, two digits.
void sort_by_depth(const Splat<float>* splats, std::vector<int32_t>& order) {
    constexpr int DIGIT_BITS = 12, SIZE = 1 << DIGIT_BITS;
    struct Item {
        uint32_t key;
        int32_t index;
    };
    std::vector<Item> items(order.size()), sorted(order.size());
    uint32_t least = UINT32_MAX, most = 0;
    for (size_t k = 0; k < order.size(); ++k) {
        uint32_t key;
        std::memcpy(&key, &splats[order[k]].projection.depth, sizeof key);
        items[k] = {key, order[k]};
        least = std::min(least, key), most = std::max(most, key);
    }
    for (int shift = 0; shift < 32 && most > least && (most - least) >> shift; shift += DIGIT_BITS) {
        uint32_t next[SIZE] = {}, begin = 0;
        for (const Item& item : items) ++next[((item.key - least) >> shift) & (SIZE - 1)];
        for (uint32_t& bucket : next) {
            const uint32_t size = bucket;
            bucket = begin;
            begin += size;
        }
        for (const Item& item : items) sorted[next[((item.key - least) >> shift) & (SIZE - 1)]++] = item;
        items.swap(sorted);
    }
    for (size_t k = 0; k < order.size(); ++k) order[k] = items[k].index;
}

[[maybe_unused]] void sort_by_depth(const Splat<double>* splats, std::vector<int32_t>& order) {
    std::stable_sort(order.begin(), order.end(), [&](int32_t i, int32_t j) {
        return splats[i].projection.depth < splats[j].projection.depth;
    });
}

// The tile of every slot of a view, slots counted from the view's first.
template <typename T>
std::vector<int32_t> tiles_of_slots(const Views<T>& views, int64_t count, const Splat<T>* splats, const int64_t* slot_begin) {
    std::vector<int32_t> tile_of(slot_begin[count] - slot_begin[0]);
    const int tiles_x = views.tiles_x();
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < count; ++i) {
        if (slot_begin[i] == slot_begin[i + 1]) continue;
        int32_t* to = tile_of.data() + (slot_begin[i] - slot_begin[0]);
        for_each_tile_row(splats[i].projection, splats[i].limit, views.width, views.height, [&](int row, int first, int last) {
            for (int column = first; column <= last; ++column) *to++ = row * tiles_x + column;
        });
    }
    return tile_of;
}

// One view: where each tile's list begins, and the entries. Each part of the depth order counts for itself, so that every
// part knows where in each list it writes, and the lists do not depend on the number of parts.
template <typename T>
void bin_view(const Views<T>& views, int64_t count, const Splat<T>* splats, const int64_t* slot_begin, int64_t* tile_begin,
              Entry* entries) {
    std::vector<int32_t> order;
    order.reserve(count);
    for (int64_t i = 0; i < count; ++i)
        if (slot_begin[i + 1] > slot_begin[i]) order.push_back(int32_t(i));
    sort_by_depth(splats, order);
    const std::vector<int32_t> tile_of = tiles_of_slots(views, count, splats, slot_begin);

    const int64_t drawn = int64_t(order.size()), tiles = views.tiles(), first_slot = slot_begin[0];
    const int parts = thread_count();
    std::vector<int64_t> next(parts * tiles, 0);
#pragma omp parallel for schedule(static, 1)
    for (int part = 0; part < parts; ++part)
        for (int64_t k = drawn * part / parts; k < drawn * (part + 1) / parts; ++k)
            for (int64_t slot = slot_begin[order[k]]; slot < slot_begin[order[k] + 1]; ++slot)
                ++next[part * tiles + tile_of[slot - first_slot]];
    int64_t begin = first_slot;
    for (int64_t tile = 0; tile < tiles; ++tile) {
        tile_begin[tile] = begin;
        for (int part = 0; part < parts; ++part) {
            const int64_t size = next[part * tiles + tile];
            next[part * tiles + tile] = begin;
            begin += size;
        }
    }
#pragma omp parallel for schedule(static, 1)
    for (int part = 0; part < parts; ++part)
        for (int64_t k = drawn * part / parts; k < drawn * (part + 1) / parts; ++k) {
            const int32_t i = order[k];
            for (int64_t slot = slot_begin[i]; slot < slot_begin[i + 1]; ++slot)
                entries[next[part * tiles + tile_of[slot - first_slot]]++] = {i, int32_t(slot)};
        }
}

template <typename T>
void bin_all(const Views<T>& views, int64_t count, const Splat<T>* splats, const int64_t* slot_begin, int64_t* tile_begin,
             Entry* entries) {
    const int64_t tiles = views.tiles();
    for_each_view(views.count, [&](int64_t view) {
        bin_view(views, count, splats + view * count, slot_begin + view * count, tile_begin + view * tiles, entries);
    });
    tile_begin[views.count * tiles] = slot_begin[views.count * count];
}

}  // namespace
}  // namespace gs

#define GS_BIN(T, SUFFIX)                                                                                              \
    GS_EXPORT void gs_bin_##SUFFIX(int64_t count, int64_t view_count, int64_t width, int64_t height,                           \
                                   const gs::Splat<T>* splats, const int64_t* slot_begin, int64_t* tile_begin,         \
                                   gs::Entry* entries) {                                                               \
        const gs::Views<T> views = {view_count, nullptr, nullptr, nullptr, int(width), int(height)};                             \
        gs::guarded([&] { gs::bin_all(views, count, splats, slot_begin, tile_begin, entries); });                      \
    }

GS_BIN(float, f32)
#ifdef GS_DOUBLE
GS_BIN(double, f64)
#endif

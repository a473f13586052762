// Mean squared distance of every point to its three nearest others, exact, through a k-d tree. A C function, so that the
// library depends neither on torch nor on Python.

#include <algorithm>
#include <cstdint>
#include <limits>
#include <numeric>
#include <vector>

namespace {

constexpr int NEIGHBORS = 3;
constexpr int64_t LEAF = 12;  // points; below this looking at all of them is faster than descending

struct Point {
    float at[3];
};

float squared_distance(const Point& a, const Point& b) {
    const float x = a.at[0] - b.at[0], y = a.at[1] - b.at[1], z = a.at[2] - b.at[2];
    return x * x + y * y + z * z;
}

struct Box {
    Point low, high;

    float squared_distance_to(const Point& p) const {
        float sum = 0;
        for (int axis = 0; axis < 3; ++axis) {
            const float d = std::max({low.at[axis] - p.at[axis], p.at[axis] - high.at[axis], 0.0f});
            sum += d * d;
        }
        return sum;
    }
};

// The three smallest squared distances found so far, in order.
struct Nearest {
    float best[NEIGHBORS];

    Nearest() { std::fill_n(best, NEIGHBORS, std::numeric_limits<float>::infinity()); }
    void offer(float d) {
        if (d >= best[NEIGHBORS - 1]) return;
        int k = NEIGHBORS - 1;
        for (; k > 0 && best[k - 1] > d; --k) best[k] = best[k - 1];
        best[k] = d;
    }
    float mean() const {  // over those there are
        double sum = 0;
        int count = 0;
        for (; count < NEIGHBORS && best[count] < std::numeric_limits<float>::infinity(); ++count) sum += best[count];
        return count ? float(sum / count) : 0.0f;
    }
};

// Node k holds the points [begin, end) of `order`; its children are 2k + 1 and 2k + 2, split in the middle.
class Tree {
public:
    Tree(const Point* points, int64_t count) : order_(count), points_(count) {
        std::iota(order_.begin(), order_.end(), int64_t(0));
        build(points, 0, 0, count);
        for (int64_t k = 0; k < count; ++k) points_[k] = points[order_[k]];
    }

    // The mean for the k-th point in the tree's order, and where it stands in the caller's.
    float mean_distance(int64_t k) const {
        Nearest nearest;
        search(0, 0, int64_t(points_.size()), k, nearest);
        return nearest.mean();
    }
    int64_t caller_index(int64_t k) const { return order_[k]; }

private:
    void build(const Point* points, size_t node, int64_t begin, int64_t end) {
        if (boxes_.size() <= node) boxes_.resize(2 * node + 2);
        Box box = {points[order_[begin]], points[order_[begin]]};
        for (int64_t k = begin + 1; k < end; ++k)
            for (int axis = 0; axis < 3; ++axis) {
                box.low.at[axis] = std::min(box.low.at[axis], points[order_[k]].at[axis]);
                box.high.at[axis] = std::max(box.high.at[axis], points[order_[k]].at[axis]);
            }
        boxes_[node] = box;
        if (end - begin <= LEAF) return;
        int widest = 0;
        for (int axis = 1; axis < 3; ++axis)
            if (box.high.at[axis] - box.low.at[axis] > box.high.at[widest] - box.low.at[widest]) widest = axis;
        const int64_t middle = begin + (end - begin) / 2;
        std::nth_element(order_.begin() + begin, order_.begin() + middle, order_.begin() + end,
                         [&](int64_t i, int64_t j) { return points[i].at[widest] < points[j].at[widest]; });
        build(points, 2 * node + 1, begin, middle);
        build(points, 2 * node + 2, middle, end);
    }

    void search(size_t node, int64_t begin, int64_t end, int64_t self, Nearest& nearest) const {
        const Point& p = points_[self];
        if (end - begin <= LEAF) {
            for (int64_t k = begin; k < end; ++k)
                if (k != self) nearest.offer(squared_distance(p, points_[k]));
            return;
        }
        const int64_t middle = begin + (end - begin) / 2;
        const float left = boxes_[2 * node + 1].squared_distance_to(p), right = boxes_[2 * node + 2].squared_distance_to(p);
        const auto enter_left = [&] {
            if (left < nearest.best[NEIGHBORS - 1]) search(2 * node + 1, begin, middle, self, nearest);
        };
        const auto enter_right = [&] {
            if (right < nearest.best[NEIGHBORS - 1]) search(2 * node + 2, middle, end, self, nearest);
        };
        if (self < middle) {
            enter_left();
            enter_right();
        } else {
            enter_right();
            enter_left();
        }
    }

    std::vector<int64_t> order_;
    std::vector<Point> points_;  // in the order of the tree, so that neighbors lie together in memory
    std::vector<Box> boxes_;
};

}  // namespace

// points (count, 3), all finite; means (count,).
extern "C" __attribute__((visibility("default"))) void knn_mean_squared_distance(int64_t count, const float* points,
                                                                               float* means) {
    if (count == 0) return;
    const Tree tree(reinterpret_cast<const Point*>(points), count);
#pragma omp parallel for schedule(dynamic, 256)
    for (int64_t k = 0; k < count; ++k) means[tree.caller_index(k)] = tree.mean_distance(k);
}

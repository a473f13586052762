// Mean squared distance of every point to its three nearest others, by comparing all with all: exact for any cloud, and
// for the 10^5 points that training starts from a few milliseconds.
#include "device.h"

namespace gs {

constexpr int NEAR_THREADS = 256;
constexpr float FAR = 3.4e38f;

// The three smallest of what it was given.
struct Nearest {
    float first = FAR, second = FAR, third = FAR;

    GS_FN void add(float value) {
        const float middle = max_of(first, value);
        first = min_of(first, value);
        const float high = max_of(second, middle);
        second = min_of(second, middle);
        third = min_of(third, high);
    }
};

}  // namespace gs

using namespace gs;

extern "C" __global__ void __launch_bounds__(NEAR_THREADS)
    mean_neighbor_distance(int n, const float* points, float* out) {
    __shared__ Vec3<float> others[NEAR_THREADS];
    const int i = blockIdx.x * NEAR_THREADS + threadIdx.x;
    const Vec3<float> own = i < n ? load3(points + 3 * i) : Vec3<float>{0, 0, 0};
    Nearest nearest;
    for (int base = 0; base < n; base += NEAR_THREADS) {
        const int mine = base + threadIdx.x;
        if (mine < n) others[threadIdx.x] = load3(points + 3 * mine);
        __syncthreads();
        const int count = min_of(n - base, NEAR_THREADS);
        for (int k = 0; k < count; ++k) {
            const Vec3<float> d = others[k] - own;
            if (base + k != i) nearest.add(dot(d, d));
        }
        __syncthreads();
    }
    if (i >= n) return;
    const int found = min_of(n - 1, 3);
    float sum = found > 0 ? nearest.first : 0;
    if (found > 1) sum += nearest.second;
    if (found > 2) sum += nearest.third;
    out[i] = found > 0 ? sum / float(found) : 0.0f;
}

// options: --use_fast_math
// The loss of 3DGS and its gradient in one pass: (1 - w) |x - y| + w (1 - SSIM). A block takes 32x32 px of a channel.
// SSIM needs local means of x, y, x^2 + y^2 and xy (only the sum of the variances enters); its gradient needs the local
// means of the derivatives by three of them. Both are separable and stay in shared memory.
#include "common/constants.h"
#include "device.h"

namespace gs {

constexpr int SIDE = 32;                          // pixels whose gradient a block writes, per axis
constexpr int TAPS = 2 * SSIM_RADIUS + 1;
constexpr int MID = SIDE + 2 * SSIM_RADIUS;       // where SSIM is needed
constexpr int WIDE = SIDE + 4 * SSIM_RADIUS;      // where the pictures are needed
constexpr int LOSS_THREADS = 384;
constexpr int RUN = 6;                            // outputs that a thread filters in one go (MID = 7 runs)
constexpr int END_RUN = 4;                        // the same for the gradient (SIDE = 8 runs)
constexpr int WIDE_ROW = WIDE + 1, MID_ROW = MID + 1, SIDE_ROW = SIDE + 1;  // odd, so that columns hit all banks
constexpr int PICTURES = 2 * WIDE * WIDE_ROW;
constexpr int ACROSS = 4 * WIDE * MID_ROW;        // after it PICTURES is free for the derivatives
static_assert(3 * MID * MID_ROW <= PICTURES, "the derivatives take the place of the pictures");
static_assert(3 * MID * SIDE_ROW <= ACROSS, "their horizontal means take that of the pictures' means");
static_assert(MID % RUN == 0 && SIDE % END_RUN == 0, "runs fit");

// The derivatives of SSIM by the local means of x, of x^2 + y^2 and of xy.
struct SsimSlope {
    float value, by_x, by_squares, by_product;
};

GS_FN SsimSlope ssim_slope(float x, float y, float squares, float product) {
    const float c1 = float(SSIM_C1), c2 = float(SSIM_C2);
    const float n1 = 2 * x * y + c1, n2 = 2 * (product - x * y) + c2;
    const float means = x * x + y * y;
    const float d1 = means + c1, d2 = squares - means + c2;
    const float inverse = 1 / (d1 * d2);
    const float value = n1 * n2 * inverse;
    return {value, 2 * y * (n2 - n1) * inverse + 2 * x * value * (d1 - d2) * inverse, -value / d2, 2 * n1 * inverse};
}

// `Outputs` neighboring results of a filter over Outputs + TAPS - 1 samples, `step` floats apart.
template <int Outputs>
GS_FN void filter_run(const float* samples, int step, const float* window, float* out) {
#pragma unroll
    for (int o = 0; o < Outputs; ++o) out[o] = 0;
#pragma unroll
    for (int j = 0; j < Outputs + TAPS - 1; ++j) {
        const float sample = samples[j * step];
#pragma unroll
        for (int o = 0; o < Outputs; ++o) {
            if (j - o >= 0 && j - o < TAPS) out[o] += window[j - o] * sample;
        }
    }
}

// Sums over the block; the result is valid in thread 0.
GS_FN float sum_block(float value, float* scratch) {
    for (int step = WARP / 2; step > 0; step /= 2) value += __shfl_xor_sync(ALL_LANES, value, step);
    if (threadIdx.x % WARP == 0) scratch[threadIdx.x / WARP] = value;
    __syncthreads();
    float sum = 0;
    if (threadIdx.x == 0) {
        for (int w = 0; w < LOSS_THREADS / WARP; ++w) sum += scratch[w];
    }
    return sum;
}

// The picture and the target of one channel, as both lie in memory.
struct Channel {
    const float* image;           // (height, width)
    const unsigned char* bytes;   // (height, width, 3) from this channel on, or null
    const float* floats;          // (height, width)
    int width, height;
};

GS_FN float target_at(const Channel& c, int x, int y) {
    const size_t pixel = size_t(y) * c.width + x;
    return c.bytes == nullptr ? c.floats[pixel] : float(c.bytes[3 * pixel]) * (1.0f / 255.0f);
}

// Means along rows of the two pictures and their products, into across[4][WIDE][MID_ROW].
GS_FN void filter_pictures_across(const float* x, const float* y, const float* window, float* across) {
    for (int item = threadIdx.x; item < WIDE * (MID / RUN); item += LOSS_THREADS) {
        const int row = item % WIDE, first = item / WIDE * RUN;
        float sum[4][RUN] = {};
#pragma unroll
        for (int j = 0; j < RUN + TAPS - 1; ++j) {
            const float a = x[row * WIDE_ROW + first + j], b = y[row * WIDE_ROW + first + j];
            const float squares = a * a + b * b, product = a * b;
#pragma unroll
            for (int o = 0; o < RUN; ++o) {
                if (j - o < 0 || j - o >= TAPS) continue;
                const float weight = window[j - o];
                sum[0][o] += weight * a;
                sum[1][o] += weight * b;
                sum[2][o] += weight * squares;
                sum[3][o] += weight * product;
            }
        }
#pragma unroll
        for (int q = 0; q < 4; ++q) {
#pragma unroll
            for (int o = 0; o < RUN; ++o) across[(q * WIDE + row) * MID_ROW + first + o] = sum[q][o];
        }
    }
}

// Means along columns, SSIM and its derivatives into slopes[3][MID][MID_ROW]; returns this thread's part of
// sum(1 - SSIM) over the block's own pixels.
GS_FN float filter_pictures_down(const Channel& c, const float* across, const float* window, int left, int top,
                                 float* slopes) {
    float loss = 0;
    for (int item = threadIdx.x; item < MID * (MID / RUN); item += LOSS_THREADS) {
        const int column = item % MID, first = item / MID * RUN;
        float mean[4][RUN];
#pragma unroll
        for (int q = 0; q < 4; ++q)
            filter_run<RUN>(across + (q * WIDE + first) * MID_ROW + column, MID_ROW, window, mean[q]);
#pragma unroll
        for (int o = 0; o < RUN; ++o) {
            const int row = first + o, px = left - SSIM_RADIUS + column, py = top - SSIM_RADIUS + row;
            const bool inside = px >= 0 && py >= 0 && px < c.width && py < c.height;
            SsimSlope s = {1, 0, 0, 0};
            if (inside) s = ssim_slope(mean[0][o], mean[1][o], mean[2][o], mean[3][o]);
            slopes[(0 * MID + row) * MID_ROW + column] = s.by_x;
            slopes[(1 * MID + row) * MID_ROW + column] = s.by_squares;
            slopes[(2 * MID + row) * MID_ROW + column] = s.by_product;
            const bool own = row >= SSIM_RADIUS && row < MID - SSIM_RADIUS && column >= SSIM_RADIUS &&
                             column < MID - SSIM_RADIUS;
            if (own && inside) loss += 1 - s.value;
        }
    }
    return loss;
}

GS_FN void filter_slopes_across(const float* slopes, const float* window, float* across) {
    for (int item = threadIdx.x; item < MID * (SIDE / END_RUN); item += LOSS_THREADS) {
        const int row = item % MID, first = item / MID * END_RUN;
#pragma unroll
        for (int q = 0; q < 3; ++q) {
            float mean[END_RUN];
            filter_run<END_RUN>(slopes + (q * MID + row) * MID_ROW + first, 1, window, mean);
#pragma unroll
            for (int o = 0; o < END_RUN; ++o) across[(q * MID + row) * SIDE_ROW + first + o] = mean[o];
        }
    }
}

// The gradient of the block's pixels; returns this thread's part of sum |x - y|.
GS_FN float write_gradient(const Channel& c, const float* across, const float* window, int left, int top,
                           float l1_scale, float ssim_scale, float* v_image) {
    float loss = 0;
    for (int item = threadIdx.x; item < SIDE * (SIDE / END_RUN); item += LOSS_THREADS) {
        const int column = item % SIDE, first = item / SIDE * END_RUN, px = left + column;
        float mean[3][END_RUN];
#pragma unroll
        for (int q = 0; q < 3; ++q)
            filter_run<END_RUN>(across + (q * MID + first) * SIDE_ROW + column, SIDE_ROW, window, mean[q]);
#pragma unroll
        for (int o = 0; o < END_RUN; ++o) {
            const int py = top + first + o;
            if (px >= c.width || py >= c.height) continue;
            const size_t pixel = size_t(py) * c.width + px;
            const float x = c.image[pixel], y = target_at(c, px, py), difference = x - y;
            loss += difference < 0 ? -difference : difference;
            const float sign = difference > 0 ? 1.0f : difference < 0 ? -1.0f : 0.0f;
            v_image[pixel] = l1_scale * sign - ssim_scale * (mean[0][o] + 2 * x * mean[1][o] + y * mean[2][o]);
        }
    }
    return loss;
}

// Whether picture and target show nothing but background around this block: then loss and gradient are zero. The
// picture does where the tiles around have empty lists, the target where `blank` says so. Called by all threads.
GS_FN bool nothing_here(const int* starts, const int* ends, const unsigned char* blank, int block_x, int block_y,
                        int tiles_x, int tiles_y) {
    __shared__ int something;
    if (threadIdx.x == 0) something = *blank == 0;
    __syncthreads();
    constexpr int AROUND = SIDE / TILE + 2;
    const int x = block_x * (AROUND - 2) - 1 + int(threadIdx.x) % AROUND;
    const int y = block_y * (AROUND - 2) - 1 + int(threadIdx.x) / AROUND;
    if (threadIdx.x < AROUND * AROUND && x >= 0 && y >= 0 && x < tiles_x && y < tiles_y) {
        if (starts[y * tiles_x + x] != ends[y * tiles_x + x]) something = 1;
    }
    __syncthreads();
    return something == 0;
}

}  // namespace gs

using namespace gs;

// image, v_image (slots, 3, height, width); target bytes (views, height, width, 3) or floats (views, 3, height, width).
// window: TAPS weights. blank: (views, blocks) or null. Adds l1_scale sum|x - y| + ssim_scale sum(1 - SSIM) to *loss.
extern "C" __global__ void __launch_bounds__(LOSS_THREADS)
    photometric_gradient(int width, int height, const float* image, const unsigned char* bytes, const float* floats,
                         const float* window_weights, const int* order, const int* step, int tiles_x, int tiles_y,
                         const int* starts, const int* ends, const unsigned char* blank, float l1_scale,
                         float ssim_scale, float* v_image, double* loss, const int* overflow) {
    extern __shared__ float shared[];
    __shared__ float scratch[LOSS_THREADS / WARP];
    if (overflow != nullptr && *overflow != 0) return;
    const int blocks_x = (width + SIDE - 1) / SIDE;
    const int block_x = blockIdx.x % blocks_x, block_y = blockIdx.x / blocks_x;
    const int channel = blockIdx.y, slot = blockIdx.z, left = block_x * SIDE, top = block_y * SIDE;
    const int view = view_of(order, step, gridDim.z, slot);
    const int first_tile = slot * tiles_x * tiles_y;
    const size_t block = size_t(view) * gridDim.x + blockIdx.x;
    if (blank != nullptr &&
        nothing_here(starts + first_tile, ends + first_tile, blank + block, block_x, block_y, tiles_x, tiles_y))
        return;

    const size_t plane = size_t(width) * height;
    Channel c = {image + plane * (3 * slot + channel), nullptr, nullptr, width, height};
    if (bytes != nullptr) c.bytes = bytes + 3 * plane * view + channel;
    else c.floats = floats + plane * (3 * view + channel);

    float* pictures = shared;
    float* across = shared + PICTURES;
#pragma unroll
    for (int k = 0; k < (WIDE * WIDE + LOSS_THREADS - 1) / LOSS_THREADS; ++k) {  // unrolled, so that loads overlap
        const int item = threadIdx.x + k * LOSS_THREADS, row = item / WIDE, column = item % WIDE;
        if (item >= WIDE * WIDE) break;
        const int px = left - 2 * SSIM_RADIUS + column, py = top - 2 * SSIM_RADIUS + row;
        const bool inside = px >= 0 && py >= 0 && px < width && py < height;
        pictures[row * WIDE_ROW + column] = inside ? c.image[size_t(py) * width + px] : 0.0f;
        pictures[(WIDE + row) * WIDE_ROW + column] = inside ? target_at(c, px, py) : 0.0f;
    }
    float window[TAPS];
#pragma unroll
    for (int j = 0; j < TAPS; ++j) window[j] = window_weights[j];
    __syncthreads();
    filter_pictures_across(pictures, pictures + WIDE * WIDE_ROW, window, across);
    __syncthreads();
    float value = ssim_scale * filter_pictures_down(c, across, window, left, top, pictures);
    __syncthreads();
    filter_slopes_across(pictures, window, across);
    __syncthreads();
    value += l1_scale * write_gradient(c, across, window, left, top, l1_scale, ssim_scale,
                                       v_image + plane * (3 * slot + channel));
    value = sum_block(value, scratch);
    if (threadIdx.x == 0) atomicAdd(loss, double(value));
}

// The photometric loss of 3DGS, (1 - w) mean |x - y| + w (1 - mean SSIM), and its gradient in x.
//
// With G* the blur by SSIM's window, mx = G*x, my = G*y, sxx = G*(xx) - mx^2, syy, sxy likewise:
//   SSIM = (A1 A2) / (B1 B2),  A1 = 2 mx my + C1,  A2 = 2 sxy + C2,  B1 = mx^2 + my^2 + C1,  B2 = sxx + syy + C2.
// Taking mx, G*(xx) and G*(xy) as free variables with derivatives p, q, r of SSIM, the blur being its own transpose,
//   d(sum of SSIM)/dx = G*p + 2 x (G*q) + y (G*r).
// Where x equals y all over a window, p is 0 and the terms of q = -1 / B2 and r = 2 / B2 cancel at every pixel that it
// covers: such windows (the plain background) are not computed.

#include <algorithm>
#include <memory>
#include <vector>

#include "../common/constants.h"
#include "parallel.h"
#include "simd.h"

namespace gs {
namespace {

constexpr int R = SSIM_RADIUS;
constexpr int MARGIN = 64 / int(sizeof(float));  // scalars of zeros beside a row of intermediates, at least R

struct Columns {  // [begin, end)
    int begin, end;
    bool empty() const { return begin >= end; }
    Columns joined(Columns o) const {
        return empty() ? o : o.empty() ? *this : Columns{std::min(begin, o.begin), std::max(end, o.end)};
    }
    Columns widened(int width) const {
        return empty() ? *this : Columns{std::max(begin - R, 0), std::min(end + R, width)};
    }
};

template <typename T>
struct Window {
    T weight[R + 1];  // from the center outwards

    Window() {
        double raw[R + 1], sum = 0;
        for (int k = 0; k <= R; ++k) {
            raw[k] = std::exp(-double(k * k) / (2 * SSIM_SIGMA * SSIM_SIGMA));
            sum += k ? 2 * raw[k] : raw[k];
        }
        for (int k = 0; k <= R; ++k) weight[k] = T(raw[k] / sum);
    }
};

// One color channel of one picture and all that is derived from it. Rows are padded to whole vectors, planes by R rows
// of zeros above and below, so that no loop knows a border.
template <typename T>
class Plane {
public:
    const int width, height, stride;
    std::vector<Columns> differs, active;  // per row: where x and y differ; where the terms of p, q, r may not cancel

    Plane(int width, int height)
        : width(width), height(height), stride((width + LANES<T> - 1) / LANES<T> * LANES<T>), differs(height),
          active(height), size_(int64_t(stride) * (height + 2 * R)), data_(new T[5 * size_]) {
        for (int which = 0; which < 5; ++which) {
            std::fill_n(row(which, -R), R * stride, T(0));
            std::fill_n(row(which, height), R * stride, T(0));
        }
    }
    T* row(int which, int r) { return data_.get() + which * size_ + int64_t(r + R) * stride; }
    T* x(int r) { return row(0, r); }
    T* y(int r) { return row(1, r); }

    // The union over the rows within R of r, widened by R columns.
    Columns around(const std::vector<Columns>& rows, int r) const {
        Columns all = {0, 0};
        for (int k = std::max(r - R, 0); k <= std::min(r + R, height - 1); ++k) all = all.joined(rows[k]);
        return all.widened(width);
    }

private:
    const int64_t size_;
    const std::unique_ptr<T[]> data_;
};

// Rows of intermediates, with margins of zeros.
template <typename T, int COUNT>
class Rows {
public:
    explicit Rows(int stride) : length_(stride + 2 * MARGIN), data_(COUNT * length_, T(0)) {}
    T* row(int which) { return data_.data() + which * length_ + MARGIN; }
    // Zeros where the blur across `columns` reads beyond what will be written.
    void clear_beside(Columns columns) {
        for (int which = 0; which < COUNT; ++which) {
            std::fill_n(row(which) + columns.begin - MARGIN, MARGIN, T(0));
            std::fill_n(row(which) + columns.end, MARGIN, T(0));
        }
    }

private:
    const int64_t length_;
    std::vector<T> data_;
};

template <typename T>
Columns whole_vectors(Columns c) {
    return {c.begin / LANES<T> * LANES<T>, (c.end + LANES<T> - 1) / LANES<T> * LANES<T>};
}

template <typename T>
inline Simd<T> blur_across(const T* at, const Window<T>& window) {
    Simd<T> sum = load(at) * window.weight[0];
    for (int k = 1; k <= R; ++k) sum += (load(at - k) + load(at + k)) * window.weight[k];
    return sum;
}

// Copies a row of x and y into the plane, finds where they differ, and returns the sum of |x - y|.
template <typename T>
double read_row(Plane<T>& plane, int r, const T* x, const uint8_t* bytes, const T* y) {
    T *to_x = plane.x(r), *to_y = plane.y(r);
    std::copy_n(x, plane.width, to_x);
    if (bytes)
        for (int i = 0; i < plane.width; ++i) to_y[i] = T(bytes[3 * i]) / T(255);
    else
        std::copy_n(y, plane.width, to_y);
    std::fill(to_x + plane.width, to_x + plane.stride, T(0));
    std::fill(to_y + plane.width, to_y + plane.stride, T(0));
    int begin = 0, end = plane.width;
    while (begin < end && to_x[begin] == to_y[begin]) ++begin;
    while (end > begin && to_x[end - 1] == to_y[end - 1]) --end;
    plane.differs[r] = {begin, end};
    Simd<T> sum{};
    for (int i = begin / LANES<T> * LANES<T>; i < end; i += LANES<T>) {
        const Simd<T> d = load(to_x + i) - load(to_y + i);
        sum += max_lanes(d, -d);
    }
    return double(sum_lanes<T>(sum));
}

// Blurs x, y, xx, yy, xy down the columns of row r.
template <typename T>
void moments_down(Plane<T>& plane, int r, Columns columns, const Window<T>& window, Rows<T, 5>& out) {
    for (int i = columns.begin; i < columns.end; i += LANES<T>) {
        const Simd<T> x = load(plane.x(r) + i), y = load(plane.y(r) + i), w = splat(window.weight[0]);
        Simd<T> sum[5] = {w * x, w * y, w * x * x, w * y * y, w * x * y};
        for (int k = 1; k <= R; ++k) {
            const Simd<T> x0 = load(plane.x(r - k) + i), x1 = load(plane.x(r + k) + i);
            const Simd<T> y0 = load(plane.y(r - k) + i), y1 = load(plane.y(r + k) + i);
            sum[0] += (x0 + x1) * window.weight[k];
            sum[1] += (y0 + y1) * window.weight[k];
            sum[2] += (x0 * x0 + x1 * x1) * window.weight[k];
            sum[3] += (y0 * y0 + y1 * y1) * window.weight[k];
            sum[4] += (x0 * y0 + x1 * y1) * window.weight[k];
        }
        for (int which = 0; which < 5; ++which) store(out.row(which) + i, sum[which]);
    }
}

// Writes p, q, r of row `r` (planes 2, 3, 4) and returns the sum of SSIM over the row.
template <typename T>
double derive_row(Plane<T>& plane, int r, const Window<T>& window, Rows<T, 5>& scratch) {
    const Columns active = plane.active[r] = plane.around(plane.differs, r);
    T *p = plane.row(2, r), *q = plane.row(3, r), *s = plane.row(4, r);
    for (T* row : {p, q, s}) std::fill_n(row, plane.stride, T(0));
    if (active.empty()) return plane.width;
    const Columns read = whole_vectors<T>(active.widened(plane.width));
    scratch.clear_beside(read);
    moments_down(plane, r, read, window, scratch);
    const T c1 = T(SSIM_C1), c2 = T(SSIM_C2);
    double sum = plane.width - (active.end - active.begin);
    const Columns write = whole_vectors<T>(active);
    for (int i = write.begin; i < write.end; i += LANES<T>) {
        Simd<T> blurred[5];
        for (int which = 0; which < 5; ++which) blurred[which] = blur_across(scratch.row(which) + i, window);
        const Simd<T> mx = blurred[0], my = blurred[1], mxx = mx * mx, myy = my * my, mxy = mx * my;
        const Simd<T> a1 = T(2) * mxy + c1, a2 = T(2) * (blurred[4] - mxy) + c2;
        const Simd<T> b1 = mxx + myy + c1, b2 = (blurred[2] - mxx) + (blurred[3] - myy) + c2;
        const Simd<T> inverse = T(1) / (b1 * b2), ssim = a1 * a2 * inverse;
        store(p + i, T(2) * (my * (a2 - a1) * inverse + mx * ssim * (b1 - b2) * inverse));
        store(q + i, -ssim * inverse * b1);
        store(s + i, T(2) * a1 * inverse);
        for (int lane = std::max(active.begin - i, 0); lane < std::min(LANES<T>, active.end - i); ++lane)
            sum += double(ssim[lane]);
    }
    for (T* row : {p, q, s}) {  // the vectors at the ends reach beyond the picture or into pixels that count as 1
        std::fill(row + write.begin, row + active.begin, T(0));
        std::fill(row + active.end, row + write.end, T(0));
    }
    return sum;
}

// The gradient of the loss in row r: `by_distance` sign(x - y) - `by_ssim` d(sum of SSIM)/dx.
template <typename T>
void gradient_row(Plane<T>& plane, int r, const Window<T>& window, T by_distance, T by_ssim, Rows<T, 3>& scratch, T* out) {
    std::fill_n(out, plane.width, T(0));
    const Columns graded = plane.around(plane.active, r);
    if (graded.empty()) return;
    const Columns read = whole_vectors<T>(graded.widened(plane.width));
    scratch.clear_beside(read);
    for (int which = 0; which < 3; ++which)
        for (int i = read.begin; i < read.end; i += LANES<T>) {
            Simd<T> sum = load(plane.row(2 + which, r) + i) * window.weight[0];
            for (int k = 1; k <= R; ++k)
                sum += (load(plane.row(2 + which, r - k) + i) + load(plane.row(2 + which, r + k) + i)) * window.weight[k];
            store(scratch.row(which) + i, sum);
        }
    for (int i = whole_vectors<T>(graded).begin; i < graded.end; i += LANES<T>) {
        const Simd<T> x = load(plane.x(r) + i), y = load(plane.y(r) + i), zero{};
        const Simd<T> sign = x > y ? splat(by_distance) : (x < y ? splat(-by_distance) : zero);
        const Simd<T> ssim = blur_across(scratch.row(0) + i, window) + T(2) * x * blur_across(scratch.row(1) + i, window) +
                             y * blur_across(scratch.row(2) + i, window);
        const Simd<T> v = sign - by_ssim * ssim;
        std::memcpy(out + i, &v, sizeof(T) * std::min(LANES<T>, plane.width - i));
    }
}

template <typename T>
double photometric_loss(int64_t views, int height, int width, const T* image, const uint8_t* bytes, const T* target,
                        double ssim_weight, T* v_image) {
    const Window<T> window;
    const int64_t pixels = int64_t(height) * width;
    const double count = double(views) * 3 * double(pixels);
    Plane<T> plane(width, height);
    std::vector<Rows<T, 5>> all_moments(most_threads(), Rows<T, 5>(plane.stride));  // one for each thread
    std::vector<Rows<T, 3>> all_derivatives(most_threads(), Rows<T, 3>(plane.stride));
    std::vector<double> distances(height), ssims(height);
    double distance = 0, ssim = 0;
    for (int64_t index = 0; index < views * 3; ++index) {
        const T* x = image + index * pixels;
        const T* y = target ? target + index * pixels : nullptr;
        const uint8_t* y_bytes = bytes ? bytes + index / 3 * 3 * pixels + index % 3 : nullptr;
#pragma omp parallel
        {
            Rows<T, 5>& moments = all_moments[thread_number()];
            Rows<T, 3>& derivatives = all_derivatives[thread_number()];
#pragma omp for schedule(static)
            for (int r = 0; r < height; ++r)
                distances[r] = read_row(plane, r, x + int64_t(r) * width, y_bytes ? y_bytes + 3 * int64_t(r) * width : nullptr,
                                        y ? y + int64_t(r) * width : nullptr);
#pragma omp for schedule(dynamic, 16)
            for (int r = 0; r < height; ++r) ssims[r] = derive_row(plane, r, window, moments);
            if (v_image) {
#pragma omp for schedule(dynamic, 16)
                for (int r = 0; r < height; ++r)
                    gradient_row(plane, r, window, T((1 - ssim_weight) / count), T(ssim_weight / count), derivatives,
                                 v_image + index * pixels + int64_t(r) * width);
            }
        }
        for (int r = 0; r < height; ++r) distance += distances[r], ssim += ssims[r];
    }
    return (1 - ssim_weight) * distance / count + ssim_weight * (1 - ssim / count);
}

}  // namespace
}  // namespace gs

// The target is uint8 (B, H, W, 3) or like the image (B, 3, H, W), the other one null; v_image may be null.
#define GS_LOSS(T, SUFFIX)                                                                                             \
    GS_EXPORT double gs_photometric_loss_##SUFFIX(int64_t views, int64_t height, int64_t width, const T* image,        \
                                                  const uint8_t* bytes, const T* target, double ssim_weight,           \
                                                  T* v_image) {                                                        \
        return gs::guarded([&] {                                                                                       \
            return gs::photometric_loss(views, int(height), int(width), image, bytes, target, ssim_weight, v_image);   \
        });                                                                                                            \
    }

GS_LOSS(float, f32)
#ifdef GS_DOUBLE
GS_LOSS(double, f64)
#endif

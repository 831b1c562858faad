// What the critics' and the actor's updates share: networks of Linear, dropout, layer norm and ReLU, forward and
// backward on some rows, and Adam. What a layer does around its matrix products is in rows.h.
//
// A matrix is row-major; `[a, b]` gives its shape.

#pragma once

#include <omp.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <type_traits>
#include <vector>

#if defined(__SSE__)
#include <xmmintrin.h>
#endif

#include "keep_mask.h"
#include "rows.h"

// What a library is made for, from build.py: the type of all numbers, and whether the critics have dropout and layer
// norm. One for all kinds of critics would take twice as long to compile.
#ifndef SCALAR
#define SCALAR float
#define CRITIC_DROPOUT true
#define CRITIC_LAYER_NORM true
#endif

extern "C" {

typedef void (*Gemm)(const char*, const char*, const int*, const int*, const int*, const void*, const void*, const int*,
                     const void*, const int*, const void*, void*, const int*);

// Mirrors class Geometry of geometry.py, field by field: where the tensors of `copies` networks lie in a flat vector.
struct Geometry {
  int64_t copies, in_dim, layers, out_dim;  // hidden layers
  const int64_t* widths;                    // [layers]
  const int64_t *weight, *bias;             // [layers + 1], where a layer's tensors start
  const int64_t *norm_scale, *norm_shift;   // [layers]
  int64_t parameters;                       // n, of one seed
  double dropout_rate;
  Gemm gemm, gemm_bf16;  // of the BLAS that torch carries; with factors in bf16, or null
};

}  // extern "C"

namespace {

constexpr double BETA1 = 0.9, BETA2 = 0.999, ADAM_EPS = 1e-8;

template <class T>
const T* at(const void* data, int64_t offset) {
  return static_cast<const T*>(data) + offset;
}
template <class T>
T* at(void* data, int64_t offset) {
  return static_cast<T*>(data) + offset;
}

// While it lives, its thread takes numbers below 1e-38 for 0. The Adam moments of dead units sink there, a twentieth to
// a tenth of all moments in a long run, and the CPU takes ten times as long for an Adam step over such numbers.
class FlushDenormals {
#if defined(__SSE__)
  const unsigned before = _mm_getcsr();

 public:
  FlushDenormals() { _mm_setcsr(before | 0x8040); }
  ~FlushDenormals() { _mm_setcsr(before); }
#else
 public:
  FlushDenormals() {}
#endif
};

// Hands out a workspace piece by piece, each at a multiple of 64 bytes; of a null workspace it only adds up the sizes.
template <class T>
struct Workspace {
  T* start;
  int64_t size = 0;
  T* take(int64_t count) {
    T* taken = start ? start + size : nullptr;
    size += (count + 15) / 16 * 16;
    return taken;
  }
  uint8_t* take_bytes(int64_t count) {
    return reinterpret_cast<uint8_t*>(take((count + int64_t(sizeof(T)) - 1) / int64_t(sizeof(T))));
  }
};

// Parts of each of some matrices of `rows` rows, so that the threads get equal shares.
inline int share(int64_t matrices, int rows) {
  const int threads = omp_get_max_threads();
  return std::min(rows, threads / std::gcd(int(matrices), threads));
}

// What a backward pass needs of a forward pass: for network k and layer i what layer norm gave and the ReLU's result,
// [rows, width] each, 1 / std, [rows], and the dropout mask, [rows, width], or null.
template <class T>
struct Activations {
  T *values, *inverse_stds;
  uint8_t* masks;
  int64_t rows, layers, columns;
  const int64_t* widths;

  int64_t column(int k, int i) const {
    int64_t before = k * columns;
    for (int below = 0; below < i; below++) before += widths[below];
    return before;
  }
  T* normal(int k, int i) const { return values + column(k, i) * 2 * rows; }
  T* hidden(int k, int i) const { return normal(k, i) + rows * widths[i]; }
  T* inverse_std(int k, int i) const { return inverse_stds + (k * layers + i) * rows; }
  uint8_t* mask(int k, int i) const { return masks ? masks + column(k, i) * rows : nullptr; }
};

// Columns of numbers, `stride` apart, to the nearest bf16 (to even in the middle), one column after the other.
inline void round_to_bf16(const float* x, int rows, int columns, int stride, std::vector<uint16_t>& rounded) {
  rounded.resize(size_t(rows) * columns);
  for (int c = 0; c < columns; c++) {
    const float* from = x + int64_t(c) * stride;
    uint16_t* to = rounded.data() + int64_t(c) * rows;
#pragma omp simd
    for (int r = 0; r < rows; r++) {
      const uint32_t bits = std::bit_cast<uint32_t>(from[r]);
      const uint32_t up = bits + 0x7fff + (bits >> 16 & 1);
      to[r] = uint16_t((from[r] != from[r] ? bits | 0x400000 : up) >> 16);  // NaN stays
    }
  }
}

template <class T, bool DROPOUT, bool NORM>
class Network {
 public:
  const Geometry& geometry;
  const int L;
  const T keep_scale;
  int widest, columns = 0;  // the widest layer, input and output included, and the hidden widths together

  explicit Network(const Geometry& g)
      : geometry(g),
        L(int(g.layers)),
        keep_scale(T(1 / (1 - g.dropout_rate))),
        widest(int(std::max(g.in_dim, g.out_dim))) {
    for (int i = 0; i < L; i++) widest = std::max(widest, width(i)), columns += width(i);
  }

  int width(int i) const { return int(i < L ? geometry.widths[i] : geometry.out_dim); }
  int fan_in(int i) const { return i ? width(i - 1) : int(geometry.in_dim); }
  int before(int i) const {
    int total = 0;
    for (int below = 0; below < i; below++) total += width(below);
    return total;
  }

  // Where a tensor of network `n` of seed `s` starts in a flat vector; it has `size` elements a network.
  int64_t where(int64_t offset, int s, int n, int64_t size) const {
    return s * geometry.parameters + offset + n * size;
  }
  int64_t where_weight(int i, int s, int n) const {
    return where(geometry.weight[i], s, n, int64_t(fan_in(i)) * width(i));
  }
  int64_t where_bias(int i, int s, int n) const { return where(geometry.bias[i], s, n, width(i)); }

  Layer<T> layer(const void* flat, int i, int s, int n, const uint8_t* keep = nullptr) const {
    const bool norm = NORM && i < L;
    return {fan_in(i),
            width(i),
            at<T>(flat, where_weight(i, s, n)),
            at<T>(flat, where_bias(i, s, n)),
            norm ? at<T>(flat, where(geometry.norm_scale[i], s, n, width(i))) : nullptr,
            norm ? at<T>(flat, where(geometry.norm_shift[i], s, n, width(i))) : nullptr,
            keep,
            keep_scale};
  }

  // out[m, n] = a[m, k] b[k, n]; a's rows are `stride` apart, here and below. The factors are rounded to bf16 if that
  // is asked for, but those of layer 0 are not: eight bits are too few for what the task shows, a height of 1.2, say,
  // to a hundredth.
  void multiply(int layer, int m, int n, int k, const T* a, int stride, const T* b, T* out) const {
    gemm(layer, "N", "N", n, m, k, b, n, a, stride, out, n);
  }
  // out[m, n] = a[m, k] b[n, k]^T
  void multiply_transposed(int layer, int m, int n, int k, const T* a, const T* b, T* out) const {
    gemm(layer, "T", "N", n, m, k, b, k, a, k, out, n);
  }
  // out[m, n] = a[k, m]^T b[k, n]
  void transposed_multiply(int layer, int m, int n, int k, const T* a, int stride, const T* b, T* out) const {
    gemm(layer, "N", "T", n, m, k, b, n, a, stride, out, n);
  }

  // As BLAS has it, column by column.
  void gemm(int layer, const char* ta, const char* tb, int m, int n, int k, const T* a, int lda, const T* b, int ldb,
            T* out, int ldc) const {
    const T one = 1, zero = 0;
    if constexpr (std::is_same_v<T, float>) {
      if (geometry.gemm_bf16 && layer > 0) {
        thread_local std::vector<uint16_t> short_a, short_b;
        const int rows_a = *ta == 'N' ? m : k, rows_b = *tb == 'N' ? k : n;
        round_to_bf16(a, rows_a, m * k / rows_a, lda, short_a);
        round_to_bf16(b, rows_b, k * n / rows_b, ldb, short_b);
        geometry.gemm_bf16(ta, tb, &m, &n, &k, &one, short_a.data(), &rows_a, short_b.data(), &rows_b, &zero, out,
                           &ldc);
        return;
      }
    }
    geometry.gemm(ta, tb, &m, &n, &k, &one, a, &lda, b, &ldb, &zero, out, &ldc);
  }

  Activations<T> activations(Workspace<T>& free, int64_t networks, int64_t rows) const {
    T *values = free.take(networks * rows * columns * 2), *inverse_stds = free.take(networks * rows * L);
    uint8_t* masks = DROPOUT ? free.take_bytes(networks * rows * columns) : nullptr;
    return {values, inverse_stds, masks, rows, L, columns, geometry.widths};
  }

  // Where a layer leaves some rows: `x`, `hidden` and `inverse_std` are as finish_layer has them.
  struct Place {
    T *x, *hidden, *inverse_std;
    uint8_t* keep;
  };

  // Carry some rows through the hidden layers of network `n` of seed `s`, those of layer i to `place(i)`, whose mask
  // `draw(i, mask)` draws. KEPT leaves there what a backward pass asks for. Where `values` is not null, it receives the
  // output unit's, else the last hidden layer's result is returned.
  template <bool KEPT, class Draw, class Where>
  const T* carry(const void* flat, int s, int n, int rows, const T* input, int stride, Draw draw, Where place,
                 T* values) const {
    for (int i = 0; i < L; i++) {
      const Place to = place(i);
      if (DROPOUT) draw(i, to.keep);
      const Layer<T> l = layer(flat, i, s, n, to.keep);
      multiply(i, rows, l.out, l.in, input, stride, l.weight, to.x);
      if (i == L - 1 && values) {
        const Layer<T> top = layer(flat, L, s, n);
        finish_critic<DROPOUT, NORM, KEPT>(l, top.weight, *top.bias, rows, to.x, to.inverse_std, values);
      } else {
        finish_layer<DROPOUT, NORM, KEPT>(l, rows, to.x, to.inverse_std, to.hidden);
      }
      input = to.hidden, stride = l.out;
    }
    return input;
  }

  // Keep the activations of `rows` rows from row `from` on, of the k-th network of all.
  template <class Draw>
  void forward(const void* flat, int s, int n, int k, int from, int rows, const T* input, int stride, Draw draw,
               const Activations<T>& kept, T* values) const {
    auto place = [&](int i) -> Place {
      const int64_t offset = int64_t(from) * width(i);
      return {kept.normal(k, i) + offset, kept.hidden(k, i) + offset, kept.inverse_std(k, i) + from,
              DROPOUT ? kept.mask(k, i) + offset : nullptr};
    };
    carry<true>(flat, s, n, rows, input, stride, draw, place, values);
  }

  // Keep nothing: two layers' rows take turns in `buffers`, [rows, widest] each, and all masks in `mask`.
  template <class Draw>
  const T* pass(const void* flat, int s, int n, int rows, const T* input, int stride, Draw draw, uint8_t* mask,
                T* const (&buffers)[2], T* values) const {
    auto place = [&](int i) -> Place { return {buffers[i % 2], buffers[i % 2], nullptr, mask}; };
    return carry<false>(flat, s, n, rows, input, stride, draw, place, values);
  }

  // The way back, on the same rows: `dq` is the gradient at the output unit's values, or, where that is null, `d` that
  // at the last hidden layer's result. Leaves the gradients at the matrix products in `kept.normal`, and adds column
  // sums to `sums`: layer by layer those of bias, norm scale, norm shift and output weight. `scratch` is
  // [rows + ROWS_AT_ONCE, widest].
  void backward(const void* flat, int s, int n, int k, int from, int rows, const Activations<T>& kept, const T* dq,
                T* d, T* scratch, T* sums) const {
    T* buffer = scratch + int64_t(rows) * widest;
    for (int i = L - 1; i >= 0; i--) {
      const int64_t offset = int64_t(from) * width(i);
      const Layer<T> l = layer(flat, i, s, n, DROPOUT ? kept.mask(k, i) + offset : nullptr);
      T *x = kept.normal(k, i) + offset, *bias = sums + 4 * before(i);
      const T* r = kept.inverse_std(k, i) + from;
      const ColumnSums<T> column_sums{bias, bias + l.out, bias + 2 * l.out, bias + 3 * l.out};
      if (i == L - 1 && dq) {
        const T* top = layer(flat, L, s, n).weight;
        layer_gradient<DROPOUT, NORM, true, T>(l, rows, x, r, nullptr, dq, top, buffer, column_sums);
        continue;
      }
      if (i < L - 1) {
        const Layer<T> above = layer(flat, i + 1, s, n);
        d = scratch;
        multiply_transposed(i + 1, rows, l.out, above.out, kept.normal(k, i + 1) + int64_t(from) * above.out,
                            above.weight, d);
      }
      layer_gradient<DROPOUT, NORM, false, T>(l, rows, x, r, d, nullptr, nullptr, buffer, column_sums);
    }
  }
};

template <class T>
using Critics = Network<T, CRITIC_DROPOUT, CRITIC_LAYER_NORM>;

// One Adam step of `count` parameters, as optimiser.py has it. AVERAGED moves `target` towards them by `tau`, too.
template <bool AVERAGED, class T>
void adam(T* param, T* moment1, T* moment2, int64_t count, const T* gradient, T rate, T inverse, T* target = nullptr,
          T tau = 0) {
#pragma omp simd
  for (int64_t j = 0; j < count; j++) {
    moment1[j] += T(1 - BETA1) * (gradient[j] - moment1[j]);
    moment2[j] = T(BETA2) * moment2[j] + T(1 - BETA2) * gradient[j] * gradient[j];
    const T stepped = param[j] - rate * moment1[j] / (std::sqrt(moment2[j]) * inverse + T(ADAM_EPS));
    param[j] = stepped;
    if (AVERAGED) target[j] += tau * (stepped - target[j]);
  }
}

}  // namespace

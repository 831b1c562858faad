// What a hidden layer does around its matrix products, forward and backward: bias, dropout, layer norm and ReLU.
//
// A loop takes several rows at once: while an addition of one row's sum finishes, those of the others start, and column
// sums are read and written once for all.

#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <type_traits>

// Or else what a lambda refers to is read from memory at every step.
#define INLINED __attribute__((always_inline))

namespace {

constexpr double LAYER_NORM_EPS = 1e-5;
constexpr int ROWS_AT_ONCE = 4;

// The parameters of one layer of one network, and its dropout mask on the rows at hand.
template <class T>
struct Layer {
  int in, out;
  const T *weight, *bias, *norm_scale, *norm_shift;
  const uint8_t* keep;  // [rows, out], or null
  T keep_scale;
};

// Where the gradients at a layer's parameters are added up, column by column; `weight` is the output unit's.
template <class T>
struct ColumnSums {
  T *bias, *scale, *shift, *weight;
};

// Call f(R, b) for the rows from b to b + R, until `rows` are done; R is a constant.
template <class F>
INLINED inline void by_rows(int rows, F f) {
  int b = 0;
  for (; b + ROWS_AT_ONCE <= rows; b += ROWS_AT_ONCE) f(std::integral_constant<int, ROWS_AT_ONCE>{}, b);
  for (; b < rows; b++) f(std::integral_constant<int, 1>{}, b);
}

// f(k, 0) + ... + f(k, width - 1) of each of R rows k.
template <class T, int R, class F>
INLINED inline std::array<T, R> sums(int width, F f) {
  T a = 0, b = 0, c = 0, d = 0;
  if constexpr (R == 1) {
#pragma omp simd reduction(+ : a)
    for (int j = 0; j < width; j++) a += f(0, j);
    return {a};
  } else {
    static_assert(R == 4);
#pragma omp simd reduction(+ : a, b, c, d)
    for (int j = 0; j < width; j++) a += f(0, j), b += f(1, j), c += f(2, j), d += f(3, j);
    return {a, b, c, d};
  }
}

// Of R rows.
template <class T, int R>
struct Moments {
  std::array<T, R> mean, inverse_std;
};

// Of R rows after Linear's bias and dropout, which the rows then have; without layer norm they stay as they are.
template <int R, bool KEEP, bool NORM, class T>
INLINED inline Moments<T, R> moments(const Layer<T>& l, const uint8_t* keep, T* x) {
  Moments<T, R> of{};
  if (!NORM) return of;
  const int W = l.out;
  const T *bias = l.bias, scale = l.keep_scale;
  of.mean = sums<T, R>(W, [=](int k, int j) INLINED {
    T value = x[k * W + j] + bias[j];
    if (KEEP) value *= T(keep[k * W + j]) * scale;
    return x[k * W + j] = value;
  });
  for (T& mean : of.mean) mean /= W;
  const std::array<T, R> mean = of.mean;
  of.inverse_std = sums<T, R>(W, [=](int k, int j) INLINED {
    const T centred = x[k * W + j] - mean[k];
    return centred * centred;
  });
  for (T& squares : of.inverse_std) squares = 1 / std::sqrt(squares / W + T(LAYER_NORM_EPS));
  return of;
}

// What the ReLU gives for element j of row k of such rows. KEPT leaves in `x` what a backward pass asks for.
template <int R, bool KEEP, bool NORM, bool KEPT, class T>
INLINED inline T activation(const Layer<T>& l, const uint8_t* keep, const Moments<T, R>& of, T* x, int k, int j) {
  const int at = k * l.out + j;
  T value = x[at];
  if (NORM) {
    value = (value - of.mean[k]) * of.inverse_std[k];
  } else {
    value += l.bias[j];
    if (KEEP) value *= T(keep[at]) * l.keep_scale;
  }
  if (KEPT) x[at] = value;
  if (NORM) value = value * l.norm_scale[j] + l.norm_shift[j];
  return value < 0 ? T(0) : value;  // as torch.relu has it: NaN stays
}

// Finish a layer whose matrix product is in `x`: write the ReLU's result to `hidden`. KEPT leaves in `x` and `r` what a
// backward pass asks for, what layer norm gave and 1 / std; otherwise `hidden` may be `x`.
template <bool KEEP, bool NORM, bool KEPT, class T>
void finish_layer(const Layer<T>& layer, int rows, T* x, T* r, T* hidden) {
  by_rows(rows, [&](auto R, int b) {
    const Layer<T> l = layer;
    T *from = x + int64_t(b) * l.out, *to = hidden + int64_t(b) * l.out;
    const uint8_t* keep = KEEP ? l.keep + int64_t(b) * l.out : nullptr;
    const auto of = moments<R.value, KEEP, NORM>(l, keep, from);
    if (KEPT) std::copy(of.inverse_std.begin(), of.inverse_std.end(), r + b);
    for (int k = 0; k < R.value; k++) {
#pragma omp simd
      for (int j = 0; j < l.out; j++)
        to[k * l.out + j] = activation<R.value, KEEP, NORM, KEPT>(l, keep, of, from, k, j);
    }
  });
}

// The same for the last hidden layer, with the output unit behind it: `values[b]`.
template <bool KEEP, bool NORM, bool KEPT, class T>
void finish_critic(const Layer<T>& layer, const T* weight, T bias, int rows, T* x, T* r, T* values) {
  by_rows(rows, [&](auto R, int b) {
    const Layer<T> l = layer;
    T* from = x + int64_t(b) * l.out;
    const uint8_t* keep = KEEP ? l.keep + int64_t(b) * l.out : nullptr;
    const T* output = weight;
    const auto of = moments<R.value, KEEP, NORM>(l, keep, from);
    if (KEPT) std::copy(of.inverse_std.begin(), of.inverse_std.end(), r + b);
    const auto products = sums<T, R.value>(l.out, [=](int k, int j) INLINED {
      return activation<R.value, KEEP, NORM, KEPT>(l, keep, of, from, k, j) * output[j];
    });
    for (int k = 0; k < R.value; k++) values[b + k] = bias + products[k];
  });
}

// Gradient of a layer on some rows. `d` holds the gradient at the layer's result (null for the last hidden layer, where
// it is dq[b] * weight). `x` is what finish_layer left there, and receives the gradient at the matrix product. The
// column sums are added to `add_to`. `buffer` is [ROWS_AT_ONCE, out].
template <bool KEEP, bool NORM, bool LAST, class T>
void layer_gradient(const Layer<T>& layer, int rows, T* x, const T* r, const T* d, const T* dq, const T* weight,
                    T* buffer, const ColumnSums<T>& add_to) {
  by_rows(rows, [&](auto R, int b) {
    const Layer<T> l = layer;
    const ColumnSums<T> sum = add_to;
    const int W = l.out;
    T *n = x + int64_t(b) * W, *g = buffer;
    const T *above = LAST ? nullptr : d + int64_t(b) * W, *output = weight;
    const uint8_t* keep = KEEP ? l.keep + int64_t(b) * W : nullptr;
    std::array<T, R.value> q{}, inverse_std{}, mean{}, product{};
    if (LAST) std::copy(dq + b, dq + b + R.value, q.begin());
    if (NORM) std::copy(r + b, r + b + R.value, inverse_std.begin());
#pragma omp simd
    for (int j = 0; j < W; j++) {
      T of_weight = 0, of_shift = 0, of_scale = 0;
#pragma GCC unroll 4
      for (int k = 0; k < R.value; k++) {
        const int at = k * W + j;
        const T before = NORM ? n[at] * l.norm_scale[j] + l.norm_shift[j] : n[at];
        const T value = before <= 0 ? T(0) : LAST ? q[k] * output[j] : above[at];
        if (LAST) of_weight += before <= 0 ? T(0) : q[k] * before;
        if (NORM) of_shift += value, of_scale += value * n[at];
        g[at] = NORM ? value * l.norm_scale[j] : value;
      }
      if (LAST) sum.weight[j] += of_weight;
      if (NORM) sum.shift[j] += of_shift, sum.scale[j] += of_scale;
    }
    if (NORM) {
      mean = sums<T, R.value>(W, [=](int k, int j) INLINED { return g[k * W + j]; });
      product = sums<T, R.value>(W, [=](int k, int j) INLINED { return g[k * W + j] * n[k * W + j]; });
      for (int k = 0; k < R.value; k++) mean[k] /= W, product[k] /= W;
    }
#pragma omp simd
    for (int j = 0; j < W; j++) {
      T of_bias = 0;
#pragma GCC unroll 4
      for (int k = 0; k < R.value; k++) {
        const int at = k * W + j;
        T value = NORM ? inverse_std[k] * (g[at] - mean[k] - n[at] * product[k]) : g[at];
        if (KEEP) value *= T(keep[at]) * l.keep_scale;
        n[at] = value;
        of_bias += value;
      }
      sum.bias[j] += of_bias;
    }
  });
}

}  // namespace

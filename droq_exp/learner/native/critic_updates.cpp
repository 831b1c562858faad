// Critic updates on CPU: what droq_exp/learner/updates.py's critic_updates computes, with the gradient by hand.
//
// torch.compile's graph of an update enters some twenty kernels, each over all rows and with its own barrier, and its
// intermediate results leave the second-level cache. Here a thread carries its rows through all layers, stays with its
// critics from one phase to the next, and waits three times in an update.
//
// A matrix is row-major; `[a, b]` gives its shape. One structure describes a whole call, see critic_updates.py.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <type_traits>
#include <vector>

#include <omp.h>

#ifndef SCALAR
#define SCALAR float  // or double
#endif

extern "C" {

typedef void (*Gemm)(const char*, const char*, const int*, const int*, const int*, const void*, const void*,
                     const int*, const void*, const int*, const void*, void*, const int*);

// Mirrors class Call of critic_updates.py, field by field.
struct Call {
  int64_t seeds, critics, passes, target_passes, updates, batch, in_dim, layers;  // T = passes, in all
  int64_t layer_norm, dropout, target_mode;                                       // mode 0 min, 1 ave, 2 rem
  const int64_t* widths;          // [layers]
  const int64_t* weight;          // [layers + 1] where the tensors of a layer start in a seed's flat vector
  const int64_t* bias;            // [layers + 1]
  const int64_t* norm_scale;      // [layers]
  const int64_t* norm_shift;      // [layers]
  int64_t parameters;             // n, of one seed
  double tau, keep_scale;         // keep_scale = 1 / (1 - dropout rate)
  void *critic, *before_last, *target, *moment1, *moment2;  // [S, n]
  void* sums;                     // [S, 3], loss, mean Q, count
  const void *inputs, *next_inputs;   // [S, U, B, in_dim]
  const void *reward, *discount;      // [S, U, B]
  const void* coefficients;           // [U, 2]
  const uint8_t* keep;            // [S, U, mask], or null
  const int64_t* subset;          // [S, U, passes / target_passes], or null
  const uint8_t* valid;           // [S, U, T], or null
  const void* mixture;            // [S, U, N, B], or null
  int64_t inputs_stride, next_inputs_stride, reward_stride, discount_stride;  // from seed to seed, in elements
  int64_t keep_stride, subset_stride, valid_stride, mixture_stride;
  int64_t keep_size;              // elements of one update's masks
  Gemm gemm;                      // sgemm_ or dgemm_ of the BLAS that torch carries
  void* workspace;                // workspace_size() elements, aligned to 64 bytes
};

}  // extern "C"

namespace {

constexpr double BETA1 = 0.9, BETA2 = 0.999, ADAM_EPS = 1e-8, LAYER_NORM_EPS = 1e-5;

// f(0) + ... + f(width - 1) in four chains, for an addition takes longer to finish than to start.
template <class F>
inline auto sum(int width, F f) {
  const int quarter = width / 4;
  decltype(f(0)) a = 0, b = 0, c = 0, d = 0;
#pragma omp simd reduction(+ : a, b, c, d)
  for (int j = 0; j < quarter; j++) {
    a += f(j), b += f(j + quarter), c += f(j + 2 * quarter), d += f(j + 3 * quarter);
  }
  for (int j = 4 * quarter; j < width; j++) a += f(j);
  return (a + b) + (c + d);
}

// The parameters of one layer of one critic, and its masks on the rows at hand.
template <class T>
struct Layer {
  int in, out;
  const T *weight, *bias, *norm_scale, *norm_shift;
  const uint8_t* keep;  // [rows, out], or null
};

template <class T>
class CriticUpdates {
 public:
  explicit CriticUpdates(const Call& call)
      : c(call), K(int(c.seeds * c.critics)), B(int(c.batch)), L(int(c.layers)), threads(omp_get_max_threads()),
        parts(share(K)), target_parts(share(int(c.seeds * c.passes))) {
    for (int i = 0; i < L; i++) widest = std::max(widest, width(i)), columns += width(i);
    T* free = static_cast<T*>(c.workspace);
    auto take = [&](int64_t count) {
      T* taken = free ? free + size : nullptr;
      size += (count + 15) / 16 * 16;  // the next begins at 64 bytes again
      return taken;
    };
    next_values = take(c.seeds * c.passes * B);
    td_target = take(c.seeds * B);
    partial = take(int64_t(K) * parts * sums_size());
    activations = take(int64_t(K) * B * columns * 2);
    inverse_std = take(int64_t(K) * B * L);
    scratch = take(int64_t(threads) * scratch_size());
  }

  int64_t workspace_size() const { return size; }

  void run() {
#pragma omp parallel
    for (int u = 0; u < c.updates; u++) {
#pragma omp for schedule(static)
      for (int task = 0; task < c.seeds * c.passes * target_parts; task++) target_rows(u, task);
#pragma omp single
      combine_targets(u);
#pragma omp for schedule(static)
      for (int task = 0; task < K * parts; task++) online_rows(u, task);
#pragma omp for schedule(static)
      for (int task = 0; task < K * parts; task++) step(u, task);
#pragma omp single
      add_sums();
    }
  }

 private:
  const Call& c;
  const int K, B, L, threads, parts, target_parts;  // K critics of all seeds; a critic's rows go in parts
  int widest = 0, columns = 0;                      // the widest layer, and all layers' widths together
  int64_t size = 0;
  T *next_values, *td_target, *partial, *activations, *inverse_std, *scratch;

  // Parts of each of some matrices, so that the threads get equal shares.
  int share(int matrices) const { return std::min(B, threads / std::gcd(matrices, threads)); }
  int width(int i) const { return int(c.widths[i]); }
  int fan_in(int i) const { return i ? width(i - 1) : int(c.in_dim); }

  static const T* at(const void* data, int64_t offset) { return static_cast<const T*>(data) + offset; }
  static T* at(void* data, int64_t offset) { return static_cast<T*>(data) + offset; }

  // A thread's own memory: two layers' rows of a target pass; rows of a gradient and one more; or a weight's gradient.
  int64_t scratch_size() const {
    return int64_t(std::max(2 * B + 16, std::max(int(c.in_dim), widest))) * widest;
  }
  T* own_scratch() const { return scratch + omp_get_thread_num() * scratch_size(); }

  // Where tensor `offset` of critic `n` of seed `s` starts in a flat vector; it has `size` elements a critic.
  int64_t where(int64_t offset, int s, int n, int64_t size) const { return s * c.parameters + offset + n * size; }

  Layer<T> layer(const void* flat, int i, int s, int n, const uint8_t* keep) const {
    const int in = fan_in(i), out = width(i);
    const bool norm = c.layer_norm;
    return {in,
            out,
            at(flat, where(c.weight[i], s, n, int64_t(in) * out)),
            at(flat, where(c.bias[i], s, n, out)),
            norm ? at(flat, where(c.norm_scale[i], s, n, out)) : nullptr,
            norm ? at(flat, where(c.norm_shift[i], s, n, out)) : nullptr,
            keep};
  }

  // The mask of a layer on the rows from `row` on: first all target passes' masks, layer by layer, then the critics'.
  const uint8_t* mask(int u, int s, bool online, int i, int index, int row) const {
    if (!c.dropout) return nullptr;
    const uint8_t* start = c.keep + s * c.keep_stride + u * c.keep_size;
    if (online) start += c.passes * B * columns;
    for (int below = 0; below < i; below++) start += (online ? c.critics : c.passes) * B * width(below);
    return start + (int64_t(index) * B + row) * width(i);
  }

  // out[m, n] = a[m, k] b[k, n]
  void multiply(int m, int n, int k, const T* a, const T* b, T* out) const { gemm("N", "N", n, m, k, b, n, a, k, out, n); }
  // out[m, n] = a[m, k] b[n, k]^T
  void multiply_transposed(int m, int n, int k, const T* a, const T* b, T* out) const { gemm("T", "N", n, m, k, b, k, a, k, out, n); }
  // out[m, n] = a[k, m]^T b[k, n]; a's rows are `stride` apart
  void transposed_multiply(int m, int n, int k, const T* a, int stride, const T* b, T* out) const { gemm("N", "T", n, m, k, b, n, a, stride, out, n); }

  void gemm(const char* ta, const char* tb, int m, int n, int k, const T* a, int lda, const T* b, int ldb, T* out, int ldc) const {
    const T one = 1, zero = 0;
    c.gemm(ta, tb, &m, &n, &k, &one, a, &lda, b, &ldb, &zero, out, &ldc);
  }

  // Linear's bias, dropout and layer norm of one row, in place; returns 1 / std.
  template <bool KEEP, bool NORM>
  static T normalise(const Layer<T>& l, const uint8_t* keep, T keep_scale, T* row) {
    const T* bias = l.bias;
    const T total = sum(l.out, [&](int j) {
      T x = row[j] + bias[j];
      if (KEEP) x *= T(keep[j]) * keep_scale;
      return row[j] = x;
    });
    if (!NORM) return 1;
    const T mean = total / l.out;
    const T squares = sum(l.out, [&](int j) { return (row[j] - mean) * (row[j] - mean); });
    const T r = 1 / std::sqrt(squares / l.out + T(LAYER_NORM_EPS));
#pragma omp simd
    for (int j = 0; j < l.out; j++) row[j] = (row[j] - mean) * r;
    return r;
  }

  template <bool NORM>
  static T activation(const Layer<T>& l, const T* row, int j) {
    const T x = NORM ? row[j] * l.norm_scale[j] + l.norm_shift[j] : row[j];
    return x < 0 ? T(0) : x;  // as torch.relu has it: NaN stays
  }

  // Finish a layer whose matrix product is in `x`: leave there what layer norm gives, and write the ReLU's result to
  // `hidden` (which may be `x`).
  template <bool KEEP, bool NORM>
  void finish_layer(const Layer<T>& l, int rows, T* x, T* r, T* hidden) const {
    for (int b = 0; b < rows; b++, x += l.out, hidden += l.out) {
      const T inverse = normalise<KEEP, NORM>(l, KEEP ? l.keep + int64_t(b) * l.out : nullptr, T(c.keep_scale), x);
      if (r) r[b] = inverse;
#pragma omp simd
      for (int j = 0; j < l.out; j++) hidden[j] = activation<NORM>(l, x, j);
    }
  }

  // The same for the last hidden layer, with the output unit behind it: `values[b]`.
  template <bool KEEP, bool NORM>
  void finish_critic(const Layer<T>& l, const T* weight, T bias, int rows, T* x, T* r, T* values) const {
    for (int b = 0; b < rows; b++, x += l.out) {
      const T inverse = normalise<KEEP, NORM>(l, KEEP ? l.keep + int64_t(b) * l.out : nullptr, T(c.keep_scale), x);
      if (r) r[b] = inverse;
      values[b] = bias + sum(l.out, [&](int j) { return activation<NORM>(l, x, j) * weight[j]; });
    }
  }

  // Gradient of a layer on some rows. `d` holds the gradient at the layer's result (null for the last hidden layer,
  // where it is dq[b] * weight). `x` is what finish_layer left there, and receives the gradient at the matrix product.
  // The column sums are added to bias, scale, shift and weight.
  template <bool KEEP, bool NORM, bool LAST>
  void layer_gradient(const Layer<T>& l, int rows, T* x, const T* r, const T* d, const T* dq, const T* weight, T* buffer,
                      T* bias_sum, T* scale_sum, T* shift_sum, T* weight_sum) const {
    const int W = l.out;
    const T keep_scale = T(c.keep_scale);
    const T *scale = l.norm_scale, *shift = l.norm_shift;
    for (int b = 0; b < rows; b++) {
      T* n = x + int64_t(b) * W;
      const T* above = LAST ? nullptr : d + int64_t(b) * W;
      const uint8_t* keep = KEEP ? l.keep + int64_t(b) * W : nullptr;
      const T q = LAST ? dq[b] : T(0);
      T mean = 0, product = 0;
#pragma omp simd reduction(+ : mean, product)
      for (int j = 0; j < W; j++) {
        const T before = NORM ? n[j] * scale[j] + shift[j] : n[j];
        T g = before <= 0 ? T(0) : LAST ? q * weight[j] : above[j];
        if (LAST) weight_sum[j] += before <= 0 ? T(0) : q * before;
        if (NORM) {
          shift_sum[j] += g;
          scale_sum[j] += g * n[j];
          g *= scale[j];
          mean += g;
          product += g * n[j];
        }
        buffer[j] = g;
      }
      mean /= W, product /= W;
      const T inverse = NORM ? r[b] : T(1);
#pragma omp simd
      for (int j = 0; j < W; j++) {
        T g = NORM ? inverse * (buffer[j] - mean - n[j] * product) : buffer[j];
        if (KEEP) g *= T(keep[j]) * keep_scale;
        n[j] = g;
        bias_sum[j] += g;
      }
    }
  }

  template <class F>
  void with_flags(F f) const {
    auto norm = [&](auto keep) { c.layer_norm ? f(keep, std::true_type{}) : f(keep, std::false_type{}); };
    c.dropout ? norm(std::true_type{}) : norm(std::false_type{});
  }

  // Phase 1: one target pass on some rows of the next states.
  void target_rows(int u, int task) {
    const int pass = task / target_parts, part = task % target_parts, s = pass / int(c.passes), t = pass % int(c.passes);
    const int from = B * part / target_parts, rows = B * (part + 1) / target_parts - from;
    const int drawn = t / int(c.target_passes), drawn_a_seed = int(c.passes / c.target_passes);
    const int n = c.subset ? int(c.subset[s * c.subset_stride + int64_t(u) * drawn_a_seed + drawn]) : drawn;
    T* const buffers[2] = {own_scratch(), own_scratch() + int64_t(B) * widest};
    const T* hidden = at(c.next_inputs, s * c.next_inputs_stride + (int64_t(u) * B + from) * c.in_dim);
    T* values = next_values + int64_t(pass) * B + from;
    const T* weight = at(c.target, where(c.weight[L], s, n, width(L - 1)));
    const T bias = *at(c.target, where(c.bias[L], s, n, 1));
    with_flags([&](auto keep, auto norm) {
      for (int i = 0; i < L; i++) {
        const Layer<T> l = layer(c.target, i, s, n, mask(u, s, false, i, t, from));
        T* x = buffers[i % 2];
        multiply(rows, l.out, l.in, hidden, l.weight, x);
        if (i < L - 1)
          finish_layer<keep.value, norm.value>(l, rows, x, nullptr, x);
        else
          finish_critic<keep.value, norm.value>(l, weight, bias, rows, x, nullptr, values);
        hidden = x;
      }
    });
  }

  // Between the phases: objectives.py's target_value, and the temporal-difference target.
  void combine_targets(int u) {
    for (int s = 0; s < c.seeds; s++)
      for (int b = 0; b < B; b++) {
        const T* values = next_values + int64_t(s) * c.passes * B + b;
        T value = c.target_mode ? T(0) : std::numeric_limits<T>::infinity();
        for (int t = 0; t < c.passes; t++) {
          const T q = values[int64_t(t) * B];
          if (c.target_mode == 0) {
            if (c.valid && !c.valid[s * c.valid_stride + u * c.passes + t]) continue;
            if (q < value || q != q) value = q;  // NaN stays
          } else if (c.target_mode == 1) {
            value += q / T(c.passes);
          } else {
            const int64_t n = t / c.target_passes;
            value += q / T(c.target_passes) * *at(c.mixture, s * c.mixture_stride + (u * c.critics + n) * B + b);
          }
        }
        td_target[int64_t(s) * B + b] = *at(c.reward, s * c.reward_stride + int64_t(u) * B + b) +
                                        *at(c.discount, s * c.discount_stride + int64_t(u) * B + b) * value;
      }
  }

  // Where a critic keeps, for layer i, what layer norm gave ([B, width]) and the ReLU's result, later its gradient.
  T* normal(int k, int i) { return activations + (int64_t(k) * columns + before(i)) * 2 * B; }
  T* hidden(int k, int i) { return normal(k, i) + int64_t(B) * width(i); }
  int before(int i) const {
    int total = 0;
    for (int below = 0; below < i; below++) total += width(below);
    return total;
  }
  // Of a part of a critic's rows: layer by layer the column sums that are the gradients of bias, norm scale, norm shift
  // and output weight; then the loss, the sum of Q and the gradient of the output bias.
  T* sums(int k, int part) { return partial + (int64_t(k) * parts + part) * sums_size(); }
  int64_t sums_size() const { return (4 * columns + 3 + 15) / 16 * 16; }

  // Phase 2: forward and backward of one critic on some rows, up to the gradients at the matrix products.
  void online_rows(int u, int task) {
    const int k = task / parts, part = task % parts, s = k / int(c.critics), n = k % int(c.critics);
    const int from = B * part / parts, rows = B * (part + 1) / parts - from;
    const T* input = at(c.inputs, s * c.inputs_stride + (int64_t(u) * B + from) * c.in_dim);
    const T* weight = at(c.critic, where(c.weight[L], s, n, width(L - 1)));
    const T bias = *at(c.critic, where(c.bias[L], s, n, 1));
    std::vector<T> values(rows);
    T* total = sums(k, part);
    std::fill(total, total + sums_size(), T(0));
    with_flags([&](auto keep, auto norm) {
      for (int i = 0; i < L; i++) {
        const Layer<T> l = layer(c.critic, i, s, n, mask(u, s, true, i, n, from));
        const int64_t offset = int64_t(from) * l.out;
        T *x = normal(k, i) + offset, *r = inverse_std + (int64_t(k) * L + i) * B + from;
        multiply(rows, l.out, l.in, input, l.weight, x);
        if (i < L - 1)
          finish_layer<keep.value, norm.value>(l, rows, x, r, hidden(k, i) + offset);
        else
          finish_critic<keep.value, norm.value>(l, weight, bias, rows, x, r, values.data());
        input = hidden(k, i) + offset;
      }
      T *loss = total + 4 * columns, *q_sum = loss + 1, *output_bias = loss + 2;
      for (int b = 0; b < rows; b++) {
        const T error = values[b] - td_target[int64_t(s) * B + from + b];
        *q_sum += values[b];
        *loss += error * error / B;
        values[b] = 2 * error / B;
        *output_bias += values[b];
      }
      T *d = own_scratch(), *buffer = d + int64_t(B) * widest;
      for (int i = L - 1; i >= 0; i--) {
        const Layer<T> l = layer(c.critic, i, s, n, mask(u, s, true, i, n, from));
        const int64_t offset = int64_t(from) * l.out;
        T *x = normal(k, i) + offset, *bias_sum = total + 4 * before(i);
        const T* r = inverse_std + (int64_t(k) * L + i) * B + from;
        T *scale_sum = bias_sum + l.out, *shift_sum = scale_sum + l.out, *weight_sum = shift_sum + l.out;
        if (i == L - 1) {
          layer_gradient<keep.value, norm.value, true>(l, rows, x, r, nullptr, values.data(), weight, buffer, bias_sum,
                                                       scale_sum, shift_sum, weight_sum);
        } else {
          const Layer<T> above = layer(c.critic, i + 1, s, n, nullptr);
          multiply_transposed(rows, l.out, above.out, normal(k, i + 1) + int64_t(from) * above.out, above.weight, d);
          layer_gradient<keep.value, norm.value, false>(l, rows, x, r, d, nullptr, nullptr, buffer, bias_sum,
                                                        scale_sum, shift_sum, weight_sum);
        }
      }
    });
  }

  // Adam and Polyak averaging of `count` parameters from `offset` on, at gradient g.
  void adam(int u, int64_t offset, int64_t count, const T* g) {
    T *p = at(c.critic, offset), *m = at(c.moment1, offset), *v = at(c.moment2, offset), *t = at(c.target, offset);
    T* before_last = u == c.updates - 1 ? at(c.before_last, offset) : nullptr;
    const T rate = at(c.coefficients, 2 * u)[0], inverse = at(c.coefficients, 2 * u)[1], tau = T(c.tau);
    if (before_last) std::copy(p, p + count, before_last);
#pragma omp simd
    for (int64_t j = 0; j < count; j++) {
      m[j] += T(1 - BETA1) * (g[j] - m[j]);
      v[j] = T(BETA2) * v[j] + T(1 - BETA2) * g[j] * g[j];
      p[j] -= rate * m[j] / (std::sqrt(v[j]) * inverse + T(ADAM_EPS));
      t[j] += tau * (p[j] - t[j]);
    }
  }

  // Phase 3: weight gradients of a slice of a critic's inputs, and the step with them; the first slice takes the rest.
  void step(int u, int task) {
    const int k = task / parts, part = task % parts, s = k / int(c.critics), n = k % int(c.critics);
    T* g = own_scratch();
    const T* input = at(c.inputs, s * c.inputs_stride + int64_t(u) * B * c.in_dim);
    for (int i = 0; i < L; i++) {
      const int in = fan_in(i), out = width(i), from = in * part / parts, rows = in * (part + 1) / parts - from;
      if (rows) {
        transposed_multiply(rows, out, B, input + from, in, normal(k, i), g);
        adam(u, where(c.weight[i], s, n, int64_t(in) * out) + int64_t(from) * out, int64_t(rows) * out, g);
      }
      input = hidden(k, i);
    }
    if (part) return;
    T* total = sums(k, 0);
    for (int other = 1; other < parts; other++)
      for (int j = 0; j < sums_size(); j++) total[j] += sums(k, other)[j];
    for (int i = 0; i < L; i++) {
      const int out = width(i);
      const T* sum = total + 4 * before(i);
      adam(u, where(c.bias[i], s, n, out), out, sum);
      if (c.layer_norm) {
        adam(u, where(c.norm_scale[i], s, n, out), out, sum + out);
        adam(u, where(c.norm_shift[i], s, n, out), out, sum + 2 * out);
      }
      if (i == L - 1) adam(u, where(c.weight[L], s, n, out), out, sum + 3 * out);
    }
    adam(u, where(c.bias[L], s, n, 1), 1, total + 4 * columns + 2);
  }

  void add_sums() {
    for (int k = 0; k < K; k++) {
      const T* total = sums(k, 0) + 4 * columns;
      T* sum = at(c.sums, 3 * (k / c.critics));
      sum[0] += total[0];
      sum[1] += total[1] / T(B * c.critics);
      if (k % c.critics == 0) sum[2] += 1;
    }
  }
};

}  // namespace

extern "C" {
int64_t workspace_size(const Call* call) { return CriticUpdates<SCALAR>(*call).workspace_size(); }
void critic_updates(const Call* call) { CriticUpdates<SCALAR>(*call).run(); }
int max_threads() { return omp_get_max_threads(); }
}

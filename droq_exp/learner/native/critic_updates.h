// Critic updates on CPU: what droq_exp/learner/updates.py's critic_updates computes, with the gradient by hand.
//
// torch.compile's graph of an update enters some twenty kernels, each over all rows and with its own barrier, and its
// intermediate results leave the second-level cache. Here a thread carries its rows through all layers, stays with its
// critics from one phase to the next, and waits for the others once or twice in an update, three times where threads
// share a critic.

#pragma once

#include <limits>

#include "layers.h"

extern "C" {

// Mirrors class CriticCall of critic_updates.py, field by field.
struct CriticCall {
  Geometry network;
  int64_t seeds, passes, target_passes, updates, batch;  // T = passes, in all
  int64_t target_mode;                                   // 0 min, 1 ave, 2 rem
  int64_t keep_size, first_keep;                         // elements of one update's masks; where the first's begin
  double tau;
  void *critic, *before_last, *target, *moment1, *moment2;                    // [S, n]
  void* sums;                                                                 // [S, 3], loss, mean Q, count
  const void *inputs, *next_inputs;                                           // [S, U, B, in_dim]
  const void *reward, *discount;                                              // [S, U, B]
  const void* coefficients;                                                   // [U, 2]
  const uint64_t* keep;                                                       // [S, 2], keys of the masks, or null
  const int64_t* subset;                                                      // [S, U, passes / target_passes], or null
  const uint8_t* in_subset;                                                       // [S, U, T], or null
  const void* rem_weights;                                                        // [S, U, N, B], or null
  int64_t inputs_stride, next_inputs_stride, reward_stride, discount_stride;  // from seed to seed, in elements
  int64_t subset_stride, in_subset_stride, rem_weights_stride;
  void* workspace;  // critic_updates_workspace() elements, aligned to 64 bytes
};

}  // extern "C"

namespace {

template <class T>
class CriticUpdates {
 public:
  explicit CriticUpdates(const CriticCall& call)
      : c(call),
        net(call.network),
        N(int(call.network.copies)),
        K(int(call.seeds) * N),
        B(int(call.batch)),
        L(net.L),
        parts(share(K, B)),
        target_parts(share(call.seeds * call.passes, B)),
        free{static_cast<T*>(call.workspace)} {
    next_values = free.take(2 * c.seeds * c.passes * B);
    logged = free.take(2 * K);
    partial = free.take(int64_t(K) * parts * sums_size());
    kept = net.activations(free, K, B);
    scratch = free.take(int64_t(omp_get_max_threads()) * scratch_size());
    masks = free.take_bytes(CRITIC_DROPOUT ? int64_t(omp_get_max_threads()) * mask_size() : 0);
  }

  int64_t workspace() const { return free.size; }

  // Where critics are not shared, a thread has the same ones in all phases, and their targets too unless the passes are
  // a random subset's: then it waits for the others only before it combines the target passes.
  void run() {
    std::fill(logged, logged + 2 * K, T(0));
#pragma omp parallel
    {
      const FlushDenormals flush;
      const bool shared = parts > 1 || K % omp_get_num_threads();  // there may be fewer threads than were asked for
      for (int u = 0; u < c.updates; u++) {
#pragma omp for schedule(static)
        for (int task = 0; task < c.seeds * c.passes * target_parts; task++) target_rows(u, task);
#pragma omp for schedule(static) nowait
        for (int task = 0; task < K * parts; task++) online_rows(u, task);
        if (shared) {
#pragma omp barrier
        }
#pragma omp for schedule(static) nowait
        for (int task = 0; task < K * parts; task++) step(u, task);
        if (shared || c.subset) {
#pragma omp barrier
        }
      }
    }
    for (int k = 0; k < K; k++) {
      T* sum = at<T>(c.sums, 3 * (k / N));
      sum[0] += logged[2 * k];
      sum[1] += logged[2 * k + 1] / T(B * N);
      if (k % N == 0) sum[2] += T(c.updates);
    }
  }

 private:
  const CriticCall& c;
  const Critics<T> net;
  const int N, K, B, L, parts, target_parts;  // K critics of all seeds; a critic's rows go in parts
  Workspace<T> free;
  T *next_values, *logged, *partial, *scratch;  // `logged`: of each critic the loss and the sum of Q, over the updates
  uint8_t* masks;
  Activations<T> kept;

  // A thread's own memory: two layers' rows of a target pass; rows of a gradient and some more; or a weight's gradient.
  int64_t scratch_size() const { return int64_t(std::max(2 * B + ROWS_AT_ONCE, net.widest)) * net.widest; }
  int64_t mask_size() const { return (int64_t(B) * net.widest + 63) / 64 * 64; }  // a target pass's mask of a layer
  T* own_scratch() const { return scratch + omp_get_thread_num() * scratch_size(); }

  // Of a part of a critic's rows: the column sums of Network::backward, then the loss, the sum of Q and the gradient of
  // the output bias.
  T* sums(int k, int part) const { return partial + (int64_t(k) * parts + part) * sums_size(); }
  int64_t sums_size() const { return (4 * net.columns + 3 + 15) / 16 * 16; }

  const T* input(const void* data, int64_t stride, int s, int u, int row) const {
    return at<T>(data, s * stride + (int64_t(u) * B + row) * c.network.in_dim);
  }

  // Draw the mask of a layer on `rows` rows from `row` on. In the stream of masks an update has those of all target
  // passes, layer by layer, then those of the critics.
  void draw_mask(int u, int s, bool online, int i, int index, int row, int rows, uint8_t* keep) const {
    int64_t start = c.first_keep + u * c.keep_size;
    if (online) start += c.passes * B * net.columns;
    start += (online ? N : c.passes) * B * net.before(i) + (int64_t(index) * B + row) * net.width(i);
    DropoutMask(c.keep + 2 * s, c.network.dropout_rate).draw(start, int64_t(rows) * net.width(i), keep);
  }

  // The results of a target pass, which the next update's leave alone: another thread may still read them then.
  T* next_value(int u, int64_t pass) const { return next_values + (u % 2 * c.seeds * c.passes + pass) * B; }

  // Phase 1: one target pass on some rows of the next states.
  void target_rows(int u, int task) {
    const int pass = task / target_parts, part = task % target_parts, s = pass / int(c.passes),
              t = pass % int(c.passes);
    const int from = B * part / target_parts, rows = B * (part + 1) / target_parts - from;
    const int drawn = t / int(c.target_passes), drawn_a_seed = int(c.passes / c.target_passes);
    const int n = c.subset ? int(c.subset[s * c.subset_stride + int64_t(u) * drawn_a_seed + drawn]) : drawn;
    T* const buffers[2] = {own_scratch(), own_scratch() + int64_t(B) * net.widest};
    auto draw = [&](int i, uint8_t* keep) { draw_mask(u, s, false, i, t, from, rows, keep); };
    net.pass(c.target, s, n, rows, input(c.next_inputs, c.next_inputs_stride, s, u, from), int(c.network.in_dim), draw,
             CRITIC_DROPOUT ? masks + omp_get_thread_num() * mask_size() : nullptr, buffers,
             next_value(u, pass) + from);
  }

  // The temporal-difference target of a row, from losses.py's td_target.
  T td_target(int u, int s, int b) const {
    T value = c.target_mode ? T(0) : std::numeric_limits<T>::infinity();
    for (int t = 0; t < c.passes; t++) {
      const T q = next_value(u, s * c.passes + t)[b];
      if (c.target_mode == 0) {
        if (c.in_subset && !c.in_subset[s * c.in_subset_stride + u * c.passes + t]) continue;
        if (q < value || q != q) value = q;  // NaN stays
      } else if (c.target_mode == 1) {
        value += q / T(c.passes);
      } else {
        const int64_t n = t / c.target_passes;
        value += q / T(c.target_passes) * *at<T>(c.rem_weights, s * c.rem_weights_stride + (u * N + n) * B + b);
      }
    }
    return *at<T>(c.reward, s * c.reward_stride + int64_t(u) * B + b) +
           *at<T>(c.discount, s * c.discount_stride + int64_t(u) * B + b) * value;
  }

  // Phase 2: forward and backward of one critic on some rows, up to the gradients at the matrix products.
  void online_rows(int u, int task) {
    const int k = task / parts, part = task % parts, s = k / N, n = k % N;
    const int from = B * part / parts, rows = B * (part + 1) / parts - from;
    auto draw = [&](int i, uint8_t* keep) { draw_mask(u, s, true, i, n, from, rows, keep); };
    std::vector<T> values(rows);
    T *total = sums(k, part), *loss = total + 4 * net.columns, *q_sum = loss + 1, *output_bias = loss + 2;
    std::fill(total, total + sums_size(), T(0));
    const T* in = input(c.inputs, c.inputs_stride, s, u, from);
    net.forward(c.critic, s, n, k, from, rows, in, int(c.network.in_dim), draw, kept, values.data());
    for (int b = 0; b < rows; b++) {
      const T error = values[b] - td_target(u, s, from + b);
      *q_sum += values[b];
      *loss += error * error / B;
      values[b] = 2 * error / B;
      *output_bias += values[b];
    }
    net.backward(c.critic, s, n, k, from, rows, kept, values.data(), nullptr, own_scratch(), total);
  }

  // Phase 3: weight gradients of a slice of a critic's inputs, and the step with them; the first slice takes the rest.
  void step(int u, int task) {
    const int k = task / parts, part = task % parts, s = k / N, n = k % N;
    const T* in = input(c.inputs, c.inputs_stride, s, u, 0);
    for (int i = 0; i < L; i++) {
      const int fan_in = net.fan_in(i), out = net.width(i), from = fan_in * part / parts;
      const int rows = fan_in * (part + 1) / parts - from;
      if (rows) {
        net.transposed_multiply(i, rows, out, B, in + from, fan_in, kept.normal(k, i), own_scratch());
        update(u, net.where_weight(i, s, n) + int64_t(from) * out, int64_t(rows) * out, own_scratch());
      }
      in = kept.hidden(k, i);
    }
    if (part) return;
    T* total = sums(k, 0);
    for (int other = 1; other < parts; other++)
      for (int j = 0; j < sums_size(); j++) total[j] += sums(k, other)[j];
    logged[2 * k] += total[4 * net.columns], logged[2 * k + 1] += total[4 * net.columns + 1];
    for (int i = 0; i < L; i++) {
      const int out = net.width(i);
      const T* sum = total + 4 * net.before(i);
      update(u, net.where_bias(i, s, n), out, sum);
      if (CRITIC_LAYER_NORM) {
        update(u, net.where(c.network.norm_scale[i], s, n, out), out, sum + out);
        update(u, net.where(c.network.norm_shift[i], s, n, out), out, sum + 2 * out);
      }
      if (i == L - 1) update(u, net.where_weight(L, s, n), out, sum + 3 * out);
    }
    update(u, net.where_bias(L, s, n), 1, total + 4 * net.columns + 2);
  }

  // Adam and Polyak averaging of `count` parameters from `offset` on, at this gradient.
  void update(int u, int64_t offset, int64_t count, const T* gradient) {
    T *online = at<T>(c.critic, offset), *target = at<T>(c.target, offset);
    const T* coefficients = at<T>(c.coefficients, 2 * u);
    if (u == c.updates - 1) std::copy(online, online + count, at<T>(c.before_last, offset));
    adam<true>(online, at<T>(c.moment1, offset), at<T>(c.moment2, offset), count, gradient, coefficients[0],
               coefficients[1], target, T(c.tau));
  }
};

}  // namespace

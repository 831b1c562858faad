// The actor's part on CPU: what droq_exp/learner/updates.py's target_inputs and policy_update compute, the latter with the
// gradient by hand. Rows are carried through all layers by one thread, as in critic_updates.h.

#pragma once

#include "layers.h"

// glibc has these for a whole vector of numbers; GCC would use them if told by -ffast-math only.
#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && defined(__GLIBC__)
#if __GLIBC_PREREQ(2, 35)
extern "C" {
#pragma omp declare simd notinbranch
float tanhf(float) noexcept;
#pragma omp declare simd notinbranch
float expf(float) noexcept;
#pragma omp declare simd notinbranch
float logf(float) noexcept;
}
#endif
#endif

extern "C" {

// Mirror the classes of actor.py, field by field.
struct RowColumns {
  int64_t size, obs, action, reward, next_obs, terminated, bootstrap;  // where each begins in a row of `size` numbers
};

struct TargetInputsCall {
  Geometry actor;
  RowColumns row;
  int64_t seeds, updates, batch, obs_dim, act_dim;
  double gamma;
  const void *params, *alpha;         // [S, n], [S, 1]
  const void *rows, *noise;           // [S, U, B, row], [S, U, B, act]
  const void* action_map;             // [2, act]
  void *inputs, *next_inputs;         // [S, U, B, obs + act]
  void *reward, *discount;            // [S, U, B]
  int64_t rows_stride, noise_stride;  // from seed to seed, in elements
  void* workspace;
};

struct PolicyCall {
  Geometry actor, critics;
  int64_t seeds, batch, obs_dim, act_dim;
  int64_t objective;  // 0 mean over the critics, 1 minimum
  int64_t learn_temperature;
  double target_entropy;
  void *params, *moment1, *moment2;                         // [S, n]
  void *log_alpha, *log_alpha_moment1, *log_alpha_moment2;  // [S, 1]
  void* alpha;                                              // [S, 1], exp(log_alpha) but before the first update
  void* sums;                                               // [S, 4], policy loss, temperature loss, entropy, count
  const void* critic;                                       // [S, n]
  const void *obs, *noise;                                  // [S, B, obs], [S, B, act]
  const void *action_map, *coefficients;                    // [2, act], [2, 2]
  const uint64_t* keep;                                     // [S, 2], keys of the masks, or null
  int64_t first_keep;                                       // where these begin
  int64_t obs_stride, noise_stride;
  void* workspace;
};

}  // extern "C"

namespace {

constexpr double LOG_STD_MIN = -20, LOG_STD_MAX = 2, HALF_LOG_TWO_PI = 0.91893853320467274178, TANH_EPS = 1e-6;

template <class T>
using Actor = Network<T, false, false>;

void no_mask(int, uint8_t*) {}

// Gaussians before tanh, sampled: the outputs [mean, log std] of some rows to actions in [-1, 1], [rows, act_dim], and
// their log-densities. `scratch` is [2, rows, act_dim].
template <class T>
void sample(const T* output, const T* noise, int rows, int act_dim, T* action, T* log_prob, T* scratch) {
  const int size = rows * act_dim;
  T *mean = scratch, *log_std = scratch + size, *term = mean;
  for (int b = 0; b < rows; b++)
    for (int j = 0; j < act_dim; j++) {
      const T raw = output[int64_t(2 * b + 1) * act_dim + j];
      mean[b * act_dim + j] = output[int64_t(2 * b) * act_dim + j];
      log_std[b * act_dim + j] = raw < T(LOG_STD_MIN) ? T(LOG_STD_MIN) : raw > T(LOG_STD_MAX) ? T(LOG_STD_MAX) : raw;
    }
#pragma omp simd
  for (int e = 0; e < size; e++) {
    const T a = std::tanh(mean[e] + noise[e] * std::exp(log_std[e]));
    action[e] = a;
    term[e] = T(-0.5) * noise[e] * noise[e] - log_std[e] - T(HALF_LOG_TWO_PI) - std::log(1 - a * a + T(TANH_EPS));
  }
  for (int b = 0; b < rows; b++) log_prob[b] = std::accumulate(term + b * act_dim, term + (b + 1) * act_dim, T(0));
}

// The actor's last layer on some rows.
template <class T>
void output_layer(const Actor<T>& net, const void* params, int s, int rows, const T* hidden, T* output) {
  const Layer<T> l = net.layer(params, net.L, s, 0);
  net.multiply(net.L, rows, l.out, l.in, hidden, l.in, l.weight, output);
  for (int b = 0; b < rows; b++)
    for (int j = 0; j < l.out; j++) output[int64_t(b) * l.out + j] += l.bias[j];
}

template <class T>
class TargetInputs {
 public:
  explicit TargetInputs(const TargetInputsCall& call)
      : c(call),
        net(call.actor),
        B(int(call.batch)),
        parts(share(call.seeds * call.updates, B)),
        free{static_cast<T*>(call.workspace)} {
    scratch = free.take(int64_t(omp_get_max_threads()) * scratch_size());
  }
  int64_t workspace() const { return free.size; }

  void run() {
#pragma omp parallel for schedule(static)
    for (int task = 0; task < c.seeds * c.updates * parts; task++) rows(task);
  }

 private:
  const TargetInputsCall& c;
  const Actor<T> net;
  const int B, parts;
  Workspace<T> free;
  T* scratch;

  // A thread's own memory: two layers' rows, which take turns; actions, log-densities, and what it takes to sample
  // them.
  int64_t scratch_size() const { return int64_t(B) * (2 * net.widest + 3 * c.act_dim + 1); }

  void rows(int task) {
    const int64_t s = task / (c.updates * parts), u = task / parts % c.updates, part = task % parts;
    const int from = int(B * part / parts), count = int(B * (part + 1) / parts) - from;
    const int obs = int(c.obs_dim), act = int(c.act_dim), row_size = int(c.row.size);
    const int64_t first = u * B + from, out = (s * c.updates + u) * B + from;
    const T* row = at<T>(c.rows, s * c.rows_stride + first * row_size);
    T* const own = scratch + omp_get_thread_num() * scratch_size();
    T* const buffers[2] = {own, own + int64_t(B) * net.widest};
    T *action = own + int64_t(2 * B) * net.widest, *log_prob = action + int64_t(B) * act;
    const T* hidden = net.pass(c.params, int(s), 0, count, row + c.row.next_obs, row_size, no_mask, nullptr, buffers,
                               static_cast<T*>(nullptr));
    T* output = buffers[net.L % 2];
    output_layer(net, c.params, int(s), count, hidden, output);
    const T *noise = at<T>(c.noise, s * c.noise_stride + first * act), *scale = at<T>(c.action_map, 0),
            *offset = scale + act;
    sample(output, noise, count, act, action, log_prob, log_prob + B);
    const T alpha = *at<T>(c.alpha, s);
    T *input = at<T>(c.inputs, out * (obs + act)), *next = at<T>(c.next_inputs, out * (obs + act));
    for (int b = 0; b < count; b++, row += row_size, input += obs + act, next += obs + act) {
      std::copy_n(row + c.row.obs, obs, input);
      std::copy_n(row + c.row.action, act, input + obs);
      std::copy_n(row + c.row.next_obs, obs, next);
      for (int j = 0; j < act; j++) next[obs + j] = action[b * act + j] * scale[j] + offset[j];
      const T discount = c.row.bootstrap ? row[c.row.bootstrap] : T(c.gamma) * (1 - row[c.row.terminated]);
      at<T>(c.discount, out)[b] = discount;
      at<T>(c.reward, out)[b] = row[c.row.reward] - discount * (alpha * log_prob[b]);
    }
  }
};

template <class T>
class PolicyUpdate {
 public:
  explicit PolicyUpdate(const PolicyCall& call)
      : c(call),
        actor(call.actor),
        critics(call.critics),
        B(int(call.batch)),
        N(int(call.critics.copies)),
        obs(int(call.obs_dim)),
        act(int(call.act_dim)),
        parts(share(call.seeds, B)),
        free{static_cast<T*>(call.workspace)} {
    outputs = free.take(c.seeds * B * 2 * act);
    values = free.take(c.seeds * N * B);
    partial = free.take(c.seeds * parts * sums_size());
    scratch = free.take(int64_t(omp_get_max_threads()) * scratch_size());
    actor_kept = actor.activations(free, c.seeds, B);
    critics_kept = critics.activations(free, c.seeds * N, B);
  }
  int64_t workspace() const { return free.size; }

  void run() {
#pragma omp parallel
    {
      const FlushDenormals flush;
#pragma omp for schedule(static)
      for (int task = 0; task < c.seeds * parts; task++) rows(task / parts, task % parts);
#pragma omp for schedule(static)
      for (int task = 0; task < c.seeds * parts; task++) step(task / parts, task % parts);
    }
  }

 private:
  const PolicyCall& c;
  const Actor<T> actor;
  const Critics<T> critics;
  const int B, N, obs, act, parts;
  Workspace<T> free;
  T *outputs, *values, *partial, *scratch;
  Activations<T> actor_kept, critics_kept;

  // Of a part of a seed's rows: the column sums of Network::backward, those of the output layer's bias, loss,
  // log-density.
  T* sums(int s, int part) const { return partial + (int64_t(s) * parts + part) * sums_size(); }
  int64_t sums_size() const { return (4 * actor.columns + 2 * act + 2 + 15) / 16 * 16; }

  // A thread's own memory: a backward pass's; sums that nobody wants; inputs, actions and gradients at them.
  int64_t scratch_size() const { return backward_size() + 4 * critics.columns + int64_t(B) * (obs + 4 * act + 1) + 16; }
  int64_t backward_size() const {
    const int widest = std::max(actor.widest, critics.widest);
    return int64_t(std::max(B + ROWS_AT_ONCE, widest)) * widest;
  }
  T* own_scratch() const { return scratch + omp_get_thread_num() * scratch_size(); }

  // Forward to the loss and back to the gradients at the actor's matrix products, on some rows.
  void rows(int s, int part) {
    const int from = B * part / parts, count = B * (part + 1) / parts - from, in_dim = obs + act;
    T *unwanted = own_scratch() + backward_size(), *input = unwanted + 4 * critics.columns;
    T *action = input + int64_t(count) * in_dim, *gradient = action + int64_t(count) * act,
      *share_of = gradient + int64_t(count) * act, *log_prob = share_of + int64_t(count) * act;
    const T *seen = at<T>(c.obs, s * c.obs_stride + int64_t(from) * obs),
            *noise = at<T>(c.noise, s * c.noise_stride + int64_t(from) * act);
    const T *scale = at<T>(c.action_map, 0), *offset = scale + act, alpha = *at<T>(c.alpha, s);
    T *total = sums(s, part), *bias_sum = total + 4 * actor.columns, *loss = bias_sum + 2 * act,
      *log_prob_sum = loss + 1;
    std::fill(total, total + sums_size(), T(0));

    actor.forward(c.params, s, 0, s, from, count, seen, obs, no_mask, actor_kept, static_cast<T*>(nullptr));
    T* output = outputs + (int64_t(s) * B + from) * 2 * act;
    output_layer(actor, c.params, s, count,
                 actor_kept.hidden(s, actor.L - 1) + int64_t(from) * actor.width(actor.L - 1), output);
    sample(output, noise, count, act, action, log_prob, gradient);
    std::fill(gradient, gradient + int64_t(count) * act, T(0));
    for (int b = 0; b < count; b++) {
      const T* a = action + int64_t(b) * act;
      T* x = input + int64_t(b) * in_dim;
      std::copy(seen + int64_t(b) * obs, seen + int64_t(b + 1) * obs, x);
      for (int j = 0; j < act; j++) x[obs + j] = a[j] * scale[j] + offset[j];
      *loss += alpha * log_prob[b];
      *log_prob_sum += log_prob[b];
    }
    auto q = [&](int n) { return values + (int64_t(s) * N + n) * B + from; };
    auto draw = [&](int n) {
      return [this, s, n, from, count](int i, uint8_t* keep) {
        const int64_t start = c.first_keep + (int64_t(N) * critics.before(i) + int64_t(n) * critics.width(i)) * B +
                              int64_t(from) * critics.width(i);
        DropoutMask(c.keep + 2 * s, c.critics.dropout_rate).draw(start, int64_t(count) * critics.width(i), keep);
      };
    };
    for (int n = 0; n < N; n++)
      critics.forward(c.critic, s, n, s * N + n, from, count, input, in_dim, draw(n), critics_kept, q(n));
    for (int b = 0; b < count; b++) *loss -= value_and_gradient(q, b);
    for (int n = 0; n < N; n++) {
      critics.backward(c.critic, s, n, s * N + n, from, count, critics_kept, q(n), nullptr, own_scratch(), unwanted);
      const Layer<T> first = critics.layer(c.critic, 0, s, n);
      const T* product = critics_kept.normal(s * N + n, 0) + int64_t(from) * first.out;
      critics.multiply_transposed(0, count, act, first.out, product, first.weight + int64_t(obs) * first.out, share_of);
      for (int j = 0; j < count * act; j++) gradient[j] += share_of[j];
    }
    for (int b = 0; b < count; b++)
      for (int j = 0; j < act; j++) {
        T *mean = output + int64_t(b) * 2 * act + j, *log_std = mean + act;
        const T a = action[b * act + j], slope = 1 - a * a, e = noise[b * act + j], raw = *log_std;
        const T before_tanh = (gradient[b * act + j] * scale[j] + alpha / B * 2 * a / (slope + T(TANH_EPS))) * slope;
        const bool clamped = raw < T(LOG_STD_MIN) || raw > T(LOG_STD_MAX);
        *mean = before_tanh;
        *log_std = clamped ? T(0) : before_tanh * e * std::exp(raw) - alpha / B;
        bias_sum[j] += *mean;
        bias_sum[act + j] += *log_std;
      }
    const Layer<T> top = actor.layer(c.params, actor.L, s, 0);
    actor.multiply_transposed(actor.L, count, top.in, top.out, output, top.weight, own_scratch());
    actor.backward(c.params, s, 0, s, from, count, actor_kept, static_cast<const T*>(nullptr), own_scratch(),
                   own_scratch(), total);
  }

  // The critics' value of row b by the style's objective; leaves minus its gradient, over B, in place of each critic's
  // Q.
  template <class Q>
  T value_and_gradient(Q q, int b) const {
    T value = 0, ties = 0;
    if (c.objective == 0) {
      for (int n = 0; n < N; n++) value += q(n)[b] / N;
      for (int n = 0; n < N; n++) q(n)[b] = T(-1) / (T(B) * N);
      return value;
    }
    value = q(0)[b];
    for (int n = 1; n < N; n++)
      if (q(n)[b] < value || q(n)[b] != q(n)[b]) value = q(n)[b];  // NaN stays
    for (int n = 0; n < N; n++) ties += q(n)[b] == value;
    for (int n = 0; n < N; n++) q(n)[b] = q(n)[b] == value ? T(-1) / (B * ties) : T(0);
    return value;
  }

  // Weight gradients of a slice of the actor's inputs, and the step with them; the first slice takes the rest.
  void step(int s, int part) {
    const T* in = at<T>(c.obs, s * c.obs_stride);
    const T* coefficients = at<T>(c.coefficients, 0);
    auto update = [&](int64_t offset, int64_t count, const T* gradient) {
      adam<false>(at<T>(c.params, offset), at<T>(c.moment1, offset), at<T>(c.moment2, offset), count, gradient,
                  coefficients[0], coefficients[1]);
    };
    for (int i = 0; i <= actor.L; i++) {
      const int fan_in = actor.fan_in(i), out = actor.width(i), from = fan_in * part / parts,
                count = fan_in * (part + 1) / parts - from;
      const T* gradient = i < actor.L ? actor_kept.normal(s, i) : outputs + int64_t(s) * B * out;
      if (count) {
        actor.transposed_multiply(i, count, out, B, in + from, fan_in, gradient, own_scratch());
        update(actor.where_weight(i, s, 0) + int64_t(from) * out, int64_t(count) * out, own_scratch());
      }
      if (i < actor.L) in = actor_kept.hidden(s, i);
    }
    if (part) return;
    T* total = sums(s, 0);
    for (int other = 1; other < parts; other++)
      for (int j = 0; j < sums_size(); j++) total[j] += sums(s, other)[j];
    for (int i = 0; i < actor.L; i++) update(actor.where_bias(i, s, 0), actor.width(i), total + 4 * actor.before(i));
    const T *output_bias = total + 4 * actor.columns, *loss = output_bias + 2 * act;
    update(actor.where_bias(actor.L, s, 0), 2 * act, output_bias);

    const T log_prob = loss[1] / B, gradient = -(log_prob + T(c.target_entropy));
    T *log_alpha = at<T>(c.log_alpha, s), *sum = at<T>(c.sums, 4 * s);
    sum[0] += loss[0] / B, sum[1] += *log_alpha * gradient, sum[2] -= log_prob, sum[3] += 1;
    if (c.learn_temperature) {
      adam<false>(log_alpha, at<T>(c.log_alpha_moment1, s), at<T>(c.log_alpha_moment2, s), 1, &gradient,
                  coefficients[2], coefficients[3]);
      *at<T>(c.alpha, s) = std::exp(*log_alpha);
    }
  }
};

}  // namespace

#include "ops/linear_attention_head.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "ops/matmul.h"

namespace locant {
namespace {

constexpr std::int64_t kBlock = 64;

class HeadPass {
 public:
  explicit HeadPass(LinearHead& head)
      : head_(head),
        W_(head.Dv + 1),
        scores_(kBlock * kBlock),
        values_(static_cast<std::size_t>(kBlock * W_)),
        results_(values_.size()) {
    std::int64_t most = 0;
    for (const LinearStream& s : head.streams) most = std::max(most, s.M);
    scaled_.resize(static_cast<std::size_t>(kBlock * most));
    for (std::size_t n = 0; n < fading_.size(); ++n)
      fading_[n] = std::exp(-head.decay * static_cast<float>(n));
  }

  void forward(float* out) {
    clear_states();
    if (!head_.causal) absorb_all();
    for (std::int64_t at = 0; at < head_.Nq; at += kBlock) {
      const std::int64_t n = std::min(kBlock, head_.Nq - at);
      if (head_.causal) load_values(at);
      for (LinearStream& s : head_.streams) {
        multiply(false, false, n, s.width, s.M, from_start(s.q, s.M, at, n), state_of(s), 0.0f,
                 results_.data() + s.first, W_);
        if (!head_.causal) continue;
        make_scores(s, at, n);
        multiply(false, false, n, s.width, seen(at), {scores_.data(), kBlock}, values_of(s), 1.0f,
                 results_.data() + s.first, W_);
        absorb(s, at);
      }
      for (std::int64_t i = 0; i < n; ++i) {
        const float* result = results_.data() + i * W_;
        const float den = head_.den[at + i] = result[head_.Dv] + head_.eps;
        float* o = out + (at + i) * head_.row_v;
        for (std::int64_t d = 0; d < head_.Dv; ++d) o[d] = den == 0.0f ? 0.0f : result[d] / den;
      }
    }
  }

  // Forward quote: num_i = f_i S_i, den_i = f_i z_i, S_i = sum_j w_ij g_j v_j^T, z_i = sum_j w_ij g_j, o_i =
  // num_i / den_i. So dnum_i = do_i / den_i, dden_i = -do_i.o_i / den_i, and [v | 1] carries both.
  void backward(const float* out, const float* dout, float* dv) {
    clear_states();
    if (!head_.causal) absorb_all();
    for (std::int64_t at = 0; at < head_.Nq; at += kBlock) query_block(at, out, dout);
    if (head_.causal)
      clear_states();
    else
      turn_states(out, dout);
    const std::int64_t last = head_.causal ? head_.Nq : head_.Nk, blocks = (last + kBlock - 1) / kBlock;
    for (std::int64_t block = blocks; block-- > 0;) key_block(block * kBlock, out, dout, dv);
  }

 private:
  void clear_states() {
    for (LinearStream& s : head_.streams) s.state.assign(static_cast<std::size_t>(s.M * s.width), 0.0f);
  }
  LinearView state_of(const LinearStream& s) const { return {s.state.data(), s.width}; }
  LinearView values_of(const LinearStream& s) const { return {values_.data() + s.first, W_}; }
  LinearView results_of(const LinearStream& s) const { return {results_.data() + s.first, W_}; }
  std::int64_t seen(std::int64_t at) const { return std::clamp<std::int64_t>(head_.Nk - at, 0, kBlock); }
  static LinearView at_token(LinearView x, std::int64_t token) { return {x.data + token * x.row, x.row}; }

  static void multiply(bool transpose_a, bool transpose_b, std::int64_t M, std::int64_t N, std::int64_t K,
                       LinearView a, LinearView b, float beta, float* c, std::int64_t ldc) {
    matmul_serial({.transpose_a = transpose_a,
                   .transpose_b = transpose_b,
                   .M = M,
                   .N = N,
                   .K = K,
                   .a = a.data,
                   .lda = a.row,
                   .b = b.data,
                   .ldb = b.row,
                   .beta = beta,
                   .c = c,
                   .ldc = ldc});
  }

  // Rows of a block times e^(-decay distance), the distance from the block's first token or to its end.
  LinearView from_start(LinearView x, std::int64_t M, std::int64_t at, std::int64_t n) {
    return faded(x, M, at, n, 0, 1);
  }
  LinearView to_end(LinearView x, std::int64_t M, std::int64_t at, std::int64_t n) {
    return faded(x, M, at, n, std::min(kBlock, head_.Nq - at), -1);
  }
  LinearView faded(LinearView x, std::int64_t M, std::int64_t at, std::int64_t n, std::int64_t first,
                   std::int64_t step) {
    const LinearView rows = at_token(x, at);
    if (head_.decay == 0.0f) return rows;
    for (std::int64_t i = 0; i < n; ++i) {
      const float factor = fading_[static_cast<std::size_t>(first + step * i)];
      for (std::int64_t m = 0; m < M; ++m)
        scaled_[static_cast<std::size_t>(i * M + m)] = factor * rows.data[i * rows.row + m];
    }
    return {scaled_.data(), M};
  }
  void fade(float* x, std::int64_t row, std::int64_t M, std::int64_t n, std::int64_t first,
            std::int64_t step) const {
    if (head_.decay == 0.0f) return;
    for (std::int64_t i = 0; i < n; ++i)
      for (std::int64_t m = 0; m < M; ++m)
        x[i * row + m] *= fading_[static_cast<std::size_t>(first + step * i)];
  }
  float across() const { return fading_[kBlock]; }  // only the last block is shorter, and nobody follows it

  void load_values(std::int64_t at) {
    for (std::int64_t j = 0; j < seen(at); ++j) {
      float* row = values_.data() + j * W_;
      std::copy_n(head_.v + (at + j) * head_.row_v, head_.Dv, row);
      row[head_.Dv] = 1.0f;
    }
  }
  // results_ = d[num | den] of a block.
  void load_gradients(std::int64_t at, std::int64_t n, const float* out, const float* dout) {
    for (std::int64_t i = 0; i < n; ++i) {
      const float den = head_.den[at + i], inverse = den == 0.0f ? 0.0f : 1.0f / den;
      const float *o = out + (at + i) * head_.row_v, *g = dout + (at + i) * head_.row_v;
      float* row = results_.data() + i * W_;
      float sum = 0.0f;
      for (std::int64_t d = 0; d < head_.Dv; ++d) sum += g[d] * o[d], row[d] = g[d] * inverse;
      row[head_.Dv] = -sum * inverse;
    }
  }

  void absorb(LinearStream& s, std::int64_t at) {
    const std::int64_t n = seen(at);
    multiply(true, false, s.M, s.width, n, to_end(s.k, s.M, at, n), values_of(s),
             head_.causal ? across() : 1.0f, s.state.data(), s.width);
  }
  void absorb_all() {
    for (std::int64_t at = 0; at < head_.Nk; at += kBlock) {
      load_values(at);
      for (LinearStream& s : head_.streams) absorb(s, at);
    }
  }

  // scores_ = w_ij x_i.y_j within a block, 0 above the diagonal.
  void mask(std::int64_t n, std::int64_t keys) {
    for (std::int64_t i = 0; i < n; ++i)
      for (std::int64_t j = 0; j < keys; ++j) {
        float& s = scores_[static_cast<std::size_t>(i * kBlock + j)];
        s = j > i ? 0.0f : s * fading_[static_cast<std::size_t>(i - j)];
      }
  }
  void make_scores(const LinearStream& s, std::int64_t at, std::int64_t n) {
    multiply(false, true, n, seen(at), s.M, at_token(s.q, at), at_token(s.k, at), 0.0f, scores_.data(),
             kBlock);
    mask(n, seen(at));
  }
  void make_score_gradients(const LinearStream& s, std::int64_t at, std::int64_t n) {
    multiply(false, true, n, seen(at), s.width, results_of(s), values_of(s), 0.0f, scores_.data(), kBlock);
    mask(n, seen(at));
  }

  // df_i = S_i d[num_i | den_i].
  void query_block(std::int64_t at, const float* out, const float* dout) {
    const std::int64_t n = std::min(kBlock, head_.Nq - at);
    load_gradients(at, n, out, dout);
    if (head_.causal) load_values(at);
    for (LinearStream& s : head_.streams) {
      float* dq = s.dq + at * s.q.row;
      multiply(false, true, n, s.M, s.width, results_of(s), state_of(s), 0.0f, dq, s.q.row);
      if (!head_.causal) continue;
      fade(dq, s.q.row, s.M, n, 0, 1);
      make_score_gradients(s, at, n);
      multiply(false, false, n, s.M, seen(at), {scores_.data(), kBlock}, at_token(s.k, at), 1.0f, dq,
               s.q.row);
      absorb(s, at);
    }
  }

  // state = dS = sum_i f_i d[num_i | den_i].
  void turn_states(const float* out, const float* dout) {
    clear_states();
    for (std::int64_t at = 0; at < head_.Nq; at += kBlock) {
      const std::int64_t n = std::min(kBlock, head_.Nq - at);
      load_gradients(at, n, out, dout);
      for (LinearStream& s : head_.streams)
        multiply(true, false, s.M, s.width, n, at_token(s.q, at), results_of(s), 1.0f, s.state.data(),
                 s.width);
    }
  }

  // dg_j = dS_j [v_j | 1], dv_j = dS_j^T g_j; blocks come last to first, so that a causal dS_j grows.
  void key_block(std::int64_t at, const float* out, const float* dout, float* dv) {
    const std::int64_t n = std::min(kBlock, head_.Nq - at), keys = seen(at);
    load_values(at);
    if (head_.causal) load_gradients(at, n, out, dout);
    for (LinearStream& s : head_.streams) {
      float* dk = s.dk + at * s.k.row;
      multiply(false, true, keys, s.M, s.width, values_of(s), state_of(s), 0.0f, dk, s.k.row);
      // The ones of the denominator want no gradient.
      const std::int64_t columns = std::min(s.width, head_.Dv - s.first);
      multiply(false, false, keys, columns, s.M, to_end(s.k, s.M, at, keys), state_of(s), 0.0f,
               dv + at * head_.row_v + s.first, head_.row_v);
      if (!head_.causal) continue;
      fade(dk, s.k.row, s.M, keys, n, -1);
      make_score_gradients(s, at, n);
      multiply(true, false, keys, s.M, n, {scores_.data(), kBlock}, at_token(s.q, at), 1.0f, dk, s.k.row);
      make_scores(s, at, n);
      multiply(true, false, keys, columns, n, {scores_.data(), kBlock}, results_of(s), 1.0f,
               dv + at * head_.row_v + s.first, head_.row_v);
      multiply(true, false, s.M, s.width, n, from_start(s.q, s.M, at, n), results_of(s),
               fading_[static_cast<std::size_t>(n)], s.state.data(), s.width);
    }
  }

  LinearHead& head_;
  std::int64_t W_;
  std::array<float, kBlock + 1> fading_{};
  std::vector<float> scores_, values_, results_, scaled_;
};

}  // namespace

void linear_head_forward(LinearHead& head, float* out) { HeadPass(head).forward(out); }

void linear_head_backward(LinearHead& head, const float* out, const float* dout, float* dv) {
  HeadPass(head).backward(out, dout, dv);
}

}  // namespace locant

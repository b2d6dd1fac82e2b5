#include "position/gpsa.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/error.h"
#include "core/parallel.h"
#include "ops/separable_softmax.h"
#include "position/shared/axis.h"
#include "position/shared/sequence.h"

namespace locant {

namespace {

constexpr const char* kGpsaName = "gpsa";

void check_plane(Grid grid, const char* side) {
  check_grid(kGpsaName, grid, side);
  require(grid.frames == 1, kGpsaName, "{} has {} frames; it must be flat", side, grid.frames);
}

void check_cover(Grid grid, std::int64_t tokens, const char* side) {
  check_plane(grid, side);
  require(grid.tokens() == tokens, kGpsaName, "{} is {} x {} for {} tokens", side, grid.rows, grid.columns,
          tokens);
}

// Heads of a call, after checks of all parameters.
std::int64_t heads_of(const Gpsa& gpsa) {
  require(gpsa.gate.defined() && gpsa.gate.shape().rank() == 1 && gpsa.gate.dim(0) >= 1, kGpsaName,
          "{} must be a number per head", Gpsa::kGate);
  const std::int64_t H = gpsa.gate.dim(0);
  check_table(kGpsaName, Gpsa::kGate, gpsa.gate, {H});
  check_table(kGpsaName, Gpsa::kWeight, gpsa.weight, {H, 3});
  if (gpsa.bias.defined()) check_table(kGpsaName, Gpsa::kBias, gpsa.bias, {H});
  return H;
}

// What one axis adds to the exponent: w[h, channel] d + w[h, 2] d^2, d = key minus query -> (H, Nq, Nk), less
// the most of each row, which its softmax does not see: float32 keeps the digits of what counts. The bias
// takes no part, and gets the zero gradient that is its due.
Var axis_scores(const Context& ctx, const Gpsa& gpsa, std::int64_t channel, std::int64_t Nq,
                std::int64_t Nk) {
  const Var weight = gpsa.weight, bias = gpsa.bias;
  const std::int64_t H = weight.dim(0);
  Tensor out({H, Nq, Nk});
  std::vector<double> row(static_cast<std::size_t>(Nk));
  for (std::int64_t x = 0; x < H * Nq; ++x) {
    const double linear = weight.value()[x / Nq * 3 + channel], square = weight.value()[x / Nq * 3 + 2];
    for (std::int64_t j = 0; j < Nk; ++j) {
      const double d = static_cast<double>(j - x % Nq);
      row[static_cast<std::size_t>(j)] = (linear + square * d) * d;
    }
    const double most = *std::max_element(row.begin(), row.end());
    for (std::int64_t j = 0; j < Nk; ++j)
      out[x * Nk + j] = static_cast<float>(row[static_cast<std::size_t>(j)] - most);
  }
  return ctx.record({weight, bias}, std::move(out), [=](const Tensor& dout) {
    if (weight.requires_grad()) {
      std::vector<double> sums(static_cast<std::size_t>(H * 3));
      for (std::int64_t at = 0; at < H * Nq * Nk; ++at) {
        const std::int64_t h = at / (Nq * Nk);
        const double g = static_cast<double>(dout[at]), d = static_cast<double>(at % Nk - at / Nk % Nq);
        sums[static_cast<std::size_t>(h * 3 + channel)] += g * d;
        sums[static_cast<std::size_t>(h * 3 + 2)] += g * d * d;
      }
      Tensor dweight(weight.shape());
      for (std::int64_t x = 0; x < H * 3; ++x)
        dweight[x] = static_cast<float>(sums[static_cast<std::size_t>(x)]);
      weight.accumulate(std::move(dweight));
    }
    if (bias.requires_grad()) bias.accumulate(Tensor::zeros(bias.shape()));
  });
}

}  // namespace

Tensor gpsa_local_weight(const Tensor& start, double strength) {
  if (!start.defined() || start.shape().rank() != 2 || start.dim(1) != 3)
    fail(kGpsaName, "{} has the shape {}; (heads, 3) was expected", Gpsa::kWeight, start.shape().str());
  const std::int64_t H = start.dim(0), K = gpsa_kernel(H);
  Tensor out = start.clone();
  for (std::int64_t h = 0; h < H; ++h) {
    const std::array<double, 3> row = gpsa_local_row(H, h, strength);
    for (std::int64_t c = 0; c < 3; ++c)
      out[h * 3 + c] = static_cast<float>(h < K * K ? row[static_cast<std::size_t>(c)]
                                                    : strength * static_cast<double>(start[h * 3 + c]));
  }
  return out;
}

Var gpsa_positional(const Context& ctx, const Gpsa& gpsa, Grid query, Grid key, const Var& v) {
  const std::int64_t H = heads_of(gpsa);
  if (v.shape().rank() != 3 || v.dim(2) % H != 0)
    fail(kGpsaName, "v of shape {} does not split into {} heads; it must be (B, Nk, H Dv)", v.shape().str(),
         H);
  check_plane(query, "the query grid");
  check_cover(key, v.dim(1), "the key grid");
  check_finite(kGpsaName, Gpsa::kWeight, gpsa.weight);
  return separable_softmax(ctx, axis_scores(ctx, gpsa, 1, query.rows, key.rows),
                           axis_scores(ctx, gpsa, 0, query.columns, key.columns), v);
}

Var gpsa_attention(const Context& ctx, const Gpsa& gpsa, Grid query, Grid key, const Var& q, const Var& k,
                   const Var& v, const AttentionOptions& content, AttentionPath path) {
  require(content.heads == heads_of(gpsa), kGpsaName, "{} heads, and {} has {}", content.heads, Gpsa::kGate,
          gpsa.gate.dim(0));
  require(q.shape().rank() == 3, kGpsaName, "q of shape {} is not (B, Nq, H D)", q.shape().str());
  check_cover(query, q.dim(1), "the query grid");
  const Var positional = gpsa_positional(ctx, gpsa, query, key, v);
  return gated_sum(ctx, run_attention(ctx, q, k, v, content, path), positional, gpsa.gate);
}

void gpsa_row(const Gpsa& gpsa, Grid query, Grid key, const Tensor& q, const Tensor& k,
              std::optional<float> scale, std::int64_t b, std::int64_t h, std::int64_t i, float* row) {
  const std::int64_t H = gpsa.gate.dim(0), D = q.dim(2) / H, Nq = query.tokens(), Nk = key.tokens();
  const float factor = attention_scale(scale, D);
  const double gate = 1.0 / (1.0 + std::exp(-static_cast<double>(gpsa.gate.value()[h])));
  const float* q_bhi = q.data() + ((b * Nq + i) * H + h) * D;
  const float* w = gpsa.weight.value().data() + h * 3;
  std::fill_n(row, Nk, 0.0f);
  std::vector<double> scores(static_cast<std::size_t>(Nk));
  const auto add_softmax = [&](double weight, const auto& score) {
    double most = -HUGE_VAL, total = 0;
    for (std::int64_t j = 0; j < Nk; ++j)
      most = std::max(most, scores[static_cast<std::size_t>(j)] = score(j));
    for (double& x : scores) total += x = std::exp(x - most);
    for (std::int64_t j = 0; j < Nk; ++j)
      row[j] += static_cast<float>(weight * scores[static_cast<std::size_t>(j)] / total);
  };
  add_softmax(1 - gate, [&](std::int64_t j) {
    const float* k_bhj = k.data() + ((b * Nk + j) * H + h) * D;
    double sum = 0;
    for (std::int64_t d = 0; d < D; ++d) sum += static_cast<double>(q_bhi[d]) * static_cast<double>(k_bhj[d]);
    return sum * static_cast<double>(factor);
  });
  const double weights[3] = {w[0], w[1], w[2]};
  add_softmax(gate, [&](std::int64_t j) {
    return gpsa_score(weights, 0.0, j % key.columns - i % query.columns, j / key.columns - i / query.columns);
  });
}

Tensor gpsa_attention_distance(const Gpsa& gpsa, Grid query, Grid key, const Tensor& q, const Tensor& k,
                               std::optional<float> scale) {
  const std::int64_t H = heads_of(gpsa);
  if (q.shape().rank() != 3 || k.shape().rank() != 3 || q.dim(0) != k.dim(0) || q.dim(2) != k.dim(2) ||
      q.dim(2) < 1 || q.dim(2) % H != 0)
    fail(kGpsaName, "q {} and k {} are not (B, Nq, H D) and (B, Nk, H D) of {} heads", q.shape().str(),
         k.shape().str(), H);
  check_cover(query, q.dim(1), "the query grid");
  check_cover(key, k.dim(1), "the key grid");
  const std::int64_t B = q.dim(0), Nq = query.tokens(), Nk = key.tokens();
  std::vector<double> sums(static_cast<std::size_t>(H * B * Nq));  // a query each, (H, B, Nq)
  parallel_for(H * B * Nq, 16, [&](std::int64_t begin, std::int64_t end) {
    std::vector<float> row(static_cast<std::size_t>(Nk));
    for (std::int64_t x = begin; x < end; ++x) {
      const std::int64_t i = x % Nq;
      gpsa_row(gpsa, query, key, q, k, scale, x / Nq % B, x / (Nq * B), i, row.data());
      for (std::int64_t j = 0; j < Nk; ++j) {
        const std::int64_t right = j % key.columns - i % query.columns,
                           down = j / key.columns - i / query.columns;
        sums[static_cast<std::size_t>(x)] += static_cast<double>(row[static_cast<std::size_t>(j)]) *
                                             std::sqrt(static_cast<double>(right * right + down * down));
      }
    }
  });
  Tensor out({H});
  for (std::int64_t h = 0; h < H; ++h) {
    double sum = 0;
    for (std::int64_t x = h * B * Nq; x < (h + 1) * B * Nq; ++x) sum += sums[static_cast<std::size_t>(x)];
    out[h] = static_cast<float>(sum / static_cast<double>(B * Nq));
  }
  return out;
}

Tensor gpsa_exponents(const Gpsa& gpsa, Grid grid, std::int64_t B) {
  const std::int64_t N = grid.tokens(), H = gpsa.weight.dim(0), columns = grid.columns;
  Tensor out({B, N, N, H});
  for (std::int64_t x = 0; x < out.numel(); ++x) {
    const std::int64_t h = x % H, j = x / H % N, i = x / H / N % N;
    out[x] = gpsa_score(gpsa.weight.value().data() + h * 3, gpsa.bias.value()[h], j % columns - i % columns,
                        j / columns - i / columns);
  }
  return out;
}

Tensor gpsa_probabilities(const Gpsa& gpsa, Grid grid, const Tensor& q, const Tensor& k) {
  const std::int64_t B = q.dim(0), N = grid.tokens(), H = gpsa.weight.dim(0);
  Tensor out({B, H, N, N});
  for (std::int64_t x = 0; x < B * H * N; ++x)
    gpsa_row(gpsa, grid, grid, q, k, std::nullopt, x / (H * N), x / N % H, x % N, out.data() + x * N);
  return out;
}

}  // namespace locant

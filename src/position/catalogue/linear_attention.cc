#include "position/linear_attention.h"

#include <algorithm>
#include <sstream>

#include "core/error.h"
#include "ops/activation.h"
#include "ops/arithmetic.h"
#include "position/alibi.h"
#include "position/catalogue/all.h"
#include "position/catalogue/plain_attention.h"
#include "position/rope.h"

namespace locant {
namespace linear_attention_encoding {
namespace {

// "elu causal rope": a map, and what goes with it.
struct Setting {
  std::string map = "elu";
  bool rotate = false;
  LinearAttentionOptions options;
};

Setting setting_of(const EncodingCase& c) {
  Setting out;
  out.options.heads = c.H;
  out.options.eps = 1e-6f;
  std::istringstream words(c.variant);
  words >> out.map;
  for (std::string word; words >> word;) {
    if (word == "causal") {
      out.options.causal = true;
    } else if (word == "eps") {
      out.options.eps = 0.25f;
    } else if (word == "rope") {
      out.rotate = true;
    } else if (word == "decay") {
      for (std::int64_t h = 0; h < c.H; ++h)
        out.options.decay.push_back(static_cast<float>(alibi_slope(h, c.H)));
    } else if (word == "lengths") {
      for (std::int64_t b = 0; b < c.B; ++b)
        out.options.key_lengths.push_back(std::max<std::int64_t>(0, c.Nk() - 2 * b));
    } else {
      fail("linear_attention", "no variant \"{}\"; there are causal, rope, decay, eps and lengths", word);
    }
  }
  return out;
}

// phi = e^x and psi = 1 / (1 + e^-x), as a user may bring them.
FeatureMap own_map() {
  return {[](const Context& ctx, const Var& x) { return exp(ctx, x); }, sigmoid};
}

bool seen(const Setting& s, std::int64_t b, std::int64_t i, std::int64_t j) {
  return (!s.options.causal || j <= i) &&
         (s.options.key_lengths.empty() || j < s.options.key_lengths[static_cast<std::size_t>(b)]);
}

Complexes reference(const PlainCall& call, const Setting& s) {
  const EncodingCase& c = call.c;
  const std::int64_t longest = std::max(c.Nq(), c.Nk());
  const auto features = [&](const Complex* x, std::int64_t i, bool query) {
    if (s.map != "own") return linear_features(s.map, x, c.D, i, longest);
    std::vector<Complex> out(x, x + c.D);
    for (Complex& f : out) f = query ? std::exp(f) : 1.0 / (1.0 + std::exp(-f));
    return out;
  };
  // f.g, whose pairs have turned by the angle of i - j.
  const std::size_t still = s.map == "taylor" ? 1 : 0;
  const auto turned = [&](const std::vector<Complex>& f, const std::vector<Complex>& g,
                          std::int64_t distance) {
    const std::size_t M = f.size() - still;
    Complex sum = still == 1 ? f[M] * g[M] : Complex(0.0);
    for (std::size_t m = 0; m < M; m += 2) {
      const double a = static_cast<double>(distance) *
                       rope_frequency(static_cast<std::int64_t>(m / 2), static_cast<std::int64_t>(M));
      sum += (f[m] * g[m] + f[m + 1] * g[m + 1]) * std::cos(a) +
             (f[m] * g[m + 1] - f[m + 1] * g[m]) * std::sin(a);
    }
    return sum;
  };
  Complexes out(static_cast<std::size_t>(c.B * c.Nq() * c.H * c.Dv));
  std::vector<std::vector<Complex>> keys(static_cast<std::size_t>(c.Nk()));
  for (std::int64_t b = 0; b < c.B; ++b)
    for (std::int64_t h = 0; h < c.H; ++h) {
      for (std::int64_t j = 0; j < c.Nk(); ++j)
        keys[static_cast<std::size_t>(j)] = features(call.key(b, h, j), j, false);
      for (std::int64_t i = 0; i < c.Nq(); ++i) {
        const std::vector<Complex> f = features(call.query(b, h, i), i, true);
        Complex* o = out.data() + ((b * c.Nq() + i) * c.H + h) * c.Dv;
        Complex below = s.options.eps;
        for (std::int64_t j = 0; j < c.Nk(); ++j) {
          if (!seen(s, b, i, j)) continue;
          const std::vector<Complex>& g = keys[static_cast<std::size_t>(j)];
          Complex weight{};
          for (std::size_t m = 0; m < f.size(); ++m) weight += f[m] * g[m];
          Complex above = s.rotate ? turned(f, g, i - j) : weight;
          if (still == 1) weight = above;
          if (!s.options.decay.empty()) {
            const double decay = std::exp(-alibi_slope(h, c.H) * static_cast<double>(i - j));
            weight *= decay, above *= decay;
          }
          below += weight;
          for (std::int64_t d = 0; d < c.Dv; ++d) o[d] += above * call.value(b, h, j)[d];
        }
        for (std::int64_t d = 0; d < c.Dv; ++d) o[d] /= below;
      }
    }
  return out;
}

EncodingInstance instance(const EncodingCase& c) {
  const Setting s = setting_of(c);
  const FeatureMap map = s.map == "own" ? own_map() : feature_map(s.map, std::max(c.Nq(), c.Nk()));
  EncodingInstance out;
  out.run = [s, map](const Context& ctx, const Var& q, const Var& k, const Var& v, AttentionPath path) {
    return mapped_linear_attention(ctx, map, s.rotate, q, k, v, s.options, path);
  };
  out.reference = [c, s](const std::vector<Complexes>& x) { return reference({c, x}, s); };
  return out;
}

std::vector<EncodingCase> cases() {
  const auto line = [](std::int64_t n) { return Grid{1, 1, n}; };
  return {
      {.B = 2, .query = line(1), .key = line(3)},
      {.B = 2, .query = line(2), .key = line(2), .variant = "elu causal"},
      // Of a single feature nothing is left but for eps.
      {.B = 2, .H = 3, .D = 1, .Dv = 2, .query = {1, 2, 2}, .key = {1, 2, 3}, .variant = "relu lengths eps"},
      {.D = 3, .Dv = 5, .query = line(7), .key = line(7), .variant = "taylor"},
      {.query = line(6), .key = line(6), .variant = "taylor causal rope"},
      {.B = 2, .query = line(5), .key = line(7), .variant = "elu lengths rope"},
      {.B = 2, .H = 1, .query = line(6), .key = line(6), .variant = "relu causal lengths"},
      {.query = line(7), .key = line(7), .variant = "cosine causal"},
      {.D = 2, .Dv = 3, .query = {1, 2, 3}, .key = {1, 2, 2}, .variant = "cosine"},
      {.query = line(5), .key = line(4), .variant = "own"},
      {.H = 3, .D = 2, .query = line(7), .key = line(7), .variant = "elu causal decay"},
      {.D = 2, .Dv = 3, .query = line(6), .key = line(6), .prefix = 1, .variant = "elu causal rope decay"},
  };
}

// Weights of each pair where all tokens are alike: what causal sums, decay and positions make of them.
Tensor picture(const EncodingCase& c) {
  const Setting s = setting_of(c);
  const FeatureMap map = s.map == "own" ? own_map() : feature_map(s.map, std::max(c.Nq(), c.Nk()));
  const auto alike = [&](std::int64_t N) { return Var(Tensor::full({c.B, N, c.H * c.D}, 1.0f)); };
  // Values of the first head tell the keys apart.
  const std::int64_t Nk = c.Nk(), width = c.H * Nk;
  Tensor v = Tensor::zeros({c.B, Nk, width}), out({c.Nq(), Nk});
  for (std::int64_t j = 0; j < Nk; ++j) v[j * width + j] = 1.0f;
  const Tensor weights =
      mapped_linear_attention({}, map, s.rotate, alike(c.Nq()), alike(Nk), Var(v), s.options).value();
  for (std::int64_t n = 0; n < out.numel(); ++n) out[n] = weights[n / Nk * width + n % Nk];
  return out;
}

}  // namespace
}  // namespace linear_attention_encoding

const Encoding kLinearAttention = {
    .name = "linear_attention",
    .title = "attention by products of feature maps, with rotations or a decay",
    .place = EncodingPlace::linear,
    .paper =
        "Katharopoulos et al. 2020, equations 4 to 9; Qin et al. 2022 (cosine); Su et al. 2021, equation 19",
    .models = "fast-transformers, Performer, cosFormer, RoFormer",
    .formula = "o_i = phi(q_i) sum_j psi(k_j) v_j^T / (phi(q_i).sum_j psi(k_j) + eps)",
    .lowering = "an op of its own: sums over keys, causal ones in blocks",
    .parameters = "0",
    .multiply_adds = "2 N M (Dv + 1) H in place of N^2 (D + Dv) H",
    .memory = "2 N M H + M (Dv + 1) a thread",
    .prefix = true,
    .composes_variants = true,
    .cases = linear_attention_encoding::cases,
    .instance = linear_attention_encoding::instance,
    .picture = linear_attention_encoding::picture,
};

}  // namespace locant

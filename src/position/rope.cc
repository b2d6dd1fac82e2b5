#include "position/rope.h"

#include <cmath>

#include "core/error.h"

namespace locant {

double rope_frequency(std::int64_t t, std::int64_t d_rot, double base) {
  return std::pow(base, -2.0 * static_cast<double>(t) / static_cast<double>(d_rot));
}

RotaryTable rope_table(std::int64_t N, std::int64_t d_rot, std::int64_t first, double base) {
  require(N >= 0 && d_rot >= 2 && d_rot % 2 == 0 && base > 0, "rope",
          "{} positions, {} rotated channels, base {}; channels come in pairs", N, d_rot, base);
  Tensor angles({N, d_rot / 2});
  for (std::int64_t n = 0; n < N; ++n)
    for (std::int64_t t = 0; t < d_rot / 2; ++t)
      angles[n * (d_rot / 2) + t] =
          static_cast<float>(static_cast<double>(first + n) * rope_frequency(t, d_rot, base));
  return rotary_table(Var(std::move(angles)));
}

namespace {

// Variants: "neighbours" (the usual one), "halves", "partial" (halves of half the channels), "memory":
// queries stand behind the keys that have no query.
struct Variant {
  Pairing pairing = Pairing::neighbours;
  std::int64_t d_rot, first_query = 0;
};

Variant variant_of(const EncodingCase& c) {
  Variant out;
  out.d_rot = c.D;
  if (c.variant == "halves" || c.variant == "partial") out.pairing = Pairing::halves;
  if (c.variant == "partial") out.d_rot = c.D / 4 * 2;
  if (c.variant == "memory") out.first_query = c.key.tokens() - c.query.tokens();
  require(c.variant.empty() || c.variant == "neighbours" || c.variant == "halves" || c.variant == "partial" ||
              c.variant == "memory",
          "rope", "no variant \"{}\"; there are neighbours, halves, partial, memory", c.variant);
  return out;
}

EncodingInstance instance(const EncodingCase& c) {
  const Variant variant = variant_of(c);
  const RotaryTable query = rope_table(c.query.tokens(), variant.d_rot, variant.first_query);
  const RotaryTable key = rope_table(c.key.tokens(), variant.d_rot);
  EncodingInstance out;
  out.run = [=](const Context& ctx, const Var& q, const Var& k, const Var& v, AttentionPath path) {
    AttentionOptions options;
    options.heads = c.H;
    return run_attention(ctx, rotate(ctx, q, c.H, query, variant.pairing, c.prefix),
                         rotate(ctx, k, c.H, key, variant.pairing, c.prefix), v, options, path);
  };
  out.reference = [c, variant](const std::vector<Complexes>& x) {
    using T = std::complex<double>;
    const PlainCall<T> call{c, x[0], x[1], x[2]};
    return plain_attention<T>(call, [&](auto b, auto h, auto i, auto j) {
      T sum{};
      for (std::int64_t d = 0; d < c.D; ++d) {
        const T qd = i < c.prefix ? call.query(b, h, i)[d]
                                  : rope_channel(call.query(b, h, i), d,
                                                 static_cast<double>(i - c.prefix + variant.first_query),
                                                 variant.d_rot, variant.pairing);
        const T kd = j < c.prefix ? call.key(b, h, j)[d]
                                  : rope_channel(call.key(b, h, j), d, static_cast<double>(j - c.prefix),
                                                 variant.d_rot, variant.pairing);
        sum += qd * kd;
      }
      return sum / std::sqrt(static_cast<double>(c.D));
    });
  };
  return out;
}

std::vector<EncodingCase> cases() {
  const auto line = [](std::int64_t n) { return Grid{1, 1, n}; };
  return {
      {.D = 2, .query = line(1), .key = line(1)},
      {.B = 2, .query = line(17), .key = line(17)},
      {.D = 6, .Dv = 3, .query = line(9), .key = line(9), .variant = "halves"},
      {.D = 8, .query = line(9), .key = line(9), .prefix = 1, .variant = "partial"},
      {.query = line(5), .key = line(12), .variant = "memory"},
  };
}

}  // namespace

const Encoding kRope = {
    .name = "rope",
    .header = "position/rope.h",
    .title = "q and k turned by angles that grow with the position",
    .place = EncodingPlace::query_key,
    .paper = "Su et al. 2021, RoFormer, section 3.2",
    .models = "RoFormer, GPT-J, GPT-NeoX, LLaMA, wav2vec2 Conformer",
    .formula = "s = (R_i q_i).(R_j k_j) / sqrt(D)",
    .lowering = "q and k are turned beforehand",
    .parameters = "0",
    .multiply_adds = "4 N C",
    .memory = "2 N C + N D",
    .cases = cases,
    .make = instance,
};

}  // namespace locant

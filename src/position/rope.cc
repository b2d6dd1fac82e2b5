#include "position/rope.h"

#include "core/error.h"
#include "position/rotary_instance.h"

namespace locant {

RotaryTable rope_table(std::int64_t N, std::int64_t d_rot, std::int64_t first, double base) {
  require(N >= 0 && d_rot >= 2 && d_rot % 2 == 0 && base > 0 && std::isfinite(base), "rope",
          "{} positions, {} rotated channels, base {}; channels come in pairs, and the base is above 0", N,
          d_rot, base);
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
  return rotary_instance(
      c, {}, variant.d_rot, variant.pairing,
      [query, key](const Context&, Side side) { return side == Side::query ? query : key; },
      [variant](const auto&, Side side, auto, std::int64_t n, std::int64_t t) {
        const std::int64_t position = n + (side == Side::query ? variant.first_query : 0);
        return static_cast<double>(position) * rope_frequency(t, variant.d_rot);
      });
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

// Scores of the first head where all queries and keys are ones.
Tensor picture(const EncodingCase& c) {
  const Variant variant = variant_of(c);
  return rotary_scores(c, rope_table(c.query.tokens(), variant.d_rot, variant.first_query),
                       rope_table(c.key.tokens(), variant.d_rot), variant.pairing);
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
    .picture = picture,
};

}  // namespace locant

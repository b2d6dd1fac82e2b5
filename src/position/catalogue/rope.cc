#include "position/rope.h"

#include "position/catalogue/all.h"
#include "position/catalogue/rotary_instance.h"

namespace locant {
namespace rope_encoding {
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
}  // namespace rope_encoding

const Encoding kRope = {
    .name = "rope",
    .title = "q and k turned by angles that grow with the position",
    .place = EncodingPlace::query_key,
    .paper = "Su et al. 2021, RoFormer, section 3.2",
    .models = "RoFormer, GPT-J, GPT-NeoX, LLaMA, wav2vec2 Conformer",
    .formula = "s = (R_i q_i).(R_j k_j) / sqrt(D)",
    .lowering = "q and k are turned beforehand",
    .parameters = "0",
    .multiply_adds = "4 N C",
    .memory = "2 N C + N D",
    .prefix = true,
    .variants = {"neighbours", "halves", "partial", "memory"},
    .cases = rope_encoding::cases,
    .instance = rope_encoding::instance,
    .picture = rope_encoding::picture,
};

}  // namespace locant

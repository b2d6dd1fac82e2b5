#include "position/kerple.h"

#include <algorithm>

#include "position/catalogue/all.h"
#include "position/catalogue/score_instance.h"

namespace locant {
namespace kerple_encoding {
namespace {

Kerple form_of(const EncodingCase& c) {
  if (c.variant == "causal") return {.causal = true};
  if (c.variant == "power") return {.form = KerpleForm::power, .causal = false};
  if (c.variant == "power_causal") return {.form = KerpleForm::power, .causal = true};
  return {.causal = false};
}

std::int64_t past_of(const EncodingCase& c) {
  return form_of(c).causal ? std::max<std::int64_t>(c.Nk() - c.Nq(), 0) : 0;
}

EncodingInstance instance(const EncodingCase& c) {
  Kerple kerple = form_of(c);
  kerple.p = random_parameter({c.H, 1, 1}, c.seed, 0.8f, 1.0f);
  kerple.a = random_parameter({c.H, 1, 1}, c.seed + 1, 0.4f, 0.5f);
  const std::int64_t past = past_of(c);
  return score_instance(
      c, {{Kerple::kP, kerple.p}, {Kerple::kA, kerple.a}},
      [c, kerple, past](const Context& ctx, AttentionOptions& options) {
        add_kerple(ctx, kerple, c.Nq(), c.Nk(), past, options);
      },
      [form = kerple.form, past](const PlainCall& call, auto b, auto h, auto i, auto j) {
        return kerple_score(call.score(b, h, i, j), form, call.x[3][static_cast<std::size_t>(h)],
                            call.x[4][static_cast<std::size_t>(h)], i + past, j);
      },
      [causal = kerple.causal, past](auto i, auto j) { return !causal || j <= i + past; });
}

std::vector<EncodingCase> cases() {
  std::vector<EncodingCase> out = sequence_cases({{1, 1},
                                                  {2, 2},
                                                  {9, 9},
                                                  {7, 11},
                                                  {8, 8, "causal"},
                                                  {3, 8, "causal"},
                                                  {2, 2, "power"},
                                                  {9, 7, "power"},
                                                  {8, 8, "power_causal"}});
  out.push_back({.H = 3, .D = 1, .Dv = 3, .query = {1, 1, 6}, .key = {1, 1, 5}, .variant = "power"});
  return out;
}

std::vector<std::int64_t> index(const EncodingCase& c) {
  const bool causal = form_of(c).causal;
  return index_matrix(c, [&](auto i, auto j) -> std::int64_t {
    const std::int64_t distance = i + past_of(c) - j;
    return causal && distance < 0 ? -1 : std::abs(distance);
  });
}

}  // namespace
}  // namespace kerple_encoding

const Encoding kKerple = {
    .name = "kerple",
    .title = "a learned logarithmic or power law of the distance for each head",
    .place = EncodingPlace::score,
    .paper = "Chi et al. 2022, KERPLE",
    .models = "KERPLE (GPT-NeoX)",
    .formula = "s = q.k / sqrt(D) - p_h ln(1 + a_h |i - j|), or - a_h |i - j|^p_h",
    .lowering = "gather term of distances",
    .parameters = "2 H",
    .multiply_adds = "H N",
    .memory = "H N",
    .variants = {"causal", "power", "power_causal"},
    .cases = kerple_encoding::cases,
    .instance = kerple_encoding::instance,
    .index = kerple_encoding::index,
};

}  // namespace locant

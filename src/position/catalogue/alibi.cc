#include "position/alibi.h"

#include <algorithm>

#include "position/catalogue/all.h"
#include "position/catalogue/score_instance.h"

namespace locant {
namespace alibi_encoding {
namespace {

bool causal(const EncodingCase& c) { return c.variant == "causal"; }

std::int64_t past_of(const EncodingCase& c) {
  return causal(c) ? std::max<std::int64_t>(c.Nk() - c.Nq(), 0) : 0;
}

EncodingInstance instance(const EncodingCase& c) {
  const bool masked = causal(c), learned = c.variant == "learned";
  const std::int64_t past = past_of(c);
  const Alibi alibi{learned ? random_parameter({c.H}, c.seed, 0.3f, 0.4f) : Var(alibi_slopes(c.H)), masked};
  return score_instance(
      c, learned ? Parameters{{Alibi::kSlopes, alibi.slopes}} : Parameters{},
      [c, alibi, past](const Context& ctx, AttentionOptions& options) {
        add_alibi(ctx, alibi, c.Nq(), c.Nk(), past, options);
      },
      [past, learned](const PlainCall& call, auto b, auto h, auto i, auto j) {
        const Complex slope =
            learned ? call.x[3][static_cast<std::size_t>(h)] : Complex(alibi_slope(h, call.c.H));
        return alibi_score(call.score(b, h, i, j), slope, i + past, j);
      },
      [masked, past](auto i, auto j) { return !masked || j <= i + past; });
}

std::vector<EncodingCase> cases() {
  std::vector<EncodingCase> out = sequence_cases({{1, 1},
                                                  {2, 2},
                                                  {9, 9},
                                                  {7, 11},
                                                  {8, 8, "causal"},
                                                  {3, 8, "causal"},
                                                  {9, 9, "learned"},
                                                  {10, 6, "learned"}});
  out[2].H = 3, out[4].H = 4;
  out.push_back({.H = 3, .D = 1, .Dv = 3, .query = {1, 1, 6}, .key = {1, 1, 5}});
  return out;
}

std::vector<std::int64_t> index(const EncodingCase& c) {
  return index_matrix(c, [&](auto i, auto j) -> std::int64_t {
    const std::int64_t distance = i + past_of(c) - j;
    return causal(c) && distance < 0 ? -1 : std::abs(distance);
  });
}

}  // namespace
}  // namespace alibi_encoding

const Encoding kAlibi = {
    .name = "alibi",
    .title = "a penalty that grows with the distance, each head with its own slope",
    .place = EncodingPlace::score,
    .paper = "Press et al. 2022, Train Short, Test Long, section 3",
    .models = "BLOOM, MPT",
    .formula = "s = q.k / sqrt(D) - m_h |i - j|, m_h = 2^(-8(h + 1) / H)",
    .lowering = "gather term of distances",
    .parameters = "0",
    .multiply_adds = "H N",
    .memory = "H N",
    .variants = {"causal", "learned"},
    .cases = alibi_encoding::cases,
    .instance = alibi_encoding::instance,
    .index = alibi_encoding::index,
};

}  // namespace locant

#include "position/alibi.h"

#include "core/error.h"
#include "ops/arithmetic.h"
#include "position/score_instance.h"
#include "position/sequence.h"

namespace locant {
namespace {
constexpr const char* kName = "alibi";
}

Tensor alibi_slopes(std::int64_t heads) {
  require(heads >= 1 && heads <= (1 << 20), kName, "{} heads; 1 or more were expected", heads);
  Tensor out({heads});
  for (std::int64_t h = 0; h < heads; ++h) out[h] = static_cast<float>(alibi_slope(h, heads));
  return out;
}

void add_alibi(const Context& ctx, const Alibi& alibi, std::int64_t Nq, std::int64_t Nk, std::int64_t past,
               AttentionOptions& options) {
  check_sequence(kName, Nq, Nk, past);
  check_table(kName, Alibi::kSlopes, alibi.slopes, {options.heads});
  Tensor distances({std::max(Nq + past, Nk), 1});  // no pair is further apart
  for (std::int64_t n = 0; n < distances.numel(); ++n) distances[n] = -static_cast<float>(n);
  options.terms.push_back(
      gather_term(multiply(ctx, Var(distances), alibi.slopes),
                  sequence_gather(kName, Nq, Nk, past, [](auto distance) { return std::abs(distance); })));
  if (!alibi.causal) return;
  options.visibility.causal = true;
  options.visibility.causal_offset = past;
}

namespace {

bool causal(const EncodingCase& c) {
  check_no_prefix(kName, c);
  require(c.variant.empty() || c.variant == "causal" || c.variant == "learned", kName,
          "unknown variant \"{}\"; there are causal, learned", c.variant);
  return c.variant == "causal";
}

std::int64_t past_of(const EncodingCase& c) {
  return causal(c) ? std::max<std::int64_t>(c.Nk() - c.Nq(), 0) : 0;
}

EncodingInstance instance(const EncodingCase& c) {
  const bool masked = causal(c), learned = c.variant == "learned";
  const std::int64_t past = past_of(c);
  const Alibi alibi{learned ? random_parameter({c.H}, c.seed, 0.3f, 0.4f) : Var(alibi_slopes(c.H)), masked};
  using Parameters = std::vector<std::pair<std::string, Var>>;
  return score_instance(
      c, learned ? Parameters{{Alibi::kSlopes, alibi.slopes}} : Parameters{},
      [c, alibi, past](const Context& ctx, AttentionOptions& options) {
        add_alibi(ctx, alibi, c.Nq(), c.Nk(), past, options);
      },
      [past, learned](const auto& call, const auto& x, auto b, auto h, auto i, auto j) {
        using T = std::complex<double>;
        const T slope = learned ? x[3][static_cast<std::size_t>(h)] : T(alibi_slope(h, call.c.H));
        return alibi_score(call.dot(b, h, i, j) / std::sqrt(static_cast<double>(call.c.D)), slope, i + past,
                           j);
      },
      [masked, past](auto i, auto j) { return !masked || j <= i + past; });
}

std::vector<EncodingCase> cases() {
  std::vector<EncodingCase> out;
  const auto add = [&](std::int64_t H, std::int64_t Nq, std::int64_t Nk, const char* variant) {
    out.push_back(sequence_case(Nq, Nk, variant));
    out.back().H = H;
  };
  add(2, 1, 1, ""), add(2, 2, 2, ""), add(3, 9, 9, ""), add(2, 7, 11, ""), add(4, 8, 8, "causal");
  add(2, 3, 8, "causal"), add(2, 9, 9, "learned"), add(2, 10, 6, "learned");
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

const Encoding kAlibi = {
    .name = kName,
    .header = "position/alibi.h",
    .title = "a penalty that grows with the distance, each head with its own slope",
    .place = EncodingPlace::score,
    .paper = "Press et al. 2022, Train Short, Test Long, section 3",
    .models = "BLOOM, MPT",
    .formula = "s = q.k / sqrt(D) - m_h |i - j|, m_h = 2^(-8(h + 1) / H)",
    .lowering = "gather term of distances",
    .parameters = "0",
    .multiply_adds = "H N",
    .memory = "H N",
    .cases = cases,
    .make = instance,
    .index = index,
};

}  // namespace locant

#include "position/kerple.h"

#include <algorithm>

#include "core/error.h"
#include "position/score_instance.h"
#include "position/sequence.h"

namespace locant {
namespace {

constexpr const char* kName = "kerple";

/// p and a of a head within their bounds, in double.
struct Scalars {
  double p, a;
};

Scalars scalars_of(const Kerple& kerple, const Tensor& p, const Tensor& a, std::int64_t h) {
  const float most = kerple.form == KerpleForm::power ? Kerple::kMostPower : HUGE_VALF;
  return {std::clamp(p[h], Kerple::kLeast, most), std::max(a[h], Kerple::kLeast)};
}

/// The number of a distance and its derivatives by p and a.
struct Entry {
  double value, by_p, by_a;
};

Entry entry(KerpleForm form, Scalars s, double distance) {
  if (form == KerpleForm::logarithmic) {
    const double log = std::log1p(s.a * distance);
    return {-s.p * log, -log, -s.p * distance / (1 + s.a * distance)};
  }
  if (distance == 0) return {0, 0, 0};
  const double power = std::pow(distance, s.p);
  return {-s.a * power, -s.a * power * std::log(distance), -power};
}

}  // namespace

Var kerple_table(const Context& ctx, const Kerple& kerple, std::int64_t heads, std::int64_t count) {
  check_table(kName, Kerple::kP, kerple.p, {heads, 1, 1});
  check_table(kName, Kerple::kA, kerple.a, {heads, 1, 1});
  require(count >= 1, kName, "{} distances; 1 or more were expected", count);
  const Tensor p = kerple.p.value(), a = kerple.a.value();
  Tensor table({count, heads});
  for (std::int64_t h = 0; h < heads; ++h) {
    const Scalars s = scalars_of(kerple, p, a, h);
    for (std::int64_t n = 0; n < count; ++n)
      table[n * heads + h] = static_cast<float>(entry(kerple.form, s, static_cast<double>(n)).value);
  }
  return ctx.record({kerple.p, kerple.a}, table, [kerple, p, a, heads, count](const Tensor& dtable) {
    Tensor dp({heads, 1, 1}), da({heads, 1, 1});
    for (std::int64_t h = 0; h < heads; ++h) {
      const Scalars s = scalars_of(kerple, p, a, h);
      double sum_p = 0, sum_a = 0;
      for (std::int64_t n = 0; n < count; ++n) {
        const Entry e = entry(kerple.form, s, static_cast<double>(n));
        const double d = dtable[n * heads + h];
        sum_p += d * e.by_p, sum_a += d * e.by_a;
      }
      dp[h] = static_cast<float>(sum_p), da[h] = static_cast<float>(sum_a);
    }
    kerple.p.accumulate(dp);
    kerple.a.accumulate(da);
  });
}

void add_kerple(const Context& ctx, const Kerple& kerple, std::int64_t Nq, std::int64_t Nk, std::int64_t past,
                AttentionOptions& options) {
  check_sequence(kName, Nq, Nk, past);
  options.terms.push_back(
      gather_term(kerple_table(ctx, kerple, options.heads, std::max(Nq + past, Nk)),
                  sequence_gather(kName, Nq, Nk, past, [](auto distance) { return std::abs(distance); })));
  if (!kerple.causal) return;
  options.visibility.causal = true;
  options.visibility.causal_offset = past;
}

namespace {

Kerple form_of(const EncodingCase& c) {
  check_no_prefix(kName, c);
  if (c.variant.empty()) return {.causal = false};
  if (c.variant == "causal") return {.causal = true};
  if (c.variant == "power") return {.form = KerpleForm::power, .causal = false};
  if (c.variant == "power_causal") return {.form = KerpleForm::power, .causal = true};
  fail(kName, "unknown variant \"{}\"; there are causal, power, power_causal", c.variant);
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
      [form = kerple.form, past](const auto& call, const auto& x, auto b, auto h, auto i, auto j) {
        return kerple_score(call.dot(b, h, i, j) / std::sqrt(static_cast<double>(call.c.D)), form,
                            x[3][static_cast<std::size_t>(h)], x[4][static_cast<std::size_t>(h)], i + past,
                            j);
      },
      [causal = kerple.causal, past](auto i, auto j) { return !causal || j <= i + past; });
}

std::vector<EncodingCase> cases() {
  std::vector<EncodingCase> out;
  const auto add = [&](std::int64_t Nq, std::int64_t Nk, const char* variant) {
    out.push_back(sequence_case(Nq, Nk, variant));
  };
  add(1, 1, ""), add(2, 2, ""), add(9, 9, ""), add(7, 11, ""), add(8, 8, "causal"), add(3, 8, "causal");
  add(2, 2, "power"), add(9, 7, "power"), add(8, 8, "power_causal");
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

const Encoding kKerple = {
    .name = kName,
    .header = "position/kerple.h",
    .title = "a learned logarithmic or power law of the distance for each head",
    .place = EncodingPlace::score,
    .paper = "Chi et al. 2022, KERPLE",
    .models = "KERPLE (GPT-NeoX)",
    .formula = "s = q.k / sqrt(D) - p_h ln(1 + a_h |i - j|), or - a_h |i - j|^p_h",
    .lowering = "gather term of distances",
    .parameters = "2 H",
    .multiply_adds = "H N",
    .memory = "H N",
    .cases = cases,
    .make = instance,
    .index = index,
};

}  // namespace locant

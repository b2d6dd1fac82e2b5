#include "position/kerple.h"

#include <algorithm>

#include "core/error.h"
#include "position/shared/sequence.h"

namespace locant {
namespace {

constexpr const char* kKerpleName = "kerple";

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
  check_table(kKerpleName, Kerple::kP, kerple.p, {heads, 1, 1});
  check_table(kKerpleName, Kerple::kA, kerple.a, {heads, 1, 1});
  check_finite(kKerpleName, Kerple::kP, kerple.p);
  check_finite(kKerpleName, Kerple::kA, kerple.a);
  require(count >= 1, kKerpleName, "{} distances; 1 or more were expected", count);
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
  check_sequence(kKerpleName, Nq, Nk, past);
  options.terms.push_back(gather_term(
      kerple_table(ctx, kerple, options.heads, std::max(Nq + past, Nk)),
      sequence_gather(kKerpleName, Nq, Nk, past, [](auto distance) { return std::abs(distance); })));
  if (!kerple.causal) return;
  options.visibility.causal = true;
  options.visibility.causal_offset = past;
}

}  // namespace locant

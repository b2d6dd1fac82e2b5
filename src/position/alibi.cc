#include "position/alibi.h"

#include <algorithm>

#include "core/error.h"
#include "ops/arithmetic.h"
#include "position/shared/sequence.h"

namespace locant {
namespace {
constexpr const char* kAlibiName = "alibi";
}

Tensor alibi_slopes(std::int64_t heads) {
  require(heads >= 1 && heads <= (1 << 20), kAlibiName, "{} heads; 1 or more were expected", heads);
  Tensor out({heads});
  for (std::int64_t h = 0; h < heads; ++h) out[h] = static_cast<float>(alibi_slope(h, heads));
  return out;
}

void add_alibi(const Context& ctx, const Alibi& alibi, std::int64_t Nq, std::int64_t Nk, std::int64_t past,
               AttentionOptions& options) {
  check_sequence(kAlibiName, Nq, Nk, past);
  check_table(kAlibiName, Alibi::kSlopes, alibi.slopes, {options.heads});
  Tensor distances({std::max(Nq + past, Nk), 1});  // no pair is further apart
  for (std::int64_t n = 0; n < distances.numel(); ++n) distances[n] = -static_cast<float>(n);
  options.terms.push_back(gather_term(
      multiply(ctx, Var(distances), alibi.slopes),
      sequence_gather(kAlibiName, Nq, Nk, past, [](auto distance) { return std::abs(distance); })));
  if (!alibi.causal) return;
  options.visibility.causal = true;
  options.visibility.causal_offset = past;
}

}  // namespace locant

#include "position/conformer.h"

#include <vector>

#include "core/error.h"
#include "position/shared/sequence.h"
#include "position/sinusoidal_1d.h"

namespace locant {

namespace {
constexpr const char* kConformerName = "conformer";
}

Tensor conformer_sinusoids(std::int64_t Nk, std::int64_t width) {
  check_sequence(kConformerName, Nk, Nk, 0);
  require(width >= 2 && width % 2 == 0, kConformerName,
          "sinusoids of width {}; pairs of sine and cosine need it even", width);
  std::vector<double> positions;
  for (std::int64_t distance = Nk - 1; distance > -Nk; --distance)
    positions.push_back(static_cast<double>(distance));
  return sinusoidal_1d(SinusoidLayout::interleaved, positions, width).reshaped({conformer_rows(Nk), width});
}

std::shared_ptr<const OffsetMap> conformer_gather(std::int64_t Nq, std::int64_t Nk) {
  check_last_queries(kConformerName, Nq, Nk);
  return sequence_gather(kConformerName, Nq, Nk, Nk - Nq,
                         [&](std::int64_t distance) { return conformer_row(Nk, distance); });
}

Var add_conformer(const Context& ctx, const Var& u, const Var& v, const Var& rows, const Var& q,
                  std::int64_t Nk, AttentionOptions& options) {
  const std::int64_t H = options.heads;
  const std::int64_t D = head_width(kConformerName, q, H);
  check_table(kConformerName, ConformerPosition::kU, u, {H, D});
  check_table(kConformerName, ConformerPosition::kV, v, {H, D});
  check_table(kConformerName, "the projected table", rows, {conformer_rows(Nk), H, D});
  return add_transformer_xl(ctx, {.u = u, .v = v, .rows = rows}, q, conformer_gather(q.dim(1), Nk), options);
}

}  // namespace locant

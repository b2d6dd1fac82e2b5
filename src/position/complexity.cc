#include "position/complexity.h"

#include <limits>

#include "core/error.h"

namespace locant {

std::int64_t complexity(AttentionKind kind, const LayerShape& s) {
  require(s.rows >= 1 && s.columns >= 1 && s.C >= 1 && s.H >= 1 && s.M >= 1 && s.R >= 1 && s.C % s.H == 0,
          "complexity",
          "a grid of {} x {}, width {}, heads {}, window {}, reduction {}; all must be at least 1, and "
          "heads divide the width",
          s.rows, s.columns, s.C, s.H, s.M, s.R);
  using Wide = unsigned __int128;
  constexpr std::int64_t kMostSide = 1 << 24;  // products below then fit 128 bits
  require(
      s.rows < kMostSide && s.columns < kMostSide && s.C < kMostSide && s.M < kMostSide && s.R < kMostSide,
      "complexity", "sides and widths of {} and more are not counted", kMostSide);
  const auto wide = [](std::int64_t x) { return static_cast<Wide>(x); };
  const auto whole = [&](std::int64_t side) { return (side + s.M - 1) / s.M * s.M; };
  const Wide N = wide(s.rows) * wide(s.columns), C = wide(s.C), M = wide(s.M);
  const Wide projections = 4 * N * C * C;
  Wide sum = 0;
  switch (kind) {
    case AttentionKind::global:
      sum = projections + 2 * N * N * C;
      break;
    case AttentionKind::window:
      sum = projections + 2 * M * M * wide(whole(s.rows)) * wide(whole(s.columns)) * C;
      break;
    case AttentionKind::local:
      sum = projections + 2 * M * M * N * C;
      break;
    case AttentionKind::spatial_reduction: {
      const Wide keys = wide(s.rows / s.R) * wide(s.columns / s.R);
      const Wide reduction = s.R > 1 ? keys * wide(s.R) * wide(s.R) * C * C : 0;
      sum = 2 * N * C * C + 2 * keys * C * C + reduction + 2 * N * keys * C;
      break;
    }
    case AttentionKind::axial:
      sum = projections + 2 * N * wide(s.rows + s.columns) * C;
      break;
    case AttentionKind::linear:
      sum = projections + 2 * N * C * wide(s.C / s.H);
      break;
  }
  require(sum <= static_cast<Wide>(std::numeric_limits<std::int64_t>::max()), "complexity",
          "more than 2^63 multiply-adds for a grid of {} x {} and width {}", s.rows, s.columns, s.C);
  return static_cast<std::int64_t>(sum);
}

}  // namespace locant

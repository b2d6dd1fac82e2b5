#include "position/rope_2d.h"

#include <cmath>
#include <numbers>

#include "core/error.h"
#include "core/rng.h"
#include "ops/layout.h"
#include "ops/product.h"
#include "position/rope.h"
#include "position/shared/sequence.h"

namespace locant {

namespace {
constexpr const char* kRope2dName = "rope_2d";
}

double rope_2d_angle(const Rope2d& rope, std::int64_t rows, std::int64_t columns, std::int64_t D,
                     std::int64_t y, std::int64_t x, std::int64_t p) {
  const std::int64_t quarter = D / 4;
  const bool x_first = rope.kind == Rope2dKind::rope_vit || rope.kind == Rope2dKind::sam2;
  const bool along_x = (p < quarter) == x_first;
  const bool wide = rope.kind == Rope2dKind::sam2 || rope.kind == Rope2dKind::eva02;
  const double theta = wide ? 10000.0 : 100.0;
  const std::int64_t side = along_x ? columns : rows;
  auto coordinate = static_cast<double>(along_x ? x : y);
  if (rope.kind == Rope2dKind::eva02 && rope.reference_rows > 0)
    coordinate *= static_cast<double>(along_x ? rope.reference_columns : rope.reference_rows) /
                  static_cast<double>(side);
  if (rope.kind == Rope2dKind::dinov3)
    coordinate = 2.0 * std::numbers::pi * (2.0 * (coordinate + 0.5) / static_cast<double>(side) - 1.0);
  return coordinate * rope_frequency(p % quarter, D / 2, theta);
}

RotaryTable rope_2d_table(const Rope2d& rope, std::int64_t rows, std::int64_t columns, std::int64_t D) {
  require(rows >= 1 && columns >= 1 && D >= 4 && D % 4 == 0, kRope2dName,
          "a grid of {} x {} and heads of width {}; the width must be a multiple of 4", rows, columns, D);
  require((rope.reference_rows > 0 && rope.reference_columns > 0) ||
              (rope.reference_rows == 0 && rope.reference_columns == 0),
          kRope2dName, "a grid of pre-training of {} x {}; both sides are positive, or 0 for none",
          rope.reference_rows, rope.reference_columns);
  Tensor angles({rows, columns, D / 2});  // refuses a grid whose product overflows
  for (std::int64_t n = 0; n < rows * columns; ++n)
    for (std::int64_t p = 0; p < D / 2; ++p)
      angles[n * (D / 2) + p] =
          static_cast<float>(rope_2d_angle(rope, rows, columns, D, n / columns, n % columns, p));
  return rotary_table(Var(angles.reshaped({rows * columns, D / 2})));
}

RotaryTable rope_mixed_table(const Context& ctx, const Var& freqs, std::int64_t rows, std::int64_t columns,
                             std::int64_t heads) {
  const Shape& shape = freqs.shape();
  if (shape.rank() != 2 || shape[0] != 2 || heads < 1 || shape[1] % heads != 0 || rows < 1 || columns < 1)
    fail(kRope2dName, "freqs of shape {} for {} heads on a grid of {} x {}; (2, H D / 2) was expected",
         shape.str(), heads, rows, columns);
  check_table(kRope2dName, "freqs", freqs, shape);
  Tensor coordinates = Tensor({rows, columns, 2}).reshaped({rows * columns, 2});
  for (std::int64_t n = 0; n < rows * columns; ++n) {
    coordinates[2 * n] = static_cast<float>(n % columns);
    coordinates[2 * n + 1] = static_cast<float>(n / columns);
  }
  const Var angles = product(ctx, Var(std::move(coordinates)), freqs);
  return rotary_table(reshape(ctx, angles, {rows * columns, heads, shape[1] / heads}));
}

Tensor rope_mixed_init(std::int64_t heads, std::int64_t D, std::uint64_t seed) {
  require(heads >= 1 && D >= 4 && D % 4 == 0, kRope2dName,
          "{} heads of width {}; a multiple of 4 was expected", heads, D);
  constexpr double kTheta = 10.0;
  const std::int64_t quarter = D / 4, width = heads * D / 2;
  Tensor freqs({2, width});
  Rng rng(seed);
  for (std::int64_t h = 0; h < heads; ++h) {
    const double direction = 2.0 * std::numbers::pi * static_cast<double>(rng.uniform());
    for (std::int64_t p = 0; p < D / 2; ++p) {
      const double size = rope_frequency(p % quarter, D / 2, kTheta);
      const double turn = direction + (p < quarter ? 0.0 : std::numbers::pi / 2);
      freqs[h * D / 2 + p] = static_cast<float>(size * std::cos(turn));
      freqs[width + h * D / 2 + p] = static_cast<float>(size * std::sin(turn));
    }
  }
  return freqs;
}

}  // namespace locant

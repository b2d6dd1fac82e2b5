#include "position/rope_2d.h"

#include <cmath>

#include "core/error.h"
#include "core/rng.h"
#include "ops/layout.h"
#include "ops/product.h"
#include "position/rotary_instance.h"
#include "position/sequence.h"

namespace locant {

namespace {
constexpr const char* kName = "rope_2d";
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
  require(rows >= 1 && columns >= 1 && D >= 4 && D % 4 == 0, kName,
          "a grid of {} x {} and heads of width {}; the width must be a multiple of 4", rows, columns, D);
  require((rope.reference_rows > 0 && rope.reference_columns > 0) ||
              (rope.reference_rows == 0 && rope.reference_columns == 0),
          kName, "a grid of pre-training of {} x {}; both sides are positive, or 0 for none",
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
    fail(kName, "freqs of shape {} for {} heads on a grid of {} x {}; (2, H D / 2) was expected", shape.str(),
         heads, rows, columns);
  check_table(kName, "freqs", freqs, shape);
  Tensor coordinates = Tensor({rows, columns, 2}).reshaped({rows * columns, 2});
  for (std::int64_t n = 0; n < rows * columns; ++n) {
    coordinates[2 * n] = static_cast<float>(n % columns);
    coordinates[2 * n + 1] = static_cast<float>(n / columns);
  }
  const Var angles = product(ctx, Var(std::move(coordinates)), freqs);
  return rotary_table(reshape(ctx, angles, {rows * columns, heads, shape[1] / heads}));
}

Tensor rope_mixed_init(std::int64_t heads, std::int64_t D, std::uint64_t seed) {
  require(heads >= 1 && D >= 4 && D % 4 == 0, kName, "{} heads of width {}; a multiple of 4 was expected",
          heads, D);
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

namespace {

Rope2d rope_of(const EncodingCase& c) {
  if (c.variant.empty() || c.variant == "rope_vit") return {};
  if (c.variant == "sam2") return {.kind = Rope2dKind::sam2};
  if (c.variant == "eva02") return {.kind = Rope2dKind::eva02, .reference_rows = 4, .reference_columns = 5};
  if (c.variant == "dinov3") return {.kind = Rope2dKind::dinov3};
  fail(kName, "no variant \"{}\"; there are rope_vit, sam2, eva02, dinov3, mixed", c.variant);
}

EncodingInstance mixed_instance(const EncodingCase& c) {
  const Var freqs(rope_mixed_init(c.H, c.D, c.seed), true);
  const auto grid = [c](Side side) { return side == Side::query ? c.query : c.key; };
  return rotary_instance(
      c, {{"freqs", freqs}}, c.D, Pairing::neighbours,
      [=](const Context& ctx, Side side) {
        return rope_mixed_table(ctx, freqs, grid(side).rows, grid(side).columns, c.H);
      },
      [=](const std::vector<Complexes>& x, Side side, std::int64_t h, std::int64_t n, std::int64_t p) {
        const auto at = static_cast<std::size_t>(h * c.D / 2 + p),
                   width = static_cast<std::size_t>(c.H * c.D / 2);
        return x[3][at] * static_cast<double>(n % grid(side).columns) +
               x[3][width + at] * static_cast<double>(n / grid(side).columns);
      });
}

EncodingInstance instance(const EncodingCase& c) {
  require(c.query.frames == 1 && c.key.frames == 1, kName, "{} and {} frames; there is one grid",
          c.query.frames, c.key.frames);
  if (c.variant == "mixed") return mixed_instance(c);
  const Rope2d rope = rope_of(c);
  const RotaryTable query = rope_2d_table(rope, c.query.rows, c.query.columns, c.D);
  const RotaryTable key = rope_2d_table(rope, c.key.rows, c.key.columns, c.D);
  return rotary_instance(
      c, {}, c.D, rope.pairing(),
      [query, key](const Context&, Side side) { return side == Side::query ? query : key; },
      [c, rope](const auto&, Side side, auto, std::int64_t n, std::int64_t p) {
        const Grid& grid = side == Side::query ? c.query : c.key;
        return rope_2d_angle(rope, grid.rows, grid.columns, c.D, n / grid.columns, n % grid.columns, p);
      });
}

std::vector<EncodingCase> cases() {
  const auto grid = [](std::int64_t h, std::int64_t w) { return Grid{1, h, w}; };
  return {
      {.query = grid(1, 1), .key = grid(1, 1)},
      {.B = 2, .D = 8, .query = grid(3, 5), .key = grid(3, 5)},
      {.D = 8, .query = grid(2, 3), .key = grid(4, 3), .variant = "sam2"},
      {.D = 8, .Dv = 3, .query = grid(3, 4), .key = grid(3, 4), .prefix = 1, .variant = "eva02"},
      {.D = 8, .query = grid(4, 3), .key = grid(4, 3), .prefix = 2, .variant = "dinov3"},
      {.B = 2, .D = 8, .query = grid(3, 4), .key = grid(3, 4), .prefix = 1, .variant = "mixed"},
  };
}

// Scores of the first head where all queries and keys are ones.
Tensor picture(const EncodingCase& c) {
  const auto scores = [&](Pairing pairing, const auto& table) {
    return rotary_scores(c, table(c.query), table(c.key), pairing);
  };
  if (c.variant == "mixed") {
    const Var freqs(rope_mixed_init(c.H, c.D, c.seed));
    return scores(Pairing::neighbours,
                  [&](const Grid& g) { return rope_mixed_table({}, freqs, g.rows, g.columns, c.H); });
  }
  const Rope2d rope = rope_of(c);
  return scores(rope.pairing(), [&](const Grid& g) { return rope_2d_table(rope, g.rows, g.columns, c.D); });
}

}  // namespace

const Encoding kRope2d = {
    .name = kName,
    .header = "position/rope_2d.h",
    .title = "q and k turned by the coordinates of a grid, fixed or learned",
    .place = EncodingPlace::query_key,
    .paper = "Heo et al. 2024, Rotary Position Embedding for Vision Transformer, equations 7 and 8",
    .models = "rope-vit, EVA-02, SAM 2, DINOv3",
    .formula = "s = (R_yx q_i).(R_yx k_j) / sqrt(D), angles x f_j and y f_j, or fx x + fy y",
    .lowering = "q and k are turned beforehand",
    .parameters = "0; mixed: C",
    .multiply_adds = "4 N C; mixed: 5 N C",
    .memory = "2 N C + N D; mixed: 3.5 N C",
    .cases = cases,
    .make = instance,
    .picture = picture,
};

}  // namespace locant

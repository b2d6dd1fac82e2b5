#include "position/rope_2d.h"

#include <cmath>

#include "core/error.h"
#include "core/rng.h"
#include "ops/layout.h"
#include "ops/product.h"

namespace locant {

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
  return coordinate * std::pow(theta, -4.0 * static_cast<double>(p % quarter) / static_cast<double>(D));
}

RotaryTable rope_2d_table(const Rope2d& rope, std::int64_t rows, std::int64_t columns, std::int64_t D) {
  require(rows >= 1 && columns >= 1 && D >= 4 && D % 4 == 0, "rope_2d",
          "a grid of {} x {} and heads of width {}; the width must be a multiple of 4", rows, columns, D);
  Tensor angles({rows * columns, D / 2});
  for (std::int64_t n = 0; n < rows * columns; ++n)
    for (std::int64_t p = 0; p < D / 2; ++p)
      angles[n * (D / 2) + p] =
          static_cast<float>(rope_2d_angle(rope, rows, columns, D, n / columns, n % columns, p));
  return rotary_table(Var(std::move(angles)));
}

RotaryTable rope_mixed_table(const Context& ctx, const Var& freqs, std::int64_t rows, std::int64_t columns,
                             std::int64_t heads) {
  const Shape& shape = freqs.shape();
  if (shape.rank() != 2 || shape[0] != 2 || heads < 1 || shape[1] % heads != 0 || rows < 1 || columns < 1)
    fail("rope_2d", "freqs of shape {} for {} heads on a grid of {} x {}; (2, H D / 2) was expected",
         shape.str(), heads, rows, columns);
  Tensor coordinates({rows * columns, 2});
  for (std::int64_t n = 0; n < rows * columns; ++n) {
    coordinates[2 * n] = static_cast<float>(n % columns);
    coordinates[2 * n + 1] = static_cast<float>(n / columns);
  }
  const Var angles = product(ctx, Var(std::move(coordinates)), freqs);
  return rotary_table(reshape(ctx, angles, {rows * columns, heads, shape[1] / heads}));
}

Tensor rope_mixed_init(std::int64_t heads, std::int64_t D, std::uint64_t seed) {
  require(heads >= 1 && D >= 4 && D % 4 == 0, "rope_2d", "{} heads of width {}; a multiple of 4 was expected",
          heads, D);
  constexpr double kTheta = 10.0;
  const std::int64_t quarter = D / 4, width = heads * D / 2;
  Tensor freqs({2, width});
  Rng rng(seed);
  for (std::int64_t h = 0; h < heads; ++h) {
    const double direction = 2.0 * std::numbers::pi * static_cast<double>(rng.uniform());
    for (std::int64_t p = 0; p < D / 2; ++p) {
      const double size = std::pow(kTheta, -4.0 * static_cast<double>(p % quarter) / static_cast<double>(D));
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
  fail("rope_2d", "no variant \"{}\"; there are rope_vit, sam2, eva02, dinov3, mixed", c.variant);
}

// Channel d of q or k (D) at token n, its pairs turned by angle(p).
template <class T, class Angle>
T turned_channel(const T* x, std::int64_t d, std::int64_t D, Pairing pairing, const Angle& angle) {
  const std::int64_t half = D / 2;
  const bool halves = pairing == Pairing::halves, first = halves ? d < half : d % 2 == 0;
  const T a = angle(halves ? d % half : d / 2);
  const T other = x[halves ? (first ? d + half : d - half) : d ^ 1];
  return first ? x[d] * std::cos(a) - other * std::sin(a) : x[d] * std::cos(a) + other * std::sin(a);
}

using T = std::complex<double>;

// The same equation for both kinds; angle(grid, numbers, h, n, p).
template <class Angle>
Complexes plain(const EncodingCase& c, const std::vector<Complexes>& x, Pairing pairing, const Angle& angle) {
  const PlainCall<T> call{c, x[0], x[1], x[2]};
  const auto channel = [&](const T* row, const Grid& grid, std::int64_t h, std::int64_t token,
                           std::int64_t d) {
    if (token < c.prefix) return row[d];
    return turned_channel(row, d, c.D, pairing,
                          [&](std::int64_t p) { return angle(grid, h, token - c.prefix, p); });
  };
  return plain_attention<T>(call, [&](auto b, auto h, auto i, auto j) {
    T sum{};
    for (std::int64_t d = 0; d < c.D; ++d)
      sum += channel(call.query(b, h, i), c.query, h, i, d) * channel(call.key(b, h, j), c.key, h, j, d);
    return sum / std::sqrt(static_cast<double>(c.D));
  });
}

EncodingInstance mixed_instance(const EncodingCase& c) {
  const Var freqs(rope_mixed_init(c.H, c.D, c.seed), true);
  EncodingInstance out;
  out.parameters = {{"freqs", freqs}};
  out.run = [=](const Context& ctx, const Var& q, const Var& k, const Var& v, AttentionPath path) {
    AttentionOptions options;
    options.heads = c.H;
    const auto turn = [&](const Var& x, const Grid& grid) {
      return rotate(ctx, x, c.H, rope_mixed_table(ctx, freqs, grid.rows, grid.columns, c.H),
                    Pairing::neighbours, c.prefix);
    };
    return run_attention(ctx, turn(q, c.query), turn(k, c.key), v, options, path);
  };
  out.reference = [c](const std::vector<Complexes>& x) {
    return plain(c, x, Pairing::neighbours, [&](const Grid& grid, auto h, auto n, auto p) {
      const auto at = static_cast<std::size_t>(h * c.D / 2 + p),
                 width = static_cast<std::size_t>(c.H * c.D / 2);
      return x[3][at] * static_cast<double>(n % grid.columns) +
             x[3][width + at] * static_cast<double>(n / grid.columns);
    });
  };
  return out;
}

EncodingInstance instance(const EncodingCase& c) {
  if (c.variant == "mixed") return mixed_instance(c);
  const Rope2d rope = rope_of(c);
  const RotaryTable query = rope_2d_table(rope, c.query.rows, c.query.columns, c.D);
  const RotaryTable key = rope_2d_table(rope, c.key.rows, c.key.columns, c.D);
  EncodingInstance out;
  out.run = [=](const Context& ctx, const Var& q, const Var& k, const Var& v, AttentionPath path) {
    AttentionOptions options;
    options.heads = c.H;
    return run_attention(ctx, rotate(ctx, q, c.H, query, rope.pairing(), c.prefix),
                         rotate(ctx, k, c.H, key, rope.pairing(), c.prefix), v, options, path);
  };
  out.reference = [c, rope](const std::vector<Complexes>& x) {
    return plain(c, x, rope.pairing(), [&](const Grid& grid, auto, auto n, auto p) {
      return T(rope_2d_angle(rope, grid.rows, grid.columns, c.D, n / grid.columns, n % grid.columns, p));
    });
  };
  return out;
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

}  // namespace

const Encoding kRope2d = {
    .name = "rope_2d",
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
};

}  // namespace locant

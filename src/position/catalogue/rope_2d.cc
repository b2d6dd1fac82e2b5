#include "position/rope_2d.h"

#include "position/catalogue/all.h"
#include "position/catalogue/rotary_instance.h"

namespace locant {
namespace rope_2d_encoding {
namespace {

Rope2d rope_of(const EncodingCase& c) {
  if (c.variant == "sam2") return {.kind = Rope2dKind::sam2};
  if (c.variant == "eva02") return {.kind = Rope2dKind::eva02, .reference_rows = 4, .reference_columns = 5};
  if (c.variant == "dinov3") return {.kind = Rope2dKind::dinov3};
  return {};
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
}  // namespace rope_2d_encoding

const Encoding kRope2d = {
    .name = "rope_2d",
    .title = "q and k turned by the coordinates of a grid, fixed or learned",
    .place = EncodingPlace::query_key,
    .paper = "Heo et al. 2024, Rotary Position Embedding for Vision Transformer, equations 7 and 8",
    .models = "rope-vit, EVA-02, SAM 2, DINOv3",
    .formula = "s = (R_yx q_i).(R_yx k_j) / sqrt(D), angles x f_j and y f_j, or fx x + fy y",
    .lowering = "q and k are turned beforehand",
    .parameters = "0; mixed: C",
    .multiply_adds = "4 N C; mixed: 5 N C",
    .memory = "2 N C + N D; mixed: 3.5 N C",
    .grids = EncodingGrids::flat,
    .prefix = true,
    .variants = {"rope_vit", "sam2", "eva02", "dinov3", "mixed"},
    .cases = rope_2d_encoding::cases,
    .instance = rope_2d_encoding::instance,
    .picture = rope_2d_encoding::picture,
};

}  // namespace locant

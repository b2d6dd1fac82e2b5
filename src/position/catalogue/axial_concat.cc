#include "position/axial_concat.h"

#include <algorithm>

#include "position/catalogue/all.h"
#include "position/catalogue/instance.h"

namespace locant {
namespace axial_concat_encoding {
namespace {

// One that clips on the larger grids.
std::int64_t clip_of(const EncodingCase& c) {
  return std::max<std::int64_t>(1, std::max(c.key.rows, c.key.columns) / 2);
}

EncodingInstance instance(const EncodingCase& c) {
  const bool per_head = c.variant == "per_head";
  const std::int64_t K = clip_of(c), R = 2 * K + 1, half = c.D / 2;
  const Shape shape = per_head ? Shape{c.H, R, half} : Shape{R, half};
  const AxialConcat tables{K, random_parameter(shape, c.seed), random_parameter(shape, c.seed + 1)};
  const AxisIndices indices = axial_concat_indices(K, c.query, c.key);
  const auto lower = [=](const Context& ctx, AttentionCall& call) {
    const float scale = 1.0f / std::sqrt(static_cast<float>(c.D));
    call.options.terms = {axial_concat_term(ctx, tables, call.q, c.H, scale, indices)};
  };
  const auto reference = [=](const PlainCall& call) {
    const auto vector = [&](const Complexes& table, auto h, std::int64_t offset) {
      const auto clipped = std::min(std::max(offset, -K), K);
      return table.data() + ((per_head ? h * R : 0) + clipped + K) * half;
    };
    return plain_attention(call, [&](auto b, auto h, auto i, auto j) {
      const auto off_x = j % c.key.columns - i % c.query.columns;
      const auto off_y = j / c.key.columns - i / c.query.columns;
      return axial_concat_score(call.query(b, h, i), call.key(b, h, j), vector(call.x[3], h, off_x),
                                vector(call.x[4], h, off_y), c.D);
    });
  };
  return attention_instance(c, {{AxialConcat::kColumns, tables.columns}, {AxialConcat::kRows, tables.rows}},
                            lower, reference);
}

std::vector<EncodingCase> cases() {
  const auto of = [](Grid query, Grid key, const char* variant = "") {
    return EncodingCase{.query = query, .key = key, .variant = variant};
  };
  std::vector<EncodingCase> out = {of({1, 1, 1}, {1, 1, 1}), of({1, 2, 2}, {1, 2, 2}),
                                   of({1, 3, 5}, {1, 3, 5}), of({1, 2, 3}, {1, 4, 2}),
                                   of({1, 3, 3}, {1, 3, 3}, "per_head")};
  out.push_back(of({1, 4, 2}, {1, 4, 2}));
  out.back().B = 2, out.back().H = 3, out.back().D = 2, out.back().Dv = 5;
  return out;
}

// The map of the column vectors; that of the row vectors is alike.
std::vector<std::int64_t> index(const EncodingCase& c) {
  return index_matrix(c, [&](std::int64_t i, std::int64_t j) {
    return axial_concat_row(clip_of(c), i % c.query.columns, j % c.key.columns);
  });
}

}  // namespace
}  // namespace axial_concat_encoding

const Encoding kAxialConcat = {
    .name = "axial_concat",
    .title = "clipped column and row offsets, a half of the key's position vector each",
    .place = EncodingPlace::vectors,
    .paper = "Shaw et al. 2018 with the halves of Ramachandran et al. 2019, as surveys combine them",
    .models = "none released",
    .formula = "s = q.(k + concat(px[x_j - x_i], py[y_j - y_i])) / sqrt(D)",
    .lowering = "axis term of q's halves",
    .parameters = "(2K + 1) D",
    .multiply_adds = "H N (h + w) D / 2",
    .memory = "H N (h + w)",
    .growth = MemoryGrowth::axis,
    .grids = EncodingGrids::flat,
    .variants = {"per_head"},
    .cases = axial_concat_encoding::cases,
    .instance = axial_concat_encoding::instance,
    .index = axial_concat_encoding::index,
};

}  // namespace locant

#include "position/beit_bias.h"

#include <algorithm>

#include "position/catalogue/all.h"
#include "position/catalogue/score_instance.h"

namespace locant {
namespace beit_bias_encoding {
namespace {

Window grid_of(const EncodingCase& c) { return {c.query.rows, c.query.columns}; }

EncodingInstance instance(const EncodingCase& c) {
  const Window grid = grid_of(c);
  const BeitBias bias{grid, random_parameter({beit_table_rows(grid), c.H}, c.seed)};
  return score_instance(
      c, {{BeitBias::kTable, bias.table}},
      [c, bias](const Context&, AttentionOptions& options) {
        options.terms = {beit_bias_term(bias, c.H, c.prefix)};
      },
      [c, grid](const PlainCall& call, auto b, auto h, auto i, auto j) {
        return beit_bias_score(call.score(b, h, i, j), call.x[3].data(), c.H, h, grid,
                               std::max<std::int64_t>(i - c.prefix, -1),
                               std::max<std::int64_t>(j - c.prefix, -1));
      });
}

std::vector<EncodingCase> cases() {
  std::vector<EncodingCase> out;
  for (const Grid grid : {Grid{1, 1, 1}, Grid{1, 1, 2}, Grid{1, 2, 2}, Grid{1, 3, 3}, Grid{1, 5, 2}})
    out.push_back({.B = grid.tokens() > 5 ? 1 : 2, .query = grid, .key = grid, .prefix = 1});
  out.push_back({.H = 3, .D = 1, .Dv = 3, .query = {1, 3, 4}, .key = {1, 3, 4}, .prefix = 2});
  out.push_back({.Dv = 3, .query = {1, 2, 3}, .key = {1, 2, 3}});
  return out;
}

std::vector<std::int64_t> index(const EncodingCase& c) {
  const auto token = [&](std::int64_t n) { return std::max<std::int64_t>(n - c.prefix + 1, 0); };
  return index_matrix(c, [&](auto i, auto j) { return beit_index(grid_of(c), token(i), token(j)); });
}

}  // namespace
}  // namespace beit_bias_encoding

const Encoding kBeitBias = {
    .name = "beit_bias",
    .title = "Swin's bias over the whole image, with rows of its own for the class token",
    .place = EncodingPlace::score,
    .paper = "Bao et al. 2022, BEiT",
    .models = "BEiT, BEiT v2, data2vec",
    .formula = "s = q.k / sqrt(D) + T[I(i, j), h]",
    .lowering = "gather term",
    .parameters = "((2h - 1)(2w - 1) + 3) H",
    .multiply_adds = "0",
    .memory = "((2h - 1)(2w - 1) + 3) H",
    .grids = EncodingGrids::one_flat,
    .prefix = true,
    .cases = beit_bias_encoding::cases,
    .instance = beit_bias_encoding::instance,
    .index = beit_bias_encoding::index,
};

}  // namespace locant

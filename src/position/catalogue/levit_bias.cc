#include "position/levit_bias.h"

#include "core/error.h"
#include "position/catalogue/all.h"
#include "position/catalogue/score_instance.h"

namespace locant {
namespace levit_bias_encoding {
namespace {

std::int64_t step_of(const EncodingCase& c) {
  const std::int64_t step = c.variant.empty() ? 1 : 2;
  require(c.query.rows == levit_query_side(c.key.rows, step) &&
              c.query.columns == levit_query_side(c.key.columns, step),
          "levit_bias", "queries on a grid of {}x{} do not stand on every {}-th place of {}x{} keys",
          c.query.rows, c.query.columns, step, c.key.rows, c.key.columns);
  return step;
}

EncodingInstance instance(const EncodingCase& c) {
  const std::int64_t step = step_of(c);
  const Window key{c.key.rows, c.key.columns};
  const LevitBias bias{key, random_parameter({c.H, key.tokens()}, c.seed)};
  return score_instance(
      c, {{LevitBias::kTable, bias.table}},
      [c, bias, step](const Context& ctx, AttentionOptions& options) {
        options.terms = {levit_bias_term(ctx, bias, c.H, step)};
      },
      [c, key, step](const PlainCall& call, auto b, auto h, auto i, auto j) {
        return levit_bias_score(call.score(b, h, i, j), call.x[3].data(), h, key, i / c.query.columns * step,
                                i % c.query.columns * step, j);
      });
}

std::vector<EncodingCase> cases() {
  std::vector<EncodingCase> out;
  for (const Grid grid : {Grid{1, 1, 1}, Grid{1, 2, 1}, Grid{1, 3, 3}, Grid{1, 2, 5}})
    out.push_back({.B = 2, .Dv = 8, .query = grid, .key = grid});
  for (const auto& [query, key] : {std::pair{Grid{1, 2, 2}, Grid{1, 4, 4}},
                                   {Grid{1, 3, 2}, Grid{1, 5, 3}},
                                   {Grid{1, 1, 1}, Grid{1, 1, 2}}})
    out.push_back({.B = 2, .Dv = 7, .query = query, .key = key, .variant = "subsample"});
  out.push_back({.H = 3, .D = 1, .query = {1, 2, 4}, .key = {1, 4, 7}, .variant = "subsample"});
  return out;
}

std::vector<std::int64_t> index(const EncodingCase& c) {
  const std::int64_t step = step_of(c);
  return index_matrix(c, [&](auto i, auto j) {
    return levit_index({c.key.rows, c.key.columns}, c.query.columns, step, i, j);
  });
}

}  // namespace
}  // namespace levit_bias_encoding

const Encoding kLevitBias = {
    .name = "levit_bias",
    .title = "a learned number per head and absolute displacement",
    .place = EncodingPlace::score,
    .paper = "Graham et al. 2021, LeViT",
    .models = "LeViT, TinyViT, MobileSAM",
    .formula = "s = q.k / sqrt(D) + A[h, |dr| w + |dc|]",
    .lowering = "gather term",
    .parameters = "h w H",
    .multiply_adds = "0",
    .memory = "h w H",
    .grids = EncodingGrids::flat,
    .variants = {"subsample"},
    .cases = levit_bias_encoding::cases,
    .instance = levit_bias_encoding::instance,
    .index = levit_bias_encoding::index,
};

}  // namespace locant

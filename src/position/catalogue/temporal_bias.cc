#include "position/temporal_bias.h"

#include "position/catalogue/all.h"
#include "position/catalogue/score_instance.h"

namespace locant {
namespace temporal_bias_encoding {
namespace {

EncodingInstance instance(const EncodingCase& c) {
  const Grid g = c.query;
  const TemporalBias bias{g.frames, random_parameter({temporal_table_rows(g.frames), c.H}, c.seed)};
  const std::int64_t places = g.rows * g.columns;
  return score_instance(
      c, {{TemporalBias::kTable, bias.table}},
      [c, bias](const Context&, AttentionOptions& options) {
        options.terms = {temporal_bias_term(bias, c.H)};
        options.rows = temporal_rows(c.query);
      },
      [g, places](const PlainCall& call, auto b, auto h, auto i, auto j) {
        return temporal_bias_score(call.score(b, h, i, j), call.x[3].data(), call.c.H, h, g.frames,
                                   i / places, j / places);
      },
      [places](auto i, auto j) { return i % places == j % places; });
}

std::vector<EncodingCase> cases() {
  std::vector<EncodingCase> out;
  for (const Grid grid : {Grid{1, 1, 1}, Grid{2, 1, 1}, Grid{3, 1, 1}, Grid{9, 1, 1}, Grid{1, 2, 3},
                          Grid{4, 2, 3}, Grid{7, 1, 3}})
    out.push_back({.B = grid.tokens() > 5 ? 1 : 2, .query = grid, .key = grid});
  out.push_back({.H = 3, .D = 1, .Dv = 3, .query = {5, 2, 1}, .key = {5, 2, 1}});
  return out;
}

std::vector<std::int64_t> index(const EncodingCase& c) {
  const std::int64_t places = c.query.rows * c.query.columns;
  return index_matrix(c, [&](auto i, auto j) -> std::int64_t {
    if (i % places != j % places) return -1;
    return temporal_index(c.query.frames, i / places, j / places);
  });
}

}  // namespace
}  // namespace temporal_bias_encoding

const Encoding kTemporalBias = {
    .name = "temporal_bias",
    .title = "a learned number per head and displacement in time, each place by itself",
    .place = EncodingPlace::score,
    .paper = "Yang et al. 2023, AIM (Swin adapter)",
    .models = "AIM",
    .formula = "s = q.k / sqrt(D) + T[t_i - t_j + F - 1, h] over the F frames at one place",
    .lowering = "gather term, row maps by place",
    .parameters = "(2F - 1) H",
    .multiply_adds = "0",
    .memory = "(2F - 1) H",
    .grids = EncodingGrids::one,
    .cases = temporal_bias_encoding::cases,
    .instance = temporal_bias_encoding::instance,
    .index = temporal_bias_encoding::index,
};

}  // namespace locant

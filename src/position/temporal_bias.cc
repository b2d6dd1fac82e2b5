#include "position/temporal_bias.h"

#include "core/error.h"
#include "position/grid_gather.h"
#include "position/score_instance.h"
#include "position/sequence.h"

namespace locant {
namespace {
constexpr const char* kName = "temporal_bias";
}

std::shared_ptr<const RowMaps> temporal_rows(Grid grid) {
  grid_displacements(kName, grid, grid);
  auto maps = std::make_shared<RowMaps>();
  const std::int64_t places = grid.rows * grid.columns;
  maps->groups = places;
  maps->queries = maps->keys = grid.frames;
  for (std::int64_t place = 0; place < places; ++place)
    for (std::int64_t frame = 0; frame < grid.frames; ++frame)
      maps->query_rows.push_back(static_cast<std::int32_t>(frame * places + place));
  maps->key_rows = maps->query_rows;
  return maps;
}

AttentionTerm temporal_bias_term(const TemporalBias& bias, std::int64_t heads) {
  const Grid line{bias.frames, 1, 1};
  const std::int64_t rows = grid_displacements(kName, line, line);
  check_table(kName, TemporalBias::kTable, bias.table, {rows, heads});
  return gather_term(bias.table, displacement_gather(kName, line, rows));
}

namespace {

EncodingInstance instance(const EncodingCase& c) {
  const Grid g = c.query;
  require(g.frames == c.key.frames && g.rows == c.key.rows && g.columns == c.key.columns && c.prefix == 0 &&
              c.variant.empty(),
          kName, "queries and keys must be the tokens of one video, without special tokens or variant");
  const TemporalBias bias{g.frames, random_parameter({temporal_table_rows(g.frames), c.H}, c.seed)};
  const std::int64_t places = g.rows * g.columns;
  return score_instance(
      c, {{TemporalBias::kTable, bias.table}},
      [c, bias](const Context&, AttentionOptions& options) {
        options.terms = {temporal_bias_term(bias, c.H)};
        options.rows = temporal_rows(c.query);
      },
      [g, places](const auto& call, const auto& x, auto b, auto h, auto i, auto j) {
        return temporal_bias_score(call.dot(b, h, i, j) / std::sqrt(static_cast<double>(call.c.D)),
                                   x[3].data(), call.c.H, h, g.frames, i / places, j / places);
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

const Encoding kTemporalBias = {
    .name = kName,
    .header = "position/temporal_bias.h",
    .title = "a learned number per head and displacement in time, each place by itself",
    .place = EncodingPlace::score,
    .paper = "Yang et al. 2023, AIM (Swin adapter)",
    .models = "AIM",
    .formula = "s = q.k / sqrt(D) + T[t_i - t_j + F - 1, h] over the F frames at one place",
    .lowering = "gather term, row maps by place",
    .parameters = "(2F - 1) H",
    .multiply_adds = "0",
    .memory = "(2F - 1) H",
    .cases = cases,
    .make = instance,
    .index = index,
};

}  // namespace locant

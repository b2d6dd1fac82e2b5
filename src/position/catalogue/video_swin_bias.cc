#include "position/video_swin_bias.h"

#include "position/catalogue/all.h"
#include "position/catalogue/score_instance.h"

namespace locant {
namespace video_swin_bias_encoding {
namespace {

// The table's window: one more than the case's on each axis where it is about shrunken ones.
Grid table_of(const EncodingCase& c) {
  const Grid g = c.query;
  if (c.variant.empty()) return g;
  return {g.frames + 1, g.rows + 1, g.columns + 1};
}

WindowFit fit_of(const EncodingCase& c) {
  return c.variant == "displacement" ? WindowFit::displacement : WindowFit::corner;
}

// Where the table's own window has token i of the case's.
Grid counted_in(const EncodingCase& c) { return fit_of(c) == WindowFit::corner ? table_of(c) : c.query; }

EncodingInstance instance(const EncodingCase& c) {
  const Grid table = table_of(c), in = counted_in(c);
  const VideoSwinBias bias{table, random_parameter({video_swin_table_rows(table), c.H}, c.seed)};
  return score_instance(
      c, {{VideoSwinBias::kTable, bias.table}},
      [c, bias](const Context&, AttentionOptions& options) {
        options.terms = {video_swin_bias_term(bias, c.H, video_swin_gather(bias.window, c.query, fit_of(c)))};
      },
      [table, in](const PlainCall& call, auto b, auto h, auto i, auto j) {
        const std::int64_t area = in.rows * in.columns;
        return video_swin_bias_score(call.score(b, h, i, j), call.x[3].data(), call.c.H, h, table,
                                     i / area - j / area, i % area / in.columns - j % area / in.columns,
                                     i % in.columns - j % in.columns);
      });
}

std::vector<EncodingCase> cases() {
  std::vector<EncodingCase> out;
  for (const Grid grid : {Grid{1, 1, 1}, Grid{2, 1, 1}, Grid{1, 3, 3}, Grid{2, 3, 4}, Grid{3, 2, 2}})
    out.push_back({.B = grid.tokens() > 5 ? 1 : 2, .query = grid, .key = grid});
  for (const char* variant : {"corner", "displacement"})
    out.push_back({.H = 3, .Dv = 3, .query = {2, 2, 3}, .key = {2, 2, 3}, .variant = variant});
  out.push_back({.D = 1, .query = {2, 1, 3}, .key = {2, 1, 3}});
  return out;
}

std::vector<std::int64_t> index(const EncodingCase& c) {
  const Grid table = table_of(c), in = counted_in(c);
  const std::int64_t area = in.rows * in.columns;
  return index_matrix(c, [&](auto i, auto j) {
    return video_swin_row(table, i / area - j / area, i % area / in.columns - j % area / in.columns,
                          i % in.columns - j % in.columns);
  });
}

}  // namespace
}  // namespace video_swin_bias_encoding

const Encoding kVideoSwinBias = {
    .name = "video_swin_bias",
    .title = "a learned number per head and displacement within a window of a video",
    .place = EncodingPlace::score,
    .paper = "Liu et al. 2022, Video Swin Transformer",
    .models = "Video Swin",
    .formula = "s = q.k / sqrt(D) + T[I(i, j), h]",
    .lowering = "gather term",
    .parameters = "(2F - 1)(2h - 1)(2w - 1) H",
    .multiply_adds = "0",
    .memory = "(2F - 1)(2h - 1)(2w - 1) H",
    .grids = EncodingGrids::one,
    .variants = {"corner", "displacement"},
    .cases = video_swin_bias_encoding::cases,
    .instance = video_swin_bias_encoding::instance,
    .index = video_swin_bias_encoding::index,
};

}  // namespace locant

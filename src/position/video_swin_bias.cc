#include "position/video_swin_bias.h"

#include "core/error.h"
#include "ops/rearrange.h"
#include "position/score_instance.h"
#include "position/sequence.h"

namespace locant {
namespace {
constexpr const char* kName = "video_swin_bias";
}

Var inflate_swin_bias(const Context& ctx, const Var& table, Grid window) {
  grid_displacements(kName, window, window);
  const std::int64_t plane = (2 * window.rows - 1) * (2 * window.columns - 1);
  if (table.shape().rank() != 2 || table.dim(0) != plane)
    fail(kName, "a 2-D table of shape {} does not belong to a {}x{} window: {} rows were expected",
         table.shape().str(), window.rows, window.columns, plane);
  return concat_axis(ctx, std::vector<Var>(static_cast<std::size_t>(2 * window.frames - 1), table), 0);
}

std::shared_ptr<const GatherMap> video_swin_gather(Grid table, Grid window, WindowFit fit) {
  const std::int64_t rows = grid_displacements(kName, table, table);
  if (window.frames > table.frames || window.rows > table.rows || window.columns > table.columns)
    fail(kName, "a {}x{}x{} window does not fit a table made for {}x{}x{}", window.frames, window.rows,
         window.columns, table.frames, table.rows, table.columns);
  if (fit == WindowFit::displacement)
    return grid_gather(kName, window, window, rows, {}, 1,
                       [table](auto dt, auto dr, auto dc) { return video_swin_row(table, dt, dr, dc); });
  grid_displacements(kName, window, window);
  GatherMap corner = *displacement_gather(kName, table, rows);
  corner.query_code.resize(static_cast<std::size_t>(window.tokens()));
  corner.key_code.resize(static_cast<std::size_t>(window.tokens()));
  return std::make_shared<const GatherMap>(std::move(corner));
}

AttentionTerm video_swin_bias_term(const VideoSwinBias& bias, std::int64_t heads,
                                   std::shared_ptr<const GatherMap> gather) {
  const std::int64_t rows = grid_displacements(kName, bias.window, bias.window);
  check_table(kName, VideoSwinBias::kTable, bias.table, {rows, heads});
  return gather_term(bias.table, std::move(gather));
}

namespace {

// The table's window: one more than the case's on each axis where it is about shrunken ones.
Grid table_of(const EncodingCase& c) {
  const Grid g = c.query;
  require(g.frames == c.key.frames && g.rows == c.key.rows && g.columns == c.key.columns && c.prefix == 0,
          kName, "queries and keys must be the tokens of one window");
  if (c.variant.empty()) return g;
  require(c.variant == "corner" || c.variant == "displacement", kName,
          "unknown variant \"{}\"; there are corner and displacement", c.variant);
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
      [table, in](const auto& call, const auto& x, auto b, auto h, auto i, auto j) {
        const std::int64_t area = in.rows * in.columns;
        return video_swin_bias_score(call.dot(b, h, i, j) / std::sqrt(static_cast<double>(call.c.D)),
                                     x[3].data(), call.c.H, h, table, i / area - j / area,
                                     i % area / in.columns - j % area / in.columns,
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

const Encoding kVideoSwinBias = {
    .name = kName,
    .header = "position/video_swin_bias.h",
    .title = "a learned number per head and displacement within a window of a video",
    .place = EncodingPlace::score,
    .paper = "Liu et al. 2022, Video Swin Transformer",
    .models = "Video Swin",
    .formula = "s = q.k / sqrt(D) + T[I(i, j), h]",
    .lowering = "gather term",
    .parameters = "(2F - 1)(2h - 1)(2w - 1) H",
    .multiply_adds = "0",
    .memory = "(2F - 1)(2h - 1)(2w - 1) H",
    .cases = cases,
    .make = instance,
    .index = index,
};

}  // namespace locant

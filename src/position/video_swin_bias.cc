#include "position/video_swin_bias.h"

#include <vector>

#include "core/error.h"
#include "ops/rearrange.h"
#include "position/shared/sequence.h"

namespace locant {
namespace {
constexpr const char* kVideoSwinBiasName = "video_swin_bias";
}

Var inflate_swin_bias(const Context& ctx, const Var& table, Grid window) {
  grid_displacements(kVideoSwinBiasName, window, window);
  const std::int64_t plane = (2 * window.rows - 1) * (2 * window.columns - 1);
  if (table.shape().rank() != 2 || table.dim(0) != plane)
    fail(kVideoSwinBiasName,
         "a 2-D table of shape {} does not belong to a {}x{} window: {} rows were expected",
         table.shape().str(), window.rows, window.columns, plane);
  return concat_axis(ctx, std::vector<Var>(static_cast<std::size_t>(2 * window.frames - 1), table), 0);
}

std::shared_ptr<const OffsetMap> video_swin_gather(Grid table, Grid window, WindowFit fit) {
  const std::int64_t rows = grid_displacements(kVideoSwinBiasName, table, table);
  if (window.frames > table.frames || window.rows > table.rows || window.columns > table.columns)
    fail(kVideoSwinBiasName, "a {}x{}x{} window does not fit a table made for {}x{}x{}", window.frames,
         window.rows, window.columns, table.frames, table.rows, table.columns);
  if (fit == WindowFit::displacement)
    return grid_gather(kVideoSwinBiasName, window, window, rows, {}, 1,
                       [table](auto dt, auto dr, auto dc) { return video_swin_row(table, dt, dr, dc); });
  grid_displacements(kVideoSwinBiasName, window, window);
  OffsetMap corner = *displacement_gather(kVideoSwinBiasName, table, rows);
  corner.query_code.resize(static_cast<std::size_t>(window.tokens()));
  corner.key_code.resize(static_cast<std::size_t>(window.tokens()));
  return std::make_shared<const OffsetMap>(std::move(corner));
}

AttentionTerm video_swin_bias_term(const VideoSwinBias& bias, std::int64_t heads,
                                   std::shared_ptr<const OffsetMap> gather) {
  const std::int64_t rows = grid_displacements(kVideoSwinBiasName, bias.window, bias.window);
  check_table(kVideoSwinBiasName, VideoSwinBias::kTable, bias.table, {rows, heads});
  return gather_term(bias.table, std::move(gather));
}

}  // namespace locant

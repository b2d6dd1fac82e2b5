#include "position/temporal_bias.h"

#include "core/error.h"
#include "position/shared/grid_gather.h"
#include "position/shared/sequence.h"

namespace locant {
namespace {
constexpr const char* kTemporalBiasName = "temporal_bias";
}

std::shared_ptr<const RowMaps> temporal_rows(Grid grid) {
  grid_displacements(kTemporalBiasName, grid, grid);
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
  const std::int64_t rows = grid_displacements(kTemporalBiasName, line, line);
  check_table(kTemporalBiasName, TemporalBias::kTable, bias.table, {rows, heads});
  return gather_term(bias.table, displacement_gather(kTemporalBiasName, line, rows));
}

}  // namespace locant

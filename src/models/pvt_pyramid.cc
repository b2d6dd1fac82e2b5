#include "models/pvt_pyramid.h"

#include <numeric>

namespace locant {

std::int64_t PvtStages::total_depth() const {
  return std::accumulate(depths.begin(), depths.end(), std::int64_t{0});
}

std::vector<Grid> PvtStages::grids(std::string_view op, Pair image) const {
  std::vector<Grid> out;
  Grid grid = {1, image.rows, image.columns};
  const auto least = std::accumulate(patch_sizes.begin(), patch_sizes.end(), std::int64_t{1},
                                     [](std::int64_t a, std::int64_t b) { return a * b; });
  for (const std::int64_t patch : patch_sizes) {
    grid = {1, grid.rows / patch, grid.columns / patch};
    require(grid.tokens() > 0, op, "an image of {} x {} leaves stage {} without tokens; {} x {} is the least",
            image.rows, image.columns, out.size() + 1, least, least);
    out.push_back(grid);
  }
  return out;
}

std::vector<Grid> PvtStages::grids(std::string_view op, const Var& images) const {
  require_images(op, images, in_chans);
  const Shape& shape = images.shape();
  return grids(op, Pair{shape[2], shape[3]});
}

void PvtStages::assume_heads(std::string_view op, const NamedShapes& s, std::int64_t wide) {
  bool told = s.told("heads") && heads.size() == dims.size(), usual = true;
  std::vector<std::int64_t> by_width;
  for (std::size_t i = 0; i < dims.size(); ++i) {
    told = told && heads[i] > 0 && dims[i] % heads[i] == 0;
    usual = usual && dims[i] % wide == 0;
    by_width.push_back(dims[i] / wide);
  }
  require(told || usual, op,
          "the widths [{}] are no multiples of the usual {} channels of a head, so that heads must be told",
          fmt::join(dims, ", "), wide);
  s.assume("heads", heads, by_width, told);
}

void check_pvt_stages(const std::string& op, const PvtStages& c) {
  const std::size_t stages = c.stages();
  same_length(op, {{"depths", stages},
                   {"dims", c.dims.size()},
                   {"heads", c.heads.size()},
                   {"patch_sizes", c.patch_sizes.size()},
                   {"mlp_ratios", c.mlp_ratios.size()},
                   {"sr_ratios", c.sr_ratios.size()}});
  require(stages >= 1 && stages <= c.kMostStages, op, "{} stages; 1 to {} were expected", stages,
          c.kMostStages);
  for (std::size_t s = 0; s < stages; ++s)
    require(c.hidden(s) > 0, op, "stage {}: an MLP ratio of {} leaves dim {} no hidden channel", s + 1,
            c.mlp_ratios[s], c.dims[s]);
  c.grids(op, c.img_size);
}

}  // namespace locant

#include "train/random_crop.h"

#include <algorithm>
#include <cmath>

#include "train/random_streams.h"

namespace locant {
namespace {

/// Halves to the even neighbour, as Python's round.
std::int64_t side(double length) { return std::max<std::int64_t>(std::llrint(length), 1); }

}  // namespace

ResizeWindow draw_crop(std::int64_t rows, std::int64_t columns, const std::vector<double>& scale,
                       const std::vector<double>& ratio, Rng& rng) {
  const auto height = static_cast<double>(rows), width = static_cast<double>(columns);
  ResizeWindow box;
  for (int attempt = 0; attempt < 10; ++attempt) {
    const double area = uniform_in(rng, scale[0], scale[1]) * width * height;
    const double aspect = std::exp(uniform_in(rng, std::log(ratio[0]), std::log(ratio[1])));
    box.columns = side(std::sqrt(area * aspect));
    box.rows = side(std::sqrt(area / aspect));
    if (box.columns > columns || box.rows > rows) continue;
    box.top = static_cast<std::int64_t>(rng.below(static_cast<std::uint64_t>(rows - box.rows + 1)));
    box.left = static_cast<std::int64_t>(rng.below(static_cast<std::uint64_t>(columns - box.columns + 1)));
    return box;
  }
  box.rows = rows;
  box.columns = columns;
  if (width / height < ratio[0])
    box.rows = std::min(side(width / ratio[0]), rows);
  else if (width / height > ratio[1])
    box.columns = std::min(side(height * ratio[1]), columns);
  box.top = (rows - box.rows) / 2;
  box.left = (columns - box.columns) / 2;
  return box;
}

}  // namespace locant

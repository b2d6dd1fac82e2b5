#include "train/augment.h"

#include <cmath>
#include <numbers>

#include "core/error.h"

namespace locant {

void AugmentOptions::check() const {
  require(shift >= 0.0 && shift <= 1e4, "augment", "a shift of {} pixels is not in [0, 10000]", shift);
  require(rotate >= 0.0 && rotate <= 180.0, "augment", "a rotation of {} degrees is not in [0, 180]", rotate);
  require(scale >= 0.0 && scale < 1.0, "augment", "a scale range of {} is not in [0, 1)", scale);
}

Geometry draw_geometry(const AugmentOptions& options, Rng& rng) {
  const auto symmetric = [&rng] { return 2.0 * static_cast<double>(rng.uniform()) - 1.0; };
  Geometry g;
  g.shift_y = options.shift * symmetric();
  g.shift_x = options.shift * symmetric();
  g.angle = options.rotate * symmetric() * std::numbers::pi / 180.0;
  g.scale = 1.0 + options.scale * symmetric();
  return g;
}

void transform_planes(const std::uint8_t* planes, std::int64_t channels, std::int64_t rows,
                      std::int64_t columns, const Geometry& g, float* out) {
  const double centre_y = 0.5 * static_cast<double>(rows - 1),
               centre_x = 0.5 * static_cast<double>(columns - 1);
  const double cosine = std::cos(g.angle) / g.scale, sine = std::sin(g.angle) / g.scale;
  for (std::int64_t y = 0; y < rows; ++y)
    for (std::int64_t x = 0; x < columns; ++x) {
      // Where output (y, x) comes from: undo the shift, then the turn and the scale about the centre (y
      // points down).
      const double v = static_cast<double>(y) - centre_y - g.shift_y,
                   u = static_cast<double>(x) - centre_x - g.shift_x;
      const double from_y = sine * u + cosine * v + centre_y;
      const double from_x = cosine * u - sine * v + centre_x;
      const double floor_y = std::floor(from_y), floor_x = std::floor(from_x);
      const double part_y = from_y - floor_y, part_x = from_x - floor_x;
      const bool near = floor_y >= -1.0 && floor_y < static_cast<double>(rows) && floor_x >= -1.0 &&
                        floor_x < static_cast<double>(columns);
      const std::int64_t y0 = near ? static_cast<std::int64_t>(floor_y) : 0;
      const std::int64_t x0 = near ? static_cast<std::int64_t>(floor_x) : 0;
      for (std::int64_t c = 0; c < channels; ++c) {
        const std::uint8_t* plane = planes + c * rows * columns;
        const auto at = [&](std::int64_t yy, std::int64_t xx) {
          return yy < 0 || yy >= rows || xx < 0 || xx >= columns
                     ? 0.0
                     : static_cast<double>(plane[yy * columns + xx]);
        };
        double value = 0.0;
        if (near)
          value = (1.0 - part_y) * ((1.0 - part_x) * at(y0, x0) + part_x * at(y0, x0 + 1)) +
                  part_y * ((1.0 - part_x) * at(y0 + 1, x0) + part_x * at(y0 + 1, x0 + 1));
        out[(c * rows + y) * columns + x] = static_cast<float>(value);
      }
    }
}

}  // namespace locant

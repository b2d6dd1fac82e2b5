#include "train/augment.h"

#include <cmath>
#include <numbers>

#include "core/error.h"
#include "train/rand_augment.h"
#include "train/random_erasing.h"

namespace locant {

namespace {

void check_within(const char* what, double value, double least, double most) {
  require(value >= least && value <= most, "augment", "{} of {} is not in [{}, {}]", what, value, least,
          most);
}

void check_range(const char* what, const std::vector<double>& range, double least, double most) {
  require(range.size() == 2, "augment", "{} takes two numbers, the lowest and the highest, not {}", what,
          range.size());
  require(range[0] >= least && range[0] <= range[1] && range[1] <= most, "augment",
          "{} from {} to {}: two numbers in [{}, {}], the lower one first, are allowed", what, range[0],
          range[1], least, most);
}

}  // namespace

void AugmentOptions::check() const {
  check_within("a shift in pixels", shift, 0.0, 1e4);
  check_within("a rotation in degrees", rotate, 0.0, 180.0);
  require(zoom >= 0.0 && zoom < 1.0, "augment", "a zoom range of {} is not in [0, 1)", zoom);
  if (!scale.empty()) check_range("the part of the area that a crop takes (--scale)", scale, 1e-4, 1.0);
  check_range("the aspect of a crop (--ratio)", ratio, 0.01, 100.0);
  require(train_interpolation.empty() || train_interpolation == "random" ||
              train_interpolation == "bilinear" || train_interpolation == "bicubic",
          "augment",
          "pictures are interpolated random, bilinear or bicubic (--train-interpolation), not \"{}\"",
          train_interpolation);
  check_within("a probability of horizontal flips (--hflip)", hflip, 0.0, 1.0);
  check_within("a probability of vertical flips (--vflip)", vflip, 0.0, 1.0);
  check_within("a colour jitter (--color-jitter)", color_jitter, 0.0, 10.0);
  if (!aa.empty()) parse_rand_augment(aa);
  check_within("a probability of erasing (--reprob)", reprob, 0.0, 1.0);
  parse_erase_mode(remode);
  require(recount >= 1 && recount <= 100, "augment", "{} erased boxes (--recount) are not 1 to 100", recount);
  check_within("a parameter of mixup (--mixup)", mixup, 0.0, 1e3);
  check_within("a parameter of cutmix (--cutmix)", cutmix, 0.0, 1e3);
  if (!cutmix_minmax.empty())
    check_range("a side of cutmix's box (--cutmix-minmax)", cutmix_minmax, 0.0, 1.0);
  check_within("a probability of mixing (--mixup-prob)", mixup_prob, 0.0, 1.0);
  check_within("a probability of cutmix in place of mixup (--mixup-switch-prob)", mixup_switch_prob, 0.0,
               1.0);
  require(mixup_mode == "batch" || mixup_mode == "elem" || mixup_mode == "pair", "augment",
          "pictures are mixed by batch, elem or pair (--mixup-mode), not \"{}\"", mixup_mode);
}

Geometry draw_geometry(const AugmentOptions& options, Rng& rng) {
  const auto symmetric = [&rng] { return 2.0 * static_cast<double>(rng.uniform()) - 1.0; };
  Geometry g;
  g.shift_y = options.shift * symmetric();
  g.shift_x = options.shift * symmetric();
  g.angle = options.rotate * symmetric() * std::numbers::pi / 180.0;
  g.scale = 1.0 + options.zoom * symmetric();
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

#include "train/random_erasing.h"

#include <cmath>

#include "core/error.h"
#include "io/pil_resize.h"
#include "train/random_streams.h"

namespace locant {
namespace {

void erase(float* picture, std::int64_t channels, std::int64_t plane, std::int64_t columns,
           const ResizeWindow& box, EraseMode mode, Rng& rng) {
  for (std::int64_t c = 0; c < channels; ++c) {
    const float colour = mode == EraseMode::rand ? rng.normal() : 0.0f;
    for (std::int64_t y = box.top; y < box.top + box.rows; ++y) {
      float* row = picture + c * plane + y * columns + box.left;
      for (float* x = row; x != row + box.columns; ++x) *x = mode == EraseMode::pixel ? rng.normal() : colour;
    }
  }
}

}  // namespace

EraseMode parse_erase_mode(const std::string& name) {
  if (name == "const") return EraseMode::constant;
  if (name == "rand") return EraseMode::rand;
  if (name == "pixel") return EraseMode::pixel;
  fail("augment", "erased boxes become const, rand or pixel, not \"{}\"", name);
}

void random_erasing(float* picture, std::int64_t channels, std::int64_t rows, std::int64_t columns,
                    double probability, EraseMode mode, std::int64_t count, Rng& rng) {
  if (!happens(rng, probability)) return;
  const auto boxes = 1 + static_cast<std::int64_t>(rng.below(static_cast<std::uint64_t>(count)));
  const double largest = 1.0 / 3.0, log_aspect = std::log(1.0 / 0.3);
  for (std::int64_t i = 0; i < boxes; ++i)
    for (int attempt = 0; attempt < 10; ++attempt) {
      const double area =
          uniform_in(rng, 0.02, largest) * static_cast<double>(rows * columns) / static_cast<double>(boxes);
      const double aspect = std::exp(uniform_in(rng, -log_aspect, log_aspect));
      ResizeWindow box;
      box.rows = std::llrint(std::sqrt(area * aspect));
      box.columns = std::llrint(std::sqrt(area / aspect));
      if (box.rows >= rows || box.columns >= columns) continue;
      box.top = static_cast<std::int64_t>(rng.below(static_cast<std::uint64_t>(rows - box.rows + 1)));
      box.left = static_cast<std::int64_t>(rng.below(static_cast<std::uint64_t>(columns - box.columns + 1)));
      erase(picture, channels, rows * columns, columns, box, mode, rng);
      break;
    }
}

}  // namespace locant

// From 16-bit samples to bytes. Microscopes store 12 or 14 bits in 16, so the high byte alone can be nearly
// black.
#include "io/depth16.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace locant::image_io {
namespace {

constexpr std::size_t kValues = 65536;
/// Of the samples, at either end: what lies beyond is clipped by `percentile`.
constexpr std::int64_t kPerMille = 1;

/// The value of the `rank`th sample, from 0, of a histogram.
std::size_t value_at(const std::vector<std::int64_t>& counts, std::int64_t rank) {
  std::size_t value = 0;
  for (std::int64_t below = counts[0]; below <= rank && value + 1 < kValues; below += counts[value]) ++value;
  return value;
}

std::pair<std::size_t, std::size_t> limits(std::span<const std::uint16_t> samples, Depth16 how,
                                           std::size_t step) {
  std::vector<std::int64_t> counts(kValues);
  std::int64_t last = -1;
  for (std::size_t i = 0; i < samples.size(); i += step, ++last) ++counts[samples[i]];
  const std::int64_t skipped = how == Depth16::percentile ? last * kPerMille / 1000 : 0;
  return {value_at(counts, skipped), value_at(counts, last - skipped)};
}

}  // namespace

std::vector<std::uint8_t> depth16_table(std::span<const std::uint16_t> samples, Depth16 how,
                                        std::size_t step) {
  std::vector<std::uint8_t> table(kValues);
  if (how == Depth16::high || samples.empty()) {
    for (std::size_t v = 0; v < kValues; ++v) table[v] = static_cast<std::uint8_t>(v >> 8);
    return table;
  }
  const auto [low, high] = limits(samples, how, step);
  for (std::size_t v = low + 1; v < kValues && high > low; ++v) {
    const std::size_t above = std::min(v, high) - low, all = high - low;
    table[v] = static_cast<std::uint8_t>((2 * 255 * above + all) / (2 * all));
  }
  return table;
}

void note_dark(const Image& image, const std::string& name, const DecodeOptions& options) {
  if (!options.note || options.depth16 != Depth16::high || image.rgb.empty()) return;
  const int brightest = *std::max_element(image.rgb.begin(), image.rgb.end());
  if (brightest >= 64) return;
  options.note(
      fmt::format("{}: 16-bit samples by their high bytes: the brightest is {} of 255; depth16 range or "
                  "percentile stretches them",
                  name, brightest));
}

}  // namespace locant::image_io

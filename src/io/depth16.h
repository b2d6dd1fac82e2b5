#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "io/image.h"

namespace locant::image_io {

/// The byte that each 16-bit value becomes: 65,536 entries. Every `step`th of the samples counts, N in all;
/// where all are equal, `range` and `percentile` give 0. Percentiles are samples: of the sorted ones, counted
/// from 0, number floor((N - 1) / 1000) from either end.
std::vector<std::uint8_t> depth16_table(std::span<const std::uint16_t> samples, Depth16 how,
                                        std::size_t step = 1);

/// Says in a note that a picture whose high bytes were kept is dark, when none reaches a quarter of white.
void note_dark(const Image& image, const std::string& name, const DecodeOptions& options);

}  // namespace locant::image_io

#pragma once

#include <cstdint>
#include <span>

#include "io/image.h"

namespace locant {

/// Orientation (tag 0x0112 of IFD 0) of an EXIF block, with or without its leading "Exif\0\0". 1 (upright)
/// when the tag is absent, out of 1..8, or the block is malformed: a broken tag never spoils a good picture.
int exif_orientation(std::span<const std::uint8_t> block);

/// The picture as it should be seen: one of the eight turns and mirrors that the tag stands for.
Image apply_orientation(Image image, int orientation);

}  // namespace locant

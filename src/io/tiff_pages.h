#pragma once

#include <cstdint>
#include <vector>

#include "io/image_decoders.h"

namespace locant::image_io {

/// Where the pages (image file directories) of a TIFF or BigTIFF stand in the file, in order. The chain ends
/// at one that lies outside the file or came before, so a loop is no danger, and after 1,000,000.
std::vector<std::uint64_t> tiff_page_offsets(Bytes bytes);

}  // namespace locant::image_io

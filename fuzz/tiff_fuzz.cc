// libFuzzer target: TIFF, as pictures and as labels, first and second page. Anything but an Error or a whole
// picture is a bug.
#include <cstddef>
#include <cstdint>

#include "core/error.h"
#include "io/image.h"
#include "io/labels.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // The other formats have a target of their own.
  if (size < 4 || data[0] != data[1] || (data[0] != 'I' && data[0] != 'M')) return 0;
  // A small limit: time goes into the decoders, not into large blank pictures.
  locant::DecodeOptions options{.max_pixels = 1 << 18, .depth16 = locant::Depth16::percentile};
  for (options.page = 1; options.page <= 2; ++options.page) {
    try {
      const locant::Image image = locant::decode_image({data, size}, "fuzz", options);
      if (image.rgb.size() != static_cast<std::size_t>(image.rows * image.columns * 3)) __builtin_trap();
    } catch (const locant::Error&) {
    }
    try {
      const locant::Labels labels = locant::decode_labels({data, size}, "fuzz", options);
      if (labels.values.size() != static_cast<std::size_t>(labels.rows * labels.columns)) __builtin_trap();
    } catch (const locant::Error&) {
    }
  }
  return 0;
}

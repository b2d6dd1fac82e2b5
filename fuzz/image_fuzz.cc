// libFuzzer target: JPEG, PNG, WebP and PPM pictures. Anything but an Error or a whole picture is a bug.
#include <cstddef>
#include <cstdint>

#include "core/error.h"
#include "io/image.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    // A small limit: time goes into the decoders, not into large blank pictures.
    const locant::Image image = locant::decode_image({data, size}, "fuzz", {.max_pixels = 1 << 20});
    if (image.rgb.size() != static_cast<std::size_t>(image.rows * image.columns * 3)) __builtin_trap();
  } catch (const locant::Error&) {
  }
  return 0;
}

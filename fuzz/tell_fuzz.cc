// libFuzzer target: which model the names and shapes of a file are. Anything but an Error or success is a
// bug.
#include <cstddef>
#include <cstdint>

#include "core/error.h"
#include "io/safetensors.h"
#include "models/load.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    locant::guess_model(*locant::parse_safetensors(std::as_bytes(std::span(data, size)), "fuzz"));
  } catch (const locant::Error&) {
  }
  return 0;
}

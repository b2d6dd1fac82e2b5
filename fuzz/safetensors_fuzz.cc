// libFuzzer target: safetensors files. Anything but an Error or success is a bug.
#include <cstddef>
#include <cstdint>

#include "core/error.h"
#include "io/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const auto file = locant::parse_safetensors(std::as_bytes(std::span(data, size)), "fuzz");
    for (const locant::TensorInfo& info : file->tensors()) {
      if (info.dtype == locant::DType::other) continue;
      const locant::Tensor tensor = file->read(info.name);
      volatile float last = tensor.numel() > 0 ? tensor[tensor.numel() - 1] : 0.0f;
      (void)last;
      file->release(info.name);
    }
  } catch (const locant::Error&) {
  }
  return 0;
}

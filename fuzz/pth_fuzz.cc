// libFuzzer target: what torch.save writes, zip and older form. Anything but an Error or success is a bug.
#include <cstddef>
#include <cstdint>

#include "core/error.h"
#include "io/pth.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const auto file = locant::parse_pth(std::as_bytes(std::span(data, size)), "fuzz");
    for (const locant::TensorInfo& info : file->tensors()) {
      if (info.dtype == locant::DType::other) continue;
      try {
        const locant::Tensor tensor = file->read(info.name);
        volatile float last = tensor.numel() > 0 ? tensor[tensor.numel() - 1] : 0.0f;
        (void)last;
      } catch (const locant::Error&) {  // one damaged entry must not hide the others
      }
      file->release(info.name);
    }
  } catch (const locant::Error&) {
  }
  return 0;
}

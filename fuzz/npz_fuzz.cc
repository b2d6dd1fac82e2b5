// libFuzzer target: what numpy.savez writes, and the header of one array. Anything but an Error or success is
// a bug.
#include <cstddef>
#include <cstdint>

#include "core/error.h"
#include "io/npz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    locant::parse_npy_header({reinterpret_cast<const char*>(data), size}, "fuzz");
  } catch (const locant::Error&) {
  }
  try {
    const auto file = locant::parse_npz(std::as_bytes(std::span(data, size)), "fuzz");
    for (const locant::TensorInfo& info : file->tensors()) {
      if (info.dtype == locant::DType::other) continue;
      try {
        const locant::Tensor tensor = file->read(info.name);
        volatile float last = tensor.numel() > 0 ? tensor[tensor.numel() - 1] : 0.0f;
        (void)last;
      } catch (const locant::Error&) {  // one damaged entry must not hide the others
      }
    }
  } catch (const locant::Error&) {
  }
  return 0;
}

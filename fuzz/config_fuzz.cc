// libFuzzer target: config.json and the processors' JSON of a folder. Anything but an Error or success is a
// bug.
#include <cstddef>
#include <cstdint>
#include <string>

#include "core/error.h"
#include "models/hub.h"
#include "models/processor.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  const auto attempt = [](const auto& action) {
    try {
      action();
    } catch (const locant::Error&) {
    }
  };
  attempt([&] { locant::read_hub_config(text); });
  attempt([&] { locant::processor_from_json(text, "vit", {}); });
  attempt([&] { locant::processor_from_timm(text, {}); });
  return 0;
}

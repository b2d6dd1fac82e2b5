// libFuzzer target: the texts of a folder, as an index of shards, as config.json and its like, and the
// content of a file that is no checkpoint. Anything but an Error or success is a bug.
#include <cstddef>
#include <cstdint>

#include "core/error.h"
#include "io/foreign_files.h"
#include "io/model_folder.h"
#include "io/sharded.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    const locant::ShardIndex index = locant::parse_shard_index(text, "fuzz");
    for (const auto& [tensor, shard] : index.tensors)
      if (index.shards.at(shard).find('/') != std::string::npos) __builtin_trap();
  } catch (const locant::Error&) {
  }
  try {
    locant::check_config(text, "fuzz");
  } catch (const locant::Error&) {
  }
  try {
    locant::image_processor_of(text, "fuzz");
  } catch (const locant::Error&) {
  }
  try {
    locant::adapter_sentence(text, "fuzz");
  } catch (const locant::Error&) {
  }
  locant::foreign_by_content(std::as_bytes(std::span(data, size)));
  locant::foreign_by_name(text);
  return 0;
}

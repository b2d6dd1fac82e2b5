#include "io/tensor_file.h"

#include <algorithm>

#include "core/error.h"
#include "io/foreign_files.h"
#include "io/mapped_file.h"
#include "io/npz.h"
#include "io/pth.h"
#include "io/safetensors.h"
#include "io/sharded.h"

namespace locant {
const TensorInfo* TensorFile::find(const std::string& name) const {
  const std::vector<TensorInfo>& all = tensors();
  const auto found =
      std::find_if(all.begin(), all.end(), [&](const TensorInfo& info) { return info.name == name; });
  return found == all.end() ? nullptr : &*found;
}

namespace {

std::unique_ptr<TensorFile> parse(const std::string& path) {
  std::shared_ptr<const MappedFile> file = MappedFile::open(path);
  const std::span<const std::byte> bytes = file->bytes();
  if (is_npz(bytes)) return parse_npz(std::move(file));
  if (is_zip(bytes)) return parse_pth(std::move(file));
  // A header length may begin with the two bytes of a pickle: the brace that follows it tells.
  if (bytes.size() > 8 && bytes[8] == std::byte{'{'}) return parse_safetensors(std::move(file));
  if (is_pickle(bytes)) return parse_pth(std::move(file));
  std::string_view why = foreign_by_content(bytes);
  if (why.empty()) why = foreign_by_name(path);
  if (why.empty() && path.ends_with(".safetensors")) return parse_safetensors(std::move(file));
  fail("weights", "{}: byte 0: neither safetensors nor what torch.save writes{}", path, why);
}

/// An index is known by its name and first byte.
bool is_index(const std::string& path) {
  if (!path.ends_with(".json")) return false;
  const std::shared_ptr<const MappedFile> file = MappedFile::open(path);
  return file->bytes()[0] == std::byte{'{'};
}

}  // namespace

std::unique_ptr<TensorFile> open_tensor_file(const std::string& path) {
  return reading_file([&] { return is_index(path) ? open_sharded(path) : parse(path); });
}

std::unique_ptr<TensorFile> open_single_file(const std::string& path) {
  return reading_file([&] { return parse(path); });
}

}  // namespace locant

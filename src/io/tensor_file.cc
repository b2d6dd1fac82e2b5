#include "io/tensor_file.h"

#include <algorithm>

#include "core/error.h"
#include "io/mapped_file.h"
#include "io/pth.h"
#include "io/safetensors.h"

namespace locant {
namespace {

bool ends_with(std::string_view text, std::string_view end) {
  return text.size() >= end.size() && text.substr(text.size() - end.size()) == end;
}

/// What a file that is no checkpoint most often is.
const char* hint(std::string_view front) {
  if (front.substr(0, 23) == "version https://git-lfs")
    return "; it is a Git LFS pointer: fetch the file itself";
  if (front.substr(0, 1) == "<") return "; it looks like a web page: the download went wrong";
  return "";
}

}  // namespace

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
  if (is_zip(bytes)) return parse_pth(std::move(file));
  // A header length may begin with the two bytes of a pickle: the brace that follows it tells.
  if (bytes.size() > 8 && bytes[8] == std::byte{'{'}) return parse_safetensors(std::move(file));
  if (is_pickle(bytes)) return parse_pth(std::move(file));
  const std::string_view front(reinterpret_cast<const char*>(bytes.data()),
                               std::min<std::size_t>(bytes.size(), 32));
  const std::string_view why = hint(front);
  if (why.empty() && ends_with(path, ".safetensors")) return parse_safetensors(std::move(file));
  fail("weights", "{}: byte 0: neither safetensors nor what torch.save writes{}", path, why);
}

}  // namespace

std::unique_ptr<TensorFile> open_tensor_file(const std::string& path) {
  return reading_file([&] { return parse(path); });
}

}  // namespace locant

#include "io/pth.h"

#include <map>

#include "core/error.h"
#include "io/pth_storage.h"

namespace locant {
namespace {

class PthFile final : public TensorFile {
 public:
  PthFile(std::string path, std::string format, PthParts parts)
      : path_(std::move(path)), format_(std::move(format)), parts_(std::move(parts)) {
    for (std::size_t i = 0; i < tensors().size(); ++i) index_.emplace(tensors()[i].name, i);
  }

  const std::string& path() const override { return path_; }
  const std::string& format() const override { return format_; }
  const std::vector<TensorInfo>& tensors() const override { return parts_.contents.tensors; }
  const std::map<std::string, std::string>& metadata() const override { return parts_.contents.metadata; }
  const std::vector<std::string>& notes() const override { return parts_.contents.notes; }

  Tensor read(const std::string& name) const override {
    const std::size_t i = index_of(name);
    const TensorInfo& info = tensors()[i];
    const PthPlace& place = parts_.contents.places[i];
    require_numbers("pth", path_, info);
    if (info.shape.numel() == 0) return Tensor(info.shape);
    const PthStorageSource::Bytes storage = parts_.source->load(place.storage);
    const std::int64_t size = dtype_size(info.dtype);
    const auto bytes = storage.bytes.subspan(static_cast<std::size_t>(place.offset * size),
                                             static_cast<std::size_t>(place.span * size));
    return tensor_from_bytes(bytes, info.dtype, info.shape, place.strides,
                             storage.may_borrow ? storage.owner : nullptr);
  }

  void release(const std::string& name) const override {
    const std::size_t i = index_of(name);
    if (tensors()[i].dtype == DType::other) return;  // has no place
    const PthPlace& place = parts_.contents.places[i];
    const std::int64_t size = dtype_size(tensors()[i].dtype);
    parts_.source->release(place.storage, static_cast<std::uint64_t>(place.offset * size),
                           static_cast<std::uint64_t>((place.offset + place.span) * size));
  }

 private:
  std::size_t index_of(const std::string& name) const {
    const auto found = index_.find(name);
    if (found == index_.end()) fail("pth", "{}: there is no tensor \"{}\"", path_, name);
    return found->second;
  }

  std::string path_;
  std::string format_;
  PthParts parts_;
  std::map<std::string, std::size_t> index_;
};

}  // namespace

bool is_zip(std::span<const std::byte> bytes) {
  return bytes.size() >= 4 && bytes[0] == std::byte{'P'} && bytes[1] == std::byte{'K'} &&
         (bytes[2] == std::byte{3} || bytes[2] == std::byte{5});
}

bool is_pickle(std::span<const std::byte> bytes) {
  return bytes.size() >= 2 && bytes[0] == std::byte{0x80} && bytes[1] <= std::byte{5};
}

std::unique_ptr<TensorFile> parse_pth(std::shared_ptr<const MappedFile> file) {
  const bool zip = is_zip(file->bytes());
  PthParts parts = zip ? open_pth_zip(file) : open_pth_legacy(file);
  return std::make_unique<PthFile>(file->name(), zip ? "pth (zip)" : "pth (legacy)", std::move(parts));
}

std::unique_ptr<TensorFile> parse_pth(std::span<const std::byte> bytes, const std::string& name) {
  return parse_pth(MappedFile::view(bytes, name));
}

}  // namespace locant

#include "io/npz.h"

#include <algorithm>
#include <map>
#include <mutex>

#include "core/error.h"
#include "io/dtype.h"
#include "io/zip_archive.h"

namespace locant {
namespace {

constexpr std::string_view kEnd = ".npy";
constexpr std::size_t kFront = 8192;
constexpr std::size_t kMaxNpzNotes = 16;

class NpzFile final : public TensorFile {
 public:
  explicit NpzFile(std::shared_ptr<const MappedFile> file)
      : path_(file->name()), file_(file->mapped() ? nullptr : file), archive_(*file, "npz") {
    if (archive_.accept_missing_sums(""))
      notes_.emplace_back("the archive has no check sums: damage in it would go unnoticed");
    for (const std::string& entry : archive_.names()) add(entry);
    require(!tensors_.empty(), "npz", "{}: the archive holds no array", path_);
  }

  const std::string& path() const override { return path_; }
  const std::string& format() const override {
    static const std::string kFormat = "npz";
    return kFormat;
  }
  const std::vector<TensorInfo>& tensors() const override { return tensors_; }
  const std::map<std::string, std::string>& metadata() const override { return metadata_; }
  const std::vector<std::string>& notes() const override { return notes_; }

  Tensor read(const std::string& name) const override {
    const auto found = places_.find(name);
    if (found == places_.end()) fail("npz", "{}: there is no tensor \"{}\"", path_, name);
    const Place& place = found->second;
    const TensorInfo& info = tensors_[place.index];
    require_numbers("npz", path_, info);
    if (info.shape.numel() == 0) return Tensor(info.shape);
    const std::lock_guard<std::mutex> lock(mutex_);  // a libzip archive is for one thread at a time
    const std::shared_ptr<std::byte> buffer = archive_.read(place.entry);
    const std::span<const std::byte> bytes(buffer.get() + place.begin, static_cast<std::size_t>(info.bytes));
    return tensor_from_bytes(bytes, info.dtype, info.shape, row_major_strides(info.shape), buffer);
  }
  void release(const std::string&) const override {}  // nothing is kept

 private:
  struct Place {
    std::size_t index;
    ZipArchive::Entry entry;
    std::size_t begin;  ///< of the numbers, within the entry
  };

  void add(const std::string& name) {
    if (!name.ends_with(kEnd)) return pass_over(name, "is no array");
    const std::string tensor = name.substr(0, name.size() - kEnd.size());
    if (places_.find(tensor) != places_.end()) return pass_over(name, "is there twice");
    const ZipArchive::Entry entry = archive_.find(name);
    std::string front(static_cast<std::size_t>(std::min<std::uint64_t>(entry.bytes, kFront)), '\0');
    archive_.read_front(entry, std::as_writable_bytes(std::span(front)));
    NpyHeader header = parse_npy_header(front, fmt::format("{} ({})", path_, name.substr(0, 200)));
    if (header.info.dtype != DType::other && entry.bytes != header.begin + header.info.bytes)
      fail("npz", "{}: entry {}: holds {} bytes, but its array of {} {} ends at {}", path_, name, entry.bytes,
           dtype_name(header.info.dtype), header.info.shape.str(), header.begin + header.info.bytes);
    header.info.name = tensor;
    places_.emplace(tensor, Place{tensors_.size(), entry, header.begin});
    tensors_.push_back(std::move(header.info));
  }
  void pass_over(const std::string& name, const char* why) {
    if (notes_.size() < kMaxNpzNotes)
      notes_.push_back(fmt::format("{}: {}, passed over", name.substr(0, 200), why));
  }

  std::string path_;
  std::shared_ptr<const MappedFile> file_;  ///< only bytes in memory are needed later on
  ZipArchive archive_;
  std::vector<TensorInfo> tensors_;
  std::map<std::string, Place> places_;
  std::map<std::string, std::string> metadata_;
  std::vector<std::string> notes_;
  mutable std::mutex mutex_;
};

}  // namespace

bool is_npz(std::span<const std::byte> bytes) {
  constexpr std::size_t kHeader = 30;  // of a local entry; its name follows
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (text.size() < kHeader || text.substr(0, 4) != "PK\3\4") return false;
  const std::size_t length =
      static_cast<unsigned char>(text[26]) + 256u * static_cast<unsigned char>(text[27]);
  return text.substr(kHeader, length).ends_with(kEnd);
}

std::unique_ptr<TensorFile> parse_npz(std::shared_ptr<const MappedFile> file) {
  return std::make_unique<NpzFile>(std::move(file));
}

std::unique_ptr<TensorFile> parse_npz(std::span<const std::byte> bytes, const std::string& name) {
  return parse_npz(MappedFile::view(bytes, name));
}

}  // namespace locant

#include <algorithm>
#include <mutex>

#include "core/error.h"
#include "io/pth_storage.h"
#include "io/zip_archive.h"

namespace locant {
namespace {

constexpr std::uint64_t kMaxPickle = std::uint64_t{1} << 28;
/// The folder that holds data.pkl: "archive/", or "" for an archive without one.
std::string root_of(const ZipArchive& archive, const std::string& file) {
  constexpr std::string_view kPickle = "data.pkl";
  std::vector<std::string> roots;
  bool keras = false, exported = false;
  for (std::string& name : archive.names()) {
    keras = keras || name.ends_with("model.weights.h5");
    exported = exported || name.ends_with("archive_format");
    const std::size_t slash = name.rfind('/');
    const std::size_t begin = slash == std::string::npos ? 0 : slash + 1;
    if (std::string_view(name).substr(begin) != kPickle) continue;
    name.resize(begin);
    roots.push_back(std::move(name));
  }
  require(roots.size() < 2, "pth", "{}: the zip archive holds more than one data.pkl", file);
  require(!exported, "pth", "{}: is what torch.export saves: save the model's state_dict by torch.save",
          file);
  require(!keras, "pth", "{}: is a Keras archive: convert the model to PyTorch and save safetensors", file);
  require(!roots.empty(), "pth", "{}: a zip archive without data.pkl: nothing that torch.save wrote", file);
  require(!archive.has(roots[0] + "constants.pkl"), "pth",
          "{}: is a TorchScript archive: open it by torch.jit.load and save its state_dict() by torch.save",
          file);
  return std::move(roots.front());
}

void swap_bytes(std::span<std::byte> bytes, std::int64_t element_size) {
  const auto size = static_cast<std::size_t>(element_size);
  for (std::size_t at = 0; size > 1 && at + size <= bytes.size(); at += size)
    std::reverse(bytes.begin() + static_cast<std::ptrdiff_t>(at),
                 bytes.begin() + static_cast<std::ptrdiff_t>(at + size));
}

class ZipSource final : public PthStorageSource {
 public:
  explicit ZipSource(std::shared_ptr<const MappedFile> file)
      : file_(file->mapped() ? nullptr : file), archive_(*file, "pth") {}

  PthContents open(const MappedFile& file) {
    const std::string root = root_of(archive_, file.name());
    const bool unsummed = archive_.accept_missing_sums(root + "data");  // data.pkl, data/0, ...
    const ZipArchive::Entry entry = archive_.find(root + "data.pkl");
    if (entry.bytes > kMaxPickle)
      fail("pth", "{}: entry {}: a pickle of {} bytes; up to {} are read", file.name(), entry.name,
           entry.bytes, kMaxPickle);
    const std::shared_ptr<std::byte> buffer = archive_.read(entry);
    const std::span<std::byte> bytes(buffer.get(), static_cast<std::size_t>(entry.bytes));
    const std::string place = fmt::format("{} ({})", file.name(), entry.name);
    PthContents contents = interpret_pth(pickle::read(bytes, place), place, file.size());
    if (unsummed)
      contents.notes.emplace_back("the archive has no check sums: damage in it would go unnoticed");
    big_endian_ = is_big_endian(root, file.name());
    for (const PthStorage& storage : contents.storages) {
      if (storage.users == 0) {
        storages_.push_back({});  // belongs to something passed over
        continue;
      }
      const ZipArchive::Entry data = archive_.find(root + "data/" + storage.key);
      if (data.bytes != static_cast<std::uint64_t>(storage.bytes()))
        fail("pth", "{}: entry {}: holds {} bytes, but its storage is {} x {} ({} bytes)", file.name(),
             data.name, data.bytes, storage.numel, storage.type, storage.bytes());
      if (big_endian_ && storage.type.find("Untyped") != std::string::npos)
        fail("pth", "{}: entry {}: big-endian data without an element type", file.name(), data.name);
      storages_.push_back({data, storage.element_size, storage.users, 0});
    }
    return contents;
  }

  Bytes load(std::size_t storage) override {
    const std::lock_guard<std::mutex> lock(mutex_);  // a libzip archive is for one thread at a time
    if (cached_ && cached_storage_ == storage) return {{cached_.get(), size_of(storage)}, cached_, false};
    cached_.reset();
    const Stored& stored = storages_[storage];
    const std::shared_ptr<std::byte> buffer = archive_.read(stored.entry);
    const std::span<std::byte> bytes(buffer.get(), size_of(storage));
    if (big_endian_) swap_bytes(bytes, stored.element_size);
    if (stored.users == 1) return {bytes, buffer, true};
    cached_ = buffer;
    cached_storage_ = storage;
    return {bytes, buffer, false};  // borrowed, a small part would keep the whole
  }

  void release(std::size_t storage, std::uint64_t, std::uint64_t) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    // Only when the last of its tensors is done with: each would read the whole storage again.
    Stored& stored = storages_[storage];
    if (++stored.released < stored.users) return;
    stored.released = 0;
    if (cached_storage_ == storage) cached_.reset();
  }

 private:
  struct Stored {
    ZipArchive::Entry entry;
    std::int64_t element_size = 1;
    std::int64_t users = 0;     ///< tensors that view it
    std::int64_t released = 0;  ///< of them
  };

  std::size_t size_of(std::size_t storage) const {
    return static_cast<std::size_t>(storages_[storage].entry.bytes);
  }

  bool is_big_endian(const std::string& root, const std::string& name) const {
    if (!archive_.has(root + "byteorder")) return false;
    const ZipArchive::Entry entry = archive_.find(root + "byteorder");
    std::string text(static_cast<std::size_t>(std::min<std::uint64_t>(entry.bytes, 7)), ' ');
    if (text.size() == entry.bytes) archive_.read(entry, std::as_writable_bytes(std::span(text)));
    if (text != "little" && text != "big")
      fail("pth", "{}: entry {}: neither \"little\" nor \"big\"", name, entry.name);
    return text == "big";
  }

  std::shared_ptr<const MappedFile> file_;  ///< only bytes in memory are needed later on
  ZipArchive archive_;
  bool big_endian_ = false;
  std::vector<Stored> storages_;
  std::mutex mutex_;
  std::shared_ptr<std::byte> cached_;  ///< the storage read last, when several tensors view it
  std::size_t cached_storage_ = 0;
};

}  // namespace

PthParts open_pth_zip(const std::shared_ptr<const MappedFile>& file) {
  auto source = std::make_unique<ZipSource>(file);
  PthContents contents = source->open(*file);
  return {std::move(contents), std::move(source)};
}

}  // namespace locant

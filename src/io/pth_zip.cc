#include <zip.h>

#include <algorithm>
#include <mutex>

#include "core/error.h"
#include "core/pool.h"
#include "io/pth_storage.h"

namespace locant {
namespace {

constexpr std::uint64_t kMaxPickle = std::uint64_t{1} << 28;
constexpr std::uint64_t kMaxDeflateRatio = 1032;  // zlib's own figure for the format

/// Uninitialised bytes from the pool; Error when there is no memory.
std::shared_ptr<std::byte> allocate(std::uint64_t bytes) {
  std::shared_ptr<float> buffer = Pool::global().allocate(static_cast<std::int64_t>((bytes + 3) / 4));
  return {buffer, reinterpret_cast<std::byte*>(buffer.get())};
}

class Archive {
 public:
  explicit Archive(const MappedFile& file) : name_(file.name()), file_bytes_(file.size()) {
    zip_error_t error;
    zip_error_init(&error);
    // From a path libzip reads by itself: memory stays at one entry, and truncation is an error, no signal.
    zip_source_t* source = file.mapped()
                               ? zip_source_file_create(name_.c_str(), 0, -1, &error)
                               : zip_source_buffer_create(file.bytes().data(), file.size(), 0, &error);
    zip_ = source == nullptr ? nullptr : zip_open_from_source(source, ZIP_RDONLY, &error);
    if (zip_ == nullptr && source != nullptr) zip_source_free(source);
    const std::string reason = zip_ == nullptr ? zip_error_strerror(&error) : "";
    zip_error_fini(&error);
    if (zip_ == nullptr)
      fail("pth", "{}: the zip archive cannot be opened: {} (is the file cut off?)", name_, reason);
  }
  ~Archive() { zip_discard(zip_); }
  Archive(const Archive&) = delete;
  Archive& operator=(const Archive&) = delete;

  struct Entry {
    std::uint64_t index = 0;
    std::string name;
    std::uint64_t bytes = 0;
  };

  /// The folder that holds data.pkl: "archive/", or "" for an archive without one.
  std::string root() const {
    std::optional<std::string> root;
    const zip_int64_t count = zip_get_num_entries(zip_, 0);
    for (zip_int64_t i = 0; i < count; ++i) {
      const char* raw = zip_get_name(zip_, static_cast<zip_uint64_t>(i), ZIP_FL_ENC_RAW);
      const std::string name = raw == nullptr ? "" : raw;
      const std::size_t slash = name.rfind('/');
      if (name.substr(slash == std::string::npos ? 0 : slash + 1) != "data.pkl") continue;
      if (root) fail("pth", "{}: the zip archive holds more than one data.pkl", name_);
      root = name.substr(0, name.size() - 8);
    }
    if (!root) fail("pth", "{}: a zip archive without data.pkl: nothing that torch.save wrote", name_);
    return *root;
  }

  /// Throws Error for an entry that is absent, encrypted, oddly compressed, or larger than its file can hold.
  Entry find(const std::string& entry) const {
    const zip_int64_t index = zip_name_locate(zip_, entry.c_str(), ZIP_FL_ENC_RAW);
    if (index < 0) fail("pth", "{}: the zip archive has no entry {}", name_, entry);
    zip_stat_t status;
    zip_stat_init(&status);
    if (zip_stat_index(zip_, static_cast<zip_uint64_t>(index), 0, &status) != 0)
      fail("pth", "{}: entry {}: {}", name_, entry, zip_strerror(zip_));
    const bool stored = status.comp_method == ZIP_CM_STORE;
    if (!stored && status.comp_method != ZIP_CM_DEFLATE)
      fail("pth", "{}: entry {}: compression method {}; stored and deflated entries are read", name_, entry,
           status.comp_method);
    require(status.encryption_method == ZIP_EM_NONE, "pth", "{}: entry {}: is encrypted", name_, entry);
    if (status.comp_size > file_bytes_ || (stored && status.size != status.comp_size) ||
        status.size / kMaxDeflateRatio > status.comp_size)
      fail("pth", "{}: entry {}: {} bytes from {} in a file of {} cannot be", name_, entry, status.size,
           status.comp_size, file_bytes_);
    return {static_cast<std::uint64_t>(index), entry, status.size};
  }
  bool has(const std::string& entry) const {
    return zip_name_locate(zip_, entry.c_str(), ZIP_FL_ENC_RAW) >= 0;
  }

  /// Fills `out`, which has the entry's size, and verifies its check sum.
  void read(const Entry& entry, std::span<std::byte> out) const {
    zip_file_t* file = zip_fopen_index(zip_, entry.index, 0);
    if (file == nullptr) fail("pth", "{}: entry {}: {}", name_, entry.name, zip_strerror(zip_));
    std::size_t done = 0;
    zip_int64_t step = 1;
    while (done < out.size() && step > 0) {
      step =
          zip_fread(file, out.data() + done, std::min<std::size_t>(out.size() - done, std::size_t{1} << 30));
      if (step > 0) done += static_cast<std::size_t>(step);
    }
    // The check sum is compared when the end is met, not before.
    char past_end = 0;
    const bool whole = done == out.size() && zip_fread(file, &past_end, 1) == 0;
    const std::string reason = zip_error_strerror(zip_file_get_error(file));
    zip_fclose(file);
    if (!whole)
      fail("pth", "{}: entry {}: byte {} of {}: damaged: {}", name_, entry.name, done, out.size(), reason);
  }

 private:
  std::string name_;
  std::uint64_t file_bytes_;
  zip_t* zip_ = nullptr;
};

void swap_bytes(std::span<std::byte> bytes, std::int64_t element_size) {
  const auto size = static_cast<std::size_t>(element_size);
  for (std::size_t at = 0; size > 1 && at + size <= bytes.size(); at += size)
    std::reverse(bytes.begin() + static_cast<std::ptrdiff_t>(at),
                 bytes.begin() + static_cast<std::ptrdiff_t>(at + size));
}

class ZipSource final : public PthStorageSource {
 public:
  explicit ZipSource(std::shared_ptr<const MappedFile> file)
      : file_(file->mapped() ? nullptr : file), archive_(*file) {}

  PthContents open(const MappedFile& file) {
    const std::string root = archive_.root();
    const Archive::Entry entry = archive_.find(root + "data.pkl");
    if (entry.bytes > kMaxPickle)
      fail("pth", "{}: entry {}: a pickle of {} bytes; up to {} are read", file.name(), entry.name,
           entry.bytes, kMaxPickle);
    const std::shared_ptr<std::byte> buffer = allocate(entry.bytes);
    const std::span<std::byte> bytes(buffer.get(), static_cast<std::size_t>(entry.bytes));
    archive_.read(entry, bytes);
    const std::string place = fmt::format("{} ({})", file.name(), entry.name);
    PthContents contents = interpret_pth(pickle::read(bytes, place), place, file.size());
    big_endian_ = is_big_endian(root, file.name());
    for (const PthStorage& storage : contents.storages) {
      if (storage.users == 0) {
        storages_.push_back({});  // belongs to something passed over
        continue;
      }
      const Archive::Entry data = archive_.find(root + "data/" + storage.key);
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
    const std::shared_ptr<std::byte> buffer = allocate(stored.entry.bytes);
    const std::span<std::byte> bytes(buffer.get(), size_of(storage));
    archive_.read(stored.entry, bytes);
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
    Archive::Entry entry;
    std::int64_t element_size = 1;
    std::int64_t users = 0;     ///< tensors that view it
    std::int64_t released = 0;  ///< of them
  };

  std::size_t size_of(std::size_t storage) const {
    return static_cast<std::size_t>(storages_[storage].entry.bytes);
  }

  bool is_big_endian(const std::string& root, const std::string& name) const {
    if (!archive_.has(root + "byteorder")) return false;
    const Archive::Entry entry = archive_.find(root + "byteorder");
    std::string text(static_cast<std::size_t>(std::min<std::uint64_t>(entry.bytes, 7)), ' ');
    if (text.size() == entry.bytes) archive_.read(entry, std::as_writable_bytes(std::span(text)));
    if (text != "little" && text != "big")
      fail("pth", "{}: entry {}: neither \"little\" nor \"big\"", name, entry.name);
    return text == "big";
  }

  std::shared_ptr<const MappedFile> file_;  ///< only bytes in memory are needed later on
  Archive archive_;
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

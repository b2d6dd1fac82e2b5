#include <cstring>
#include <map>

#include "core/error.h"
#include "io/pth_storage.h"

namespace locant {
namespace {

constexpr std::string_view kMagic("\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", 10);  // 0x1950a86a20f9469cfc6c
constexpr std::int64_t kProtocol = 1001;

/// Reads the file from front to back.
class LegacySource final : public PthStorageSource {
 public:
  explicit LegacySource(std::shared_ptr<const MappedFile> file) : file_(std::move(file)) {}

  PthContents open() {
    const pickle::Document magic = next_pickle();
    if (magic[magic.root].kind != pickle::Kind::big_integer || magic[magic.root].text != kMagic)
      fail("pth",
           "{}: byte 0: a pickle, but torch.save's magic number is not in front; save the state_dict by "
           "torch.save",
           file_->name());
    const std::uint64_t at = at_;
    const pickle::Document protocol = next_pickle();
    if (protocol[protocol.root].kind != pickle::Kind::integer || protocol[protocol.root].integer != kProtocol)
      fail("pth", "{}: byte {}: the version of the older form is not {}", file_->name(), at, kProtocol);
    next_pickle();  // the machine that wrote it; the numbers are little-endian on any
    PthContents contents = interpret_pth(next_pickle(), file_->name(), file_->size());
    locate(contents);
    return contents;
  }

  Bytes load(std::size_t storage) override {
    const Run& run = runs_[storage];
    return {file_->bytes().subspan(static_cast<std::size_t>(run.begin), static_cast<std::size_t>(run.bytes)),
            file_, true};
  }

  void release(std::size_t storage, std::uint64_t begin, std::uint64_t end) override {
    file_->release(runs_[storage].begin + begin, runs_[storage].begin + end);
  }

 private:
  struct Run {
    std::uint64_t begin = 0;
    std::uint64_t bytes = 0;
    bool found = false;
  };

  pickle::Document next_pickle() {
    pickle::Document document = pickle::read(file_->bytes().subspan(at_), file_->name(), at_);
    at_ += document.length;
    return document;
  }

  /// The list of keys, then for each an int64 count and its elements.
  void locate(PthContents& contents) {
    const std::string& name = file_->name();
    const std::uint64_t list_at = at_;
    const pickle::Document keys = next_pickle();
    if (keys[keys.root].kind != pickle::Kind::list)
      fail("pth", "{}: byte {}: the list of storage keys is missing", name, list_at);
    std::map<std::string_view, std::size_t> by_key;
    for (std::size_t i = 0; i < contents.storages.size(); ++i) by_key.emplace(contents.storages[i].key, i);
    runs_.resize(contents.storages.size());
    for (const pickle::Ref ref : keys[keys.root].items) {
      const auto found = by_key.find(keys[ref].text);
      if (found == by_key.end() || runs_[found->second].found)
        fail("pth", "{}: byte {}: storage key \"{}\" is {}", name, list_at, keys[ref].text.substr(0, 100),
             found == by_key.end() ? "not in the object" : "listed twice");
      const PthStorage& storage = contents.storages[found->second];
      const std::uint64_t left = file_->size() - at_;
      std::int64_t count = 0;
      if (left < sizeof count)
        fail("pth", "{}: byte {}: the file ends before storage \"{}\"", name, at_, storage.key);
      std::memcpy(&count, file_->bytes().data() + at_, sizeof count);
      if (count != storage.numel)
        fail("pth", "{}: byte {}: storage \"{}\" has {} elements here and {} in the object", name, at_,
             storage.key, count, storage.numel);
      const auto bytes = static_cast<std::uint64_t>(storage.bytes());
      if (bytes > left - sizeof count)
        fail("pth", "{}: byte {}: storage \"{}\" takes {} bytes, {} are left (is the file cut off?)", name,
             at_, storage.key, bytes, left - sizeof count);
      runs_[found->second] = {at_ + sizeof count, bytes, true};
      at_ += sizeof count + static_cast<std::size_t>(bytes);
    }
    for (std::size_t i = 0; i < runs_.size(); ++i)
      if (contents.storages[i].users > 0 && !runs_[i].found)
        fail("pth", "{}: byte {}: storage \"{}\" is not in the list of keys", name, list_at,
             contents.storages[i].key);
    if (at_ != file_->size())
      contents.notes.push_back(
          fmt::format("{} bytes after the last storage passed over", file_->size() - at_));
  }

  std::shared_ptr<const MappedFile> file_;
  std::size_t at_ = 0;
  std::vector<Run> runs_;
};

}  // namespace

PthParts open_pth_legacy(const std::shared_ptr<const MappedFile>& file) {
  auto source = std::make_unique<LegacySource>(file);
  PthContents contents = source->open();
  return {std::move(contents), std::move(source)};
}

}  // namespace locant

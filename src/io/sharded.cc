#include "io/sharded.h"

#include <filesystem>
#include <set>
#include <unordered_map>

#include "core/error.h"
#include "io/json_text.h"

namespace locant {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kMaxIndex = std::uint64_t{64} << 20;
constexpr std::size_t kMaxListed = 5;
constexpr std::size_t kMaxShardNotes = 16;

class ShardedFile final : public TensorFile {
 public:
  ShardedFile(std::string path, const ShardIndex& index) : path_(std::move(path)) {
    for (const std::string& name : index.shards) shards_.push_back(open_shard(name));
    for (const auto& [tensor, shard] : index.tensors) shard_of_.emplace(tensor, shard);
    std::vector<std::string> left;
    std::size_t left_count = 0;
    for (std::size_t shard = 0; shard < shards_.size(); ++shard) {
      for (const TensorInfo& info : shards_[shard]->tensors()) {
        const auto found = shard_of_.find(info.name);
        if (found != shard_of_.end() && found->second == shard)
          tensors_.push_back(info);
        else if (++left_count <= kMaxListed)
          left.push_back(info.name.substr(0, 200));
      }
      metadata_.insert(shards_[shard]->metadata().begin(), shards_[shard]->metadata().end());
    }
    if (tensors_.size() != index.tensors.size()) refuse_missing(index);
    if (left_count > 0)
      notes_.push_back(fmt::format("{} tensors of the shards are not in the index and left out: {}{}",
                                   left_count, fmt::join(left, ", "),
                                   left_count > kMaxListed ? ", ..." : ""));
    collect_notes();
    const std::string& form = shards_[0]->format();
    const std::string count = fmt::format("{} shard{}", shards_.size(), shards_.size() == 1 ? "" : "s");
    format_ = form.ends_with(')') ? fmt::format("{}, {})", form.substr(0, form.size() - 1), count)
                                  : fmt::format("{} ({})", form, count);
  }

  const std::string& path() const override { return path_; }
  const std::string& format() const override { return format_; }
  const std::vector<TensorInfo>& tensors() const override { return tensors_; }
  const std::map<std::string, std::string>& metadata() const override { return metadata_; }
  const std::vector<std::string>& notes() const override { return notes_; }
  Tensor read(const std::string& name) const override { return shard(name).read(name); }
  void release(const std::string& name) const override { shard(name).release(name); }

 private:
  std::unique_ptr<TensorFile> open_shard(const std::string& name) const {
    const std::string file = (fs::path(path_).parent_path() / name).string();
    require_no_dangling_link(file);
    std::error_code error;
    require(fs::exists(file, error), ErrorKind::file, "weights",
            "{}: the shard {} is not beside the index; fetch it too", path_, name);
    return open_single_file(file);
  }

  [[noreturn]] void refuse_missing(const ShardIndex& index) const {
    std::set<std::string_view> there;
    for (const TensorInfo& info : tensors_) there.insert(info.name);
    for (const auto& [tensor, shard] : index.tensors)
      if (there.find(tensor) == there.end())
        fail(ErrorKind::file, "weights", "{}: tensor \"{}\" is not in {}, where the index has it", path_,
             tensor.substr(0, 200), index.shards[shard]);
    fail(ErrorKind::file, "weights", "{}: a shard holds a tensor twice", path_);
  }

  /// Each note once, with the first shard that has it.
  void collect_notes() {
    std::set<std::string_view> seen;
    for (const std::unique_ptr<TensorFile>& file : shards_)
      for (const std::string& note : file->notes())
        if (seen.size() < kMaxShardNotes && seen.insert(note).second)
          notes_.push_back(fmt::format("{}: {}", fs::path(file->path()).filename().string(), note));
  }

  const TensorFile& shard(const std::string& name) const {
    const auto found = shard_of_.find(name);
    if (found == shard_of_.end()) fail("weights", "{}: there is no tensor \"{}\"", path_, name);
    return *shards_[found->second];
  }

  std::string path_;
  std::string format_;
  std::vector<std::unique_ptr<TensorFile>> shards_;
  std::unordered_map<std::string, std::size_t> shard_of_;
  std::vector<TensorInfo> tensors_;
  std::map<std::string, std::string> metadata_;
  std::vector<std::string> notes_;
};

}  // namespace

std::unique_ptr<TensorFile> open_sharded(const std::string& index_path) {
  const ShardIndex index = parse_shard_index(read_text_file(index_path, kMaxIndex), index_path);
  return std::make_unique<ShardedFile>(index_path, index);
}

}  // namespace locant

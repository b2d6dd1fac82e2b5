#include "segment/model_identity.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "core/error.h"
#include "core/sha256.h"
#include "io/atomic_file.h"
#include "io/json_text.h"
#include "io/mapped_file.h"
#include "io/model_folder.h"
#include "io/sharded.h"

namespace locant {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr const char* kModelIdentityOp = "weights";
constexpr std::size_t kPiece = std::size_t{8} << 20;  // bytes between two calls of `progress`
constexpr int kIdentityFormat = 1;
constexpr std::uint64_t kMaxIndexBytes = std::uint64_t{64} << 20;

class WeightsFile {
 public:
  explicit WeightsFile(const std::string& path)
      : path_(path), descriptor_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
    require(descriptor_ >= 0, ErrorKind::system, kModelIdentityOp, "{}: cannot be opened: {}", path_,
            std::strerror(errno));
  }
  ~WeightsFile() { ::close(descriptor_); }
  WeightsFile(const WeightsFile&) = delete;
  WeightsFile& operator=(const WeightsFile&) = delete;

  struct stat status() const {
    struct stat out {};
    require(::fstat(descriptor_, &out) == 0, ErrorKind::system, kModelIdentityOp,
            "{}: cannot be examined: {}", path_, std::strerror(errno));
    require(S_ISREG(out.st_mode), kModelIdentityOp, "{}: is not a regular file; give the path of a file",
            path_);
    return out;
  }
  /// Bytes read, 0 at the end.
  std::size_t read(std::vector<std::byte>& buffer) const {
    while (true) {
      const ssize_t count = ::read(descriptor_, buffer.data(), buffer.size());
      if (count < 0 && errno == EINTR) continue;
      require(count >= 0, ErrorKind::system, kModelIdentityOp, "{}: cannot be read: {}", path_,
              std::strerror(errno));
      return static_cast<std::size_t>(count);
    }
  }

 private:
  const std::string& path_;
  int descriptor_;
};

/// What moves when a file is replaced or written to.
Json stamp_of(const struct stat& status) {
  return {{"device", status.st_dev},
          {"inode", status.st_ino},
          {"size", status.st_size},
          {"modified", {status.st_mtim.tv_sec, status.st_mtim.tv_nsec}},
          {"changed", {status.st_ctim.tv_sec, status.st_ctim.tv_nsec}}};
}

double seconds_of(const timespec& time) {
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

std::string memory_path(const std::string& folder, const std::string& path) {
  std::error_code error;
  const fs::path whole = fs::canonical(path, error);
  const std::string text = error ? path : whole.string();
  const std::string digits = sha256_hex({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
  return (fs::path(folder) / ("weights-" + digits.substr(0, 32) + ".json")).string();
}

/// Empty where there is none, or it is of another state of the file.
std::string remembered(const std::string& memory, const Json& stamp) {
  try {
    const std::shared_ptr<const MappedFile> file = MappedFile::open(memory);
    const auto* begin = reinterpret_cast<const char*>(file->bytes().data());
    const Json json = Json::parse(begin, begin + file->size(), nullptr, false);
    const bool ours = json.is_object() && json.value("locant.weights", 0) == kIdentityFormat &&
                      json.contains("file") && json["file"] == stamp;
    std::string identity = ours ? json.value("xxh3_128", std::string()) : std::string();
    return identity.size() == 32 ? identity : std::string();
  } catch (const Error&) {  // no such file, mostly
    return {};
  } catch (const Json::exception&) {  // a field of another type
    return {};
  }
}

std::string hash(const WeightsFile& file, std::uint64_t size, const std::string& path,
                 const IdentityOptions& options) {
  const std::unique_ptr<XXH3_state_t, XXH_errorcode (*)(XXH3_state_t*)> state(XXH3_createState(),
                                                                              XXH3_freeState);
  require(state != nullptr && XXH3_128bits_reset(state.get()) == XXH_OK, kModelIdentityOp,
          "{}: not enough memory", path);
  std::vector<std::byte> buffer(std::clamp<std::uint64_t>(size, 1, kPiece));
  std::uint64_t done = 0;
  while (const std::size_t count = file.read(buffer)) {
    XXH3_128bits_update(state.get(), buffer.data(), count);
    done += count;
    if (options.progress && !options.progress(done, size))
      throw Cancelled(
          fmt::format("[{}] {}: stopped after {} of {} bytes", kModelIdentityOp, path, done, size));
  }
  XXH128_canonical_t digits;
  XXH128_canonicalFromHash(&digits, XXH3_128bits_digest(state.get()));
  return fmt::format("{:02x}", fmt::join(digits.digest, ""));
}

std::string file_identity(const std::string& path, const IdentityOptions& options) {
  const WeightsFile file(path);
  const struct stat before = file.status();
  const Json stamp = stamp_of(before);
  const std::string memory = options.memory.empty() ? "" : memory_path(options.memory, path);
  if (!memory.empty())
    if (std::string known = remembered(memory, stamp); !known.empty()) return known;

  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  std::string identity = hash(file, static_cast<std::uint64_t>(before.st_size), path, options);
  require(stamp_of(file.status()) == stamp, kModelIdentityOp,
          "{}: was written to while it was read; try again when it is complete", path);
  const bool settled = seconds_of(now) - seconds_of(before.st_ctim) >= options.settled_s;
  if (memory.empty() || !settled) return identity;
  const Json entry = {
      {"locant.weights", kIdentityFormat}, {"path", path}, {"file", stamp}, {"xxh3_128", identity}};
  const std::string text = entry.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
  try {
    fs::create_directories(options.memory);
    write_file_atomically(memory, std::as_bytes(std::span(text)));
  } catch (const std::exception& error) {  // Error, and what the file system throws
    if (options.not_kept) options.not_kept(error.what());
  }
  return identity;
}

}  // namespace

std::string model_identity(const std::string& path, const IdentityOptions& options) {
  std::error_code error;
  const std::string file = fs::is_directory(path, error) ? find_model_folder(path, false).weights : path;
  if (!file.ends_with(".index.json")) return file_identity(file, options);
  std::string all;  // of shards: what each of them holds
  for (const std::string& shard : parse_shard_index(read_text_file(file, kMaxIndexBytes), file).shards)
    all += shard + " " + file_identity((fs::path(file).parent_path() / shard).string(), options) + "\n";
  const XXH128_hash_t sum = XXH3_128bits(all.data(), all.size());
  return fmt::format("{:016x}{:016x}", sum.high64, sum.low64);
}

}  // namespace locant

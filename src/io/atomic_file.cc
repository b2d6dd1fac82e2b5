#include "io/atomic_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <filesystem>
#include <optional>
#include <system_error>
#include <vector>

#include "core/error.h"

namespace locant {
namespace {

constexpr std::size_t kBufferBytes = 64 * 1024;

[[noreturn]] void fail_with(const std::string& path, const char* step, int code) {
  fail(ErrorKind::system, "write", "{}: {}: {}", path, step, std::generic_category().message(code));
}

/// The file that a path stands for once its symbolic links are followed.
std::filesystem::path resolve(const std::string& path) {
  std::filesystem::path target(path);
  std::error_code error;
  for (int links = 0; std::filesystem::is_symlink(target, error); ++links) {
    if (links == 40) fail_with(path, "cannot be written", ELOOP);
    const std::filesystem::path next = std::filesystem::read_symlink(target, error);
    if (error) fail_with(path, "cannot be written", error.value());
    target = next.is_absolute() ? next : target.parent_path() / next;
  }
  return target;
}

/// Mode of the file that is to be replaced, if there is one.
std::optional<mode_t> old_mode(const std::string& path, const std::filesystem::path& target) {
  struct stat status {};
  if (::stat(target.c_str(), &status) != 0) {
    if (errno != ENOENT) fail_with(path, "cannot be written", errno);
    return std::nullopt;
  }
  require(S_ISREG(status.st_mode), "write", "{}: is not a regular file; choose another path", path);
  return static_cast<mode_t>(status.st_mode & 0777);
}

/// The temporary file; gone when the object goes, unless renamed.
class TemporaryFile final : public ByteSink {
 public:
  TemporaryFile(const std::string& path, const std::filesystem::path& folder) : path_(path) {
    static std::atomic<unsigned> counter{0};
    for (int attempt = 0; attempt < 1000 && fd_ < 0; ++attempt) {
      // A short name of its own: a long one of the user's plus a suffix could pass the limit of 255 bytes.
      name_ = folder / fmt::format(".locant-{}-{}.tmp", ::getpid(), counter++);
      fd_ = ::open(name_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
      if (fd_ < 0 && errno != EEXIST) fail_with(path_, "no temporary file can be made beside it", errno);
    }
    if (fd_ < 0) fail_with(path_, "no temporary file can be made beside it", EEXIST);
    buffer_.reserve(kBufferBytes);
  }
  ~TemporaryFile() override {
    if (fd_ >= 0) ::close(fd_);
    if (!name_.empty()) ::unlink(name_.c_str());
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

  void write(std::span<const std::byte> bytes) override {
    if (buffer_.size() + bytes.size() > kBufferBytes) flush();
    if (bytes.size() > kBufferBytes)
      put(bytes);
    else
      buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
  }

  void commit(const std::filesystem::path& target, std::optional<mode_t> mode) {
    flush();
    if (mode && ::fchmod(fd_, *mode) != 0) fail_with(path_, "its mode cannot be kept", errno);
    if (::fsync(fd_) != 0) fail_with(path_, "cannot be flushed to the disk", errno);
    const int fd = fd_;
    fd_ = -1;
    if (::close(fd) != 0) fail_with(path_, "cannot be closed", errno);
    if (::rename(name_.c_str(), target.c_str()) != 0) fail_with(path_, "cannot be replaced", errno);
    name_.clear();
  }

 private:
  void flush() {
    put(buffer_);
    buffer_.clear();
  }

  void put(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const ssize_t written = ::write(fd_, bytes.data(), bytes.size());
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) fail_with(path_, "cannot be written", errno);
      bytes = bytes.subspan(static_cast<std::size_t>(written));
    }
  }

  const std::string& path_;
  std::filesystem::path name_;
  int fd_ = -1;
  std::vector<std::byte> buffer_;
};

/// Makes the rename itself survive a loss of power.
void flush_folder(const std::string& path, const std::filesystem::path& folder) {
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;  // a folder that may be written but not read: nothing more can be done
  const int code = ::fsync(fd) == 0 ? 0 : errno;
  ::close(fd);
  // Some network file systems know no flushing of folders.
  if (code == EIO || code == ENOSPC) fail_with(path, "its folder cannot be flushed to the disk", code);
}

}  // namespace

void write_file_atomically(const std::string& path, const std::function<void(ByteSink&)>& writer) {
  const std::filesystem::path target = resolve(path);
  require(target.has_filename(), "write", "\"{}\" does not name a file", path);
  const std::optional<mode_t> mode = old_mode(path, target);
  const std::filesystem::path folder = target.has_parent_path() ? target.parent_path() : ".";
  {
    TemporaryFile file(path, folder);
    writer(file);
    file.commit(target, mode);
  }
  flush_folder(path, folder);
}

void write_file_atomically(const std::string& path, std::span<const std::byte> bytes) {
  write_file_atomically(path, [bytes](ByteSink& sink) { sink.write(bytes); });
}

}  // namespace locant

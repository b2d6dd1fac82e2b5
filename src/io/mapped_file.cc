#include "io/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "core/error.h"

namespace locant {
namespace {

std::string system_message(int code) { return std::generic_category().message(code); }

struct Descriptor {
  int fd;
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
};

}  // namespace

std::shared_ptr<const MappedFile> MappedFile::open(const std::string& path) {
  const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (file.fd < 0) fail(ErrorKind::system, "file", "{}: cannot be opened: {}", path, system_message(errno));
  struct stat status {};
  if (::fstat(file.fd, &status) != 0)
    fail(ErrorKind::system, "file", "{}: cannot be examined: {}", path, system_message(errno));
  require(S_ISREG(status.st_mode), "file", "{}: is not a regular file; give the path of a file", path);
  require(status.st_size > 0, "file", "{}: is empty (0 bytes)", path);
  const auto size = static_cast<std::size_t>(status.st_size);
  void* at = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.fd, 0);
  if (at == MAP_FAILED)
    fail(ErrorKind::system, "file", "{}: {} bytes cannot be mapped: {}", path, size, system_message(errno));
  const std::span<const std::byte> bytes(static_cast<const std::byte*>(at), size);
  return std::shared_ptr<const MappedFile>(new MappedFile(bytes, path, true));
}

std::shared_ptr<const MappedFile> MappedFile::view(std::span<const std::byte> bytes, std::string name) {
  return std::shared_ptr<const MappedFile>(new MappedFile(bytes, std::move(name), false));
}

MappedFile::~MappedFile() {
  if (mapped_) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

void MappedFile::release(std::uint64_t begin, std::uint64_t end) const {
  if (!mapped_) return;
  static const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  const std::uint64_t first = (begin + page - 1) / page * page;
  // The page that holds the end of the file belongs to nobody else.
  const std::uint64_t last = end == size() ? (end + page - 1) / page * page : end / page * page;
  if (first >= last) return;
  // Only a hint: pages that stay cost memory, not correctness.
  ::madvise(const_cast<std::byte*>(bytes_.data()) + first, last - first, MADV_DONTNEED);
}

}  // namespace locant

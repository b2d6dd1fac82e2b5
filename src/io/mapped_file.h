#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace locant {

/// The bytes of a file, mapped read-only and private, or bytes that somebody else holds, under the same
/// handle. Limit: when another process truncates a mapped file, touching the lost pages raises SIGBUS, as
/// with every mapping; replace checkpoints by rename (as write_file_atomically does), never in place.
class MappedFile {
 public:
  /// Throws Error when the path is no readable, non-empty regular file.
  static std::shared_ptr<const MappedFile> open(const std::string& path);
  /// Bytes that outlive the handle; `name` stands in errors.
  static std::shared_ptr<const MappedFile> view(std::span<const std::byte> bytes, std::string name);

  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::string& name() const { return name_; }
  std::span<const std::byte> bytes() const { return bytes_; }
  std::uint64_t size() const { return bytes_.size(); }
  bool mapped() const { return mapped_; }
  /// Lets the whole pages within [begin, end) leave memory; touching them again reads the file again.
  void release(std::uint64_t begin, std::uint64_t end) const;

 private:
  MappedFile(std::span<const std::byte> bytes, std::string name, bool mapped)
      : bytes_(bytes), name_(std::move(name)), mapped_(mapped) {}
  std::span<const std::byte> bytes_;
  std::string name_;
  bool mapped_;
};

}  // namespace locant

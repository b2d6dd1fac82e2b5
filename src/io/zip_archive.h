#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/mapped_file.h"

struct zip;

namespace locant {

/// A zip archive whose entries are stored or deflated. Sizes are bounded by the file, check sums verified.
/// For one thread at a time. Errors begin with `op` and name the file and the entry.
class ZipArchive {
 public:
  /// Throws Error when the bytes are no whole archive. Of a file in memory the bytes must outlive the
  /// archive.
  ZipArchive(const MappedFile& file, std::string op);
  ~ZipArchive();
  ZipArchive(const ZipArchive&) = delete;
  ZipArchive& operator=(const ZipArchive&) = delete;

  struct Entry {
    std::uint64_t index = 0;
    std::string name;
    std::uint64_t bytes = 0;
    std::uint32_t sum = 0;  ///< CRC-32 as the directory has it
    bool stored = true;
  };

  /// Of all entries, in the order of the directory.
  std::vector<std::string> names() const;
  bool has(const std::string& name) const;
  /// Throws Error for an entry that is absent, encrypted, oddly compressed, or larger than its file can hold.
  Entry find(const std::string& name) const;

  /// Some writers leave every check sum 0. True when no entry whose name begins with `prefix` has one, though
  /// at least one of them holds bytes: from then on read() takes stored entries without a sum as they are.
  bool accept_missing_sums(std::string_view prefix);

  /// Fills `out`, which has the entry's size, and verifies its check sum. Throws Error for damage.
  void read(const Entry& entry, std::span<std::byte> out) const;
  /// Fills `out` from the front of the entry, which holds as many bytes or more; no check sum is looked at.
  void read_front(const Entry& entry, std::span<std::byte> out) const;
  /// read() into uninitialised memory of its own.
  std::shared_ptr<std::byte> read(const Entry& entry) const;

 private:
  void fill(const Entry& entry, std::span<std::byte> out, bool to_the_end) const;

  std::string name_;
  std::string op_;
  std::uint64_t file_bytes_;
  struct zip* zip_ = nullptr;
  bool sums_missing_ = false;
};

}  // namespace locant

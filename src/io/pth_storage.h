#pragma once

#include <memory>
#include <string>

#include "io/mapped_file.h"
#include "io/pth_contents.h"

namespace locant {

/// Gives the bytes of a .pth file's storages, one at a time.
class PthStorageSource {
 public:
  virtual ~PthStorageSource() = default;
  struct Bytes {
    std::span<const std::byte> bytes;
    std::shared_ptr<const void> owner;
    bool may_borrow = false;  ///< a tensor may keep the owner instead of a copy of its numbers
  };
  /// All bytes of a storage, little-endian. Throws Error when they are damaged.
  virtual Bytes load(std::size_t storage) = 0;
  /// One tensor, which views bytes [begin, end) of the storage, is done with.
  virtual void release(std::size_t storage, std::uint64_t begin, std::uint64_t end) = 0;
};

struct PthParts {
  PthContents contents;
  std::unique_ptr<PthStorageSource> source;
};

/// NAME/data.pkl, NAME/data/KEY and NAME/byteorder in a zip archive: torch.save since 1.6. Entries may be
/// stored or deflated; sizes and check sums are verified, and an entry's size must be what its storage says.
/// An archive whose storages have no check sums at all gets a note instead.
PthParts open_pth_zip(const std::shared_ptr<const MappedFile>& file);

/// Pickles of a magic number, a version, the machine, the object and the storage keys, then each storage as
/// an int64 count and raw bytes: torch.save before 1.6.
PthParts open_pth_legacy(const std::shared_ptr<const MappedFile>& file);

}  // namespace locant

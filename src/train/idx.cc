#include "train/idx.h"

#include <array>
#include <cstdio>
#include <memory>

#include "core/error.h"

namespace locant {
namespace {

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using File = std::unique_ptr<std::FILE, CloseFile>;

}  // namespace

bool looks_like_idx(const std::string& path) {
  const File file(std::fopen(path.c_str(), "rb"));
  std::array<unsigned char, 4> head{};
  return file != nullptr && std::fread(head.data(), 1, 4, file.get()) == 4 && head[0] == 0 && head[1] == 0 &&
         head[2] == 8;
}

IdxArray read_idx(const std::string& path, int rank) {
  const File file(std::fopen(path.c_str(), "rb"));
  require(file != nullptr, "idx", "cannot open {}", path);
  require(std::fseek(file.get(), 0, SEEK_END) == 0, "idx", "{}: not a regular file", path);
  const std::int64_t size = std::ftell(file.get());
  std::rewind(file.get());

  std::array<unsigned char, 4> magic{};
  require(std::fread(magic.data(), 1, 4, file.get()) == 4, "idx",
          "{}: offset 0: {} bytes are too few for an IDX header", path, size);
  require(magic[0] != 0x1F || magic[1] != 0x8B, "idx",
          "{}: offset 0: compressed; unpack it with gunzip first", path);
  require(magic[0] == 0 && magic[1] == 0, "idx",
          "{}: offset 0: not an IDX file (starts {:02x} {:02x}, not 00 00)", path, magic[0], magic[1]);
  require(magic[2] == 8, "idx", "{}: offset 2: element type {:#04x}, only unsigned bytes (0x08) are read",
          path, magic[2]);
  require(magic[3] == rank, "idx", "{}: offset 3: {} axes, expected {}", path, static_cast<int>(magic[3]),
          rank);

  IdxArray array;
  const std::int64_t header = 4 + 4 * static_cast<std::int64_t>(rank);
  std::int64_t count = 1;
  for (int axis = 0; axis < rank; ++axis) {
    std::array<unsigned char, 4> b{};
    const int offset = 4 + 4 * axis;
    require(std::fread(b.data(), 1, 4, file.get()) == 4, "idx", "{}: offset {}: the header is cut off", path,
            offset);
    const std::int64_t extent =
        (std::int64_t{b[0]} << 24) | (std::int64_t{b[1]} << 16) | (std::int64_t{b[2]} << 8) | b[3];
    require(extent > 0, "idx", "{}: offset {}: extent {} of axis {} is empty", path, offset, extent, axis);
    require(extent <= (size - header) / count, "idx",
            "{}: offset {}: extent {} of axis {} needs more than the file's {} bytes", path, offset, extent,
            axis, size);
    count *= extent;
    array.extents.push_back(extent);
  }
  require(size == header + count, "idx", "{}: offset {}: {} bytes of data, the header asks for {}", path,
          header, size - header, count);
  array.values.resize(static_cast<std::size_t>(count));
  require(std::fread(array.values.data(), 1, array.values.size(), file.get()) == array.values.size(), "idx",
          "{}: offset {}: reading failed", path, header);
  return array;
}

}  // namespace locant

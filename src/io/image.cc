#include "io/image.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>

#include "core/error.h"
#include "io/atomic_file.h"
#include "io/exif.h"
#include "io/image_decoders.h"

namespace locant {
namespace image_io {
namespace {

/// Bounds what the resize needs for its weights.
constexpr std::int64_t kMaxSide = 1 << 24;

}  // namespace

void check_size(std::int64_t rows, std::int64_t columns, const std::string& name, std::int64_t max_pixels) {
  require(rows >= 1 && columns >= 1 && rows <= kMaxSide && columns <= kMaxSide, "image",
          "{}: a picture of {} x {} pixels: sides of 1 to {} are allowed", name, columns, rows, kMaxSide);
  require(rows <= max_pixels / columns, "image", "{}: {} x {} pixels are more than the limit of {}", name,
          columns, rows, max_pixels);
}

Image make_image(std::int64_t rows, std::int64_t columns) {
  Image image;
  image.rows = rows;
  image.columns = columns;
  image.rgb.resize(static_cast<std::size_t>(3 * rows * columns));
  return image;
}

}  // namespace image_io

namespace {

using image_io::Bytes;
using namespace std::string_view_literals;

constexpr std::size_t kFileLimit = std::size_t{1} << 30;
constexpr std::size_t kStandardInputLimit = std::size_t{1} << 28;
constexpr std::size_t kMagicBytes = 16;

bool has_at(Bytes bytes, std::size_t offset, std::string_view text) {
  return bytes.size() >= offset + text.size() &&
         std::memcmp(bytes.data() + offset, text.data(), text.size()) == 0;
}

using Decode = image_io::Decoded (*)(Bytes, const std::string&, std::int64_t);

/// By the file's first bytes; Error naming what it seems to be instead.
Decode decoder_for(Bytes bytes, const std::string& name) {
  if (has_at(bytes, 0, "\xFF\xD8\xFF"sv)) return image_io::decode_jpeg;
  if (has_at(bytes, 0, "\x89PNG\r\n\x1A\n"sv)) return image_io::decode_png;
  if (has_at(bytes, 0, "RIFF"sv) && has_at(bytes, 8, "WEBP"sv)) return image_io::decode_webp;
  if (has_at(bytes, 0, "P5"sv) || has_at(bytes, 0, "P6"sv)) return image_io::decode_ppm;
  struct Other {
    std::size_t offset;
    std::string_view magic, what;
  };
  constexpr std::array<Other, 9> kOthers = {{{0, "GIF8"sv, "a GIF"sv},
                                             {0, "BM"sv, "a BMP"sv},
                                             {0, "II*\0"sv, "a TIFF"sv},
                                             {0, "MM\0*"sv, "a TIFF"sv},
                                             {4, "ftyp"sv, "AVIF, HEIC or a film"sv},
                                             {0, "%PDF"sv, "a PDF"sv},
                                             {0, "P3"sv, "a PPM as text"sv},
                                             {0, "P2"sv, "a PGM as text"sv},
                                             {0, "PK\x03\x04"sv, "a zip file"sv}}};
  require(!bytes.empty(), "image", "{}: the file is empty", name);
  for (const Other& other : kOthers) {
    require(!has_at(bytes, other.offset, other.magic), "image",
            "{}: this is {}; JPEG, PNG, WebP and binary PPM or PGM can be read: convert it first", name,
            other.what);
  }
  fail("image", "{}: not a picture: JPEG, PNG, WebP and binary PPM or PGM can be read", name);
}

struct File {
  ~File() {
    if (descriptor >= 0) ::close(descriptor);
  }
  int descriptor = -1;
};

/// The whole stream, but stops early where the first bytes are no picture's or there are more than `limit`.
std::vector<std::uint8_t> read_all(int descriptor, const std::string& name, std::size_t limit,
                                   std::size_t expected) {
  std::vector<std::uint8_t> bytes(std::clamp<std::size_t>(expected + 1, 1 << 16, limit + 1));
  std::size_t filled = 0;
  bool checked = false;
  while (true) {
    const ssize_t count = ::read(descriptor, bytes.data() + filled, bytes.size() - filled);
    if (count < 0 && errno == EINTR) continue;
    require(count >= 0, "image", "{}: cannot be read: {}", name, std::strerror(errno));
    if (count == 0) break;
    filled += static_cast<std::size_t>(count);
    if (!checked && filled >= kMagicBytes) {
      decoder_for({bytes.data(), filled}, name);
      checked = true;
    }
    require(filled <= limit, "image", "{}: more than {} MiB, which is too much for a picture", name,
            limit >> 20);
    if (filled == bytes.size()) bytes.resize(std::min(2 * filled, limit + 1));
  }
  bytes.resize(filled);
  return bytes;
}

}  // namespace

Image decode_image(std::span<const std::uint8_t> bytes, const std::string& name,
                   const DecodeOptions& options) {
  image_io::Decoded decoded = decoder_for(bytes, name)(bytes, name, options.max_pixels);
  return options.exif_orientation ? apply_orientation(std::move(decoded.image), decoded.orientation)
                                  : std::move(decoded.image);
}

Image read_image(const std::string& path, const DecodeOptions& options) {
  if (path == "-") {
    const std::string name = "standard input";
    return decode_image(read_all(STDIN_FILENO, name, kStandardInputLimit, 0), name, options);
  }
  File file;
  file.descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  require(file.descriptor >= 0, "image", "{}: cannot be opened: {}", path, std::strerror(errno));
  struct stat status;
  require(::fstat(file.descriptor, &status) == 0, "image", "{}: cannot be read: {}", path,
          std::strerror(errno));
  require(!S_ISDIR(status.st_mode), "image", "{}: a folder: name the pictures in it", path);
  const std::size_t size = S_ISREG(status.st_mode) ? static_cast<std::size_t>(status.st_size) : 0;
  require(size <= kFileLimit, "image", "{}: {} MiB are too much for a picture", path, size >> 20);
  return decode_image(read_all(file.descriptor, path, kFileLimit, size), path, options);
}

void write_png(const std::string& path, const Image& image) {
  write_file_atomically(path,
                        std::as_bytes(std::span<const std::uint8_t>(image_io::encode_png(image, path))));
}

bool has_image_extension(const std::string& path) {
  constexpr std::array<std::string_view, 9> kExtensions = {".jpg",  ".jpeg", ".jpe", ".jfif", ".png",
                                                           ".webp", ".ppm",  ".pgm", ".pnm"};
  const std::size_t dot = path.find_last_of("./");
  if (dot == std::string::npos || path[dot] != '.') return false;
  std::string extension = path.substr(dot);
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return std::find(kExtensions.begin(), kExtensions.end(), extension) != kExtensions.end();
}

}  // namespace locant
